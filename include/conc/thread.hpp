// SPDX-License-Identifier: MIT
/// @file
/// Thread, Timer, ThreadLocal, current_thread, main_thread, enumerate, active_count.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/registry.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/thread_values.hpp>
#include <conc/error.hpp>
#include <conc/event.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI {

/// A handle of a thread: copies name the same thread. Dropping all of them does not end it.
///
/// @par Thread safety   every member from any thread at any time.
/// @par Memory ordering what was done before start() is visible to the target; what the target did is visible after
///                      join() returned true.
/// @par Lifetime        target and arguments are destroyed on the new thread when the target ends, or with the last
///                      handle if it was never started. At exit the program waits for all threads that are no daemons,
///                      before it destroys the statics that were complete when the first of them was started.
/// @par Cost            start() creates a thread of the system: tens of microseconds.
/// @par Python          threading.Thread; the target and its arguments are passed directly. daemon is not inherited.
class Thread {
 public:
  /// A thread that will call fn(args...), with decayed copies of the arguments; std::ref shares instead.
  template <class F, class... Args>
    requires(!std::is_same_v<std::remove_cvref_t<F>, Thread> && !std::is_same_v<std::remove_cvref_t<F>, ThreadOptions>)
  explicit Thread(F&& fn, Args&&... args) : Thread{ThreadOptions{}, std::forward<F>(fn), std::forward<Args>(args)...} {}

  template <class F, class... Args>
  explicit Thread(ThreadOptions options, F&& fn, Args&&... args)
      : state_{make(std::move(options), std::forward<F>(fn), std::forward<Args>(args)...)} {}

  /// Runs the target in a new thread.
  /// @throws UsageError if called twice; std::system_error if the system has no thread to give: then start() may be
  ///         tried again.
  void start() {
    using State = detail::ThreadState;
    std::uint32_t word = state_->word.load(detail::mo::relaxed);  // relaxed: the exchange checks it
    do {
      if ((word & ~State::kSleepers) != State::created) {
        detail::throw_usage_error("Thread::start: " + name() + " was started already");
      }
      // relaxed: start() of the system's thread publishes everything. Only one call may win.
    } while (!state_->word.compare_exchange_weak(word, State::started | (word & State::kSleepers), detail::mo::relaxed,
                                                 detail::mo::relaxed));
    detail::registry.reap_gone();
    state_->ident.store(detail::sync::new_thread_id(), detail::mo::relaxed);  // relaxed: a number that stands alone
    const int error = detail::registry.start(*state_, &detail::run_thread);
    if (error != 0) {
      state_->ident.store(0, detail::mo::relaxed);  // relaxed: as above
      state_->enter(State::created);
      throw std::system_error{error, std::generic_category(), "Thread::start: " + name()};
    }
  }

  /// Waits until the thread has ended, destructors of its thread_locals included.
  /// @return true, always.
  /// @throws UsageError if it was not started, or if it is the calling thread.
  bool join() { return join(never); }

  /// @return whether the target ended before `deadline`. Any number of threads may join one, any number of times.
  /// @throws as join().
  bool join(Deadline deadline) {
    using State = detail::ThreadState;
    if (ident() == detail::sync::this_thread_id()) {  // also of a thread that never asked for its own state
      detail::throw_usage_error("Thread::join: " + name() + " cannot wait for itself");
    }
    const std::uint32_t reached = state_->wait_for(State::finished, deadline, "Thread::join");
    if (reached == State::created) {
      detail::throw_usage_error("Thread::join: " + name() + " was not started");
    }
    if (reached < State::finished) {
      return false;
    }
    if (deadline.is_never()) {
      detail::registry.reap(*state_);
      state_->wait_for(State::joined, never, "Thread::join");
    } else {
      detail::registry.reap_gone();
    }
    return true;
  }

  /// Whether the target runs: from start() until just before join() can return.
  [[nodiscard]] bool is_alive() const noexcept { return state_->phase() == detail::ThreadState::started; }

  [[nodiscard]] const std::string& name() const noexcept { return state_->options.name; }
  [[nodiscard]] bool daemon() const noexcept { return state_->options.daemon; }

