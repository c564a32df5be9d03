// SPDX-License-Identifier: MIT
// What every executor must do, for the pool of threads.
#include <conc/thread_pool.hpp>
#include <tuple>

namespace {

struct ThreadPools {
  static conc::ThreadPoolExecutor make(int workers) { return conc::ThreadPoolExecutor{workers}; }
};
using ExecutorsUnderTest = std::tuple<ThreadPools>;

}  // namespace

#include "executor_suite.hpp"
