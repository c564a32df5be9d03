// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>
#include <adapters.hpp>
#include <pinned.hpp>

#include <conc/event.hpp>
#include <cstdint>

namespace {

/// What does a set() cost when it is up already, with the wait() that returns at once?
template <class E>
void BM_Event_set_wait(benchmark::State& state) {
  E event;
  for (auto _ : state) {
    event.set();
    event.wait();
    benchmark::ClobberMemory();
  }
}
BENCHMARK(BM_Event_set_wait<conc::Event>)->Name("BM_Event_set_wait/conc");
BENCHMARK(BM_Event_set_wait<bench::AtomicWaitEvent>)->Name("BM_Event_set_wait/std_atomic_wait");
BENCHMARK(BM_Event_set_wait<bench::ConditionEvent>)->Name("BM_Event_set_wait/std_cv");

/// How long until the other thread goes on? Two threads wake each other in turn; one operation is one way.
template <class E>
void BM_Event_ping_pong(benchmark::State& state) {
  struct alignas(128) Side {
    E event;
  };
  Side sides[2];
  bench::measure_pinned(state, 2, static_cast<bench::Placement>(state.range(0)), [&sides](int me, std::int64_t rounds) {
    E& mine = sides[me].event;
    E& others = sides[1 - me].event;
    for (std::int64_t i = 0; i < rounds; ++i) {
      if (me == 0) {
        others.set();
      }
      mine.wait();
      mine.clear();
      if (me == 1) {
        others.set();
      }
    }
  });
}
BENCHMARK(BM_Event_ping_pong<conc::Event>)
    ->Name("BM_Event_ping_pong/conc")
    ->ArgName("one_core")
    ->Arg(bench::own_cpus)
    ->Arg(bench::one_core)
    ->UseManualTime();
BENCHMARK(BM_Event_ping_pong<bench::AtomicWaitEvent>)
    ->Name("BM_Event_ping_pong/std_atomic_wait")
    ->ArgName("one_core")
    ->Arg(bench::own_cpus)
    ->Arg(bench::one_core)
    ->UseManualTime();
BENCHMARK(BM_Event_ping_pong<bench::ConditionEvent>)
    ->Name("BM_Event_ping_pong/std_cv")
    ->ArgName("one_core")
    ->Arg(bench::own_cpus)
    ->Arg(bench::one_core)
    ->UseManualTime();

}  // namespace
