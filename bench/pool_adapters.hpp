// SPDX-License-Identifier: MIT
/// @file
/// Thread pools, brought to one shape: conc's, oneTBB's arena, Asio's, and the one that everybody writes by hand.
///
/// A pool is made with a number of workers. submit(f) gives a future, and take(future) waits for what f returned;
/// detach(f) runs f and tells nobody; nest(f) is detach(f) from inside a task. Every worker is pinned, the first to the
/// first usable CPU, and so on, round robin.
#pragma once

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>
#include <oneapi/tbb/task_scheduler_observer.h>
#include <batches.hpp>

#include <asio/post.hpp>
#include <asio/thread_pool.hpp>
#include <barrier>
#include <conc/future.hpp>
#include <conc/thread_pool.hpp>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace bench {

template <class T>
T take(conc::Future<T>& future) {
  return std::move(future).result();
}

template <class T>
T take(std::future<T>& future) {
  return future.get();
}

/// Pins the workers of a pool whose threads run nothing but tasks: as many tasks as workers meet, so that each worker
/// has one of them. Pools that start a worker only when there is nobody else have all of them from then on.
template <class Pool>
void pin_workers(Pool& pool, int workers, int first_cpu = 0) {
  const auto everybody = std::make_shared<std::barrier<>>(workers + 1);
  for (int i = 0; i < workers; ++i) {
    pool.detach([everybody, cpu = cpu_of(first_cpu + i)] {
      pin_this_thread(cpu);
      everybody->arrive_and_wait();
    });
  }
  everybody->arrive_and_wait();
}

/// conc::ThreadPoolExecutor.
class ConcPool {
 public:
  /// The first worker gets the CPU of `first_cpu`, counted as for cpu_of().
  explicit ConcPool(int workers, int first_cpu = 0) : pool_{workers} { pin_workers(*this, workers, first_cpu); }
  template <class F>
  auto submit(F&& f) {
    return pool_.submit(std::forward<F>(f));
  }
  template <class F>
  void detach(F&& f) {
    pool_.detach(std::forward<F>(f));
  }
  template <class F>
  void nest(F&& f) {
    pool_.detach(std::forward<F>(f));
  }
  conc::ThreadPoolExecutor& pool() { return pool_; }

 private:
  conc::ThreadPoolExecutor pool_;
};

/// std::async: a thread for every task.
class StdAsync {
 public:
  explicit StdAsync(int workers) : workers_{workers} {}
  template <class F>
  auto submit(F f) {
    // A thread inherits the one CPU of its maker.
    return std::async(std::launch::async, [f = std::move(f), cpu = cpu_of(next_++ % workers_)]() mutable {
      pin_this_thread(cpu);
      return f();
    });
  }

 private:
  const int workers_;
  int next_ = 0;
};

/// oneTBB's arena, without a place for the thread that submits. Tasks go through its FIFO queue. oneTBB has no futures
/// for enqueued tasks: std::packaged_task brings them, as programs do.
class TbbPool {
 public:
  /// `callers` of the threads are not oneTBB's, but come with execute(); they pin themselves.
  explicit TbbPool(int workers, unsigned callers = 0)
      : allowed_{oneapi::tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(workers) + 1},
        arena_{workers, callers},
        pin_{arena_} {}
  template <class F>
  auto submit(F&& f) {
    std::packaged_task<std::invoke_result_t<std::decay_t<F>&>()> task{std::forward<F>(f)};
    auto future = task.get_future();
    detach(std::move(task));
    return future;
  }
  template <class F>
  void detach(F&& f) {
    arena_.enqueue(Const<std::decay_t<F>>{std::forward<F>(f)});
  }
  template <class F>
  void nest(F&& f) {
    detach(std::forward<F>(f));
  }

 protected:
  /// enqueue() calls its functions as const.
  template <class F>
  struct Const {
    mutable F function;
    void operator()() const { function(); }
  };

  class Pin : public oneapi::tbb::task_scheduler_observer {
   public:
    explicit Pin(oneapi::tbb::task_arena& arena) : task_scheduler_observer{arena} { observe(true); }
    ~Pin() override { observe(false); }
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;
    void on_scheduler_entry(bool is_worker) override {
      if (is_worker) {
        pin_this_thread(cpu_of(oneapi::tbb::this_task_arena::current_thread_index()));
      }
    }
  };

  oneapi::tbb::global_control allowed_;
  oneapi::tbb::task_arena arena_;
  Pin pin_;
};

/// The same, where tasks of tasks go through a task_group: each to its worker's own list.
class TbbGroupPool : public TbbPool {
 public:
  using TbbPool::TbbPool;
  ~TbbGroupPool() {
    arena_.execute([this] { group_.wait(); });
  }
  TbbGroupPool(const TbbGroupPool&) = delete;
  TbbGroupPool& operator=(const TbbGroupPool&) = delete;
  template <class F>
  void nest(F&& f) {
    group_.run(Const<std::decay_t<F>>{std::forward<F>(f)});
  }

 private:
  oneapi::tbb::task_group group_;
};

/// asio::thread_pool.
class AsioPool {
 public:
  explicit AsioPool(int workers) : pool_{static_cast<std::size_t>(workers)} { pin_workers(*this, workers); }
  ~AsioPool() { pool_.join(); }
  AsioPool(const AsioPool&) = delete;
  AsioPool& operator=(const AsioPool&) = delete;
  template <class F>
  auto submit(F&& f) {
    std::packaged_task<std::invoke_result_t<std::decay_t<F>&>()> task{std::forward<F>(f)};
    auto future = task.get_future();
    asio::post(pool_, std::move(task));
    return future;
  }
  template <class F>
  void detach(F&& f) {
    asio::post(pool_, std::forward<F>(f));
  }
  template <class F>
  void nest(F&& f) {
    asio::post(pool_, std::forward<F>(f));
  }

 private:
  asio::thread_pool pool_;
};

/// std::mutex, std::condition_variable, std::deque and std::packaged_task: what one writes by hand.
class CvPool {
 public:
  explicit CvPool(int workers) {
    for (int i = 0; i < workers; ++i) {
      workers_.emplace_back([this, i] {
        pin_this_thread(cpu_of(i));
        work();
      });
    }
  }
  ~CvPool() {
    {
      const std::lock_guard guard{mutex_};
      over_ = true;
    }
    not_empty_.notify_all();
    for (std::thread& worker : workers_) {
      worker.join();
    }
  }
  CvPool(const CvPool&) = delete;
  CvPool& operator=(const CvPool&) = delete;
  template <class F>
  auto submit(F&& f) {
    std::packaged_task<std::invoke_result_t<std::decay_t<F>&>()> task{std::forward<F>(f)};
    auto future = task.get_future();
    detach(std::move(task));
    return future;
  }
  template <class F>
  void detach(F&& f) {
    std::packaged_task<void()> task{std::forward<F>(f)};
    {
      const std::lock_guard guard{mutex_};
      tasks_.push_back(std::move(task));
    }
    not_empty_.notify_one();
  }
  template <class F>
  void nest(F&& f) {
    detach(std::forward<F>(f));
  }

 private:
  void work() {
    for (;;) {
      std::packaged_task<void()> task;
      {
        std::unique_lock guard{mutex_};
        not_empty_.wait(guard, [this] { return over_ || !tasks_.empty(); });
        if (tasks_.empty()) {
          return;
        }
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable not_empty_;
  std::deque<std::packaged_task<void()>> tasks_;
  bool over_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace bench
