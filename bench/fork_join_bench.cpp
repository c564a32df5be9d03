// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/partitioner.h>
#include <batches.hpp>
#include <pool_adapters.hpp>

#include <conc/executor.hpp>
#include <conc/task_group.hpp>
#include <conc/thread_pool.hpp>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

/// `threads` threads of oneTBB, the caller being one of them.
class TbbTeam : public bench::TbbPool {
 public:
  explicit TbbTeam(int threads) : TbbPool{threads, 1} {}
  template <class F>
  void run(F f) {
    arena_.execute(f);
  }
};

/// fib(n) calls itself so often, the first call included.
std::int64_t fib_calls(int n) { return n < 2 ? 1 : 1 + fib_calls(n - 1) + fib_calls(n - 2); }

int conc_fib(conc::ThreadPoolExecutor& pool, int n) {
  if (n < 2) {
    return n;
  }
  int one = 0;
  conc::TaskGroup group{pool};
  group.run([&one, &pool, n] { one = conc_fib(pool, n - 1); });
  const int two = conc_fib(pool, n - 2);
  group.wait();
  return one + two;
}

int tbb_fib(int n) {
  if (n < 2) {
    return n;
  }
  int one = 0;
  oneapi::tbb::task_group group;
  group.run([&one, n] { one = tbb_fib(n - 1); });
  const int two = tbb_fib(n - 2);
  group.wait();
  return one + two;
}

constexpr int kFib = 25;
constexpr int kFib25 = 75'025;

void check(benchmark::State& state, bool right) {
  if (!right) {
    state.SkipWithError("the result is wrong");
  }
}

/// What does a task cost that is forked and joined at once, in a recursion that does nothing else? One operation is one
/// call.
void BM_ForkJoin_fib_conc(benchmark::State& state) {
  const auto workers = static_cast<int>(state.range(0));
  bench::ConcPool pool{workers};
  int result = 0;
  bench::measure_batches(
      state, fib_calls(kFib), bench::cpus_beside(workers, 1), [] {},
      [&](int) { result = pool.pool().submit([&pool] { return conc_fib(pool.pool(), kFib); }).result(); });
  check(state, result == kFib25);
}

void BM_ForkJoin_fib_tbb(benchmark::State& state) {
  TbbTeam team{static_cast<int>(state.range(0))};
  int result = 0;
  bench::measure_batches(
      state, fib_calls(kFib), {bench::cpu_of(0)}, [] {}, [&](int) { team.run([&] { result = tbb_fib(kFib); }); });
  check(state, result == kFib25);
}

void one_two_and_four_workers(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("workers")->Arg(1)->Arg(2)->Arg(4)->UseManualTime();
}
BENCHMARK(BM_ForkJoin_fib_conc)->Name("BM_ForkJoin_fib/conc")->Apply(one_two_and_four_workers);
BENCHMARK(BM_ForkJoin_fib_tbb)->Name("BM_ForkJoin_fib/tbb")->Apply(one_two_and_four_workers);

/// conc, with as many threads as the others: the caller and a pool of one less.
class ConcLoop {
 public:
  explicit ConcLoop(int threads) : pool_{threads - 1, 1} {}
  template <class F>
  void operator()(std::size_t n, const F& f) {
    conc::parallel_for(pool_.pool(), n, f);
  }

 private:
  bench::ConcPool pool_;
};

/// conc, the caller coming on top of the workers of the pool.
class ConcLoopOnTop {
 public:
  explicit ConcLoopOnTop(int threads) : pool_{threads} {}
  template <class F>
  void operator()(std::size_t n, const F& f) {
    conc::parallel_for(pool_.pool(), n, f);
  }

 private:
  bench::ConcPool pool_;
};

/// oneTBB with one of its ways to cut a range into pieces.
template <class Partitioner>
class TbbLoop {
 public:
  explicit TbbLoop(int threads) : team_{threads} {}
  template <class F>
  void operator()(std::size_t n, const F& f) {
    team_.run([&] { oneapi::tbb::parallel_for(std::size_t{0}, n, f, Partitioner{}); });
  }

 private:
  TbbTeam team_;
};

/// One thread and a plain loop.
class SerialLoop {
 public:
  explicit SerialLoop(int /*threads*/) {}
  template <class F>
  void operator()(std::size_t n, const F& f) {
    for (std::size_t i = 0; i < n; ++i) {
      f(i);
    }
  }
};

constexpr std::size_t kElements = 1'000'000;
constexpr std::size_t kSide = 256;

/// What does sharing out a loop cost whose elements are next to nothing? One operation is one element.
template <class Loop>
void BM_ParallelFor_trivial(benchmark::State& state) {
  Loop loop{static_cast<int>(state.range(0))};
  std::vector<std::uint32_t> elements(kElements);
  std::uint32_t batches = 0;
  bench::measure_batches(
      state, kElements, {bench::cpu_of(0)}, [&batches] { ++batches; },
      [&](int) { loop(kElements, [data = elements.data()](std::size_t i) { data[i] += 1; }); });
  for (const std::uint32_t element : elements) {
    if (element != batches) {
      check(state, false);
      break;
    }
  }
}

/// After how many steps the point is known to be outside the Mandelbrot set, at most 255.
std::uint8_t mandelbrot(double re, double im) {
  double x = 0;
  double y = 0;
  std::uint8_t steps = 0;
  while (steps < 255 && x * x + y * y <= 4) {
    const double next = x * x - y * y + re;
    y = 2 * x * y + im;
    x = next;
    ++steps;
  }
  return steps;
}

/// How well is a loop shared out whose elements differ widely? The rows of the Mandelbrot set: those in the middle take
/// many times longer than those at the edge. One operation is one row.
template <class Loop>
void BM_ParallelFor_mandelbrot(benchmark::State& state) {
  Loop loop{static_cast<int>(state.range(0))};
  std::vector<std::uint8_t> image(kSide * kSide);
  bench::measure_batches(
      state, kSide, {bench::cpu_of(0)}, [&image] { image.assign(image.size(), 0); },
      [&](int) {
        loop(kSide, [data = image.data()](std::size_t row) {
          for (std::size_t column = 0; column < kSide; ++column) {
            data[row * kSide + column] =
                mandelbrot(-2 + 3 * static_cast<double>(column) / kSide, -1.5 + 3 * static_cast<double>(row) / kSide);
          }
        });
      });
  bool right = true;
  for (const std::uint8_t steps : image) {
    right = right && steps != 0;
  }
  check(state, right);
}

void two_threads(benchmark::internal::Benchmark* benchmark) { benchmark->ArgName("threads")->Arg(2)->UseManualTime(); }

#define FOR_EVERY_LOOP(function)                                                                                    \
  BENCHMARK(function<ConcLoop>)->Name(#function "/conc")->Apply(two_threads);                                       \
  BENCHMARK(function<ConcLoopOnTop>)->Name(#function "/conc_on_top")->Apply(two_threads);                           \
  BENCHMARK(function<TbbLoop<oneapi::tbb::auto_partitioner>>)->Name(#function "/tbb")->Apply(two_threads);          \
  BENCHMARK(function<TbbLoop<oneapi::tbb::static_partitioner>>)->Name(#function "/tbb_static")->Apply(two_threads); \
  BENCHMARK(function<SerialLoop>)->Name(#function "/serial")->Apply(two_threads)
FOR_EVERY_LOOP(BM_ParallelFor_trivial);
FOR_EVERY_LOOP(BM_ParallelFor_mandelbrot);

}  // namespace
