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

/// How long does a cache line take from one CPU to the other? No queue and no event between two CPUs can be faster, so this
/// is the measure of their figures. One operation is one way.
void BM_Machine_cache_line(benchmark::State& state) {
  struct alignas(128) Line {
    std::atomic<std::int64_t> value{0};
  };
  Line lines[2];
  bench::measure_pinned(state, 2, bench::own_cpus, [&lines](int me, std::int64_t rounds) {
    std::atomic<std::int64_t>& mine = lines[me].value;
    std::atomic<std::int64_t>& others = lines[1 - me].value;
    for (std::int64_t i = 1; i <= rounds; ++i) {
      if (me == 0) {
        others.store(i, std::memory_order_release);
      }
      while (mine.load(std::memory_order_acquire) != i) {
      }
      if (me == 1) {
        others.store(i, std::memory_order_release);
      }
    }
  });
}
BENCHMARK(BM_Machine_cache_line)->Name("BM_Machine_cache_line/std")->UseManualTime();

}  // namespace
