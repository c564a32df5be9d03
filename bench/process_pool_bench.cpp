// SPDX-License-Identifier: MIT
// conc::ProcessPoolExecutor. Its twin is CPython's, in cpython_process_pool.py. Nothing is pinned: so processes are where
// the system puts them, as in a program.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <conc/future.hpp>
#include <conc/process_pool.hpp>
#include <conc/shared_array.hpp>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace bench {

void prepare(int argc, char** argv) { conc::process_init(argc, argv); }

}  // namespace bench

namespace {

using Clock = std::chrono::steady_clock;
using conc::ProcessPoolExecutor;
using conc::StartMethod;
using Bytes = std::vector<char>;
using Numbers = std::vector<double>;

constexpr std::int64_t kTasks = 20'000;
constexpr std::size_t kWatched = std::size_t{256} << 20;

std::int64_t same(std::int64_t value) { return value; }
std::int64_t refuse(std::int64_t value) { throw std::out_of_range{"no value " + std::to_string(value)}; }
std::size_t length_of(const Bytes& payload) { return payload.size(); }
Bytes payload_of(std::size_t size) { return Bytes(size, 'x'); }
Bytes back(Bytes payload) { return payload; }

Numbers doubled(Numbers numbers) {
  for (double& number : numbers) {
    number *= 2;
  }
  return numbers;
}
void double_all(const conc::shared_array<double>& numbers) {
  for (double& number : numbers) {
    number *= 2;
  }
}

void check(benchmark::State& state, bool right) {
  if (!right) {
    state.SkipWithError("the result is wrong");
  }
}

/// What `run()` takes, which counts as `operations`; the first time, when workers may have to start, is not measured.
template <class Run>
void measure(benchmark::State& state, std::int64_t operations, Run run) {
  run();
  while (state.KeepRunningBatch(operations)) {
    const Clock::time_point begin = Clock::now();
    run();
    state.SetIterationTime(std::chrono::duration<double>{Clock::now() - begin}.count());
  }
}

/// How long is it from a submit() to the result, when there is nothing else to do?
void BM_ProcessPool_round_trip(benchmark::State& state) {
  constexpr std::int64_t kRounds = 1'000;
  ProcessPoolExecutor pool{static_cast<int>(state.range(0))};
  measure(state, kRounds, [&] {
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < kRounds; ++i) {
      sum += pool.submit(same, i).result();
    }
    check(state, sum == kRounds * (kRounds - 1) / 2);
  });
}

void submit_and_take(benchmark::State& state, ProcessPoolExecutor& pool) {
  std::vector<conc::Future<std::int64_t>> futures;
  futures.reserve(kTasks);
  measure(state, kTasks, [&] {
    for (std::int64_t i = 0; i < kTasks; ++i) {
      futures.push_back(pool.submit(same, i));
    }
    std::int64_t sum = 0;
    for (auto& future : futures) {
      sum += future.result();
    }
    check(state, sum == kTasks * (kTasks - 1) / 2);
    futures.clear();
  });
}

/// What does a task cost from which a result is wanted, when there are many of them?
void BM_ProcessPool_tasks(benchmark::State& state) {
  ProcessPoolExecutor pool{static_cast<int>(state.range(0))};
  submit_and_take(state, pool);
}

/// The same with so many tasks at a worker at once.
void BM_ProcessPool_prefetch(benchmark::State& state) {
  ProcessPoolExecutor pool{{.max_workers = 2, .prefetch = static_cast<std::size_t>(state.range(0))}};
  submit_and_take(state, pool);
}

/// What does a task cost that throws, and whose exception is caught?
void BM_ProcessPool_throws(benchmark::State& state) {
  constexpr std::int64_t kThrows = 2'000;
  ProcessPoolExecutor pool{static_cast<int>(state.range(0))};
  std::vector<conc::Future<std::int64_t>> futures;
  futures.reserve(kThrows);
  measure(state, kThrows, [&] {
    for (std::int64_t i = 0; i < kThrows; ++i) {
      futures.push_back(pool.submit(refuse, i));
    }
    std::int64_t caught = 0;
    for (auto& future : futures) {
      try {
        future.result();
      } catch (const std::out_of_range&) {
        ++caught;
      }
    }
    check(state, caught == kThrows);
    futures.clear();
  });
}

