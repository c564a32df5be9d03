// SPDX-License-Identifier: MIT
#include "board.hpp"

#include <algorithm>
#include <cmath>

namespace fetch_urls {

void Board::fetching(std::size_t worker, const std::string& url, int attempt) {
  const conc::ScopedLock guard{lock_};
  rows_[worker] = {.url = url, .attempt = attempt, .waiting = false, .since = Clock::now()};
}

void Board::waiting(std::size_t worker, int next_attempt) {
  const conc::ScopedLock guard{lock_};
  Row& row = rows_[worker];
  row.attempt = next_attempt;
  row.waiting = true;
  row.since = Clock::now();
}

void Board::fetched(std::size_t worker, double seconds) {
  const conc::ScopedLock guard{lock_};
  seconds_.push_back(seconds);
  rows_[worker] = {};
}

void Board::failed(std::size_t worker) {
  const conc::ScopedLock guard{lock_};
  ++failed_;
  rows_[worker] = {};
}

Board::View Board::view() const {
  const Clock::duration elapsed = Clock::now() - start_;
  const conc::ScopedLock guard{lock_};
  return {.total = total_, .failed = failed_, .seconds = seconds_, .rows = rows_, .elapsed = elapsed};
}

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const double rank =
      std::clamp(std::ceil(share * static_cast<double>(values.size())), 1.0, static_cast<double>(values.size()));
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(rank) - 1;
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

}  // namespace fetch_urls
