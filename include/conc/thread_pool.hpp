// SPDX-License-Identifier: MIT
/// @file
/// ThreadPoolExecutor: a pool of worker threads. docs/architecture.md explains its scheduler.
#pragma once

#include <conc/cpu_count.hpp>
#include <conc/deadline.hpp>
#include <conc/detail/action.hpp>
#include <conc/detail/scheduler.hpp>
#include <conc/error.hpp>
#include <conc/executor.hpp>
#include <conc/future.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI {

namespace detail {
/// How many pools were given a name of their own so far.
[[gnu::visibility("default")]] inline constinit std::atomic<std::uint64_t> unnamed_pools{0};

/// How many workers a pool has if nobody says, where so many CPUs are usable.
constexpr std::size_t default_workers(unsigned usable_cpus) noexcept { return usable_cpus < 28 ? usable_cpus + 4 : 32; }
}  // namespace detail

/// What a ThreadPoolExecutor may be told.
struct ThreadPoolOptions {
  std::optional<int> max_workers{};  ///< default: usable CPUs + 4, at most 32
  std::string thread_name_prefix{};  ///< default: "ThreadPoolExecutor-N"; workers are called prefix_0, prefix_1, …
  detail::Action initializer{};      ///< called by every worker before its first task
  std::size_t max_queued = 0;        ///< how many tasks from outside may wait for a worker; 0: any number
  WhenFull when_full = WhenFull::block;
  std::size_t stack_size = 0;  ///< of each worker, in bytes; 0: the system's default
};

/// What a ThreadPoolExecutor has done and is doing. The numbers are read one after the other while it goes on.
struct PoolStats {
  std::size_t queued = 0;       ///< tasks that no worker has met yet, those that were cancelled meanwhile included
  std::size_t running = 0;      ///< workers that have a task
  std::uint64_t done = 0;       ///< tasks that have returned
  std::uint64_t failed = 0;     ///< tasks that have thrown
  std::uint64_t cancelled = 0;  ///< tasks that were cancelled before they started
  std::size_t workers = 0;      ///< threads that were started and have not ended
};

/// A pool of threads that run tasks.
///
/// @par Thread safety   every member from any thread at any time, but for the destructor; tasks and callbacks too.
/// @par Memory ordering what was done before submit() is visible to the task.
/// @par Lifetime        the destructor waits for all tasks that were submitted; on a worker of the pool itself it only
///                      tells the workers to end. At exit all pools are shut down before threads are joined.
/// @par Cost            submit(): one block of recycled memory and one compare-and-swap, and a system call if all workers
///                      sleep. Idle workers cost nothing.
/// @par Python          concurrent.futures.ThreadPoolExecutor. A task that waits for a task of its own pool that nobody
///                      has started runs it itself, so that waiting in tasks cannot exhaust the pool. With one worker,
///                      tasks from outside start in order; what tasks submit may overtake them.
class ThreadPoolExecutor {
 public:
  ThreadPoolExecutor() : ThreadPoolExecutor{ThreadPoolOptions{}} {}
  explicit ThreadPoolExecutor(int max_workers) : ThreadPoolExecutor{ThreadPoolOptions{.max_workers = max_workers}} {}
  /// @throws UsageError if max_workers is less than 1 or more than 16,383, or max_queued more than 2^30. Threads are started when they are needed.
  explicit ThreadPoolExecutor(ThreadPoolOptions options)
      : when_full_{options.when_full},
        state_{detail::Ref<State>::adopt(new State{{.max_workers = checked(options.max_workers),
                                                    .name_prefix = prefix(std::move(options.thread_name_prefix)),
                                                    .stack_size = options.stack_size,
                                                    .max_queued = checked_bound(options.max_queued),
                                                    .initializer = std::move(options.initializer)}})} {
    state_->close_at_exit();
  }
  ThreadPoolExecutor(const ThreadPoolExecutor&) = delete;
  ThreadPoolExecutor& operator=(const ThreadPoolExecutor&) = delete;
  ~ThreadPoolExecutor() {
    state_->close(false);
    if (state_->this_worker() == nullptr) {
      state_->join();
    }
  }

