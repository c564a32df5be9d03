// SPDX-License-Identifier: MIT
// How many schedules a second does the explorer run? Three threads, each takes a Lock, touches what it guards, and lets
// go of it. There is no twin: no other library's scheduler runs conc's types.
#if !defined(CONC_EXPLORE)
#define CONC_EXPLORE  // of the whole program: it has no other part that uses conc
#endif
#include <benchmark/benchmark.h>

#include <conc/lock.hpp>
#include <conc/testing.hpp>
#include <cstdint>

namespace {

using conc::testing::Options;
using conc::testing::Report;
using conc::testing::Strategy;

void three_threads_and_a_lock() {
  conc::Lock lock;
  int touched = 0;
  const auto touch = [&] {
    lock.acquire();
    ++touched;
    lock.release();
  };
  conc::testing::parallel(touch, touch, touch);
  conc::testing::check(touched == 3, "somebody was not there");
}

void explore(benchmark::State& state, const Options& options) {
  std::uint64_t schedules = 0;
  std::uint64_t steps = 0;
  for (auto _ : state) {
    const Report report = conc::testing::explore(three_threads_and_a_lock, options);
    if (!report) {
      state.SkipWithError("a schedule failed");
      break;
    }
    schedules += report.schedules;
    steps += report.steps;
  }
  state.counters["schedules/s"] = benchmark::Counter(static_cast<double>(schedules), benchmark::Counter::kIsRate);
  state.counters["steps/s"] = benchmark::Counter(static_cast<double>(steps), benchmark::Counter::kIsRate);
}

void BM_Explore_random(benchmark::State& state) { explore(state, {.schedules = 2'000}); }
BENCHMARK(BM_Explore_random)->Name("BM_Explore_random/threads:3");

void BM_Explore_pct(benchmark::State& state) { explore(state, {.strategy = Strategy::pct, .schedules = 2'000}); }
BENCHMARK(BM_Explore_pct)->Name("BM_Explore_pct/threads:3/depth:3");

// Every schedule with at most two preemptions, once per iteration.
void BM_Explore_depth_first(benchmark::State& state) {
  explore(state, {.strategy = Strategy::depth_first, .schedules = UINT64_MAX, .preemptions = 2});
}
BENCHMARK(BM_Explore_depth_first)->Name("BM_Explore_depth_first/threads:3/preemptions:2");

}  // namespace