/// What does an item cost of which many travel together?
void BM_ProcessPool_map(benchmark::State& state) {
  const std::int64_t chunk = state.range(1);
  const std::int64_t items = chunk == 1 ? kTasks : 10 * kTasks;
  ProcessPoolExecutor pool{static_cast<int>(state.range(0))};
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(items));
  std::iota(numbers.begin(), numbers.end(), 0);
  measure(state, items, [&] {
    std::int64_t sum = 0;
    for (const std::int64_t result : pool.map({.chunksize = static_cast<std::size_t>(chunk)}, same, numbers)) {
      sum += result;
    }
    check(state, sum == items * (items - 1) / 2);
  });
}

/// How long does it take to make a pool, to get a result from it, and to shut it down? Also in a program that has a lot
/// of memory.
template <StartMethod Method>
void BM_ProcessPool_start(benchmark::State& state) {
  const Bytes resident(static_cast<std::size_t>(state.range(1)) << 20, 'x');
  benchmark::DoNotOptimize(resident.data());
  measure(state, 1, [&] {
    ProcessPoolExecutor pool{{.max_workers = static_cast<int>(state.range(0)), .start_method = Method}};
    check(state, pool.submit(same, std::int64_t{1}).result() == 1);
  });
}

std::int64_t resident_bytes(int process) {
  std::ifstream statm{"/proc/" + std::to_string(process) + "/statm"};
  std::int64_t pages = 0;
  std::int64_t resident = 0;
  statm >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

/// How much more memory processes take together at most than when this was made: a thread looks every millisecond.
class MemoryPeak {
 public:
  explicit MemoryPeak(std::vector<int> processes) : processes_{std::move(processes)}, before_{sum()}, peak_{before_} {}
  /// What the processes took while this ran.
  double bytes() {
    watch_.request_stop();
    watch_.join();
    return static_cast<double>(std::max(peak_, sum()) - before_);
  }

 private:
  std::int64_t sum() const {
    return std::accumulate(processes_.begin(), processes_.end(), std::int64_t{0},
                           [](std::int64_t all, int process) { return all + resident_bytes(process); });
  }

  const std::vector<int> processes_;
  const std::int64_t before_;
  std::int64_t peak_;  // the thread's until it is joined
  std::jthread watch_{[this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      peak_ = std::max(peak_, sum());
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
  }};
};

/// What `transfer(pool, payload)` takes, and how much memory this process and its worker, in payloads; the one that the
/// caller has counts. Small ones are too quick for a look at the memory.
template <class Transfer>
void measure_transfer(benchmark::State& state, std::size_t own_size, Transfer transfer) {
  const std::size_t size = static_cast<std::size_t>(state.range(0)) << 10;
  ProcessPoolExecutor pool{1};
  check(state, pool.submit(same, std::int64_t{1}).result() == 1);
  std::vector<int> processes = pool.worker_pids();
  processes.push_back(::getpid());
  double peak = 0;
  for (auto _ : state) {
    std::optional<MemoryPeak> memory;
    if (size >= kWatched) {
      memory.emplace(processes);
    }
    const Bytes payload(own_size, 'x');
    const Clock::time_point begin = Clock::now();
    check(state, transfer(pool, payload) == size);
    state.SetIterationTime(std::chrono::duration<double>{Clock::now() - begin}.count());
    if (memory) {
      peak = std::max(peak, memory->bytes() / static_cast<double>(size));
    }
  }
  if (size >= kWatched) {
    state.counters["peak"] = peak;
  }
}

/// How long does a large argument take, a large result, and the same there and back?
void BM_ProcessPool_send(benchmark::State& state) {
  measure_transfer(state, static_cast<std::size_t>(state.range(0)) << 10,
                   [](auto& pool, const Bytes& payload) { return pool.submit(length_of, payload).result(); });
}
void BM_ProcessPool_fetch(benchmark::State& state) {
  const std::size_t size = static_cast<std::size_t>(state.range(0)) << 10;
  measure_transfer(state, 0, [size](auto& pool, const Bytes&) {
    auto future = pool.submit(payload_of, size);
    return future.result().size();
  });
}
void BM_ProcessPool_echo(benchmark::State& state) {
  measure_transfer(state, static_cast<std::size_t>(state.range(0)) << 10, [](auto& pool, const Bytes& payload) {
    auto future = pool.submit(back, payload);
    return future.result().size();
  });
}

/// What does it take to have a worker change numbers that are in shared memory, and what if they travel to it and back?
void BM_ProcessPool_shared(benchmark::State& state) {
  ProcessPoolExecutor pool{1};
  const conc::shared_array<double> numbers((static_cast<std::size_t>(state.range(0)) << 10) / sizeof(double));
  std::ranges::fill(numbers, 0.0);
  measure(state, 1, [&] { pool.submit(double_all, numbers).result(); });
}
void BM_ProcessPool_by_value(benchmark::State& state) {
  ProcessPoolExecutor pool{1};
  Numbers numbers((static_cast<std::size_t>(state.range(0)) << 10) / sizeof(double));
  measure(state, 1, [&] { numbers = pool.submit(doubled, numbers).result(); });
}

void some_workers(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("workers")->Arg(1)->Arg(2)->Arg(4)->UseManualTime();
}
void depths(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("prefetch")->Arg(1)->Arg(2)->Arg(4)->Arg(16)->UseManualTime();
}
void chunks(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"workers", "chunk"})->ArgsProduct({{1, 2, 4}, {1, 100, 1'000}})->UseManualTime();
}
void starts(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"workers", "resident_MiB"})
      ->Args({1, 0})
      ->Args({2, 0})
      ->Args({4, 0})
      ->Args({4, 2'048})
      ->UseManualTime();
}
void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("KiB")->Arg(64)->Arg(1'024)->Arg(16'384)->Arg(262'144)->Arg(1'048'576)->UseManualTime();
}

BENCHMARK(BM_ProcessPool_round_trip)->Name("BM_ProcessPool_round_trip/conc")->Apply(some_workers);
BENCHMARK(BM_ProcessPool_tasks)->Name("BM_ProcessPool_tasks/conc")->Apply(some_workers);
BENCHMARK(BM_ProcessPool_throws)->Name("BM_ProcessPool_throws/conc")->Apply(some_workers);
BENCHMARK(BM_ProcessPool_prefetch)->Name("BM_ProcessPool_prefetch/conc")->Apply(depths);
BENCHMARK(BM_ProcessPool_map)->Name("BM_ProcessPool_map/conc")->Apply(chunks);
BENCHMARK(BM_ProcessPool_start<StartMethod::fork_server>)->Name("BM_ProcessPool_start/conc")->Apply(starts);
BENCHMARK(BM_ProcessPool_start<StartMethod::spawn>)->Name("BM_ProcessPool_start/conc_spawn")->Apply(starts);
BENCHMARK(BM_ProcessPool_start<StartMethod::fork>)->Name("BM_ProcessPool_start/conc_fork")->Apply(starts);
BENCHMARK(BM_ProcessPool_send)->Name("BM_ProcessPool_send/conc")->Apply(sizes);
BENCHMARK(BM_ProcessPool_fetch)->Name("BM_ProcessPool_fetch/conc")->Apply(sizes);
BENCHMARK(BM_ProcessPool_echo)->Name("BM_ProcessPool_echo/conc")->Apply(sizes);
BENCHMARK(BM_ProcessPool_shared)->Name("BM_ProcessPool_shared/conc")->Apply(sizes);
BENCHMARK(BM_ProcessPool_by_value)->Name("BM_ProcessPool_shared/conc_by_value")->Apply(sizes);

}  // namespace
