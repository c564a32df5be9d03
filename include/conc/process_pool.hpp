// SPDX-License-Identifier: MIT
/// @file
/// ProcessPoolExecutor: a pool of worker processes. Not part of conc.hpp. docs/architecture.md explains how it works.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <conc/cpu_count.hpp>
#include <conc/deadline.hpp>
#include <conc/detail/broker.hpp>
#include <conc/detail/process_workers.hpp>
#include <conc/detail/registry.hpp>
#include <conc/detail/shipment.hpp>
#include <conc/error.hpp>
#include <conc/executor.hpp>
#include <conc/future.hpp>
#include <conc/lock.hpp>
#include <conc/process.hpp>
#include <conc/thread.hpp>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI {

/// What becomes of a ProcessPoolExecutor when one of its workers dies: of a signal, by exit(), or by std::terminate().
enum class OnWorkerDeath : std::uint8_t {
  break_pool,  ///< all tasks that are not done fail with BrokenProcessPool, and no more are accepted: as in Python
  respawn,     ///< the task that the worker ran fails, or is tried again; another worker takes its place
};

/// How a task of a ProcessPoolExecutor is run.
struct TaskOptions {
  /// When its worker is killed; a duration counts from the start of the task. Then its future has a TimeoutError.
  Deadline timeout = never;
  /// How often it is run again if its worker was killed for the timeout, or died (OnWorkerDeath::respawn). What the task
  /// throws is an answer and not tried again.
  unsigned retries = 0;
};

/// A function with its arguments, to be called in every worker process: `{setup, 3, std::string{"log"}}`, or `setup`.
class RemoteInitializer {
 public:
  RemoteInitializer() noexcept = default;

  /// @throws what the pickling of an argument throws
  template <class F, class... Args>
    requires(!std::is_same_v<std::remove_cvref_t<F>, RemoteInitializer>)
  RemoteInitializer(const F& fn, const Args&... args) {  // NOLINT(google-explicit-constructor): an option is given so
    detail::check_remote_call<std::decay_t<const F&>, std::decay_t<const Args&>...>();
    call_.pack<std::decay_t<const F&>, std::decay_t<const Args&>...>(detail::FrameKind::initialize, fn, args...);
  }

 private:
  friend class ProcessPoolExecutor;
  detail::CallBytes call_;
};

/// What a ProcessPoolExecutor may be told.
struct ProcessPoolOptions {
  std::optional<int> max_workers{};     ///< default: usable CPUs
  RemoteInitializer initializer{};      ///< called in every worker before its first task
  std::size_t max_tasks_per_child = 0;  ///< after so many a worker ends, and another one takes its place; 0: never
  StartMethod start_method = StartMethod::fork_server;
  OnWorkerDeath on_worker_death = OnWorkerDeath::break_pool;
  Deadline timeout = never;  ///< TaskOptions::timeout of tasks that are submitted without options
  unsigned retries = 0;      ///< TaskOptions::retries likewise
  /// How many tasks a worker may have at once, so that it need not wait for the next. More than one only while it takes
  /// less than a millisecond for each and many are queued, and none behind one with a timeout. Those that it has cannot be
  /// cancelled, and wait for each other: 1 for tasks that wait for other tasks, by files for example.
  std::size_t prefetch = 16;
  std::size_t max_queued = 0;            ///< how many tasks may wait for a worker; 0: any number
  WhenFull when_full = WhenFull::block;  ///< block or raise
  std::vector<std::string>
      preload{};  ///< shared objects that a worker loads first, for the code of tasks that lies there
};

/// What a ProcessPoolExecutor has done and is doing. The numbers are read while it goes on.
struct ProcessPoolStats {
  std::size_t queued = 0;       ///< tasks that no worker has got, those that were cancelled meanwhile included
  std::size_t running = 0;      ///< tasks that a worker has
  std::uint64_t done = 0;       ///< tasks that have returned
  std::uint64_t failed = 0;     ///< tasks that have thrown, or whose worker died
  std::uint64_t cancelled = 0;  ///< tasks that were cancelled before they started
  std::uint64_t retried = 0;    ///< how often a task was run again
  std::uint64_t died = 0;       ///< workers that died of something else than the end of their work or a task's timeout
  std::size_t workers = 0;      ///< processes that were started and have not ended
};

