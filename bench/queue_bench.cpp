// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>
#include <adapters.hpp>
#include <pinned.hpp>

#include <cstddef>
#include <cstdint>

namespace {

constexpr std::size_t kBound = 1024;

/// `pairs` producers and as many consumers move items through one queue; one operation is one item.
template <class Q>
void move_items(benchmark::State& state, std::size_t capacity) {
  const auto pairs = static_cast<int>(state.range(0));
  Q queue{capacity};
  // A round of a producer and one of a consumer make one item, hence the two rounds.
  bench::measure_pinned(state, 2 * pairs, static_cast<bench::Placement>(state.range(1)),
                        [&queue, pairs](int me, std::int64_t rounds) {
                          if (me < pairs) {
                            auto put = queue.producer();
                            for (std::int64_t i = 0; i < 2 * rounds; ++i) {
                              put(static_cast<bench::Item>(i));
                            }
                          } else {
                            auto get = queue.consumer();
                            for (std::int64_t i = 0; i < 2 * rounds; ++i) {
                              benchmark::DoNotOptimize(get());
                            }
                          }
                        });
}

void pairs_of_threads(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"pairs", "one_core"})
      ->Args({1, bench::own_cpus})
      ->Args({2, bench::own_cpus})
      ->Args({4, bench::own_cpus})
      ->Args({1, bench::one_core})
      ->UseManualTime();
}

void two_or_four_threads(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"pairs", "one_core"})->Args({1, bench::own_cpus})->Args({2, bench::own_cpus})->UseManualTime();
}

/// How fast does a queue with room for 1024 items move them, when producers are held back by consumers?
template <class Q>
void BM_Queue_bounded(benchmark::State& state) {
  move_items<Q>(state, kBound);
}
BENCHMARK(BM_Queue_bounded<bench::ConcCountedQueue>)->Name("BM_Queue_bounded/conc")->Apply(pairs_of_threads);
BENCHMARK(BM_Queue_bounded<bench::ConcQueue>)->Name("BM_Queue_bounded/conc_uncounted")->Apply(pairs_of_threads);
BENCHMARK(BM_Queue_bounded<bench::StdQueue>)->Name("BM_Queue_bounded/std")->Apply(pairs_of_threads);
BENCHMARK(BM_Queue_bounded<bench::TbbQueue>)->Name("BM_Queue_bounded/tbb")->Apply(pairs_of_threads);

/// The same without a bound.
template <class Q>
void BM_Queue_unbounded(benchmark::State& state) {
  move_items<Q>(state, 0);
}
BENCHMARK(BM_Queue_unbounded<bench::ConcCountedQueue>)->Name("BM_Queue_unbounded/conc")->Apply(pairs_of_threads);
BENCHMARK(BM_Queue_unbounded<bench::ConcQueue>)->Name("BM_Queue_unbounded/conc_uncounted")->Apply(pairs_of_threads);
BENCHMARK(BM_Queue_unbounded<bench::StdQueue>)->Name("BM_Queue_unbounded/std")->Apply(pairs_of_threads);
BENCHMARK(BM_Queue_unbounded<bench::TbbQueue>)->Name("BM_Queue_unbounded/tbb")->Apply(pairs_of_threads);
BENCHMARK(BM_Queue_unbounded<bench::MoodycamelQueue>)->Name("BM_Queue_unbounded/moodycamel")->Apply(pairs_of_threads);
BENCHMARK(BM_Queue_unbounded<bench::MoodycamelTokenQueue>)
    ->Name("BM_Queue_unbounded/moodycamel_tokens")
    ->Apply(pairs_of_threads);

/// What do put() and get() cost when one thread does both and never waits?
template <class Q>
void BM_Queue_put_get_pair(benchmark::State& state) {
  Q queue{static_cast<std::size_t>(state.range(0))};
  auto put = queue.producer();
  auto get = queue.consumer();
  bench::Item item = 0;
  for (auto _ : state) {
    put(item);
    item = get();
    benchmark::DoNotOptimize(item);
  }
}
BENCHMARK(BM_Queue_put_get_pair<bench::ConcCountedQueue>)
    ->Name("BM_Queue_put_get_pair/conc")
    ->ArgName("capacity")
    ->Arg(kBound)
    ->Arg(0);
BENCHMARK(BM_Queue_put_get_pair<bench::ConcQueue>)
    ->Name("BM_Queue_put_get_pair/conc_uncounted")
    ->ArgName("capacity")
    ->Arg(kBound)
    ->Arg(0);
BENCHMARK(BM_Queue_put_get_pair<bench::StdQueue>)
    ->Name("BM_Queue_put_get_pair/std")
    ->ArgName("capacity")
    ->Arg(kBound)
    ->Arg(0);
BENCHMARK(BM_Queue_put_get_pair<bench::TbbQueue>)->Name("BM_Queue_put_get_pair/tbb")->ArgName("capacity")->Arg(kBound);
BENCHMARK(BM_Queue_put_get_pair<bench::TbbTryQueue>)->Name("BM_Queue_put_get_pair/tbb")->ArgName("capacity")->Arg(0);
BENCHMARK(BM_Queue_put_get_pair<bench::MoodycamelTryQueue>)
    ->Name("BM_Queue_put_get_pair/moodycamel")
    ->ArgName("capacity")
    ->Arg(0);