  /// The thread's identity: from start() on, never used again by another thread; 0 before.
  [[nodiscard]] std::uint64_t ident() const noexcept {
    return state_->ident.load(detail::mo::relaxed);  // relaxed: a number that stands alone
  }

  /// The system's number of the thread, once it runs; 0 before.
  [[nodiscard]] std::uint64_t native_id() const noexcept {
    return state_->native_id.load(detail::mo::relaxed);  // relaxed: a number that stands alone
  }

  friend bool operator==(const Thread& a, const Thread& b) noexcept { return a.state_.get() == b.state_.get(); }

 private:
  friend Thread current_thread();
  friend Thread main_thread();
  friend std::vector<Thread> enumerate();

  using StateRef = detail::Ref<detail::ThreadState>;

  explicit Thread(StateRef&& state) noexcept : state_{state} {}

  template <class F, class... Args>
  static StateRef make(ThreadOptions options, F&& fn, Args&&... args) {
    static_assert(
        std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...>,
        "Thread{fn, args...}: fn cannot be called with these arguments (they are passed as decayed copies; use "
        "std::ref to share)");
    if (options.name.empty()) {
      // relaxed: only distinctness matters.
      options.name = "Thread-" + std::to_string(detail::unnamed_threads.fetch_add(1, detail::mo::relaxed) + 1);
    }
    return StateRef::adopt(new detail::ThreadWithTarget<std::decay_t<F>, std::decay_t<Args>...>{
        std::move(options), std::forward<F>(fn), std::forward<Args>(args)...});
  }

  StateRef state_;
};

namespace detail {

/// What a Timer and its thread share.
struct TimerState : RefCounted {
  enum : std::uint32_t { open, fired, cancelled };

  /// Only one of the two may win. @return whether it is `wanted` now
  bool become(std::uint32_t wanted) noexcept {
    std::uint32_t old = open;
    // acq_rel: what was done before cancel() is visible to who finds it cancelled.
    return word.compare_exchange_strong(old, wanted, mo::acq_rel, mo::acquire) || old == wanted;
  }

  sync::Atomic<std::uint32_t> word{open};
  Event over;  // set by cancel()
};

template <class F, class... Args>
struct TimerTarget {
  void operator()() {
    if (!state->over.wait(interval) && state->become(TimerState::fired)) {
      std::apply(std::move(fn), std::move(args));
    }
  }

  Ref<TimerState> state;
  Deadline interval;
  F fn;
  std::tuple<Args...> args;
};

}  // namespace detail

/// Calls a function once, after a while, on a thread of its own, unless it is cancelled before. A handle, as Thread is.
///
/// @par Thread safety   every member from any thread at any time.
/// @par Memory ordering as Thread.
/// @par Lifetime        as Thread: dropping all handles does not cancel it, and the program waits for it at exit, unless
///                      it is a daemon.
/// @par Cost            a thread that sleeps.
/// @par Python          threading.Timer. cancel() says whether it came in time.
class Timer {
 public:
  /// A timer that will call fn(args...), with decayed copies of the arguments, once `interval` has passed after start();
  /// or, for a time_point, then.
  template <class F, class... Args>
  explicit Timer(Deadline interval, F&& fn, Args&&... args)
      : Timer{ThreadOptions{}, interval, std::forward<F>(fn), std::forward<Args>(args)...} {}

  template <class F, class... Args>
  explicit Timer(ThreadOptions options, Deadline interval, F&& fn, Args&&... args)
      : state_{StateRef::adopt(new detail::TimerState)},
        thread_{std::move(options), target(state_, interval, std::forward<F>(fn), std::forward<Args>(args)...)} {}

  /// Begins to wait. @throws as Thread::start().
  void start() { thread_.start(); }

  /// Prevents the call, and lets the timer's thread end.
  /// @return whether there is no call: false once it has begun.
  // NOLINTNEXTLINE(modernize-use-nodiscard): done for what it does
  bool cancel() const noexcept {
    const bool cancelled = state_->become(detail::TimerState::cancelled);
    state_->over.set();
    return cancelled;
  }