namespace detail {

/// How many process pools there were so far.
[[gnu::visibility("default")]] inline constinit std::atomic<std::uint64_t> process_pools{0};

/// What the handle, the manager's thread and the program's exit share.
class ProcessPool final : public ExitHook {
 public:
  ProcessPool(const BrokerOptions& options, WorkerSetup setup)
      : setup_{std::move(setup)},
        workers_{options.max_workers, setup_},
        broker_{options, workers_},
        process_{sync::process_id()},
        // relaxed: only distinctness matters.
        manager_{ThreadOptions{.name = "ProcessPool-" + std::to_string(process_pools.fetch_add(1, mo::relaxed))},
                 [this] { manage(); }} {}

  /// Once it is owned: it is closed when the program exits.
  void close_at_exit() { registry.hook(*this); }
  void at_exit() noexcept override { close(false); }

  /// @throws as ProcessPoolExecutor::submit()
  void push(Shipment& shipment) {
    if (is_forked()) {
      throw_usage_error("ProcessPoolExecutor::submit: the pool was made before this process was forked");
    }
    {
      const ScopedLock guard{starting_};
      if (!started_ && !broker_.closed()) {
        WorkerProcess::prepare(setup_.start_method);
        add_reference();  // the manager's
        try {
          manager_.start();
        } catch (...) {
          drop_reference();
          throw;
        }
        started_ = true;
      }
    }
    broker_.push(shipment, is_manager());
  }

  void close(bool cancel) {
    if (is_forked()) {
      add_reference();  // for good: the registry, which other threads may have been at, goes on to know it
      return;
    }
    broker_.close(cancel);
    registry.unhook(*this);
  }
  void kill(int signal, const char* why) {
    if (!is_forked()) {
      broker_.kill(signal, why);
      registry.unhook(*this);
    }
  }
  /// Waits until all workers have ended; after close().
  void join() {
    if (is_forked()) {
      return;
    }
    bool started = false;
    {
      const ScopedLock guard{starting_};
      started = started_;
    }
    if (started) {
      manager_.join();
    }
  }

  /// Whether the calling thread is the one that answers come to, and is in a callback.
  [[nodiscard]] bool is_manager() const noexcept { return manager_.ident() == sync::this_thread_id(); }

  Broker<ProcessWorkers>& broker() noexcept { return broker_; }

 private:
  [[nodiscard]] bool is_forked() const noexcept { return process_ != sync::process_id(); }

  void manage() {
    const auto mine = Ref<ProcessPool>::adopt(this);
    // A worker that died does not read any more: that is seen elsewhere.
    sigset_t sigpipe;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &sigpipe, nullptr);
    broker_.run();
  }

  const WorkerSetup setup_;
  ProcessWorkers workers_;
  Broker<ProcessWorkers> broker_;
  const decltype(sync::process_id()) process_;
  Lock starting_;
  bool started_ = false;  // guarded by starting_
  Thread manager_;
};

}  // namespace detail

