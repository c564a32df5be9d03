// SPDX-License-Identifier: MIT
/// @file
/// How full the queues of the pipeline were, over time.
#pragma once

#include <chrono>
#include <cstddef>
#include <vector>

#include <conc/event.hpp>
#include <conc/thread.hpp>

#include "stage.hpp"

namespace image_pipeline {

/// All queues at some moments.
struct Depths {
  std::vector<double> seconds{};                  // when: since the first look
  std::vector<std::vector<std::size_t>> items{};  // for each queue, how many were in it then
};

/// A thread that looks at queues every few milliseconds.
class DepthSampler {
 public:
  explicit DepthSampler(std::vector<const Items*> queues);
  ~DepthSampler() { stop(); }

  DepthSampler(const DepthSampler&) = delete;
  DepthSampler& operator=(const DepthSampler&) = delete;

  /// Looks for the last time, and returns everything that was seen.
  const Depths& finish();

 private:
  using Clock = std::chrono::steady_clock;

  void stop();
  void sample();
  void look();
  void thin_out();

  const std::vector<const Items*> queues_;

  // These belong to the thread until it is joined.
  std::chrono::milliseconds period_{2};
  Clock::time_point first_{};
  Depths depths_{};
  conc::Event over_;
  conc::Thread thread_;
};

}  // namespace image_pipeline
