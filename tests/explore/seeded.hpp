// SPDX-License-Identifier: MIT
/// @file
/// Bugs that the explorer must find, and the right programs beside them of which it must say nothing.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/testing.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "support.hpp"

namespace conc_test {

inline constexpr struct {
  conc::testing::Strategy strategy;
  const char* name;
} kStrategies[] = {{conc::testing::Strategy::random, "random"},
                   {conc::testing::Strategy::pct, "PCT"},
                   {conc::testing::Strategy::depth_first, "depth first"}};

/// `program` fails with a message that has `symptom` in it, whatever the strategy, and each such schedule can be repeated.
template <class Program>
void must_be_found(const char* name, Program program, const std::string& symptom) {
  using conc::testing::explore;
  using conc::testing::Report;
  for (const auto& [strategy, strategy_name] : kStrategies) {
    INFO(name << ", " << strategy_name);
    const auto begin = std::chrono::steady_clock::now();
    const Report found = explore(program, {.strategy = strategy, .schedules = UINT64_MAX, .quiet = true});
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    REQUIRE(found.failed);
    INFO(found.message);
    CHECK(found.failure.find(symptom) != std::string::npos);
    CHECK(took < std::chrono::seconds{60});
    std::printf("found: %s: %s, schedule %llu, %.3f s\n", name, strategy_name,
                static_cast<unsigned long long>(found.schedules), took.count());

    const Report again = explore(program, {.replay = found.replay, .quiet = true});
    CHECK(again.failure == found.failure);
    CHECK(again.replay == found.replay);

    if (sanitizer() == Sanitizer::thread) {
      take_stderr();  // ThreadSanitizer speaks for itself, too
    }
    setenv("CONC_REPLAY", found.replay.c_str(), 1);
    const Report from_environment = explore(program, {.strategy = conc::testing::Strategy::random, .schedules = 1});
    unsetenv("CONC_REPLAY");
    CHECK(from_environment.failure == found.failure);
    CHECK(take_stderr().ends_with(from_environment.message));
  }
}

/// No schedule of `program` with at most `preemptions` preemptions fails, nor any of many random and PCT ones.
template <class Program>
void must_be_clean(const char* name, Program program, unsigned preemptions = 2) {
  using conc::testing::Strategy;
  for (const auto& [strategy, strategy_name] : kStrategies) {
    INFO(name << ", " << strategy_name);
    const bool all = strategy == Strategy::depth_first;
    const conc::testing::Report report =
        conc::testing::explore(program, {.strategy = strategy,
                                         .schedules = all ? UINT64_MAX : scaled(std::uint64_t{20'000}),
                                         .preemptions = preemptions});
    CHECK(report.ok());
    CHECK(report.complete == all);
    std::printf("clean: %s: %s, %llu schedules%s\n", name, strategy_name,
                static_cast<unsigned long long>(report.schedules), all ? ", complete" : "");
  }
}

}  // namespace conc_test
