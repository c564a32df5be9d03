// SPDX-License-Identifier: MIT
/// @file
/// Coroutines on an event loop: CoroutineState, a future whose task is one; Bell, where one sleeps; Children, those that
/// one waits for.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/asio.hpp>
#include <conc/detail/event_loop_core.hpp>
#include <conc/detail/future_state.hpp>
#include <conc/detail/ref.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/task.hpp>
#include <conc/error.hpp>
#include <conc/future.hpp>
#include <conc/lock.hpp>
#include <conc/thread_pool.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

namespace conc::inline CONC_ABI::detail {

/// What co_await gives for a T: a reference cannot leave an asio::awaitable as such.
template <class T>
using Awaited =
    std::conditional_t<std::is_lvalue_reference_v<T>, std::reference_wrapper<std::remove_reference_t<T>>, T>;

/// What stands for void among results.
template <class T>
using Gathered = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class T>
inline constexpr bool is_awaitable = false;
template <class T>
inline constexpr bool is_awaitable<asio::awaitable<T>> = true;

/// Keeps the callable as long as its coroutine.
template <class F>
std::invoke_result_t<F&> call_coroutine(F fn) {
  co_return co_await fn();
}

/// The pool of to_thread(). Never destroyed: it is closed at exit.
[[gnu::visibility("default")]] inline ThreadPoolExecutor& shared_pool() {
  static auto* const pool = new ThreadPoolExecutor{ThreadPoolOptions{.thread_name_prefix = "to_thread"}};
  return *pool;
}

/// The loop that the calling coroutine runs on. @throws UsageError if there is none
inline EventLoopCore& this_loop(const char* operation) {
  if (running_loop == nullptr) {
    throw_usage_error(std::string{operation} + ": no running event loop");
  }
  return *running_loop;
}

/// The state of the future of a coroutine. Born with one handle; owned by the loop's inbox, then by the coroutine's end.
///
/// It is in the inbox twice: first to begin the coroutine, and after cancel() to tell it.
template <class T>
class CoroutineState final : public FutureState<T>, private LoopCoroutine {
 public:
  CoroutineState(EventLoopCore& loop, asio::awaitable<T> body)
      : FutureState<T>{FutureCore::kHandle | FutureCore::kOwned},
        loop_{Ref<EventLoopCore>::share(&loop)},
        body_{std::move(body)} {
    this->home = loop.number() & Task::kHomes;
  }

  const std::type_info& callable() const noexcept override { return typeid(asio::awaitable<T>); }

  Outcome run() override {
    if (!begun_) {
      return FutureCore::run();
    }
    if (!ended_) {
      signal_.emit(asio::cancellation_type::terminal);
    }
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
    EventLoopCore& loop = *running_loop;
    if (loop.closing()) {
      abandon();
      return Outcome::cancelled;
    }
    loop.add(*this);
    listed_ = true;
    try {
      asio::co_spawn(loop.executor(), drive(*this), asio::bind_cancellation_slot(signal_.slot(), std::move(end)));
    } catch (...) {  // no memory for it
      fail_with(std::current_exception());
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
    const std::optional<Ref<EventLoopCore>> loop = this->loop();
    if (!loop.has_value() || !(*loop)->push(*this)) {
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
    finish_cancelled();  // unless it is done
    ended_ = true;
    const std::optional<Ref<EventLoopCore>> loop = forget_loop();
    if (listed_) {
      (*loop)->remove(*this);
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
      signal_.emit(asio::cancellation_type::terminal);
    } else {
      this->cancel();
    }
  }

  Lock loop_lock_;
  std::optional<Ref<EventLoopCore>> loop_;  // guarded by loop_lock_; until the end: futures do not keep the loop
  asio::awaitable<T> body_;                 // until it begins
  asio::cancellation_signal signal_;
  // Of the loop's thread.
  bool begun_ = false;
  bool listed_ = false;
  bool ended_ = false;
};

/// Where one coroutine sleeps: until it is rung for, until a deadline, or until the coroutine is cancelled.
class Bell {
 public:
  enum class Woken : std::uint8_t { rung, timed_out, cancelled };

  explicit Bell(EventLoopCore& loop) : timer_{loop.context()} {}

  /// On the loop's thread.
  void ring() {
    rung_ = true;
    timer_.cancel();
  }

  /// A cancellation is told once, and even if the wait is just over: what is awaited afterwards is awaited.
  asio::awaitable<Woken> wait(sync::TimePoint until = sync::forever) {
    if (rung_) {
      co_return Woken::rung;
    }
    timer_.expires_at(until);
    asio::error_code error;
    co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, error));
    // Also where the wait was just over: else each of the following ones would be told.
    const asio::cancellation_state state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) {
      co_await asio::this_coro::reset_cancellation_state();
      co_return Woken::cancelled;
    }
    co_return rung_ ? Woken::rung : Woken::timed_out;
  }

 private:
  asio::steady_timer timer_;
  bool rung_ = false;
};

