// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>
#include <pinned.hpp>

#include <atomic>
#include <conc/atomic_integer.hpp>
#include <cstdint>

namespace {

std::int64_t increment(conc::AtomicInteger& n) { return n.inc(); }
std::int64_t increment(std::atomic<std::int64_t>& n) { return ++n; }

/// Does the wrapper cost anything over the atomic inside it?
template <class Counter>
void BM_AtomicInteger_inc(benchmark::State& state) {
  Counter n{0};
  for (auto _ : state) {
    benchmark::DoNotOptimize(increment(n));
  }
}
BENCHMARK(BM_AtomicInteger_inc<conc::AtomicInteger>)->Name("BM_AtomicInteger_inc/conc");
BENCHMARK(BM_AtomicInteger_inc<std::atomic<std::int64_t>>)->Name("BM_AtomicInteger_inc/std");

/// What does one counter cost when two threads want it all the time?
template <class Counter>
void BM_AtomicInteger_inc_shared(benchmark::State& state) {
  const auto threads = static_cast<int>(state.range(0));
  Counter n{0};
  bench::measure_pinned(state, threads, bench::own_cpus, [&n](int, std::int64_t rounds) {
    for (std::int64_t i = 0; i < rounds; ++i) {
      benchmark::DoNotOptimize(increment(n));
    }
  });
}
BENCHMARK(BM_AtomicInteger_inc_shared<conc::AtomicInteger>)
    ->Name("BM_AtomicInteger_inc_shared/conc")
    ->ArgName("threads")
    ->Arg(2)
    ->UseManualTime();
BENCHMARK(BM_AtomicInteger_inc_shared<std::atomic<std::int64_t>>)
    ->Name("BM_AtomicInteger_inc_shared/std")
    ->ArgName("threads")
    ->Arg(2)
    ->UseManualTime();

}  // namespace
