// SPDX-License-Identifier: MIT
// What every executor must do: for the pool of threads, for one with a bound, and for an executor that knows nothing of
// conc's insides, which must do for map and parallel_for as well.
#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <chrono>
#include <conc/error.hpp>
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/future.hpp>
#include <conc/lock.hpp>
#include <conc/semaphore.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <cstddef>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "background.hpp"
#include "support.hpp"

namespace {

/// Gives each task a thread of its own at once, where it waits until it is one of `max_workers` that may run.
class ThreadPerTask {
 public:
  explicit ThreadPerTask(int max_workers) : max_workers_{max_workers} {
    if (max_workers < 1) throw conc::UsageError{"ThreadPerTask: max_workers is " + std::to_string(max_workers)};
    permits_.release(max_workers);
  }
  ThreadPerTask(const ThreadPerTask&) = delete;
  ThreadPerTask& operator=(const ThreadPerTask&) = delete;
  ~ThreadPerTask() { shutdown(); }

  template <class F, class... Args>
  auto submit(F&& fn, Args&&... args) {
    using R = std::invoke_result_t<std::decay_t<F>, std::decay_t<Args>...>;
    const conc::ScopedLock guard{lock_};
    if (ended_) throw conc::UsageError{"ThreadPerTask::submit: after shutdown"};
    conc::Promise<R> promise;
    conc::Future<R> future = promise.get_future();
    auto run = [this, promise = std::move(promise), fn = std::decay_t<F>(std::forward<F>(fn)),
                args = std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...)]() mutable {
      const conc::ScopedLock permit{permits_};
      if (!promise.set_running_or_notify_cancel()) return;
      try {
        if constexpr (std::is_void_v<R>) {
          std::apply(std::move(fn), std::move(args));
          promise.set_result();
        } else {
          promise.set_result(std::apply(std::move(fn), std::move(args)));
        }
      } catch (...) {
        promise.set_exception(std::current_exception());
      }
    };
    threads_.emplace_back(std::move(run)).start();
    cancels_.emplace_back([future] { future.cancel(); });
    return future;
  }
  template <class F, class... Args>
  void detach(F&& fn, Args&&... args) {
    submit(std::forward<F>(fn), std::forward<Args>(args)...);
  }

  void shutdown(conc::ExecutorShutdownOptions options = {}) {
    std::vector<std::function<void()>> cancels;
    std::vector<conc::Thread> threads;
    {
      const conc::ScopedLock guard{lock_};
      ended_ = true;
      if (options.cancel_futures) cancels = cancels_;
      if (options.wait) threads = threads_;
    }
    for (const auto& cancel : cancels) cancel();
    for (conc::Thread& thread : threads) thread.join();
  }

  std::size_t max_workers() const { return static_cast<std::size_t>(max_workers_); }

 private:
  const int max_workers_;
  conc::Semaphore permits_{0};
  conc::Lock lock_;  // guards all below
  bool ended_ = false;
  std::vector<conc::Thread> threads_;
  std::vector<std::function<void()>> cancels_;
};

struct ThreadPools {
  static conc::ThreadPoolExecutor make(int workers) { return conc::ThreadPoolExecutor{workers}; }
  static constexpr int most_queued = 1000;
  static constexpr std::size_t taken_ahead = 0;
};
struct BoundedThreadPools {
  static conc::ThreadPoolExecutor make(int workers) {
    return conc::ThreadPoolExecutor{{.max_workers = workers, .max_queued = 4}};
  }
  static constexpr int most_queued = 4;
  static constexpr std::size_t taken_ahead = 0;
};
struct ThreadsPerTask {
  static ThreadPerTask make(int workers) { return ThreadPerTask{workers}; }
  static constexpr int most_queued = 1000;
  static constexpr std::size_t taken_ahead = 0;
};
using ExecutorsUnderTest = std::tuple<ThreadPools, BoundedThreadPools, ThreadsPerTask>;

}  // namespace

#include "executor_suite.hpp"

// What only executors can do whose tasks share memory with the caller.

TEMPLATE_LIST_TEST_CASE("Executor: parallel_for calls the function once for each, with the help of the workers",
                        "[executor][parallel_for]", ExecutorsUnderTest) {
  using namespace conc_test::executor;
  auto pool = TestType::make(2);
  std::vector<int> calls(1000, 0);  // no atomics: the end makes them visible
  conc::parallel_for(pool, calls.begin(), calls.end(), [](int& count) { ++count; });
  CHECK(calls == std::vector<int>(1000, 1));
  std::atomic<int> running{0};
  std::atomic<int> alone{0};
  conc::Event all;
  conc::parallel_for(pool, 3, [&](std::size_t) {  // all at once, or they do not end
    if (++running == 3) all.set();
    if (!all.wait(10s)) ++alone;
  });
  CHECK(alone == 0);
  CHECK(conc_test::outcome([&] {
          conc::parallel_for(pool, 100, [](std::size_t i) {
            if (i == 7) throw std::runtime_error{"seven"};
          });
        }) == "seven");
  pool.shutdown();
  CHECK(conc_test::outcome([&] { conc::parallel_for(pool, 3, [&running](std::size_t) { ++running; }); }) ==
        "UsageError");
  CHECK(running == 3);
}
