// SPDX-License-Identifier: MIT
/// @file
/// Runs programs of other people's making in worker processes, so that none of them can harm another one or this process.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <conc/event.hpp>

namespace crash_proof {

/// What one program may take.
struct Limits {
  int workers = 1;
  std::uint64_t memory = 0;  // bytes of a worker's address space; 0: no limit
  std::chrono::milliseconds time{2000};
  unsigned retries = 0;  // how often a program is run again that has cost a worker its life
};

enum class Verdict {
  done,           // it has ended: the text is what it has printed
  wrong,          // it is no program that can be run
  crashed,        // it took its worker with it
  timed_out,      // its worker was killed
  out_of_memory,  // it wanted more than it may have
  failed,         // it could not be read
  not_run,        // the batch was stopped before
};

struct Outcome {
  Verdict verdict = Verdict::not_run;
  std::string text;  // what it has printed, or why there is nothing
};

/// Runs each of the programs, shows the progress meanwhile, and returns what became of them, in their order. Once `stop`
/// is set no further one is begun.
/// @throws UsageError, std::system_error, conc::BrokenProcessPool if worker processes cannot be had.
std::vector<Outcome> run_batch(const std::vector<std::filesystem::path>& programs, const Limits& limits,
                               const conc::Event& stop);

}  // namespace crash_proof
