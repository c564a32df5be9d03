// SPDX-License-Identifier: MIT
// Sleep and wake, as all that waits in conc uses them: on the backend that this program is built for. Processor time
// counts, of all threads.
#include <benchmark/benchmark.h>
#include <conc/detail/sync.hpp>
#include <pinned.hpp>

#include <cstdint>
#include <string>

namespace {

namespace mo = conc::detail::mo;
namespace seam = conc::detail::sync;
using Word = seam::Atomic<std::uint32_t>;

#if defined(CONC_PORTABLE)
const std::string who = "portable";
#else
const std::string who = "futex";
#endif

// What does a wake cost that finds nobody?
void BM_Sleep_wake_nobody(benchmark::State& state) {
  const Word word{0};
  for (auto _ : state) {
    seam::wake(&word, 1);
  }
}

// What does it cost to want to sleep on a word that has changed meanwhile?
void BM_Sleep_wait_changed(benchmark::State& state) {
  const Word word{1};
  for (auto _ : state) {
    benchmark::DoNotOptimize(seam::wait(word, std::uint32_t{0}, seam::forever));
  }
}

// What does it cost to go to sleep and be woken? Two threads take turns and do nothing but sleep meanwhile; a turn is one
// operation.
void BM_Sleep_ping_pong(benchmark::State& state) {
  Word turn{0};
  bench::measure_pinned(state, 2, static_cast<bench::Placement>(state.range(0)), [&turn](int me, std::int64_t rounds) {
    const auto mine = static_cast<std::uint32_t>(me);
    for (std::int64_t i = 0; i < rounds; ++i) {
      while (turn.load(mo::acquire) != mine) {
        seam::wait(turn, 1 - mine, seam::forever);
      }
      turn.store(1 - mine, mo::release);
      seam::wake(&turn, 1);
    }
  });
}

const bool registered = [] {
  benchmark::RegisterBenchmark(("BM_Sleep_wake_nobody/" + who).c_str(), BM_Sleep_wake_nobody);
  benchmark::RegisterBenchmark(("BM_Sleep_wait_changed/" + who).c_str(), BM_Sleep_wait_changed);
  benchmark::RegisterBenchmark(("BM_Sleep_ping_pong/" + who).c_str(), BM_Sleep_ping_pong)
      ->ArgName("one_core")
      ->Arg(bench::own_cpus)
      ->Arg(bench::one_core)
      ->MeasureProcessCPUTime()
      ->UseManualTime();
  return true;
}();

}  // namespace
