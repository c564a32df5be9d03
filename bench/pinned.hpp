// SPDX-License-Identifier: MIT
/// @file
/// Multi-threaded measurements: threads pinned to CPUs, started from one gate.
#pragma once

#include <benchmark/benchmark.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace bench {

/// The CPUs that this process may use, read before anything is pinned.
inline const std::vector<std::size_t>& usable_cpus() {
  static const std::vector<std::size_t> cpus = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    std::vector<std::size_t> usable;
    for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &set)) {
        usable.push_back(cpu);
      }
    }
    return usable;
  }();
  return cpus;
}

inline void pin_this_thread(std::size_t cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

/// Which CPUs the threads of a benchmark get.
enum Placement : std::int64_t {
  own_cpus = 0,  // each its own, round robin when there are more threads than CPUs
  one_core = 1,  // all of them the same
};

/// Has `threads` pinned threads run `work(index, rounds)` once, with state.max_iterations rounds shared out evenly. What
/// is measured is the time from the moment the first one starts to the moment the last one is through, so creating the
/// threads is not part of it; a round counts as one operation. The benchmark must use manual time.
template <class Work>
void measure_pinned(benchmark::State& state, int threads, Placement placement, Work work) {
  using Clock = std::chrono::steady_clock;
  const std::vector<std::size_t>& cpus = usable_cpus();
  if (placement == own_cpus && cpus.size() < 2) {
    state.SkipWithError("needs two CPUs");
    return;
  }
  while (state.KeepRunningBatch(state.max_iterations)) {
    const std::int64_t rounds = std::max<std::int64_t>(1, state.max_iterations / threads);
    std::barrier gate{threads};
    std::vector<Clock::time_point> begins(static_cast<std::size_t>(threads));
    std::vector<Clock::time_point> ends(begins.size());
    std::vector<std::thread> team;
    for (std::size_t i = 0; i < begins.size(); ++i) {
      team.emplace_back([&, i] {
        pin_this_thread(cpus[placement == one_core ? 0 : i % cpus.size()]);
        gate.arrive_and_wait();
        begins[i] = Clock::now();
        work(static_cast<int>(i), rounds);
        ends[i] = Clock::now();
      });
    }
    for (std::thread& thread : team) {
      thread.join();
    }
    const std::chrono::duration<double> span = *std::ranges::max_element(ends) - *std::ranges::min_element(begins);
    // The rounds of all threads together may differ from what was asked for, by less than one a thread.
    state.SetIterationTime(span.count() * static_cast<double>(state.max_iterations) /
                           static_cast<double>(rounds * threads));
  }
}

}  // namespace bench
