// SPDX-License-Identifier: MIT
/// @file
/// What does it cost to count from many threads? Threads do rounds of work and count each round with a counter of one
/// of four kinds; the table compares the times.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <conc/atomic_integer.hpp>
#include <conc/event.hpp>
#include <conc/lock.hpp>
#include <conc/semaphore.hpp>
#include <conc/thread.hpp>

namespace {

constexpr const char* kDescription =
    "Threads do rounds of work and count every round: not at all, with an AtomicInteger, and with a plain integer\n"
    "protected by a Lock or an RLock. The work of a round:\n"
    "  IO_BUSY   a sleep, like a program that waits for a disk or a peer\n"
    "  CPU_BUSY  multiplications\n"
    "  NOTHING   the counter alone, all threads at it, many rounds\n\n"
    "'ns per operation' is the median time above that of the same work without a counter, divided by the number of\n"
    "counts. It is left out if any run with the counter was as fast as one without: there the cost cannot be seen.\n\n"
    "Exit code: 0 every counter was exact, 1 one was not, or threads could not be started, 2 wrong use.\n";

struct Options {
  int threads = 20;
  int rounds = 20;
  int rounds_of_nothing = 200'000;
  int repetitions = 5;
  int sleep_us = 1'000;
  int multiplications = 10'000;
  bool full = false;
};

// The four ways to count. Each has inc(), and value() for when all threads are done.

struct NoCounter {
  void inc() noexcept {}
};

struct AtomicCounter {
  void inc() noexcept { count.inc(); }
  std::int64_t value() const noexcept { return count.value(); }

  conc::AtomicInteger count{0};
};

template <class L>
struct LockedCounter {
  void inc() {
    conc::ScopedLock guard{lock};
    ++count;
  }
  std::int64_t value() const noexcept { return count; }

  L lock;
  std::int64_t count = 0;
};

// The three kinds of work.

struct IoBusy {
  void operator()(const Options& options) const {
    std::this_thread::sleep_for(std::chrono::microseconds{options.sleep_us});
  }
};

struct CpuBusy {
  void operator()(const Options& options) const noexcept {
    std::uint64_t product = 3;
    for (int i = 0; i < options.multiplications; ++i) product *= 0x9e3779b97f4a7c15;
    [[maybe_unused]] volatile std::uint64_t result = product;  // or the compiler would leave out the loop
  }
};

struct Nothing {
  void operator()(const Options&) const noexcept {}
};

/// Runs the threads once, and returns the seconds from the moment when all may go until the last one is done.
template <class Counter, class Work>
double measure(const Options& options, int rounds) {
  Counter counter;
  const Work work;
  conc::Semaphore ready{0};
  conc::Event go;
  const auto run = [&] {
    ready.release();
    go.wait();
    for (int i = 0; i < rounds; ++i) {
      work(options);
      counter.inc();
    }
  };

  std::vector<conc::Thread> threads;
  try {
    for (int i = 0; i < options.threads; ++i) {
      conc::Thread thread{run};
      thread.start();
      threads.push_back(thread);
    }
  } catch (...) {
    go.set();
    for (conc::Thread& thread : threads) thread.join();
    throw;
  }
  for (int i = 0; i < options.threads; ++i) ready.acquire();

  const auto start = std::chrono::steady_clock::now();
  go.set();
  for (conc::Thread& thread : threads) thread.join();
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;

  if constexpr (!std::is_same_v<Counter, NoCounter>) {
    const std::int64_t expected = std::int64_t{options.threads} * rounds;
    if (counter.value() != expected) {
      throw std::logic_error("a counter says " + std::to_string(counter.value()) + " instead of " +
                             std::to_string(expected));
    }
  }
  return time.count();
}

struct Times {
  explicit Times(std::vector<double> times) {
    std::sort(times.begin(), times.end());
    const std::size_t last = times.size() - 1;
    least = times.front();
    median = (times[last / 2] + times[last - last / 2]) / 2;
    most = times.back();
  }

  double least, median, most;
};

template <class Work>
void compare(const Options& options, const char* name, int rounds) {
  struct Kind {
    const char* name;
    double (*measure)(const Options&, int rounds);
    std::vector<double> seconds{};
  };
  Kind kinds[] = {{"no counter", measure<NoCounter, Work>},
                  {"AtomicInteger", measure<AtomicCounter, Work>},
                  {"Lock", measure<LockedCounter<conc::Lock>, Work>},
                  {"RLock", measure<LockedCounter<conc::RLock>, Work>}};
  for (int repetition = 0; repetition < options.repetitions; ++repetition) {
    // The kinds take turns, so that a slow moment of the machine hits them all.
    for (Kind& kind : kinds) kind.seconds.push_back(kind.measure(options, rounds));
  }

  const Times base(kinds[0].seconds);
  const double operations = static_cast<double>(options.threads) * rounds;
  for (const Kind& kind : kinds) {
    const Times times(kind.seconds);
    std::printf("%-9s %-14s %10.6f %10.6f .. %-10.6f", name, kind.name, times.median, times.least, times.most);
    if (times.least > base.most) {
      std::printf(" %10.1f\n", (times.median - base.median) / operations * 1e9);
    } else {
      std::printf(" %10s\n", "-");
    }
  }
}

void compare_all(const Options& options) {
  std::printf(
      "%d threads, %d repetitions; every thread: %d rounds of IO_BUSY (%d us) or CPU_BUSY (%d multiplications),"
      " %d of NOTHING\n\n",
      options.threads, options.repetitions, options.rounds, options.sleep_us, options.multiplications,
      options.rounds_of_nothing);
  std::printf("%-9s %-14s %10s %-24s %s\n", "work", "counter", "median s", "     least .. most", "ns per operation");
  compare<IoBusy>(options, "IO_BUSY", options.rounds);
  compare<CpuBusy>(options, "CPU_BUSY", options.rounds);
  compare<Nothing>(options, "NOTHING", options.rounds_of_nothing);
  std::printf("\nEvery counter was exact.\n");
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{kDescription};
  const auto add = [&app](const char* name, int& value, int least, int most, const char* text) {
    return app.add_option(name, value, text)->check(CLI::Range(least, most))->capture_default_str();
  };
  add("--threads", options.threads, 1, 1'000, "Threads");
  add("--rounds", options.rounds, 1, 1'000'000, "Rounds of work in each thread");
  add("--rounds-of-nothing", options.rounds_of_nothing, 1, 100'000'000, "Rounds of NOTHING in each thread");
  add("--repetitions", options.repetitions, 3, 1'000, "How often to measure everything");
  auto* const sleep = add("--sleep-us", options.sleep_us, 0, 60'000'000, "Length of a sleep in microseconds");
  auto* const multiplications =
      add("--multiplications", options.multiplications, 0, 1'000'000'000, "Multiplications in a round");
  app.add_flag("--full", options.full, "Sleeps of 1 s and 1,000,000 multiplications; takes minutes")
      ->excludes(sleep)
      ->excludes(multiplications);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (options.full) {
    options.sleep_us = 1'000'000;
    options.multiplications = 1'000'000;
  }
  try {
    compare_all(options);
  } catch (const std::exception& e) {
    std::fflush(stdout);
    std::fprintf(stderr, "lock_overhead: %s\n", e.what());
    return 1;
  }
  return 0;
}
