// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>
#include <batches.hpp>

#include <conc/future.hpp>
#include <cstddef>
#include <cstdint>
#include <future>
#include <utility>
#include <vector>

namespace {

struct Conc {
  using Promise = conc::Promise<std::int64_t>;
  using Future = conc::Future<std::int64_t>;
  static void set(Promise& promise, std::int64_t value) { promise.set_result(value); }
  static std::int64_t get(Future& future) { return std::move(future).result(); }
};

struct Std {
  using Promise = std::promise<std::int64_t>;
  using Future = std::future<std::int64_t>;
  static void set(Promise& promise, std::int64_t value) { promise.set_value(value); }
  static std::int64_t get(Future& future) { return future.get(); }
};

/// What does a future cost that nobody has to wait for?
template <class Kind>
void BM_Future_create_set_get(benchmark::State& state) {
  std::int64_t value = 0;
  for (auto _ : state) {
    typename Kind::Promise promise;
    typename Kind::Future future = promise.get_future();
    Kind::set(promise, value + 1);
    value = Kind::get(future);
    benchmark::DoNotOptimize(value);
  }
}
BENCHMARK(BM_Future_create_set_get<Conc>)->Name("BM_Future_create_set_get/conc");
BENCHMARK(BM_Future_create_set_get<Std>)->Name("BM_Future_create_set_get/std");

/// How long until the value that one thread sets is in the hands of another that waits for it? Two threads answer each
/// other through futures that are used once and made beforehand; one operation is one way.
template <class Kind>
void BM_Future_hand_off(benchmark::State& state) {
  constexpr std::size_t kRounds = 1'000;
  struct Way {
    std::vector<typename Kind::Promise> promises;
    std::vector<typename Kind::Future> futures;
  };
  Way there;
  Way back;
  const auto prepare = [&] {
    for (Way* way : {&there, &back}) {
      way->futures.clear();
      way->promises.clear();
      for (std::size_t i = 0; i < kRounds; ++i) {
        way->futures.push_back(way->promises.emplace_back().get_future());
      }
    }
  };
  std::vector<std::size_t> cpus{bench::cpu_of(0), bench::cpu_of(state.range(0) == bench::one_core ? 0 : 1)};
  if (state.range(0) == bench::own_cpus && cpus[0] == cpus[1]) {
    state.SkipWithError("needs two CPUs");
    return;
  }
  std::int64_t sum = 0;
  bench::measure_batches(state, 2 * kRounds, cpus, prepare, [&](int me) {
    for (std::size_t i = 0; i < kRounds; ++i) {
      if (me == 0) {
        Kind::set(there.promises[i], 1);
        sum += Kind::get(back.futures[i]);
      } else {
        Kind::set(back.promises[i], Kind::get(there.futures[i]));
      }
    }
  });
  benchmark::DoNotOptimize(sum);
}

void two_threads(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("one_core")->Arg(bench::own_cpus)->Arg(bench::one_core)->UseManualTime();
}
BENCHMARK(BM_Future_hand_off<Conc>)->Name("BM_Future_hand_off/conc")->Apply(two_threads);
BENCHMARK(BM_Future_hand_off<Std>)->Name("BM_Future_hand_off/std")->Apply(two_threads);

}  // namespace