/// A pool of processes that run tasks: a crash of one costs the others nothing.
///
/// A task is a function pointer, or a callable that holds nothing but plain values or can be pickled; its arguments and its
/// result must be picklable. Whatever else is a compile error. Function, arguments and result travel as bytes, so
/// nothing is shared with the task, globals included. What it throws arrives with its type if that is a standard one, one
/// of conc's or registered (register_exception), with RemoteInfo as a second base, which also tells where it was thrown;
/// else as a RemoteError.
///
/// Call process_init() first in main.
///
/// @par Thread safety   every member from any thread at any time, but for the destructor; callbacks too, but they must
///                      not wait for another task of the pool: the thread that they are on is the one it would be done on.
/// @par Lifetime        the destructor waits for all tasks that were submitted; in a callback of one of its own futures
///                      it only tells the workers to end. At exit all pools are shut down. If the program dies, its
///                      workers do as well, within a second, and the processes that they have started in their
///                      process groups.
/// @par Cost            submit(): the pickling, two allocations and a lock; a thread of the pool does the rest. An idle
///                      worker costs its memory. Tasks of less than some ten microseconds are better sent many at a time: by map()
///                      with a chunksize.
/// @par Python          concurrent.futures.ProcessPoolExecutor. A result that cannot be unpickled does not break the pool, and
///                      neither does a death if on_worker_death is respawn. initargs stand behind the initializer. mp_context
///                      is start_method. Callbacks run on a thread of the pool.
class ProcessPoolExecutor {
 public:
  ProcessPoolExecutor() : ProcessPoolExecutor{ProcessPoolOptions{}} {}
  explicit ProcessPoolExecutor(int max_workers) : ProcessPoolExecutor{ProcessPoolOptions{.max_workers = max_workers}} {}
  /// Workers are started when they are needed; nothing is before the first task, so a pool may be a static object.
  /// @throws UsageError if max_workers is less than 1 or more than 4,096, prefetch is 0, or when_full is run_by_caller; and, here or
  ///         in submit(), if the start method needs process_init() and that was not called first in main.
  ///         std::system_error if the system has no descriptor or process to give.
  explicit ProcessPoolExecutor(ProcessPoolOptions options)
      : task_{.timeout = options.timeout, .retries = options.retries},
        max_workers_{checked(options.max_workers)},
        pool_{detail::Ref<detail::ProcessPool>::adopt(make(options, max_workers_))} {
    pool_->close_at_exit();
  }
  ProcessPoolExecutor(const ProcessPoolExecutor&) = delete;
  ProcessPoolExecutor& operator=(const ProcessPoolExecutor&) = delete;
  ~ProcessPoolExecutor() {
    pool_->close(false);
    if (!pool_->is_manager()) {
      pool_->join();
    }
  }

  /// Has a worker process call fn(args...).
  /// @return the future of what it returns. If a value cannot be pickled, or unpickled at the other end, that future
  ///         fails and nothing else does. If the worker dies: WorkerDied, a BrokenProcessPool which names process, signal
  ///         or exit status, and task.
  /// @throws UsageError after shutdown(), or without process_init(); BrokenProcessPool if the pool is broken; QueueFull (WhenFull::raise);
  ///         std::system_error if the pool's thread cannot be started. Then nothing was submitted.
  template <class F, class... Args>
    requires(!std::is_same_v<std::remove_cvref_t<F>, TaskOptions>)
  auto submit(F&& fn, Args&&... args) { return submit(task_, std::forward<F>(fn), std::forward<Args>(args)...); }
  template <class F, class... Args>
  auto submit(const TaskOptions& options, F&& fn, Args&&... args) {
    detail::check_remote_call<std::decay_t<F>, std::decay_t<Args>...>();
    using Call = detail::RemoteCall<std::decay_t<F>, std::decay_t<Args>...>;
    using R = typename Call::Received;
    if constexpr (Call::travels) {
      auto* const task = new detail::RemoteState<R>{typeid(std::decay_t<F>)};
      Future<R> future = detail::FutureAccess::adopt<R>(task);
      try {
        task->call.template pack<std::decay_t<F>, std::decay_t<Args>...>(detail::FrameKind::call, fn, args...);
      } catch (...) {
        if (std::current_exception() == nullptr) {  // no exception of C++: the thread is made to exit
          task->withdraw();
          throw;
        }
        task->give_up(std::current_exception());
        return future;
      }
      push(*task, options);
      return future;
    } else {
      return Future<R>{};  // what is wrong was said
    }
  }

  /// Has a worker process call fn(args...). No future: what it throws, or its worker's death, goes to the hook of
  /// set_excepthook().
  /// @throws as submit(), and what the pickling throws.
  template <class F, class... Args>
  void detach(F&& fn, Args&&... args) {
    detail::check_remote_call<std::decay_t<F>, std::decay_t<Args>...>();
    detail::CallBytes call;
    call.pack<std::decay_t<F>, std::decay_t<Args>...>(detail::FrameKind::call, fn, args...);
    auto* const task = new detail::DetachedShipment{std::move(call)};
    push(*task, task_);
  }

  /// conc::map() on this pool. With chunksize, so many calls travel together.
  template <class F, class... Ranges>
  auto map(F&& fn, Ranges&&... ranges) {
    return conc::map(*this, MapOptions{}, std::forward<F>(fn), std::forward<Ranges>(ranges)...);
  }
  template <class F, class... Ranges>
  auto map(MapOptions options, F&& fn, Ranges&&... ranges) {
    return conc::map(*this, options, std::forward<F>(fn), std::forward<Ranges>(ranges)...);
  }
  template <class F, class T>
  auto map(F&& fn, std::initializer_list<T> items) {
    return map(MapOptions{}, std::forward<F>(fn), items);
  }
  template <class F, class T>
  auto map(MapOptions options, F&& fn, std::initializer_list<T> items) {
    return conc::map(*this, options, std::forward<F>(fn), std::vector<T>(items));
  }

