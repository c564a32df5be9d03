// SPDX-License-Identifier: MIT
/// @file
/// explore_type(): the way every type of conc is explored.
#pragma once

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <conc/testing.hpp>
#include <cstdint>
#include <cstdio>
#include <string>

#include "support.hpp"

namespace conc_test {

/// A number that threads change whenever they like: no step of the exploration, no data race, and it orders nothing.
class Tally {
 public:
  int operator=(int n) noexcept {
    number_.store(n, std::memory_order_relaxed);
    return n;
  }
  int operator+=(int n) noexcept { return number_.fetch_add(n, std::memory_order_relaxed) + n; }
  int operator++() noexcept { return *this += 1; }
  int operator--() noexcept { return *this += -1; }
  operator int() const noexcept { return number_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int> number_{0};
};

struct Exploration {
  // Of the complete search: three where two threads can run at once, two where more can; or as many as this says, for
  // programs with so many steps that more would take minutes. (The long form takes them for up to three threads.)
  unsigned preemptions = 0;
  unsigned mishaps = 2;  // per schedule of the last runs; 0 for programs that know what time it is
};

/// Runs `program` under 10,000 random and as many PCT schedules (half a million each in the long form); then under every
/// schedule with so many preemptions, or, where these are three and the schedules more than 40,000, that many and every one
/// with a preemption less (in the long form all of them); then under as many random ones in which waits return and weak exchanges fail for
/// no reason, and timeouts come early; and, where two threads can run at once (three in the long form), under every
/// schedule with one preemption and one such mishap.
/// A failure is printed with its replay string. The counts go to stdout.
template <class Program>
void explore_type(const std::string& name, Program program, Exploration how = {}) {
  using conc::testing::Strategy;
  const auto run = [&](Strategy strategy, std::uint64_t schedules, unsigned mishaps = 0, unsigned preemptions = 0) {
    const conc::testing::Report report = conc::testing::explore(
        program,
        {.strategy = strategy, .schedules = schedules, .preemptions = preemptions, .depth = 3, .mishaps = mishaps});
    INFO(name << ": " << report.failure);
    REQUIRE(report.ok());
    REQUIRE((report.complete || report.schedules == schedules));
    return report;
  };
  // A sanitizer looks at memory, for which fewer schedules will do.
  const bool sanitized = sanitizer() != Sanitizer::none;
  const std::uint64_t half = long_form() ? (sanitized ? 50'000U : 500'000U) : (sanitized ? 1'000U : 10'000U);
  const auto random = run(Strategy::random, half);
  const auto pct = run(Strategy::pct, half);
  const std::size_t at_once = std::max(random.at_once, pct.at_once);
  if (sanitized) {
    how.preemptions = 1;
  } else if (how.preemptions == 0 || (long_form() && at_once <= 3)) {
    how.preemptions = at_once <= 2 ? 3 : 2;
  }
  const std::uint64_t most = how.preemptions <= 2 || long_form() ? UINT64_MAX : 40'000U;
  auto all = run(Strategy::depth_first, most, 0, how.preemptions);
  std::uint64_t more = 0;
  if (!all.complete) {
    all = run(Strategy::depth_first, UINT64_MAX, 0, --how.preemptions);
    more = most - all.schedules;
  }
  std::uint64_t spurious = 0;
  if (how.mishaps != 0) {
    spurious = run(Strategy::random, half, how.mishaps).schedules;
    if (!sanitized && at_once <= (long_form() ? 3U : 2U)) {
      spurious += run(Strategy::depth_first, UINT64_MAX, 1, 1).schedules;
    }
  }
  std::printf(
      "explored%s: %s: %zu threads, %zu at once; all %llu schedules with %u preemptions, %llu with "
      "one more; %llu random, %llu PCT, %llu with mishaps\n",
      sanitized ? " (sanitized)" : "", name.c_str(), all.threads, all.at_once,
      static_cast<unsigned long long>(all.schedules), how.preemptions, static_cast<unsigned long long>(more),
      static_cast<unsigned long long>(random.schedules), static_cast<unsigned long long>(pct.schedules),
      static_cast<unsigned long long>(spurious));
}

}  // namespace conc_test
