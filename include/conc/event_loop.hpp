// SPDX-License-Identifier: MIT
/// @file
/// EventLoop and LoopThread: one loop that runs callbacks and coroutines, and any number of threads that hand it work.
/// Sockets, timers and coroutines are Asio's (standalone): whatever runs on an asio::io_context runs here too.
///
/// Not part of conc.hpp: it needs Asio's headers.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/asio.hpp>
#include <conc/detail/bell.hpp>
#include <conc/detail/children.hpp>
#include <conc/detail/event_loop_core.hpp>
#include <conc/detail/loop_coroutine.hpp>
#include <conc/detail/ref.hpp>
#include <conc/detail/use_future.hpp>
#include <conc/error.hpp>
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/future.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI {

/// A handle of a call that an EventLoop is to make. Copies name the same call; dropping them does not cancel it.
/// @par Thread safety   every member from any thread at any time. (In Python from the loop's thread.)
/// @par Python          asyncio.Handle and asyncio.TimerHandle.
class LoopHandle {
 public:
  /// Prevents the call, and destroys the callable.
  /// @return whether there is no call: false once it has begun.
  // NOLINTNEXTLINE(modernize-use-nodiscard): done for what it does
  bool cancel() const noexcept { return call_->cancel(); }

  [[nodiscard]] bool cancelled() const noexcept { return call_->is_cancelled(); }

  /// When it is to be called; the epoch of the clock for calls that are to be made soon.
  [[nodiscard]] std::chrono::steady_clock::time_point when() const noexcept { return call_->when(); }

 private:
  friend class EventLoop;
  /// Takes over a reference.
  explicit LoopHandle(detail::LoopCall& call) noexcept : call_{detail::Ref<detail::LoopCall>::adopt(&call)} {}
  detail::Ref<detail::LoopCall> call_;
};

/// Runs callbacks, timers, coroutines and Asio's handlers, one at a time, on the thread that calls run_forever() or
/// run_until_complete().
///
/// @par Thread safety   call_soon_threadsafe(), stop(), is_running(), is_closed(), time() and run_coroutine_threadsafe()
///                      from any thread at any time. The others too, but what they start is meant for the loop's thread:
///                      in debug mode calls from another one throw. Not the destructor.
/// @par Memory ordering what was done before a callback or coroutine was handed over is visible to it.
/// @par Lifetime        the destructor closes the loop. While somebody runs the loop only the end of the program may destroy
///                      it; then it is left as it is.
/// @par Cost            a callback: one block of recycled memory and two compare-and-swaps; Asio, and a sleeping loop, are
///                      woken by the first of those that wait together.
/// @par Python          an event loop of asyncio. Threads may schedule callbacks through call_soon(), where Python may crash;
///                      and close() runs coroutines to their end, as asyncio.run() does.
class EventLoop {
 public:
  EventLoop() : EventLoop{EventLoopOptions{}} {}
  explicit EventLoop(EventLoopOptions options)
      : core_{detail::Ref<detail::EventLoopCore>::adopt(new detail::EventLoopCore{*this, std::move(options)})} {}
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  ~EventLoop() {
    if (is_running()) {        // std::exit() in a callback of a static loop
      core_->add_reference();  // for whoever runs it
    } else {
      close();
    }
  }

  /// Runs until stop(). If stop() was called before, makes one pass.
  /// @throws UsageError if the loop is running or closed, or the thread runs another loop: then nothing has changed.
  void run_forever() {
    core_->run(
        "EventLoop::run_forever", [] {}, [] {});
  }

  /// Runs until `future` is done, or until `main` is.
  /// @return and throws what result() does; UsageError as run_forever(), or if stop() came first.
  template <class T>
  T run_until_complete(const Future<T>& future) {
    run_until_done(future, [] {});
    return Future<T>{future}.result();
  }
  template <class T>
  T run_until_complete(asio::awaitable<T> main) {
    detail::CoroutineState<T>* const state = new detail::CoroutineState<T>{*core_, std::move(main)};
    Future<T> future = detail::FutureAccess::adopt<T>(state);
    bool pushed = false;
    const auto push = [this, state, &pushed] { pushed = core_->push(*state); };
    try {
      run_until_done(future, push);
    } catch (...) {
      if (!pushed) {
        state->refuse(nullptr);
      }
      throw;
    }
    return std::move(future).result();
  }

  /// Has the run end: callbacks that are ready are called before. If the loop does not run, the next run makes one pass.
  /// @par Python   may be called from any thread here.
  void stop() noexcept { core_->stop(); }

  /// Cancels the coroutines that have not ended, and runs until they have; drops callbacks, timers and handlers of Asio,
  /// coroutines of asio::co_spawn() among them. Futures of what was dropped are cancelled. Afterwards nothing can be run or scheduled.
  /// @throws UsageError while the loop is running. Does nothing if it is closed already.
  void close() { core_->close("EventLoop::close"); }

  [[nodiscard]] bool is_running() const noexcept { return core_->is_running(); }
  [[nodiscard]] bool is_closed() const noexcept { return core_->is_closed(); }

  /// The clock that call_at() goes by.
  [[nodiscard]] static std::chrono::steady_clock::time_point time() noexcept { return detail::sync::now(); }

  /// Has fn(args...) called in the next pass, after what was scheduled before; never at once. Decayed copies of the
  /// arguments are kept; std::ref shares instead. What it throws goes to the exception handler; it must not end its thread.
  /// @throws UsageError if the loop is closed; in debug mode if another thread runs the loop.
  template <class F, class... Args>
  LoopHandle call_soon(F&& fn, Args&&... args) {
    core_->check_thread();
    return schedule<detail::LoopCall>({}, std::forward<F>(fn), std::forward<Args>(args)...);
  }

  /// The same, from any thread, in debug mode too.
  template <class F, class... Args>
  LoopHandle call_soon_threadsafe(F&& fn, Args&&... args) {
    return schedule<detail::LoopCall>({}, std::forward<F>(fn), std::forward<Args>(args)...);
  }

  /// Has fn(args...) called once `delay` has passed, or at `when`. Calls of the same time are made in the order in which
  /// they were scheduled. @throws as call_soon().
  template <class F, class... Args>
  LoopHandle call_later(Deadline delay, F&& fn, Args&&... args) {
    core_->check_thread();
    return schedule<detail::TimedCall>({core_->cancelled_calls(), delay.resolve()}, std::forward<F>(fn),
                                       std::forward<Args>(args)...);
  }
  template <class F, class... Args>
  LoopHandle call_at(std::chrono::steady_clock::time_point when, F&& fn, Args&&... args) {
    core_->check_thread();
    return schedule<detail::TimedCall>({core_->cancelled_calls(), when}, std::forward<F>(fn),
                                       std::forward<Args>(args)...);
  }

  /// What is told of exceptions that callbacks and handlers throw, and in debug mode of slow callbacks. An empty function
  /// brings default_exception_handler() back.
  void set_exception_handler(EventLoopExceptionHandler handler) { core_->set_handler(std::move(handler)); }

  /// In debug mode call_soon(), call_later() and call_at() throw UsageError on a thread that does not run the loop while
  /// another one does, and the exception handler is told of callbacks that took slow_callback_duration or more.
  void set_debug(bool debug) noexcept { core_->set_debug(debug); }
  [[nodiscard]] bool debug() const noexcept { return core_->debug(); }
  void set_slow_callback_duration(std::chrono::nanoseconds duration) noexcept { core_->set_slow(duration); }
  [[nodiscard]] std::chrono::nanoseconds slow_callback_duration() const noexcept { return core_->slow(); }

  /// What is underneath: sockets, timers, asio::post, asio::co_spawn. It is run by this loop, and by nobody else, also not in
  /// a callback. Other threads must have done with it before the loop is closed.
  [[nodiscard]] asio::io_context& context() noexcept { return core_->context(); }

  /// For run_coroutine_threadsafe().
  [[nodiscard]] detail::EventLoopCore& core() noexcept { return *core_; }

 private:
  /// Stops the loop when a future is done.
  class StopWhenDone final : private detail::Callback {
   public:
    StopWhenDone(detail::EventLoopCore& core, detail::FutureCore& future)
        : Callback{Needs::nothing}, loop_{core}, future_{future}, registered_{future.add(*this)} {
      if (!registered_) {
        loop_.stop();
      }
    }
    StopWhenDone(const StopWhenDone&) = delete;
    StopWhenDone& operator=(const StopWhenDone&) = delete;
    ~StopWhenDone() {
      if (registered_ && !future_.remove(*this)) {
        called_.wait();  // another thread may be about to
      }
    }

   private:
    void call(detail::FutureCore& /*future*/) noexcept override {
      loop_.stop();
      called_.set();
    }

    detail::EventLoopCore& loop_;
    detail::FutureCore& future_;
    Event called_;
    const bool registered_;
  };

  /// @param begin  called once it is sure that this thread runs the loop
  template <class T, class Begin>
  void run_until_done(const Future<T>& future, Begin begin) {
    (void)future.done();  // throws if it names none
    std::optional<StopWhenDone> watch;
    const auto prepare = [this, &future, &begin, &watch] {
      begin();
      watch.emplace(*core_, *detail::FutureAccess::state(future));
    };
    core_->run("EventLoop::run_until_complete", prepare, [&watch] { watch.reset(); });
    if (!future.done()) {
      detail::throw_usage_error("EventLoop::run_until_complete: Event loop stopped before Future completed");
    }
  }

  template <class Base, class F, class... Args>
  LoopHandle schedule(typename Base::Place place, F&& fn, Args&&... args) {
    static_assert(std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...>,
                  "EventLoop::call_soon(fn, args...): fn cannot be called with these arguments (they are passed as "
                  "decayed copies; use std::ref to share)");
    using CallOf = detail::LoopCallOf<Base, std::decay_t<F>, std::decay_t<Args>...>;
    auto* const call = new CallOf{place, std::forward<F>(fn), std::forward<Args>(args)...};
    LoopHandle handle{*call};
    call->add_reference();  // the loop's; from the push on that may have the call on another CPU
    if (!core_->push(*call)) {
      call->refuse(nullptr);
      detail::throw_usage_error("EventLoop::call_soon: Event loop is closed");
    }
    return handle;
  }

  const detail::Ref<detail::EventLoopCore> core_;
};

/// The loop that runs the caller: a callback or a coroutine. @throws UsageError if there is none.
/// @par Python   asyncio.get_running_loop().
[[nodiscard]] inline EventLoop& get_running_loop() { return detail::this_loop("get_running_loop").face(); }

/// Has `loop` run a coroutine: of type asio::awaitable<T>, or what a callable without arguments returns, which is then
/// kept as long as its coroutine (a lambda that has captures must be given so).
///
/// @return its future. running() is true from its first step until its end. cancel() is true until then: it makes the
///         future cancelled at once, and the coroutine is told on its loop. It finds a CancelledError at the co_await that
///         it waits in, if that is one of conc's; std::system_error of asio::error::operation_aborted if it is one of
///         Asio's; if its wait was just over, at its next co_await. Of what it returns or throws then nobody hears.
/// @throws UsageError if the loop is closed.
/// @par Thread safety   any thread, the loop's own too: there it is what asyncio.create_task() is.
/// @par Lifetime        references that the coroutine was given must live as long as it runs, not as its future.
/// @par Python          asyncio.run_coroutine_threadsafe(). Waiting for the future on the loop's own thread, without a
///                      deadline, is a DeadlockError here. A coroutine must not end its thread.
template <class T>
Future<T> run_coroutine_threadsafe(asio::awaitable<T> coroutine, EventLoop& loop) {
  auto* const state = new detail::CoroutineState<T>{loop.core(), std::move(coroutine)};
  Future<T> future = detail::FutureAccess::adopt<T>(state);
  if (!loop.core().push(*state)) {
    state->refuse(nullptr);
    detail::throw_usage_error("run_coroutine_threadsafe: Event loop is closed");
  }
  return future;
}
template <class F>
  requires detail::is_awaitable < std::invoke_result_t < std::decay_t<F>
& >> auto run_coroutine_threadsafe(F&& fn, EventLoop& loop) {
  return conc::run_coroutine_threadsafe(detail::call_coroutine(std::decay_t<F>(std::forward<F>(fn))), loop);
}

// What coroutines of an EventLoop may await. All of them throw UsageError where no loop runs, and CancelledError where the
// coroutine is cancelled while it waits there; then it may go on, and wait for other things.

/// Waits until the time has come.
inline asio::awaitable<void> sleep(Deadline deadline) {
  detail::Bell bell{detail::this_loop("sleep")};
  if (co_await bell.wait(deadline.resolve()) == detail::Bell::Woken::cancelled) {
    throw CancelledError{"sleep: the coroutine was cancelled"};
  }
}

/// Waits until `future` is done; goes on on the loop. Where the coroutine is cancelled, `future` is too.
/// @return and throws what result() of an rvalue does; of a Future<T&> a std::reference_wrapper<T>.
template <class T>
asio::awaitable<detail::Awaited<T>> awaitable(Future<T> future) {
  if (!future.done()) {
    detail::FutureBell bell{detail::this_loop("awaitable"), *detail::FutureAccess::state(future)};
    if (co_await bell->wait() == detail::Bell::Woken::cancelled) {
      future.cancel();
      throw CancelledError{"awaitable: the coroutine was cancelled"};
    }
  }
  co_return std::move(future).result();
}

/// Has `executor` call fn(args...), as submit() does, at once. @return what awaits the result.
/// @par Python   loop.run_in_executor().
template <Executor E, class F, class... Args>
auto run_in_executor(E& executor, F&& fn, Args&&... args) {
  return conc::awaitable(executor.submit(std::forward<F>(fn), std::forward<Args>(args)...));
}

namespace detail {
/// The pool of to_thread(). Never destroyed: it is closed at exit.
[[gnu::visibility("default")]] inline ThreadPoolExecutor& shared_pool() {
  static auto* const pool = new ThreadPoolExecutor{ThreadPoolOptions{.thread_name_prefix = "to_thread"}};
  return *pool;
}
}  // namespace detail

/// The same on a ThreadPoolExecutor that all loops share.
/// @par Python   asyncio.to_thread().
template <class F, class... Args>
auto to_thread(F&& fn, Args&&... args) {
  return conc::run_in_executor(detail::shared_pool(), std::forward<F>(fn), std::forward<Args>(args)...);
}

/// Runs coroutines at the same time and waits until all have ended.
/// @return their results in the order of the arguments, std::monostate for void.
/// @throws the first exception that one of them threw; the others are cancelled, and waited for.
/// @par Python   asyncio.gather(), which leaves the others running: here they may refer to what the caller owns.
template <class... T>
asio::awaitable<std::tuple<detail::Gathered<T>...>> gather(asio::awaitable<T>... coroutines) {
  detail::Children<std::tuple<std::optional<detail::Gathered<T>>...>> children{detail::this_loop("gather"),
                                                                               sizeof...(T)};
  auto& results = children.results();
  std::apply([&](auto&... result) { (children.start(std::move(coroutines), result), ...); }, results);
  co_await children.join("gather");
  co_return std::apply([](auto&... result) { return std::tuple<detail::Gathered<T>...>{std::move(*result)...}; },
                       results);
}

/// The same for any number: a vector of the results, or nothing if they are void.
template <class T>
asio::awaitable<std::conditional_t<std::is_void_v<T>, void, std::vector<detail::Gathered<T>>>> gather(
    std::vector<asio::awaitable<T>> coroutines) {
  detail::Children<std::vector<std::optional<detail::Gathered<T>>>> children{detail::this_loop("gather"),
                                                                             coroutines.size()};
  auto& results = children.results();
  results.resize(coroutines.size());
  for (std::size_t i = 0; i < coroutines.size(); ++i) {
    children.start(std::move(coroutines[i]), results[i]);
  }
  co_await children.join("gather");
  if constexpr (!std::is_void_v<T>) {
    std::vector<T> values;
    values.reserve(results.size());
    for (std::optional<T>& result : results) {
      values.push_back(std::move(*result));
    }
    co_return values;
  }
}

/// Runs a coroutine, but no longer than until the deadline: then it is cancelled, and waited for.
/// @return what it returns, also if it did so when it was cancelled.
/// @throws what it throws; TimeoutError if the deadline came first.
template <class T>
asio::awaitable<T> wait_for(asio::awaitable<T> coroutine, Deadline deadline) {
  detail::Children<std::optional<detail::Gathered<T>>> children{detail::this_loop("wait_for"), 1};
  auto& result = children.results();
  children.start(std::move(coroutine), result);
  const bool in_time = co_await children.join_until(deadline.resolve(), "wait_for");
  if (!in_time && !result.has_value() && detail::is_cancellation(children.exception())) {
    throw TimeoutError{"wait_for: the coroutine has not ended before the deadline"};
  }
  children.rethrow();
  if constexpr (!std::is_void_v<T>) {
    co_return std::move(*result);
  }
}

/// What a LoopThread may be told.
struct LoopThreadOptions {
  std::string name = "LoopThread";  ///< of the thread
  EventLoopOptions loop{};
};

/// An EventLoop in a thread of its own, for any number of other threads.
///
/// @par Thread safety   every member from any thread at any time, but for the destructor.
/// @par Lifetime        the loop runs from the end of the constructor to stop() or the destructor. At exit it is stopped
///                      before threads are joined.
/// @par Python          the thread that runs loop.run_forever(), and what goes wrong when it starts and ends.
class LoopThread {
 public:
  LoopThread() : LoopThread{LoopThreadOptions{}} {}
  /// Starts the thread, and waits until the loop runs. @throws std::system_error if the system has no thread to give.
  explicit LoopThread(LoopThreadOptions options) : state_{detail::Ref<State>::adopt(new State{std::move(options)})} {
    state_->start();
  }
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;
  /// As stop(). On the loop's own thread it does not wait.
  ~LoopThread() { state_->end(); }

  /// Stops the loop, closes it on its thread, as EventLoop::close() says, and waits until the thread has ended.
  /// @throws UsageError on the loop's own thread.
  void stop() {
    if (state_->is_own_thread()) {
      detail::throw_usage_error("LoopThread::stop: called on the loop's own thread, which would wait for itself");
    }
    state_->end();
  }

  [[nodiscard]] EventLoop& loop() noexcept { return state_->loop; }
  operator EventLoop&() noexcept {
    return state_->loop;
  }  // NOLINT(google-explicit-constructor): it is one, for callers

  [[nodiscard]] const Thread& thread() const noexcept { return state_->thread; }

 private:
  struct State final : detail::ExitHook {
    explicit State(LoopThreadOptions options)
        : loop{std::move(options.loop)}, thread{ThreadOptions{.name = std::move(options.name)}, [this] { run(); }} {}

    void start() {
      const detail::Ref<State> kept = detail::Ref<State>::share(this);
      loop.call_soon([this] { running.set(); });
      detail::registry.hook(*this);  // first: the program may be about to exit, which would wait for the thread
      try {
        thread.start();
      } catch (...) {
        detail::registry.unhook(*this);
        throw;
      }
      running.wait();
    }

    void run() {
      const detail::Ref<State> kept = detail::Ref<State>::share(this);
      loop.run_forever();
      loop.close();
    }

    bool is_own_thread() const noexcept { return thread.ident() == current_thread().ident(); }

    void end() {
      detail::registry.unhook(*this);
      if (detail::sync::process_id() != process) {
        return;  // a forked child has no such thread
      }
      loop.stop();
      if (!is_own_thread()) {
        thread.join();
      }
    }

    void at_exit() noexcept override {
      try {
        end();
      } catch (const UsageError&) {  // the thread is not started yet: then it stops at once, and the exit waits for it
      }
    }

    EventLoop loop;
    Event running;
    Thread thread;
    const std::uint64_t process = detail::sync::process_id();
  };

  const detail::Ref<State> state_;
};

}  // namespace conc::inline CONC_ABI
