// SPDX-License-Identifier: MIT
/// @file
/// What a subprocess does: it counts the primes of its part.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace master_worker {

struct Work {
  std::string name;
  std::uint64_t from = 0;
  std::uint64_t to = 0;               // not counted any more
  std::chrono::milliseconds least{};  // how long it takes at least, as if the part were larger
  std::string append;                 // the file that gets a line at the start and one with the result; empty: stdout
  int die_with = 0;                   // the process to end with; 0: none
};

/// The command that does the work in a process of its own: this program, told to be a worker.
std::vector<std::string> command_for(const Work& work);

/// Does the work in this process and returns how many primes there are. It takes as long as it shall.
std::uint64_t count_primes(const Work& work);

/// Does the work in this process, and prints or appends the result.
/// @throws std::system_error if the file cannot be written.
void do_work(const Work& work);

/// Whether a line of the file is the first one of a worker; then `name` is that worker's.
bool says_started(const std::string& line, std::string& name);

}  // namespace master_worker
