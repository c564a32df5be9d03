// SPDX-License-Identifier: MIT
/// @file
/// Shows on stderr how far a batch is: a moving bar on a terminal, plain lines otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace crash_proof {

class Progress {
 public:
  struct Figures {
    std::uint64_t finished = 0;  // programs
    std::uint64_t crashes = 0;   // workers that died
    std::uint64_t retried = 0;   // programs that were begun once more
  };

  /// The batch is done when so many programs are.
  explicit Progress(std::uint64_t programs);

  /// Removes the bar.
  ~Progress();

  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Shows the figures, if it is time to: call it as often as you like.
  void show(const Figures& figures);

 private:
  using Clock = std::chrono::steady_clock;

  std::string status(const Figures& figures) const;
  std::string bar(const Figures& figures) const;
  double share(const Figures& figures) const;

  std::uint64_t programs_;
  bool terminal_;
  bool drawn_ = false;
  Clock::time_point next_show_ = Clock::now();
};

}  // namespace crash_proof
