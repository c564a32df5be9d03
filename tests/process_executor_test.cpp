// SPDX-License-Identifier: MIT
// What every executor must do, for pools of processes.
#include <conc/process_pool.hpp>
#include <tuple>

namespace {

using conc::StartMethod;

template <StartMethod method>
struct ProcessPools {
  static conc::ProcessPoolExecutor make(int workers) {
    return conc::ProcessPoolExecutor{{.max_workers = workers, .start_method = method}};
  }
  static constexpr int most_queued = 1000;
  static constexpr std::size_t taken_ahead = 0;  // nothing goes to a worker that is at its first task
};
using ExecutorsUnderTest = std::tuple<ProcessPools<StartMethod::fork_server>, ProcessPools<StartMethod::spawn>>;

}  // namespace

#include "executor_suite.hpp"
#include "processes.hpp"
