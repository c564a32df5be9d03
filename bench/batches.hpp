// SPDX-License-Identifier: MIT
/// @file
/// Measurements of work that comes in batches: so many tasks, and then all of them are done.
#pragma once

#include <benchmark/benchmark.h>
#include <pinned.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace bench {

using Clock = std::chrono::steady_clock;

/// How many of the usable CPUs cpu_of() hands out. Benchmarks run one after the other, and no thread of one is left
/// when the next begins to ask.
inline std::size_t& cpus_in_use() {
  static std::size_t count = usable_cpus().size();
  return count;
}

/// Has a benchmark and all its threads make do with one CPU, if `placement` says so.
class OnCpus {
 public:
  explicit OnCpus(std::int64_t placement) { cpus_in_use() = placement == one_core ? 1 : usable_cpus().size(); }
  ~OnCpus() { cpus_in_use() = usable_cpus().size(); }
  OnCpus(const OnCpus&) = delete;
  OnCpus& operator=(const OnCpus&) = delete;
};

/// The CPU of the `index`-th thread, round robin.
inline std::size_t cpu_of(int index) { return usable_cpus()[static_cast<std::size_t>(index) % cpus_in_use()]; }

/// The CPUs of `threads` threads beside a pool of `workers`: those that the workers leave, as far as there are any.
inline std::vector<std::size_t> cpus_beside(int workers, int threads) {
  std::vector<std::size_t> cpus;
  for (int i = 0; i < threads; ++i) {
    cpus.push_back(cpu_of(workers + i));
  }
  return cpus;
}

/// Counts tasks that are done. Each thread counts in a line of its own, so that what is measured is the pool and not a
/// counter that all its workers want. Whoever waits looks every few microseconds: batches must take milliseconds.
class DoneCount {
 public:
  /// Before the first task of a batch is submitted.
  void expect(std::int64_t tasks) {
    expected_ = tasks;
    for (Shard& shard : shards_) {
      shard.done.store(0, std::memory_order_relaxed);
    }
  }
  void arrive() { shards_[this_shard()].done.fetch_add(1, std::memory_order_release); }
  void wait() const {
    while (sum() != expected_) {
      std::this_thread::sleep_for(std::chrono::microseconds{5});
    }
  }

 private:
  struct alignas(128) Shard {
    std::atomic<std::int64_t> done{0};
  };

  static std::size_t this_shard() {
    static std::atomic<std::size_t> threads{0};
    thread_local const std::size_t mine = threads.fetch_add(1, std::memory_order_relaxed) % kShards;
    return mine;
  }

  std::int64_t sum() const {
    std::int64_t done = 0;
    for (const Shard& shard : shards_) {
      done += shard.done.load(std::memory_order_acquire);
    }
    return done;
  }

  static constexpr std::size_t kShards = 16;
  std::array<Shard, kShards> shards_;
  std::int64_t expected_ = 0;
};

/// Has a team of threads, one pinned to each of `cpus`, run `work(index)` batch after batch, `prepare()` before each of
/// them, until the benchmark has enough. A batch counts as `operations` operations. What is measured is the time from
/// the moment the first thread starts to the moment the last one is through, or to the latest moment that work()
/// returns. The team stays the same for all batches, and the first one is not measured: what threads keep for
/// themselves is there by then. The benchmark must use manual time.
template <class Prepare, class Work>
void measure_batches(benchmark::State& state, std::int64_t operations, const std::vector<std::size_t>& cpus,
                     Prepare prepare, Work work) {
  std::barrier gate{static_cast<std::ptrdiff_t>(cpus.size() + 1)};
  bool over = false;  // written while the team waits at the gate
  std::vector<Clock::time_point> begins(cpus.size());
  std::vector<Clock::time_point> ends(cpus.size());
  std::vector<std::thread> team;
  for (std::size_t i = 0; i < cpus.size(); ++i) {
    team.emplace_back([&, i] {
      pin_this_thread(cpus[i]);
      for (;;) {
        gate.arrive_and_wait();
        if (over) {
          return;
        }
        const Clock::time_point begin = Clock::now();
        if constexpr (std::is_void_v<std::invoke_result_t<Work&, int>>) {
          work(static_cast<int>(i));
          ends[i] = Clock::now();
        } else {
          ends[i] = work(static_cast<int>(i));
        }
        begins[i] = begin;
        gate.arrive_and_wait();
      }
    });
  }
  const auto batch = [&] {
    prepare();
    gate.arrive_and_wait();
    gate.arrive_and_wait();
    const std::chrono::duration<double> span = *std::ranges::max_element(ends) - *std::ranges::min_element(begins);
    return span.count();
  };
  batch();
  while (state.KeepRunningBatch(operations)) {
    state.SetIterationTime(batch());
  }
  over = true;
  gate.arrive_and_wait();
  for (std::thread& thread : team) {
    thread.join();
  }
}

}  // namespace bench
