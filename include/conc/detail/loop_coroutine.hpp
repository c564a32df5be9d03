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
    if (until <= sync::now()) {
      co_await asio::post(asio::use_awaitable);  // lets others go first; a timer would ask the system
    } else {
      timer_.expires_at(until);
      asio::error_code error;
      co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, error));
    }
    const asio::cancellation_state state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) {  // perhaps when the wait was just over
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
/// fails has the others cancelled. Their results come to parts of a Results.
template <class Results>
class Children {
 public:
  Children(EventLoopCore& core, std::size_t most)
      : loop_{core}, bell_{core}, group_{Ref<Group>::adopt(new Group{core, bell_, most})} {}
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;
  ~Children() {
    group_->bell = nullptr;
    if (group_->running != 0) {  // there was no memory to wait for them
      group_->cancel();
    }
  }

  Results& results() noexcept { return group_->results; }

  /// Begins `body`, whose result comes to `result`, a part of results().
  template <class T>
  void start(asio::awaitable<T> body, std::optional<Gathered<T>>& result) {
    asio::cancellation_signal& signal = group_->signals[group_->started++];
    group_->begin_one();
    End end{group_, signal};
    group_->starting = true;
    try {
      asio::co_spawn(loop_.executor(), drive(std::move(body), group_, result),
                     asio::bind_cancellation_slot(signal.slot(), std::move(end)));
    } catch (...) {  // no memory for it
      group_->lost = false;
      group_->fail(std::current_exception());
    }
    group_->starting = false;
    if (group_->lost) {
      group_->lose_one();
    }
    if (group_->exception != nullptr) {
      group_->cancel();  // also what is started after the one that failed
    }
  }

  /// Once. Waits until all have ended; once `until` has passed, or the one who waits here is cancelled, they are cancelled
  /// too.
  /// @return whether they ended in time
  /// @throws CancelledError, once they have ended, if the one who waits was cancelled
  asio::awaitable<bool> join_until(sync::TimePoint until, const char* operation) {
    Group& group = *group_;
    bool in_time = true;
    bool cancelled = false;
    group.joining = true;
    while (group.running != 0) {
      const Bell::Woken woken = co_await bell_.wait(in_time ? until : sync::forever);
      if (woken != Bell::Woken::rung) {
        in_time = in_time && woken != Bell::Woken::timed_out;
        if (woken == Bell::Woken::cancelled) {
          cancelled = true;
          if (!loop_.closing()) {
            group.told = 0;  // who is told again tells them again
          }
        }
        group.cancel();
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
  const std::exception_ptr& exception() const noexcept { return group_->exception; }
  void rethrow() const {
    if (exception() != nullptr) {
      std::rethrow_exception(exception());
    }
  }

 private:
  /// What is shared with the ends of the children: where handlers are dropped, who waits may be gone before them.
  struct Group final : RefCounted, LoopCoroutine {
    Group(EventLoopCore& core, Bell& rung, std::size_t most) : loop{core}, bell{&rung}, signals(most) {}

    /// By a loop that closes. It also waits for children of whom it does not know who waits for them.
    void cancel_coroutine() noexcept override {
      told = 0;
      cancel();
    }

    void fail(const std::exception_ptr& cause) {
      if (exception == nullptr) {
        exception = cause;
        keep_for_sanitizer(cause);
        cancel();
      }
    }

    /// Cancels those that were not told yet.
    void cancel() noexcept {
      while (told < started) {
        loop.call([&signal = signals[told++]] { signal.emit(asio::cancellation_type::terminal); });
      }
    }

    /// It was destroyed before its end.
    void lose_one() {
      lost = starting;  // then start() knows more
      if (!lost) {
        fail(make_error<CancelledError>("the coroutine was destroyed"));
      }
    }

    void begin_one() noexcept {
      if (running++ == 0 && !loop.closing()) {
        loop.add(*this);
        listed = true;
      }
    }
    void end_one() {
      if (--running == 0) {
        if (std::exchange(listed, false)) {
          loop.remove(*this);
        }
        if (joining && bell != nullptr) {
          bell->ring();
        }
      }
    }

    EventLoopCore& loop;
    Bell* bell;  // null once nobody waits
    Results results{};
    bool starting = false;  // a child
    bool lost = false;      // it was destroyed meanwhile
    std::vector<asio::cancellation_signal> signals;
    std::size_t started = 0;
    std::size_t told = 0;  // of those that were started: cancelled
    std::size_t running = 0;
    bool listed = false;   // by the loop
    bool joining = false;  // all are started: the bell rings when the last one ends
    std::exception_ptr exception;
  };

  /// Called or not, its end is the end of a child.
  class End {
   public:
    End(const Ref<Group>& group, asio::cancellation_signal& signal) noexcept : group_{group}, signal_{signal} {}
    End(End&& other) noexcept : group_{std::move(other.group_)}, signal_{other.signal_} { other.group_.reset(); }
    End& operator=(End&&) = delete;
    ~End() {
      if (group_.has_value()) {
        Group& group = **group_;
        if (!called_) {
          signal_.slot().clear();  // what it would call may be gone with the coroutine
          group.lose_one();
        }
        group.end_one();
      }
    }
    void operator()(const std::exception_ptr& exception) {
      called_ = true;
      if (exception != nullptr) {
        (*group_)->fail(exception);
      }
    }

   private:
    std::optional<Ref<Group>> group_;
    asio::cancellation_signal& signal_;  // in the group
    bool called_ = false;
  };

  template <class T>
  static asio::awaitable<void> drive(asio::awaitable<T> body, Ref<Group> /*kept: the result is in it*/,
                                     std::optional<Gathered<T>>& result) {
    if constexpr (std::is_void_v<T>) {
      co_await std::move(body);
      result.emplace();
    } else {
      result.emplace(co_await std::move(body));
    }
  }

  EventLoopCore& loop_;
  Bell bell_;
  const Ref<Group> group_;
};

}  // namespace conc::inline CONC_ABI::detail
