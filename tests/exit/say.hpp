// SPDX-License-Identifier: MIT
/// @file
/// say: what the exit programs print with.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <string>

/// Writes one line to stdout at once: nothing is left in a buffer, in whatever way the program ends.
inline void say(std::string line) {
  line += '\n';
  if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) std::abort();
}

/// An object that says when it is destroyed.
struct SaysGoodbye {
  const char* name;
  explicit SaysGoodbye(const char* what) noexcept : name{what} {}
  SaysGoodbye(const SaysGoodbye&) = delete;
  SaysGoodbye& operator=(const SaysGoodbye&) = delete;
  ~SaysGoodbye() { say(std::string{name} + " is destroyed"); }
};