  /// Has a worker call fn(args...), with decayed copies of the arguments; std::ref shares instead. A callable that cannot
  /// be called so, but with a StopToken first, gets the one that Future::request_stop() is for.
  /// @return the future of what it returns.
  /// @throws UsageError after shutdown(); BrokenThreadPool if an initializer failed; QueueFull (WhenFull::raise);
  ///         std::system_error if not even one thread can be started. Then nothing was submitted.
  template <class F, class... Args>
  auto submit(F&& fn, Args&&... args) {
    using R = detail::CallResult<F, Args...>;
    static_assert(detail::Call<std::decay_t<F>, std::decay_t<Args>...>::callable,
                  "submit(fn, args...): fn cannot be called with these arguments (they are passed as decayed copies; "
                  "use std::ref "
                  "to share)");
    auto* const task = detail::make_call_state(std::forward<F>(fn), std::forward<Args>(args)...);
    Future<R> future = detail::FutureAccess::adopt<R>(task);
    push(*task);
    return future;
  }

  /// Has a worker call fn(args...). No future: what it throws goes to the hook of set_excepthook().
  /// @throws as submit().
  template <class F, class... Args>
  void detach(F&& fn, Args&&... args) {
    static_assert(
        std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...>,
        "detach(fn, args...): fn cannot be called with these arguments (they are passed as decayed copies; use "
        "std::ref to share)");
    push(*new DetachedTask<std::decay_t<F>, std::decay_t<Args>...>{std::forward<F>(fn), std::forward<Args>(args)...});
  }

  /// Submits fn(item) for each item of a range, all at once: cheaper than one by one. (One by one where max_queued is
  /// set.)
  /// @throws as submit(): then those that were not submitted are cancelled.
  template <class F, class Range>
  auto submit_many(const F& fn, Range&& range) {
    using Item = typename detail::ItemOf<Range>::type;
    static_assert(detail::Call<F, Item>::callable, "submit_many(fn, range): fn cannot be called with an item");
    std::vector<Future<detail::CallResult<F, Item>>> futures;
    Chain chain;
    for (auto&& item : range) {
      auto* const task = detail::make_call_state(fn, Item(std::forward<decltype(item)>(item)));
      chain.add(*task);
      futures.push_back(detail::FutureAccess::adopt<detail::CallResult<F, Item>>(task));
      if (state_->options().max_queued != 0) {
        push(chain);
      }
    }
    push(chain);
    return futures;
  }

  /// conc::map() on this pool.
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
  /// @throws UsageError if called with .wait by a task of this pool; then nothing has changed.
  void shutdown(ExecutorShutdownOptions options = {}) {
    if (options.wait && state_->this_worker() != nullptr) {
      detail::throw_usage_error("ThreadPoolExecutor::shutdown: a task cannot wait for the end of its own pool");
    }
    const auto kept = state_;  // a callback of what is cancelled may destroy this pool
    kept->close(options.cancel_futures);
    if (options.wait) {
      kept->join();
    }
  }

  /// Waits until no task is queued and none runs; not in a callback that shutdown() calls, which is part of that.
  /// @return false if `deadline` passed first.
  /// @throws UsageError if called by a task of this pool.
  // NOLINTNEXTLINE(modernize-use-nodiscard): without a deadline there is nothing to look at
  bool wait_idle(Deadline deadline = never) {
    if (state_->this_worker() != nullptr) {
      detail::throw_usage_error("ThreadPoolExecutor::wait_idle: a task cannot wait for its own end");
    }
    return state_->wait_idle(deadline);
  }

  [[nodiscard]] PoolStats stats() const {
    const detail::Scheduler::Numbers numbers = state_->numbers();
    const auto of = [&numbers](detail::Outcome outcome) { return numbers.outcomes[static_cast<std::size_t>(outcome)]; };
    return {.queued = numbers.queued,
            .running = numbers.running,
            .done = of(detail::Outcome::succeeded),
            .failed = of(detail::Outcome::failed),
            .cancelled = of(detail::Outcome::cancelled),
            .workers = numbers.workers};
  }

  [[nodiscard]] std::size_t max_workers() const noexcept { return state_->options().max_workers; }

  /// The number of the worker that calls, from 0 to max_workers() - 1; none if the caller is no worker of this pool.
  [[nodiscard]] std::optional<std::size_t> worker_index() const noexcept {
    const detail::Worker* const worker = state_->this_worker();
    return worker == nullptr ? std::nullopt : std::optional{worker->index};
  }

