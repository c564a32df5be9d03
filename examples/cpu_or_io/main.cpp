// SPDX-License-Identifier: MIT
/// @file
/// Do threads make it faster? Do processes? A task that counts and a task that waits, each done several times: one after
/// the other, in a thread each, by a thread pool, and by a process pool.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <conc/cpu_count.hpp>
#include <conc/future.hpp>
#include <conc/process_pool.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>

#include "chart.hpp"

namespace cpu_or_io {
namespace {

constexpr const char* kDescription =
    "Does a task several times: one after the other (serial), in a thread each (threads), by the workers of a thread\n"
    "pool (pool), and by those of a process pool (processes). Twice: the task counts down, which needs a CPU, and the\n"
    "task waits, which needs none.\n\n"
    "'speed-up' is the median time of serial divided by that of the row.\n\n"
    "Exit code: 0 all is measured, 1 threads or processes could not be started or the chart not be written, 2 wrong "
    "use.\n";

struct Options {
  std::int64_t count = 25'000'000;
  int wait_ms = 100;
  int number = 4;
  int repeats = 5;
  std::string svg;
};

// The two tasks.

/// Needs a CPU all the time. Each access to a volatile object must happen, so the compiler cannot leave the loop out.
void count_down(std::int64_t count) {
  volatile std::int64_t n = count;
  while (n > 0) n = n - 1;
}

/// Needs no CPU, as a program that waits for a disk or for an answer from the network.
void wait_for_nothing(std::chrono::milliseconds time) { std::this_thread::sleep_for(time); }

/// One of the two. It holds nothing but plain values, so it can be sent to another process as it is.
struct Task {
  enum class Kind { count, wait };
  Kind kind;
  std::int64_t amount;  // where counting starts, or milliseconds

  void operator()() const {
    if (kind == Kind::count) {
      count_down(amount);
    } else {
      wait_for_nothing(std::chrono::milliseconds{amount});
    }
  }
};

// The four ways to do a task several times.

void one_by_one(int number, const Task& task) {
  for (int i = 0; i < number; ++i) task();
}

void in_threads(int number, const Task& task) {
  std::vector<conc::Thread> threads;
  for (int i = 0; i < number; ++i) {
    conc::Thread thread{task};
    thread.start();
    threads.push_back(thread);
  }
  for (conc::Thread& thread : threads) thread.join();
}

/// The same for both kinds of pool.
template <class Pool>
void in_pool(int number, const Task& task) {
  Pool pool{number};
  std::vector<conc::Future<void>> futures;
  futures.reserve(static_cast<std::size_t>(number));
  for (int i = 0; i < number; ++i) futures.push_back(pool.submit(task));
  for (const conc::Future<void>& future : futures) future.result();  // throws what the task threw
}

struct Way {
  const char* name;
  void (*run)(int number, const Task& task);
};

constexpr Way kWays[] = {{"serial", one_by_one},
                         {"threads", in_threads},
                         {"pool", in_pool<conc::ThreadPoolExecutor>},
                         {"processes", in_pool<conc::ProcessPoolExecutor>}};

/// Seconds from before the first thread or process is started until after the last one has ended.
double measure(const Way& way, int number, const Task& task) {
  const auto start = std::chrono::steady_clock::now();
  way.run(number, task);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Bar summary(const char* name, std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  const std::size_t last = seconds.size() - 1;
  return {.label = name,
          .note = {},
          .least = seconds.front(),
          .median = (seconds[last / 2] + seconds[last - last / 2]) / 2,
          .most = seconds.back()};
}

/// Does the task in every way, prints a row for each, and returns them as bars.
std::vector<Bar> compare(const Options& options, const char* work, const Task& task) {
  std::vector<double> seconds[std::size(kWays)];
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    // The ways take turns, so that a slow moment of the machine hits them all.
    for (std::size_t i = 0; i < std::size(kWays); ++i) {
      seconds[i].push_back(measure(kWays[i], options.number, task));
    }
  }

  std::vector<Bar> bars;
  for (std::size_t i = 0; i < std::size(kWays); ++i) {
    Bar bar = summary(kWays[i].name, seconds[i]);
    char speed_up[32];
    std::snprintf(speed_up, sizeof(speed_up), "%.2f", (i == 0 ? bar : bars[0]).median / bar.median);
    bar.note = "\u00d7" + std::string(speed_up);
    std::printf("%-6s %-9s %10.6f %10.6f .. %-10.6f %9s\n", work, kWays[i].name, bar.median, bar.least, bar.most,
                speed_up);
    bars.push_back(bar);
  }
  std::fflush(stdout);  // the next ones take a while
  return bars;
}

/// 25000000 -> "25,000,000"
std::string with_commas(std::int64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t i = text.size(); i > 3; i -= 3) text.insert(i - 3, 1, ',');
  return text;
}

/// The chart's file, opened before hours of measuring may be lost.
std::ofstream open_chart(const std::string& name) {
  std::ofstream file;
  if (name.empty()) return file;
  errno = 0;
  file.open(name);
  if (!file) throw std::system_error(errno, std::generic_category(), name);
  return file;
}

void run(const Options& options) {
  std::ofstream chart = open_chart(options.svg);
  const std::string count = "counting down from " + with_commas(options.count);
  const std::string wait = "waiting " + with_commas(options.wait_ms) + " ms";
  std::printf("%d times %s, and %s; %d repeats; %u usable CPUs\n\n", options.number, count.c_str(), wait.c_str(),
              options.repeats, conc::usable_cpu_count());
  std::printf("%-6s %-9s %10s %-24s %9s\n", "task", "way", "median s", "     least .. most", "speed-up");
  const std::vector<Bar> counted = compare(options, "count", {Task::Kind::count, options.count});
  const std::vector<Bar> waited = compare(options, "wait", {Task::Kind::wait, options.wait_ms});

  if (chart.is_open()) {
    const std::string times = std::to_string(options.number) + " times ";
    write_chart(chart, "CPU or I/O: one after the other, threads, pools & processes",
                {{.title = times + count, .bars = counted}, {.title = times + wait, .bars = waited}});
    errno = 0;
    chart.close();
    if (!chart) throw std::system_error(errno, std::generic_category(), options.svg);
  }
}

}  // namespace
}  // namespace cpu_or_io

int main(int argc, char** argv) {
  conc::process_init(argc, argv);  // first: while there is one thread
  cpu_or_io::Options options;
  CLI::App app{cpu_or_io::kDescription};
  const auto add = [&app](const char* name, auto& value, auto least, auto most, const char* text) {
    app.add_option(name, value, text)->check(CLI::Range(least, most))->capture_default_str();
  };
  add("--count", options.count, std::int64_t{1'000}, std::int64_t{1'000'000'000'000}, "Where counting down starts");
  add("--wait-ms", options.wait_ms, 1, 3'600'000, "How long to wait, in milliseconds");
  add("--number", options.number, 1, 1'000, "How often to do the task; as many threads, workers and processes");
  add("--repeats", options.repeats, 3, 1'000, "How often to measure everything");
  app.add_option("--svg", options.svg, "File for a bar chart");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  try {
    cpu_or_io::run(options);
  } catch (const std::exception& e) {
    std::fflush(stdout);
    std::fprintf(stderr, "cpu_or_io: %s\n", e.what());
    return 1;
  }
  return 0;
}