  /// Ends the pool: no task is accepted any more. May be called any number of times.
  /// @throws UsageError if called with .wait in a callback of one of its futures; then nothing has changed.
  void shutdown(ExecutorShutdownOptions options = {}) {
    if (options.wait && pool_->is_manager()) {
      detail::throw_usage_error("ProcessPoolExecutor::shutdown: a callback cannot wait for the end of its own pool");
    }
    const auto kept = pool_;  // a callback of what is cancelled may destroy this pool
    kept->close(options.cancel_futures);
    if (options.wait) {
      kept->join();
    }
  }

  /// Ends the pool by SIGTERM to its workers: tasks that are not done fail with BrokenProcessPool.
  /// @par Python   the same, since 3.14.
  void terminate_workers() { pool_->kill(SIGTERM, "terminate_workers() was called"); }
  /// The same with SIGKILL, which also ends what the workers have started in their process groups.
  void kill_workers() { pool_->kill(SIGKILL, "kill_workers() was called"); }

  /// Waits until all tasks that were submitted are done.
  /// @return false if `deadline` passed first.
  /// @throws UsageError if called in a callback of one of its futures.
  // NOLINTNEXTLINE(modernize-use-nodiscard): without a deadline there is nothing to look at
  bool wait_idle(Deadline deadline = never) {
    if (pool_->is_manager()) {
      detail::throw_usage_error("ProcessPoolExecutor::wait_idle: a callback cannot wait for its own end");
    }
    return pool_->broker().wait_idle(deadline);
  }

  [[nodiscard]] ProcessPoolStats stats() const {
    const detail::BrokerNumbers numbers = pool_->broker().numbers();
    return {.queued = numbers.queued,
            .running = numbers.with_workers,
            .done = numbers.succeeded,
            .failed = numbers.failed,
            .cancelled = numbers.cancelled,
            .retried = numbers.retried,
            .died = numbers.died,
            .workers = numbers.workers};
  }

  [[nodiscard]] std::size_t max_workers() const noexcept { return max_workers_; }

  /// The process numbers of the workers there are now.
  [[nodiscard]] std::vector<int> worker_pids() const { return pool_->broker().pids(); }

 private:
  static std::size_t checked(std::optional<int> max_workers) {
    constexpr int kMost = 4096;
    const int workers = max_workers.value_or(static_cast<int>(usable_cpu_count()));
    if (workers < 1 || workers > kMost) {
      detail::throw_usage_error("ProcessPoolExecutor: max_workers is " + std::to_string(workers) +
                                ", and must be from 1 to " + std::to_string(kMost));
    }
    return static_cast<std::size_t>(workers);
  }

  static detail::ProcessPool* make(ProcessPoolOptions& options, std::size_t max_workers) {
    if (options.prefetch == 0) {
      detail::throw_usage_error("ProcessPoolExecutor: prefetch is 0, and must be at least 1");
    }
    if (options.when_full == WhenFull::run_by_caller) {
      detail::throw_usage_error("ProcessPoolExecutor: when_full is run_by_caller, but its tasks are for processes");
    }
    detail::WorkerProcess::check(options.start_method);
    return new detail::ProcessPool{
        {.max_workers = max_workers,
         .prefetch = options.prefetch,
         .max_tasks_per_worker = options.max_tasks_per_child,
         .max_queued = options.max_queued,
         .waits_when_full = options.when_full == WhenFull::block,
         .respawns = options.on_worker_death == OnWorkerDeath::respawn},
        {options.start_method, std::move(options.preload), std::move(options.initializer.call_)}};
  }

  void push(detail::Shipment& task, const TaskOptions& options) {
    task.timeout = options.timeout;
    task.retries = options.retries;
    try {
      pool_->push(task);
    } catch (...) {
      task.withdraw();
      throw;
    }
  }

  const TaskOptions task_;
  const std::size_t max_workers_;
  const detail::Ref<detail::ProcessPool> pool_;
};

}  // namespace conc::inline CONC_ABI