 private:
  friend class TaskGroup;

  using State = detail::Scheduler;

  static std::size_t checked(std::optional<int> max_workers) {
    if (!max_workers) {
      return detail::default_workers(usable_cpu_count());
    }
    if (*max_workers < 1 || static_cast<std::size_t>(*max_workers) > detail::Lobby::kMostWorkers) {
      detail::throw_usage_error("ThreadPoolExecutor: max_workers is " + std::to_string(*max_workers) +
                                ", and must be from 1 to " + std::to_string(detail::Lobby::kMostWorkers));
    }
    return static_cast<std::size_t>(*max_workers);
  }

  static std::size_t checked_bound(std::size_t max_queued) {
    constexpr std::size_t kMost = std::size_t{1} << 30U;
    if (max_queued > kMost) {
      detail::throw_usage_error("ThreadPoolExecutor: max_queued is " + std::to_string(max_queued) +
                                ", and must be at most " + std::to_string(kMost));
    }
    return max_queued;
  }

  static std::string prefix(std::string chosen) {
    // relaxed: only distinctness matters.
    return !chosen.empty()
               ? std::move(chosen)
               : "ThreadPoolExecutor-" + std::to_string(detail::unnamed_pools.fetch_add(1, detail::mo::relaxed));
  }

  /// A task that nobody waits for.
  template <class F, class... Args>
  class DetachedTask final : public detail::Task {
   public:
    template <class G, class... As>
    explicit DetachedTask(G&& fn, As&&... args) : call_{std::forward<G>(fn), {std::forward<As>(args)...}} {}

    detail::Outcome run() override {
      struct End {
        DetachedTask* task;
        detail::Outcome outcome = detail::Outcome::succeeded;
        ~End() {
          task->count(outcome);
          delete task;
        }
      } end{this};
      try {
        call_();
      } catch (...) {
        end.outcome = detail::Outcome::failed;
        if (detail::must_go_on()) {
          throw;
        }
        detail::call_reporting([] { throw; });
      }
      return end.outcome;
    }

    detail::Outcome refuse(const std::exception_ptr& why) noexcept override {
      delete this;
      return why == nullptr ? detail::Outcome::cancelled : detail::Outcome::failed;
    }

   private:
    detail::Call<F, Args...> call_;
  };

  /// Tasks that are submitted together, linked from the last to the first.
  struct Chain {
    Chain() noexcept = default;
    Chain(const Chain&) = delete;
    Chain& operator=(const Chain&) = delete;
    ~Chain() {
      while (last != nullptr) {  // they were not submitted
        std::exchange(last, last->next)->refuse(nullptr);
      }
    }
    void add(detail::Task& task) noexcept {
      task.next = std::exchange(last, &task);
      first = first == nullptr ? &task : first;
      ++count;
    }

    detail::Task* first = nullptr;
    detail::Task* last = nullptr;
    std::size_t count = 0;
  };

  void push(detail::Task& task) {
    Chain chain;
    chain.add(task);
    push(chain);
  }

  void push(Chain& chain) {
    if (chain.count == 0) {
      return;
    }
    const auto full = when_full_ == WhenFull::block ? detail::Scheduler::Full::wait : detail::Scheduler::Full::refuse;
    if (state_->push(*chain.first, *chain.last, chain.count, full)) [[likely]] {
      chain.first = chain.last = nullptr;
      chain.count = 0;
      return;
    }
    if (when_full_ == WhenFull::raise) {
      throw QueueFull{"ThreadPoolExecutor::submit: " + std::to_string(state_->options().max_queued) +
                      " tasks are queued already"};
    }
    run_here(chain);
  }

  void run_here(Chain& chain) {
    const auto kept = state_;  // a task may destroy this pool
    detail::Task* in_order = nullptr;
    chain.first = nullptr;
    chain.count = 0;
    while (chain.last != nullptr) {
      detail::Task* const task = std::exchange(chain.last, chain.last->next);
      task->next = std::exchange(in_order, task);
    }
    while (in_order != nullptr) {
      kept->count(std::exchange(in_order, in_order->next)->run());
    }
  }

  const WhenFull when_full_;
  const detail::Ref<State> state_;
};

}  // namespace conc::inline CONC_ABI
