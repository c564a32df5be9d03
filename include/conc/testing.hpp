// SPDX-License-Identifier: MIT
/// @file
/// explore(): runs a program under many schedules, repeatably, and reports the first one in which it fails.
///
/// The whole program must be compiled with -DCONC_EXPLORE: that turns each operation of a conc type into a place where
/// another thread may run. docs/testing.md shows how to use it, and what it cannot see.
#pragma once

#if !defined(CONC_EXPLORE)
#error "conc/testing.hpp: compile the whole program with -DCONC_EXPLORE (it changes the types of conc)."
#endif
#if !defined(__linux__)
#error "conc/testing.hpp needs Linux."
#endif

#include <algorithm>
#include <chrono>
#include <conc/detail/chooser.hpp>
#include <conc/detail/explorer.hpp>
#include <conc/detail/watchdog.hpp>
#include <conc/error.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI::testing {

/// How the next schedule is found.
enum class Strategy : std::uint8_t {
  random,       // every choice by lot: a wide net
  pct,          // random priorities, changed a few times: finds bugs that need few orderings, however long the program
  depth_first,  // all schedules with at most `preemptions` preemptions, fewest first: a proof within the bound
};

struct Options {
  Strategy strategy = Strategy::random;
  std::uint64_t schedules = 10'000;     // run at most so many
  std::uint64_t seed = 1;               // the same seed, the same schedules
  std::uint64_t max_steps = 20'000;     // a schedule that makes more is a livelock
  unsigned preemptions = 2;             // depth_first: how often a thread that could go on is made to wait
  unsigned depth = 3;                   // pct: how many orderings a bug may need
  unsigned mishaps = 0;                 // per schedule: needless wake-ups, weak failures, timeouts that come early
  std::size_t stack_size = 256 * 1024;  // of each thread
  std::chrono::seconds stall{10};       // a thread that makes no step for so long is stuck; 0: do not look
  std::string replay{};                 // run this schedule only
  bool quiet = false;                   // do not print failures
};

/// What explore() found.
struct Report {
  bool failed = false;
  bool complete = false;          // depth_first: there is no schedule within the bound that was not run
  std::uint64_t schedules = 0;    // that were run, the failed one included
  std::uint64_t steps = 0;        // that all of them made together
  std::size_t threads = 0;        // of the schedule with most
  std::size_t at_once = 0;        // how many of them could run at some moment, at most
  std::uint64_t fingerprint = 0;  // of all choices made: equal if and, practically, only if the schedules were the same
  std::string failure{};          // what went wrong, in one line
  std::string message{};          // the same with all threads, where they are and what they did last
  std::string replay{};           // of the failed schedule

  [[nodiscard]] bool ok() const noexcept { return !failed; }
  explicit operator bool() const noexcept { return ok(); }
};

/// Fails the schedule that runs, unless `condition` holds. Does not return then.
/// @throws UsageError outside of an exploration.
inline void check(bool condition, const char* what) {
  detail::sync::simulated::Machine* const machine = detail::sync::simulated::machine;
  if (machine == nullptr) {
    detail::throw_usage_error("conc::testing::check: called outside of explore()");
  }
  if (!condition) {
    machine->fail(what);
  }
}

namespace internal {

/// Calls what `argument` points to: a thread's entry.
template <class Call>
void* enter(void* argument) {
  (*static_cast<Call*>(argument))();
  return nullptr;
}

}  // namespace internal

/// Runs each callable on a thread of its own and returns when all have ended.
template <class... Callables>
void parallel(Callables&&... callables) {
  static_assert(sizeof...(Callables) > 0 && (std::is_invocable_v<Callables&> && ...),
                "parallel(f, g, ...): name at least one callable; they are called without arguments");
  std::tuple calls{[&callables] { callables(); }...};
  detail::sync::ThreadHandle threads[sizeof...(Callables)];
  std::size_t started = 0;
  int error = 0;
  const auto start = [&]<class Call>(Call& call) {
    if (error == 0) {
      error = detail::sync::start(threads[started], &internal::enter<Call>, &call, 0);
      started += error == 0 ? 1U : 0U;
    }
  };
  std::apply([&](auto&... call) { (start(call), ...); }, calls);
  for (std::size_t i = 0; i < started; ++i) {
    detail::sync::join(threads[i]);
  }
  if (error != 0) {
    throw Error{"conc::testing::parallel: only " + std::to_string(started) + " of " +
                std::to_string(sizeof...(Callables)) + " threads could be started"};
  }
}