/// Rings a bell on a loop when a future is done.
class FutureBell {
 public:
  FutureBell(EventLoopCore& loop, FutureCore& future)
      : bell_{loop}, future_{future}, ringer_{Ref<Ringer>::adopt(new Ringer{loop, bell_})} {
    ringer_->add_reference();  // the callback's
    if (!future_.add(*ringer_)) {
      bell_.ring();
      ringer_->drop_reference();
    }
  }
  FutureBell(const FutureBell&) = delete;
  FutureBell& operator=(const FutureBell&) = delete;
  ~FutureBell() {
    ringer_->bell = nullptr;
    if (future_.remove(*ringer_)) {
      ringer_->drop_reference();
    }
  }

  Bell* operator->() noexcept { return &bell_; }

 private:
  /// What lies between the two threads: a callback of the future, then a task of the loop.
  struct Ringer final : Task, Callback, RefCounted {
    using Recycled::operator new;
    using Recycled::operator delete;

    Ringer(EventLoopCore& core, Bell& rung) noexcept
        : Callback{Needs::nothing}, loop{Ref<EventLoopCore>::share(&core)}, bell{&rung} {}

    void call(FutureCore& /*future*/) noexcept override {
      const Ref<EventLoopCore> kept = loop;
      if (!kept->push(*this)) {
        drop_reference();
      }
    }
    Outcome run() override {
      if (bell != nullptr) {
        bell->ring();
      }
      drop_reference();
      return Outcome::claimed;
    }
    Outcome refuse(const std::exception_ptr& /*why*/) noexcept override {
      drop_reference();
      return Outcome::cancelled;
    }

    const Ref<EventLoopCore> loop;
    Bell* bell;  // null once nobody waits; of the loop's thread
  };

  Bell bell_;
  FutureCore& future_;
  const Ref<Ringer> ringer_;
};

/// Whether a coroutine ends so because it was cancelled.
inline bool is_cancellation(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const CancelledError&) {
    return true;
  } catch (const std::system_error& error) {
    return error.code() == asio::error::operation_aborted;
  } catch (...) {
    return false;
  }
}

/// Coroutines that run at the same time on behalf of one, which waits here until all of them have ended. The first that
/// fails has the others cancelled.
class Children {
 public:
  explicit Children(EventLoopCore& loop, std::size_t most) : loop_{loop}, bell_{loop}, signals_(most) {}

  /// Begins `body`, whose result comes to `result`.
  template <class T>
  void start(asio::awaitable<T> body, std::optional<Gathered<T>>& result) {
    asio::cancellation_signal& signal = signals_[started_++];
    ++running_;
    try {
      asio::co_spawn(loop_.executor(), drive(std::move(body), result),
                     asio::bind_cancellation_slot(signal.slot(), End{this}));
    } catch (...) {  // no memory for it
      End{this}(std::current_exception());
    }
    if (exception_ != nullptr) {
      cancel();  // also what is started after the one that failed
    }
  }

  /// Once. Waits until all have ended; once `until` has passed, or the one who waits here is cancelled, they are cancelled too.
  /// @return whether they ended in time
  /// @throws CancelledError, once they have ended, if the one who waits was cancelled
  asio::awaitable<bool> join_until(sync::TimePoint until, const char* operation) {
    bool in_time = true;
    bool cancelled = false;
    --running_;  // all are started
    while (running_ != 0) {
      const Bell::Woken woken = co_await bell_.wait(in_time ? until : sync::forever);
      if (woken != Bell::Woken::rung) {
        in_time = in_time && woken != Bell::Woken::timed_out;
        if (woken == Bell::Woken::cancelled) {
          cancelled = true;
          told_ = 0;  // who is told again tells them again
        }
        cancel();
      }
    }
    if (cancelled) {
      throw CancelledError{std::string{operation} + ": the coroutine was cancelled"};
    }
    co_return in_time;
  }

  /// The same without an end. @throws what the first one threw that failed
  asio::awaitable<void> join(const char* operation) {
    co_await join_until(sync::forever, operation);
    rethrow();
  }

  /// What the first one threw that failed; null if none did.
  const std::exception_ptr& exception() const noexcept { return exception_; }
  void rethrow() const {
    if (exception_ != nullptr) {
      std::rethrow_exception(exception_);
    }
  }

 private:
  struct End {
    void operator()(const std::exception_ptr& exception) const {
      if (exception != nullptr && all->exception_ == nullptr) {
        all->exception_ = exception;
        keep_for_sanitizer(exception);
        all->cancel();
      }
      if (--all->running_ == 0) {
        all->bell_.ring();
      }
    }
    Children* all;
  };

  /// Cancels those that were not told yet.
  void cancel() {
    while (told_ < started_) {
      signals_[told_++].emit(asio::cancellation_type::terminal);
    }
  }

  template <class T>
  static asio::awaitable<void> drive(asio::awaitable<T> body, std::optional<Gathered<T>>& result) {
    if constexpr (std::is_void_v<T>) {
      co_await std::move(body);
      result.emplace();
    } else {
      result.emplace(co_await std::move(body));
    }
  }

  EventLoopCore& loop_;
  Bell bell_;
  std::vector<asio::cancellation_signal> signals_;
  std::size_t started_ = 0;
  std::size_t told_ = 0;     // of those that were started: cancelled
  std::size_t running_ = 1;  // and one until all are started: children may end at once
  std::exception_ptr exception_;
};

}  // namespace conc::inline CONC_ABI::detail
