// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>
#include <oneapi/tbb/mutex.h>
#include <pinned.hpp>

#include <algorithm>
#include <chrono>
#include <conc/lock.hpp>
#include <cstdint>
#include <limits>
#include <mutex>
#include <string>
#include <vector>

namespace {

/// What does a lock cost that nobody else wants?
template <class L>
void BM_Lock_uncontended(benchmark::State& state) {
  L lock;
  for (auto _ : state) {
    lock.lock();
    benchmark::ClobberMemory();
    lock.unlock();
  }
}
BENCHMARK(BM_Lock_uncontended<conc::Lock>)->Name("BM_Lock_uncontended/conc");
BENCHMARK(BM_Lock_uncontended<std::mutex>)->Name("BM_Lock_uncontended/std");
BENCHMARK(BM_Lock_uncontended<oneapi::tbb::mutex>)->Name("BM_Lock_uncontended/tbb");

const std::vector<std::vector<std::int64_t>> kTwoThreads{{2}, {bench::own_cpus, bench::one_core}};
const std::vector<std::string> kAxes{"threads", "one_core"};

/// What does an increment under a lock cost when all threads do nothing else?
template <class L>
void BM_Lock_short_section(benchmark::State& state) {
  L lock;
  std::uint64_t counter = 0;
  bench::measure_pinned(state, static_cast<int>(state.range(0)), static_cast<bench::Placement>(state.range(1)),
                        [&lock, &counter](int, std::int64_t rounds) {
                          for (std::int64_t i = 0; i < rounds; ++i) {
                            lock.lock();
                            benchmark::DoNotOptimize(++counter);
                            lock.unlock();
                          }
                        });
}
BENCHMARK(BM_Lock_short_section<conc::Lock>)
    ->Name("BM_Lock_short_section/conc")
    ->ArgsProduct(kTwoThreads)
    ->ArgNames(kAxes)
    ->UseManualTime();
BENCHMARK(BM_Lock_short_section<std::mutex>)
    ->Name("BM_Lock_short_section/std")
    ->ArgsProduct(kTwoThreads)
    ->ArgNames(kAxes)
    ->UseManualTime();
BENCHMARK(BM_Lock_short_section<oneapi::tbb::mutex>)
    ->Name("BM_Lock_short_section/tbb")
    ->ArgsProduct(kTwoThreads)
    ->ArgNames(kAxes)
    ->UseManualTime();

/// Keeps the CPU busy without touching memory. Going on from the result of the call before keeps the two from overlapping.
std::uint64_t busy(std::uint64_t x, std::int64_t steps) {
  for (std::int64_t i = 0; i < steps; ++i) {
    x = x * 3 + 1;
    asm volatile("" : "+r"(x));
  }
  return x;
}

/// How many steps of busy() take so many nanoseconds on this machine: the best of several tries, as disturbances only
/// make it slower.
std::int64_t steps_in(double nanoseconds) {
  static const double per_step = [] {
    constexpr std::int64_t kSteps = 1'000'000;
    double best = std::numeric_limits<double>::max();
    for (int i = 0; i < 10; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      benchmark::DoNotOptimize(busy(1, kSteps));
      const std::chrono::duration<double, std::nano> span = std::chrono::steady_clock::now() - begin;
      best = std::min(best, span.count() / kSteps);
    }
    return best;
  }();
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(nanoseconds / per_step + 0.5));
}

/// What does a round of 10 ns under the lock and 40 ns outside it cost? The lock is wanted often, but not always.
template <class L>
void BM_Lock_10ns_in_40ns_out(benchmark::State& state) {
  L lock;
  const std::int64_t inside = steps_in(10);
  const std::int64_t outside = steps_in(40);
  bench::measure_pinned(state, static_cast<int>(state.range(0)), static_cast<bench::Placement>(state.range(1)),
                        [&](int, std::int64_t rounds) {
                          std::uint64_t x = 1;
                          for (std::int64_t i = 0; i < rounds; ++i) {
                            lock.lock();
                            x = busy(x, inside);
                            lock.unlock();
                            x = busy(x, outside);
                          }
                        });
}
BENCHMARK(BM_Lock_10ns_in_40ns_out<conc::Lock>)
    ->Name("BM_Lock_10ns_in_40ns_out/conc")
    ->ArgsProduct(kTwoThreads)
    ->ArgNames(kAxes)
    ->UseManualTime();
BENCHMARK(BM_Lock_10ns_in_40ns_out<std::mutex>)
    ->Name("BM_Lock_10ns_in_40ns_out/std")
    ->ArgsProduct(kTwoThreads)
    ->ArgNames(kAxes)
    ->UseManualTime();
BENCHMARK(BM_Lock_10ns_in_40ns_out<oneapi::tbb::mutex>)
    ->Name("BM_Lock_10ns_in_40ns_out/tbb")
    ->ArgsProduct(kTwoThreads)
    ->ArgNames(kAxes)
    ->UseManualTime();

/// What does knowing the owner cost?
template <class L>
void BM_RLock_uncontended(benchmark::State& state) {
  L lock;
  for (auto _ : state) {
    lock.lock();
    benchmark::ClobberMemory();
    lock.unlock();
  }
}
BENCHMARK(BM_RLock_uncontended<conc::RLock>)->Name("BM_RLock_uncontended/conc");
BENCHMARK(BM_RLock_uncontended<std::recursive_mutex>)->Name("BM_RLock_uncontended/std");

/// What does a lock cost whose owner takes it again, and again? One operation is all three levels in and out.
template <class L>
void BM_RLock_nested(benchmark::State& state) {
  const std::int64_t depth = state.range(0);
  L lock;
  for (auto _ : state) {
    for (std::int64_t i = 0; i < depth; ++i) {
      lock.lock();
      benchmark::ClobberMemory();
    }
    for (std::int64_t i = 0; i < depth; ++i) {
      lock.unlock();
      benchmark::ClobberMemory();
    }
  }
}
BENCHMARK(BM_RLock_nested<conc::RLock>)->Name("BM_RLock_nested/conc")->ArgName("depth")->Arg(3);
BENCHMARK(BM_RLock_nested<std::recursive_mutex>)->Name("BM_RLock_nested/std")->ArgName("depth")->Arg(3);

}  // namespace
