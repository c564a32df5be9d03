// SPDX-License-Identifier: MIT
/// @file
/// BusyWorkers: workers of a pool that have something to do until they are let go.
#pragma once

#include <conc/event.hpp>
#include <conc/future.hpp>
#include <conc/semaphore.hpp>
#include <conc/thread_pool.hpp>
#include <cstddef>
#include <vector>

namespace conc_test {

/// Keeps `count` workers of a pool busy until release(); waits until they are.
class BusyWorkers {
 public:
  explicit BusyWorkers(conc::ThreadPoolExecutor& pool, std::size_t count = 1) {
    for (std::size_t i = 0; i < count; ++i) {
      tasks_.push_back(pool.submit([this] {
        started_.release();
        go_.wait();
      }));
    }
    for (std::size_t i = 0; i < count; ++i) started_.acquire();
  }
  BusyWorkers(const BusyWorkers&) = delete;
  BusyWorkers& operator=(const BusyWorkers&) = delete;
  ~BusyWorkers() { release(); }

  /// Lets them go, and waits until they have gone.
  void release() {
    go_.set();
    for (const conc::Future<void>& task : tasks_) task.wait();
  }

  /// Lets them go.
  void let_go() { go_.set(); }

 private:
  conc::Semaphore started_{0};
  conc::Event go_;
  std::vector<conc::Future<void>> tasks_;
};

}  // namespace conc_test
