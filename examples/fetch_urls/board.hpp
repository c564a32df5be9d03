// SPDX-License-Identifier: MIT
/// @file
/// Where workers write what they are doing, so that somebody else can show it.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include <conc/lock.hpp>

namespace fetch_urls {

/// All members may be called by any thread.
class Board {
 public:
  using Clock = std::chrono::steady_clock;

  /// What one worker is doing.
  struct Row {
    std::string url;  // empty: nothing
    int attempt = 0;
    bool waiting = false;  // for the time of this attempt to come
    Clock::time_point since{};
  };

  /// Everything at one moment.
  struct View {
    std::size_t total = 0;
    std::size_t failed = 0;
    std::vector<double> seconds;  // of each page that was fetched
    std::vector<Row> rows;
    Clock::duration elapsed{};

    std::size_t finished() const noexcept { return failed + seconds.size(); }
  };

  Board(std::size_t total, std::size_t workers) : total_(total), rows_(workers) {}

  void fetching(std::size_t worker, const std::string& url, int attempt);
  void waiting(std::size_t worker, int next_attempt);
  void fetched(std::size_t worker, double seconds);
  void failed(std::size_t worker);

  View view() const;

 private:
  const std::size_t total_;
  const Clock::time_point start_ = Clock::now();
  mutable conc::Lock lock_;  // protects what follows
  std::size_t failed_ = 0;
  std::vector<double> seconds_;
  std::vector<Row> rows_;
};

/// The value that a share of the values (0.5, 0.99) does not exceed, by nearest rank; 0 if there are none.
double percentile(std::vector<double> values, double share);

}  // namespace fetch_urls