namespace internal {

inline std::unique_ptr<detail::Chooser> make_chooser(const Options& options) {
  switch (options.strategy) {
    case Strategy::pct:
      return std::make_unique<detail::PctChooser>(options.seed, options.depth);
    case Strategy::depth_first:
      return std::make_unique<detail::DepthFirstChooser>(static_cast<std::uint32_t>(options.seed), options.preemptions);
    case Strategy::random:
      break;
  }
  return std::make_unique<detail::RandomChooser>(options.seed);
}

/// The replay string to follow: the environment's, else the options'.
inline std::optional<detail::Replay> replay_of(const Options& options) {
  const char* const wish = std::getenv("CONC_REPLAY");
  const std::string text = wish != nullptr && *wish != '\0' ? std::string{wish} : options.replay;
  if (text.empty()) {
    return std::nullopt;
  }
  std::optional<detail::Replay> replay = detail::Replay::parse(text);
  if (!replay) {
    detail::throw_usage_error("conc::testing::explore: \"" + text + "\" is not a replay string of this version");
  }
  return replay;
}

inline Report explore(void* (*entry)(void*), void* argument, const Options& options) {
  if (detail::Explorer::current() != nullptr) {
    detail::throw_usage_error("conc::testing::explore: called inside of an exploration");
  }
  const std::optional<detail::Replay> replay = replay_of(options);
  const std::unique_ptr<detail::Chooser> chooser =
      replay ? std::make_unique<detail::ReplayChooser>(*replay) : make_chooser(options);
  detail::Explorer explorer{
      {.max_steps = options.max_steps,
       .mishaps = options.mishaps,
       .stack_size = options.stack_size,
       .trace = replay ? static_cast<std::size_t>(std::min<std::uint64_t>(options.max_steps, 1U << 20U)) : 64}};
  const detail::LastWords last_words;
  std::optional<detail::Watchdog> watchdog;
  if (options.stall.count() > 0) {
    watchdog.emplace(explorer, options.stall);
  }

  Report report;
  bool more = options.schedules > 0;
  while (more && !report.failed) {
    report.failed = !explorer.run_once(entry, argument, *chooser);
    ++report.schedules;
    report.threads = (std::max)(report.threads, explorer.threads());
    report.at_once = (std::max)(report.at_once, explorer.at_once());
    report.fingerprint = detail::fingerprint(report.fingerprint, explorer.choices());
    more = chooser->end() && report.schedules < options.schedules;
  }
  report.steps = explorer.steps();
  report.complete = chooser->complete();
  if (report.failed) {
    report.failure = explorer.failure();
  }
  if (replay && detail::Replay::check_of(explorer.choices()) != replay->check) {
    report.failure = report.failed ? report.failure + " (but the replay took another way than the schedule it is from)"
                                   : "the replay took another way than the schedule it is from, and did not fail";
    report.failed = true;
  }
  if (report.failed || replay) {
    report.replay = detail::Replay::text_of(explorer.seed(), explorer.choices());
    report.message = "conc::testing: schedule " + std::to_string(report.schedules) +
                     (report.failed ? " failed: " + report.failure : " passed") + "\n" + explorer.describe() +
                     "  replay: CONC_REPLAY=" + report.replay + "\n";
    if (!options.quiet) {
      std::fputs(report.message.c_str(), stderr);
    }
  }
  return report;
}

}  // namespace internal

/// Runs `program` again and again, each time from the start and under another schedule, until one fails, all are
/// done, or options.schedules have been run.
///
/// A schedule fails when check() does, when an exception leaves a thread, when nobody can run and nobody waits for a
/// time (deadlock), when it does not end (livelock), and when ThreadSanitizer reports a bug, where that is compiled in. It
/// has ended when all threads of it have. The failure is printed on stderr with a replay string;
/// `CONC_REPLAY=<string>` in the environment, or options.replay, makes explore() run that schedule alone and print each
/// step of it.
///
/// @param program  called without arguments, as thread 0; what it shares with its threads it must make itself.
/// @throws UsageError for a replay string that is none, and inside of an exploration.
template <class Program>
Report explore(Program&& program, const Options& options = {}) {
  static_assert(std::is_invocable_v<Program&>, "explore(program): program must be callable without arguments");
  auto call = [&program] { program(); };
  return internal::explore(&internal::enter<decltype(call)>, &call, options);
}

}  // namespace conc::inline CONC_ABI::testing
