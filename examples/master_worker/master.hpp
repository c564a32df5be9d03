// SPDX-License-Identifier: MIT
/// @file
/// The master: starts rounds of threads that each run a subprocess, or has the workers of a process pool do the same, and
/// knows how many of them are done.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace master_worker {

struct Plan {
  int rounds = 10;
  int workers = 10;                 // in each round
  std::uint64_t limit = 1'000'000;  // the primes below it are counted, each worker has its part
  std::chrono::milliseconds least{200};
  std::chrono::milliseconds poll{100};
  bool wait = false;       // for the next one that is done, instead of looking again and again
  std::string exit_early;  // the file for the results of those that go on; empty: the master stays until all are done
  bool die_together = false;
  bool pool = false;  // processes of a pool, instead of threads that each run a subprocess
};

/// Prints how it goes.
/// @return whether no worker has failed
/// @throws std::system_error if a thread or process cannot be started or the file not be written; std::runtime_error if it is none.
bool run_master(const Plan& plan);

}  // namespace master_worker