  /// Waits until the call has returned, or the timer was cancelled. @return and throws as Thread::join().
  bool join() { return thread_.join(); }
  bool join(Deadline deadline) { return thread_.join(deadline); }

  /// Whether it waits, or the call is running.
  [[nodiscard]] bool is_alive() const noexcept { return thread_.is_alive(); }

  /// The thread on which the function is called.
  [[nodiscard]] const Thread& thread() const noexcept { return thread_; }

 private:
  using StateRef = detail::Ref<detail::TimerState>;

  template <class F, class... Args>
  static auto target(const StateRef& state, Deadline interval, F&& fn, Args&&... args) {
    static_assert(std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...>,
                  "Timer{interval, fn, args...}: fn cannot be called with these arguments (they are passed as decayed "
                  "copies; use "
                  "std::ref to share)");
    return detail::TimerTarget<std::decay_t<F>, std::decay_t<Args>...>{
        state, interval, std::forward<F>(fn), {std::forward<Args>(args)...}};
  }

  StateRef state_;
  Thread thread_;
};

/// A variable of which every thread has a value of its own, made when the thread first asks for it, and destroyed when
/// the thread ends, on that thread; or with the ThreadLocal, on the thread that destroys that.
///
/// Unlike a thread_local it may be a member or a local variable.
///
/// @par Thread safety   every member from any thread at any time, but for the destructor.
/// @par Lifetime        references to a value are good until it is destroyed.
/// @par Cost            one allocation for each thread; a value that was asked for last is found at once, others by a
///                      search through what the thread has.
/// @par Python          threading.local: `local->name` stands for `local.name`.
template <class T>
class ThreadLocal {
  static_assert(std::is_object_v<T> && std::is_nothrow_destructible_v<T>,
                "ThreadLocal<T>: T must be an object type whose destructor does not throw");

 public:
  /// Values are default constructed.
  ThreadLocal() requires std::is_default_constructible_v<T> : ThreadLocal{[] { return T(); }} {}

  /// Values are what make() returns, called on the thread that asks.
  template <class F>
    requires std::is_invocable_r_v<T, F&>
  explicit ThreadLocal(F make) : values_{Values::adopt(new detail::ThreadValuesOf<T, F>{std::move(make)})} {}

  ThreadLocal(const ThreadLocal&) = delete;
  ThreadLocal& operator=(const ThreadLocal&) = delete;
  ~ThreadLocal() {
    values_->gone.store(true, detail::mo::relaxed);  // relaxed: see ThreadValues::forget_gone()
    values_->take_all();
  }

  /// The calling thread's value. @throws what making it throws.
  [[nodiscard]] T& get() const {
    T* const value = values_->find();
    return value != nullptr ? *value : values_->add();
  }
  [[nodiscard]] T& operator*() const { return get(); }
  [[nodiscard]] T* operator->() const { return &get(); }

  /// Whether the calling thread has a value already.
  [[nodiscard]] bool has_value() const noexcept { return values_->find() != nullptr; }

  /// Destroys the calling thread's value, if it has one: the next get() makes another.
  void reset() { values_->remove(); }

 private:
  using Values = detail::Ref<detail::ThreadValues<T>>;
  Values values_;
};

/// The calling thread. A thread that conc did not start is called "Dummy-N" and is a daemon.
[[nodiscard]] inline Thread current_thread() { return Thread{Thread::StateRef::share(&detail::this_thread_state())}; }

/// The thread that runs main().
[[nodiscard]] inline Thread main_thread() { return Thread{Thread::StateRef::share(&detail::registry.main_thread())}; }

/// All threads that are alive and known: the main thread first, then those that conc started, and those that asked for
/// current_thread().
[[nodiscard]] inline std::vector<Thread> enumerate() {
  std::vector<Thread> alive{main_thread()};
  (void)detail::registry.find([&alive](detail::ThreadState& thread) {
    if (thread.phase() == detail::ThreadState::started) {
      alive.push_back(Thread{Thread::StateRef::share(&thread)});
    }
    return false;
  });
  return alive;
}

/// How many threads enumerate() would return.
[[nodiscard]] inline std::size_t active_count() { return enumerate().size(); }

}  // namespace conc::inline CONC_ABI
