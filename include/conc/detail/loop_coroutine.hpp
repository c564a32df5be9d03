// SPDX-License-Identifier: MIT
/// @file
/// CoroutineState: a future whose task is a coroutine on an event loop.
#pragma once

#include <conc/detail/asio.hpp>
#include <conc/detail/event_loop_core.hpp>
#include <conc/detail/future_state.hpp>
#include <conc/detail/ref.hpp>
#include <conc/detail/task.hpp>
#include <conc/error.hpp>
#include <conc/lock.hpp>
#include <exception>
#include <optional>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace conc::inline CONC_ABI::detail {

template <class T>
inline constexpr bool is_awaitable = false;
template <class T>
inline constexpr bool is_awaitable<asio::awaitable<T>> = true;

/// Keeps the callable as long as its coroutine.
template <class F>
std::invoke_result_t<F&> call_coroutine(F fn) {
  co_return co_await fn();
}

/// The state of the future of a coroutine. Born with one handle; owned by the loop's inbox, then by the coroutine's end.
///
/// It is in the inbox twice: first to begin the coroutine, and after cancel() to tell it.
template <class T>
class CoroutineState final : public FutureState<T>, private LoopCoroutine {
 public:
  CoroutineState(EventLoopCore& core, asio::awaitable<T> body)
      : FutureState<T>{FutureCore::kHandle | FutureCore::kOwned},
        loop_{Ref<EventLoopCore>::share(&core)},
        body_{std::move(body)} {
    this->home = core.number() & Task::kHomes;
  }

  const std::type_info& callable() const noexcept override { return typeid(asio::awaitable<T>); }

  Outcome run() override {
    if (!begun_) {
      return FutureCore::run();
    }
    running_loop->call([this] { tell(); });
    this->drop_handle();  // that of cancel_running()
    return Outcome::claimed;
  }

  Outcome refuse(const std::exception_ptr& why) noexcept override {
    if (!begun_) {
      return FutureCore::refuse(why);
    }
    this->drop_handle();
    return Outcome::cancelled;
  }

 protected:
  ~CoroutineState() override = default;

  Outcome execute(bool /*owner: always*/) override {
    begun_ = true;
    End end{this};
    EventLoopCore& core = *running_loop;
    if (core.closing()) {
      abandon();
      return Outcome::cancelled;
    }
    core.add(*this);
    listed_ = true;
    spawning_ = true;  // it may end at once
    try {
      asio::co_spawn(core.executor(), drive(*this), asio::bind_cancellation_slot(signal_.slot(), std::move(end)));
    } catch (...) {  // no memory for it
      fail_with(std::current_exception());
    }
    spawning_ = false;
    if (ended_) {
      clean_up();
    }
    return Outcome::claimed;
  }

  void abandon() noexcept override {
    (void)asio::awaitable<T>{std::move(body_)};
    forget_loop();
  }

  /// The future is cancelled at once. The coroutine hears of it on its loop, where it is suspended by then.
  bool cancel_running() noexcept override {
    if (this->settle() == FutureCore::settling) {
      return this->phase() == FutureCore::cancelled;
    }
    this->add_handle();
    this->finish(FutureCore::cancelled, false);
    const std::optional<Ref<EventLoopCore>> kept = loop();
    if (!kept.has_value() || !(*kept)->push(*this)) {
      this->drop_handle();
    }
    return true;
  }

 private:
  /// Called or not, its end is the end of the coroutine. Where the coroutine was destroyed the future is cancelled.
  class End {
   public:
    explicit End(CoroutineState* state) noexcept : state_{state} {}
    End(End&& other) noexcept : state_{std::exchange(other.state_, nullptr)} {}
    End& operator=(End&&) = delete;
    ~End() {
      if (state_ != nullptr) {
        state_->end();
      }
    }
    void operator()(const std::exception_ptr& /*drive() throws nothing*/) const noexcept {}

   private:
    CoroutineState* state_;
  };

  /// Runs the coroutine. What it awaits is gone by the time that the future is done.
  static asio::awaitable<void> drive(CoroutineState& self) {
    try {
      if constexpr (std::is_void_v<T>) {
        co_await std::exchange(self.body_, asio::awaitable<T>{});
        self.succeed();
      } else {
        T result = co_await std::exchange(self.body_, asio::awaitable<T>{});
        self.succeed(std::move(result));
      }
    } catch (const CancelledError&) {
      self.finish_cancelled();
    } catch (...) {
      self.fail_with(std::current_exception());
    }
  }

  template <class... Result>
  void succeed(Result&&... result) {
    const auto from = this->settle();
    if (from == FutureCore::settling) {
      return;  // it was cancelled
    }
    try {
      this->put(std::forward<Result>(result)...);
    } catch (...) {
      this->unsettle(from);
      throw;
    }
    this->finish(FutureCore::succeeded, false);
  }
  void fail_with(const std::exception_ptr& exception) noexcept {
    if (this->settle() != FutureCore::settling) {
      this->fail(exception);
      this->finish(FutureCore::failed, false);
    }
  }
  void finish_cancelled() noexcept {
    if (this->settle() != FutureCore::settling) {
      this->finish(FutureCore::cancelled, false);
    }
  }

  void end() noexcept {
    ended_ = true;
    if (!spawning_) {
      clean_up();
    }
  }

  void clean_up() noexcept {
    finish_cancelled();  // unless it is done
    const std::optional<Ref<EventLoopCore>> kept = forget_loop();
    if (listed_) {
      (*kept)->remove(*this);
    }
    this->drop_owner();
  }

  /// @return what is to be dropped without the lock
  std::optional<Ref<EventLoopCore>> forget_loop() noexcept {
    std::optional<Ref<EventLoopCore>> forgotten;
    const ScopedLock guard{loop_lock_};
    std::swap(forgotten, loop_);
    return forgotten;
  }

  std::optional<Ref<EventLoopCore>> loop() noexcept {
    const ScopedLock guard{loop_lock_};
    return loop_;
  }

  void cancel_coroutine() noexcept override {
    if (this->done()) {  // it was cancelled before, and goes on
      running_loop->call([this] { tell(); });
    } else {
      this->cancel();
    }
  }

  void tell() {
    if (!ended_) {
      signal_.emit(asio::cancellation_type::terminal);
    }
  }

  Lock loop_lock_;
  std::optional<Ref<EventLoopCore>> loop_;  // guarded by loop_lock_; until the end: futures do not keep the loop
  asio::awaitable<T> body_;                 // until it begins
  asio::cancellation_signal signal_;
  // Of the loop's thread.
  bool begun_ = false;
  bool listed_ = false;
  bool spawning_ = false;
  bool ended_ = false;
};

}  // namespace conc::inline CONC_ABI::detail
