// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>
#include <batches.hpp>
#include <pool_adapters.hpp>

#include <algorithm>
#include <array>
#include <barrier>
#include <chrono>
#include <conc/stop_token.hpp>
#include <cstddef>
#include <cstdint>
#include <future>
#include <numeric>
#include <random>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using bench::Clock;

constexpr std::int64_t kTasks = 100'000;

template <class Pool>
using FutureOf = decltype(std::declval<Pool&>().submit(std::declval<std::int64_t (*)()>()));

void check(benchmark::State& state, bool right) {
  if (!right) {
    state.SkipWithError("the result is wrong");
  }
}

/// One thread submits `tasks` tasks and then handles their futures; one operation is one task. `submit(pool, i)` gives
/// a future, `finish(future)` a number; the numbers must add up to those from 0 to `tasks` - 1.
template <class Pool, class Submit, class Finish>
void submit_and_finish(benchmark::State& state, std::int64_t tasks, Submit submit, Finish finish) {
  const auto workers = static_cast<int>(state.range(0));
  Pool pool{workers};
  std::vector<FutureOf<Pool>> futures;
  futures.reserve(static_cast<std::size_t>(tasks));
  std::int64_t sum = 0;
  bench::measure_batches(
      state, tasks, bench::cpus_beside(workers, 1), [&sum] { sum = 0; },
      [&](int) {
        for (std::int64_t i = 0; i < tasks; ++i) {
          futures.push_back(submit(pool, i));
        }
        for (auto& future : futures) {
          sum += finish(future);
        }
        const Clock::time_point end = Clock::now();
        futures.clear();  // by the thread that will need the memory again
        return end;
      });
  check(state, sum == tasks * (tasks - 1) / 2);
}

constexpr auto just_submit = [](auto& pool, std::int64_t i) { return pool.submit([i] { return i; }); };
constexpr auto just_take = [](auto& future) { return bench::take(future); };

/// What does a task cost from which a result is wanted, when there are many of them? The first result is asked for when
/// all are submitted.
template <class Pool>
void BM_Pool_submit_result(benchmark::State& state) {
  const bench::OnCpus cpus{state.range(1)};
  submit_and_finish<Pool>(state, kTasks, just_submit, just_take);
}

/// What does submitting alone cost? The results are awaited, but not measured.
template <class Pool>
void BM_Pool_submit(benchmark::State& state) {
  const auto workers = static_cast<int>(state.range(0));
  Pool pool{workers};
  std::vector<FutureOf<Pool>> futures;
  futures.reserve(kTasks);
  std::int64_t sum = 0;
  bench::measure_batches(
      state, kTasks, bench::cpus_beside(workers, 1), [&sum] { sum = 0; },
      [&](int) {
        for (std::int64_t i = 0; i < kTasks; ++i) {
          futures.push_back(just_submit(pool, i));
        }
        const Clock::time_point submitted = Clock::now();
        for (auto& future : futures) {
          sum += bench::take(future);
        }
        futures.clear();
        return submitted;
      });
  check(state, sum == kTasks * (kTasks - 1) / 2);
}

/// What does a task cost that nobody waits for? Each submitter has its share of the tasks; the time ends when the last
/// task is done.
template <class Pool>
void BM_Pool_detach(benchmark::State& state) {
  const auto submitters = static_cast<int>(state.range(0));
  const auto workers = static_cast<int>(state.range(1));
  Pool pool{workers};
  bench::DoneCount left;
  bench::measure_batches(
      state, kTasks, bench::cpus_beside(workers, submitters), [&] { left.expect(kTasks); },
      [&](int) {
        for (std::int64_t i = 0; i < kTasks / submitters; ++i) {
          pool.detach([&left] { left.arrive(); });
        }
        left.wait();
      });
}

template <class Pool>
struct Branch {
  Pool* pool;
  bench::DoneCount* left;
  int depth;

