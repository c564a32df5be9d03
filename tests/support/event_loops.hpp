// SPDX-License-Identifier: MIT
/// @file
/// For the tests of event loops: one pass of a loop, a loop on another thread, what the exception handler was told.
#pragma once

#include <sys/syscall.h>
#include <sys/types.h>

#include <atomic>
#include <conc/event.hpp>
#include <conc/event_loop.hpp>
#include <exception>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "futures.hpp"
#include "worker.hpp"

namespace conc_test {

/// Lets the loop make one pass.
inline void one_pass(conc::EventLoop& loop) {
  loop.stop();
  loop.run_forever();
}

/// Whether the thread sleeps where a loop with nothing to do sleeps.
inline bool sleeps_in_loop(pid_t thread) {
  const std::string call = thread_fact(thread, "syscall");
  const auto is = [&call](long number) { return call.starts_with(std::to_string(number) + " "); };
#if defined(SYS_epoll_wait)
  if (is(SYS_epoll_wait)) return true;
#endif
  return is(SYS_epoll_pwait);
}

/// Runs a loop on a thread of its own until destroyed.
class RunningLoop {
 public:
  explicit RunningLoop(conc::EventLoop& loop) : loop_{loop}, worker_{[this] { loop_.run_forever(); }} {
    conc::Event runs;
    loop.call_soon_threadsafe([&runs] { runs.set(); });
    runs.wait();
  }
  RunningLoop(const RunningLoop&) = delete;
  RunningLoop& operator=(const RunningLoop&) = delete;
  ~RunningLoop() { loop_.stop(); }

  /// Waits until the loop has nothing to do.
  bool falls_asleep() const {
    return eventually([this] { return sleeps_in_loop(worker_.id()); });
  }

 private:
  conc::EventLoop& loop_;
  Worker worker_;
};

/// Runs `fn()` on the loop's thread, and waits until it is done.
template <class F>
auto on_loop(conc::EventLoop& loop, F fn) {
  decltype(fn()) result{};
  conc::Event done;
  loop.call_soon_threadsafe([&] {
    result = fn();
    done.set();
  });
  done.wait();
  return result;
}

/// Makes it possible to read what an exception handler was told.
class Reports {
 public:
  conc::EventLoopExceptionHandler handler() {
    return [this](const conc::EventLoopReport& report) {
      const std::string cause =
          report.exception == nullptr ? "nothing" : ending([&] { std::rethrow_exception(report.exception); });
      const std::lock_guard guard{mutex_};
      told_.push_back(report.message + ": " + cause);
    };
  }

  /// What it was told since the last call.
  std::vector<std::string> take() {
    const std::lock_guard guard{mutex_};
    return std::exchange(told_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> told_;
};

/// Counts how many of its kind there are.
class Counted {
 public:
  explicit Counted(std::atomic<int>& alive) noexcept : alive_{&alive} { ++*alive_; }
  Counted(const Counted& other) noexcept : alive_{other.alive_} { ++*alive_; }
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --*alive_; }

 private:
  std::atomic<int>* alive_;
};

}  // namespace conc_test
