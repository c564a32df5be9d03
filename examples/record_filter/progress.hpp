// SPDX-License-Identifier: MIT
/// @file
/// Shows on stderr how far a long job is: a moving bar on a terminal, plain lines otherwise.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace record_filter {

class Progress {
 public:
  struct Figures {
    std::uint64_t bytes = 0;    // of the input
    std::uint64_t records = 0;  // looked at
    std::size_t finished = 0;   // folders, with those that failed
    std::size_t failed = 0;     // folders
  };

  /// The job is done when `bytes` of input in `folders` folders are. Not on a terminal, a line appears only after
  /// `records_per_line` more records.
  Progress(std::uint64_t bytes, std::size_t folders, std::uint64_t records_per_line);

  /// Removes the bar.
  ~Progress();

  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Shows the figures, if it is time to: call it as often as you like.
  void show(const Figures& figures);

  double seconds() const;

 private:
  using Clock = std::chrono::steady_clock;

  std::string status(const Figures& figures, double share) const;
  std::string bar(const Figures& figures) const;

  std::uint64_t bytes_;
  std::size_t folders_;
  std::uint64_t records_per_line_;
  bool terminal_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_show_ = start_;
  std::uint64_t shown_records_ = 0;
};

}  // namespace record_filter