BENCHMARK(BM_Queue_put_get_pair<bench::MoodycamelTryTokenQueue>)
    ->Name("BM_Queue_put_get_pair/moodycamel_tokens")
    ->ArgName("capacity")
    ->Arg(0);

/// The same with the newest item first.
BENCHMARK(BM_Queue_bounded<bench::ConcCountedLifoQueue>)->Name("BM_LifoQueue_bounded/conc")->Apply(two_or_four_threads);
BENCHMARK(BM_Queue_bounded<bench::ConcLifoQueue>)
    ->Name("BM_LifoQueue_bounded/conc_uncounted")
    ->Apply(two_or_four_threads);
BENCHMARK(BM_Queue_bounded<bench::StdStack>)->Name("BM_LifoQueue_bounded/std")->Apply(two_or_four_threads);

/// And with the smallest one first, where those of a producer come in order.
BENCHMARK(BM_Queue_bounded<bench::ConcCountedPriorityQueue>)
    ->Name("BM_PriorityQueue_bounded/conc")
    ->Apply(two_or_four_threads);
BENCHMARK(BM_Queue_bounded<bench::ConcPriorityQueue>)
    ->Name("BM_PriorityQueue_bounded/conc_uncounted")
    ->Apply(two_or_four_threads);
BENCHMARK(BM_Queue_bounded<bench::StdPriorityQueue>)->Name("BM_PriorityQueue_bounded/std")->Apply(two_or_four_threads);

/// What does it cost to get the smallest of so many items, and to put one in that is larger by a random number, as a
/// simulation does with its events?
template <class Q>
void BM_PriorityQueue_put_get_pair(benchmark::State& state) {
  Q queue{0};
  auto put = queue.producer();
  auto get = queue.consumer();
  bench::Item random = 1;
  const auto later = [&random] {  // Lehmer's generator
    random = random * 48271 % 2147483647;
    return random;
  };
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    put(later());
  }
  for (auto _ : state) {
    put(get() + later());
  }
}
BENCHMARK(BM_PriorityQueue_put_get_pair<bench::ConcCountedPriorityQueue>)
    ->Name("BM_PriorityQueue_put_get_pair/conc")
    ->ArgName("items")
    ->Arg(10)
    ->Arg(10'000);
BENCHMARK(BM_PriorityQueue_put_get_pair<bench::ConcPriorityQueue>)
    ->Name("BM_PriorityQueue_put_get_pair/conc_uncounted")
    ->ArgName("items")
    ->Arg(10)
    ->Arg(10'000);
BENCHMARK(BM_PriorityQueue_put_get_pair<bench::StdPriorityQueue>)
    ->Name("BM_PriorityQueue_put_get_pair/std")
    ->ArgName("items")
    ->Arg(10)
    ->Arg(10'000);
BENCHMARK(BM_PriorityQueue_put_get_pair<bench::TbbTryPriorityQueue>)
    ->Name("BM_PriorityQueue_put_get_pair/tbb")
    ->ArgName("items")
    ->Arg(10)
    ->Arg(10'000);

/// How long until an item that one thread puts is in the hands of another that waits for it? One item travels to and fro
/// through two queues; one operation is one way.
template <class Q>
void BM_Queue_ping_pong(benchmark::State& state) {
  Q there{kBound};
  Q back{kBound};
  bench::measure_pinned(state, 2, static_cast<bench::Placement>(state.range(0)),
                        [&there, &back](int me, std::int64_t rounds) {
                          auto put = (me == 0 ? there : back).producer();
                          auto get = (me == 0 ? back : there).consumer();
                          bench::Item item = 0;
                          for (std::int64_t i = 0; i < rounds; ++i) {
                            if (me == 0) {
                              put(item);
                            }
                            item = get();
                            if (me == 1) {
                              put(item);
                            }
                          }
                        });
}

void two_threads(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("one_core")->Arg(bench::own_cpus)->Arg(bench::one_core)->UseManualTime();
}

BENCHMARK(BM_Queue_ping_pong<bench::ConcCountedQueue>)->Name("BM_Queue_ping_pong/conc")->Apply(two_threads);
BENCHMARK(BM_Queue_ping_pong<bench::ConcQueue>)->Name("BM_Queue_ping_pong/conc_uncounted")->Apply(two_threads);
BENCHMARK(BM_Queue_ping_pong<bench::StdQueue>)->Name("BM_Queue_ping_pong/std")->Apply(two_threads);
BENCHMARK(BM_Queue_ping_pong<bench::TbbQueue>)->Name("BM_Queue_ping_pong/tbb")->Apply(two_threads);
BENCHMARK(BM_Queue_ping_pong<bench::MoodycamelQueue>)->Name("BM_Queue_ping_pong/moodycamel")->Apply(two_threads);

}  // namespace