  void operator()() const {
    if (depth > 0) {
      for (int i = 0; i < 10; ++i) {
        pool->nest(Branch{pool, left, depth - 1});
      }
    }
    left->arrive();
  }
};

/// What does a task cost that a task submits? Ten trees: every task submits ten others, five levels deep.
template <class Pool>
void BM_Pool_tree(benchmark::State& state) {
  constexpr std::int64_t kTrees = 10;
  constexpr std::int64_t kNodes = kTrees * 111'111;
  const auto workers = static_cast<int>(state.range(0));
  Pool pool{workers};
  bench::DoneCount left;
  bench::measure_batches(
      state, kNodes, bench::cpus_beside(workers, 1), [&] { left.expect(kNodes); },
      [&](int) {
        for (std::int64_t i = 0; i < kTrees; ++i) {
          pool.detach(Branch<Pool>{&pool, &left, 5});
        }
        left.wait();
      });
}

/// How long is it from a submit() to the result, when there is nothing else to do? With idle_us, the submitter sleeps
/// for that long before each task, and the pool with it; the sleep is not measured.
template <class Pool>
void BM_Pool_round_trip(benchmark::State& state) {
  const auto workers = static_cast<int>(state.range(0));
  const std::chrono::microseconds idle{state.range(1)};
  const bench::OnCpus cpus{state.range(2)};
  const std::int64_t rounds = idle == 0us ? 1'000 : 100;
  Pool pool{workers};
  std::int64_t sum = 0;
  bench::measure_batches(
      state, rounds, bench::cpus_beside(workers, 1), [&sum] { sum = 0; },
      [&](int) {
        Clock::duration slept{};
        for (std::int64_t i = 0; i < rounds; ++i) {
          if (idle != 0us) {
            const Clock::time_point asleep = Clock::now();
            std::this_thread::sleep_for(idle);
            slept += Clock::now() - asleep;
          }
          auto future = just_submit(pool, i);
          sum += bench::take(future);
        }
        return Clock::now() - slept;
      });
  check(state, sum == rounds * (rounds - 1) / 2);
}

void few_workers(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"workers", "one_core"})
      ->Args({1, bench::own_cpus})
      ->Args({2, bench::own_cpus})
      ->Args({4, bench::own_cpus})
      ->Args({2, bench::one_core})
      ->UseManualTime();
}
void one_worker(benchmark::internal::Benchmark* benchmark) { benchmark->ArgName("workers")->Arg(1)->UseManualTime(); }
void one_two_and_four_workers(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("workers")->Arg(1)->Arg(2)->Arg(4)->UseManualTime();
}
void one_and_four_submitters(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"submitters", "workers"})
      ->Args({1, 1})
      ->Args({1, 2})
      ->Args({1, 4})
      ->Args({4, 4})
      ->UseManualTime();
}
void back_to_back_and_idle(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"workers", "idle_us", "one_core"})
      ->Args({1, 0, bench::own_cpus})
      ->Args({2, 0, bench::own_cpus})
      ->Args({4, 0, bench::own_cpus})
      ->Args({2, 200, bench::own_cpus})
      ->Args({2, 0, bench::one_core})
      ->UseManualTime();
}

