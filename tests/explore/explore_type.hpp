// SPDX-License-Identifier: MIT
/// @file
/// explore_type(): the way every type of conc is explored.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <conc/testing.hpp>
#include <cstdint>
#include <cstdio>
#include <string>

#include "support.hpp"

namespace conc_test {

struct Exploration {
  unsigned preemptions = 2;  // of the complete search
  unsigned mishaps = 2;      // per schedule of the last run; 0 for programs that know what time it is
};

/// Runs `program` under every schedule with at most `preemptions` preemptions; then under 100,000 random and PCT
/// schedules (a million in the long form); then under as many random ones in which waits return for no reason.
/// A failure is printed with its replay string. The counts go to stdout.
template <class Program>
void explore_type(const std::string& name, Program program, Exploration how = {}) {
  using conc::testing::Strategy;
  const auto run = [&](Strategy strategy, std::uint64_t schedules, unsigned mishaps = 0) {
    const conc::testing::Report report = conc::testing::explore(
        program,
        {.strategy = strategy, .schedules = schedules, .preemptions = how.preemptions, .depth = 3, .mishaps = mishaps});
    INFO(name << ": " << report.failure);
    REQUIRE(report.ok());
    return report;
  };
  // A sanitizer looks at memory, for which fewer schedules will do.
  if (sanitizer() != Sanitizer::none) {
    how.preemptions = 1;
  }
  const auto all = run(Strategy::depth_first, UINT64_MAX);
  REQUIRE(all.complete);
  const std::uint64_t half = scaled(std::uint64_t{100'000}) / 2;
  const auto random = run(Strategy::random, half);
  const auto pct = run(Strategy::pct, half);
  const auto spurious = how.mishaps == 0 ? 0 : run(Strategy::random, half, how.mishaps).schedules;
  std::printf(
      "explored: %s: %zu threads; all %llu schedules with %u preemptions; %llu random, %llu PCT, %llu with mishaps\n",
      name.c_str(), all.threads, static_cast<unsigned long long>(all.schedules), how.preemptions,
      static_cast<unsigned long long>(random.schedules), static_cast<unsigned long long>(pct.schedules),
      static_cast<unsigned long long>(spurious));
}

}  // namespace conc_test