#define FOR_EVERY_POOL(function, axes)                                        \
  BENCHMARK(function<bench::ConcPool>)->Name(#function "/conc")->Apply(axes); \
  BENCHMARK(function<bench::TbbPool>)->Name(#function "/tbb")->Apply(axes);   \
  BENCHMARK(function<bench::AsioPool>)->Name(#function "/asio")->Apply(axes); \
  BENCHMARK(function<bench::CvPool>)->Name(#function "/cv")->Apply(axes)
FOR_EVERY_POOL(BM_Pool_submit_result, few_workers);
FOR_EVERY_POOL(BM_Pool_submit, one_worker);
FOR_EVERY_POOL(BM_Pool_detach, one_and_four_submitters);
FOR_EVERY_POOL(BM_Pool_tree, one_two_and_four_workers);
BENCHMARK(BM_Pool_tree<bench::TbbGroupPool>)->Name("BM_Pool_tree/tbb_group")->Apply(one_two_and_four_workers);
FOR_EVERY_POOL(BM_Pool_round_trip, back_to_back_and_idle);
BENCHMARK(BM_Pool_round_trip<bench::StdAsync>)->Name("BM_Pool_round_trip/std")->Apply(back_to_back_and_idle);

/// The same with std::async, a thread for each task: so few tasks that the system has room for their threads.
void BM_Pool_submit_result_std(benchmark::State& state) {
  submit_and_finish<bench::StdAsync>(state, 1'000, just_submit, just_take);
}
BENCHMARK(BM_Pool_submit_result_std)
    ->Name("BM_Pool_submit_result/std")
    ->ArgNames({"workers", "one_core"})
    ->Args({2, bench::own_cpus})
    ->UseManualTime();

/// What does each thing cost that one can do with a future, beyond the result? BM_Pool_submit_result with one worker
/// and one thing more: a callback.
void BM_Pool_submit_result_callback(benchmark::State& state) {
  submit_and_finish<bench::ConcPool>(
      state, kTasks,
      [](auto& pool, std::int64_t i) {
        auto future = just_submit(pool, i);
        future.add_done_callback([](const auto& done) { benchmark::DoNotOptimize(&done); });
        return future;
      },
      just_take);
}
BENCHMARK(BM_Pool_submit_result_callback)->Name("BM_Pool_submit_result_callback/conc")->Apply(one_worker);

/// A cancel() for every result, which comes too late.
void BM_Pool_submit_result_cancel(benchmark::State& state) {
  submit_and_finish<bench::ConcPool>(state, kTasks, just_submit, [](auto& future) {
    future.wait();
    return future.cancel() ? -1 : bench::take(future);
  });
}
BENCHMARK(BM_Pool_submit_result_cancel)->Name("BM_Pool_submit_result_cancel/conc")->Apply(one_worker);

/// A deadline for every result.
void BM_Pool_submit_result_deadline(benchmark::State& state) {
  submit_and_finish<bench::ConcPool>(state, kTasks, just_submit,
                                     [](auto& future) { return std::move(future).result(1h); });
}
BENCHMARK(BM_Pool_submit_result_deadline)->Name("BM_Pool_submit_result_deadline/conc")->Apply(one_worker);
void BM_Pool_submit_result_deadline_cv(benchmark::State& state) {
  submit_and_finish<bench::CvPool>(state, kTasks, just_submit, [](auto& future) {
    return future.wait_for(1h) == std::future_status::ready ? future.get() : 0;
  });
}
BENCHMARK(BM_Pool_submit_result_deadline_cv)->Name("BM_Pool_submit_result_deadline/cv")->Apply(one_worker);

/// A task that can be asked to stop.
void BM_Pool_submit_result_stop_token(benchmark::State& state) {
  submit_and_finish<bench::ConcPool>(
      state, kTasks,
      [](auto& pool, std::int64_t i) {
        return pool.submit([i](conc::StopToken token) { return token.stop_requested() ? 0 : i; });
      },
      just_take);
}
BENCHMARK(BM_Pool_submit_result_stop_token)->Name("BM_Pool_submit_result_stop_token/conc")->Apply(one_worker);

/// The figure that `share` of the sorted figures do not exceed.
double percentile(const std::vector<double>& sorted, double share) {
  const auto index = static_cast<std::size_t>(share * static_cast<double>(sorted.size()));
  return sorted[std::min(index, sorted.size() - 1)];
}

/// How long until a task starts that comes at any time, while the pool is busy half of the time? One worker, tasks of
/// 10 us, 15 to 25 us apart, so that no task has to wait for another: the wait is the pool's own. The time is the mean.
template <class Pool>
void BM_Pool_start_latency(benchmark::State& state) {
  constexpr std::size_t kArrivals = 20'000;
  Pool pool{1};
  std::vector<FutureOf<Pool>> futures;
  futures.reserve(kArrivals);
  std::vector<Clock::duration> gaps(kArrivals);
  std::mt19937_64 random{1};
  for (Clock::duration& gap : gaps) {
    gap = std::chrono::nanoseconds{std::uniform_int_distribution<std::int64_t>{15'000, 25'000}(random)};
  }
  std::vector<double> waited(kArrivals);
  for (auto _ : state) {
    std::int64_t done = 0;
    std::thread{[&] {
      bench::pin_this_thread(bench::cpu_of(1));
      Clock::time_point next = Clock::now();
      for (std::size_t i = 0; i < kArrivals; ++i) {
        next += gaps[i];
        while (Clock::now() < next) {
        }
        const Clock::time_point submitted = Clock::now();
        futures.push_back(pool.submit([submitted, to = &waited[i]]() -> std::int64_t {
          const Clock::time_point started = Clock::now();
          *to = std::chrono::duration<double, std::nano>{started - submitted}.count();
          while (Clock::now() < started + 10us) {
          }
          return 1;
        }));
      }
      for (auto& future : futures) {
        done += bench::take(future);
      }
      futures.clear();
    }}.join();
    check(state, done == static_cast<std::int64_t>(kArrivals));
    std::ranges::sort(waited);
    state.SetIterationTime(std::accumulate(waited.begin(), waited.end(), 0.0) / static_cast<double>(kArrivals) / 1e9);
    state.counters["p50"] = percentile(waited, 0.5);
    state.counters["p99"] = percentile(waited, 0.99);
    state.counters["p99.9"] = percentile(waited, 0.999);
  }
}

/// Is anybody left behind? Four threads submit a task and wait for its result, again and again, all at once. The time
/// is the mean of all waits; beside it the longest one, and the mean of the thread that waited most.
template <class Pool>
void BM_Pool_fairness(benchmark::State& state) {
  constexpr std::size_t kSubmitters = 4;
  constexpr std::int64_t kRounds = 5'000;
  struct alignas(128) Waits {
    Clock::duration all{};
    Clock::duration longest{};
  };
  Pool pool{2};
  for (auto _ : state) {
    std::barrier gate{static_cast<std::ptrdiff_t>(kSubmitters)};
    std::array<Waits, kSubmitters> waits;
    std::vector<std::thread> team;
    for (std::size_t me = 0; me < kSubmitters; ++me) {
      team.emplace_back([&, me] {
        bench::pin_this_thread(bench::cpu_of(static_cast<int>(2 + me)));
        gate.arrive_and_wait();
        for (std::int64_t i = 0; i < kRounds; ++i) {
          const Clock::time_point begin = Clock::now();
          auto future = just_submit(pool, i);
          benchmark::DoNotOptimize(bench::take(future));
          const Clock::duration wait = Clock::now() - begin;
          waits[me].all += wait;
          waits[me].longest = std::max(waits[me].longest, wait);
        }
      });
    }
    Clock::duration all{};
    Clock::duration longest{};
    Clock::duration slowest{};
    for (std::size_t me = 0; me < kSubmitters; ++me) {
      team[me].join();
      all += waits[me].all;
      longest = std::max(longest, waits[me].longest);
      slowest = std::max(slowest, waits[me].all);
    }
    const auto nanoseconds = [](Clock::duration span, std::int64_t count) {
      return std::chrono::duration<double, std::nano>{span}.count() / static_cast<double>(count);
    };
    state.SetIterationTime(nanoseconds(all, kSubmitters * kRounds) / 1e9);
    state.counters["longest"] = nanoseconds(longest, 1);
    state.counters["slowest"] = nanoseconds(slowest, kRounds);
  }
}

void once(benchmark::internal::Benchmark* benchmark) { benchmark->Iterations(1)->UseManualTime(); }

FOR_EVERY_POOL(BM_Pool_start_latency, once);
FOR_EVERY_POOL(BM_Pool_fairness, once);

}  // namespace
