// SPDX-License-Identifier: MIT
/// @file
/// What the explorer says when a program dies in the middle of a schedule, or stops making steps.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <chrono>
#include <conc/detail/chooser.hpp>
#include <conc/detail/explorer.hpp>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace conc::inline CONC_ABI::detail {

/// While one is alive, a program that dies on a schedule (std::terminate, assert, a bad access, AddressSanitizer) says
/// on which, before the handlers that were there have their turn.
class LastWords {
 public:
  LastWords() : memory_(kStackSize) {
    // A stack of its own, for the overflow of another.
    stack_t stack{};
    stack.ss_sp = memory_.data();
    stack.ss_size = memory_.size();
    sigaltstack(&stack, &old_stack_);
    const std::lock_guard lock{guard_};
    if (alive_++ == 0) {
      struct sigaction action {};
      action.sa_sigaction = &on_signal;
      action.sa_flags = SA_SIGINFO | SA_ONSTACK;
      for (std::size_t i = 0; i < kSignals.size(); ++i) {
        sigaction(kSignals[i], &action, &old_actions_[i]);
      }
#if defined(CONC_DETAIL_ASAN)
      __asan_set_error_report_callback([](const char* /*report*/) { speak("AddressSanitizer found an error"); });
#endif
    }
  }
  ~LastWords() {
    const std::lock_guard lock{guard_};
    if (--alive_ == 0) {
      for (std::size_t i = 0; i < kSignals.size(); ++i) {
        sigaction(kSignals[i], &old_actions_[i], nullptr);
      }
#if defined(CONC_DETAIL_ASAN)
      __asan_set_error_report_callback(nullptr);
#endif
    }
    sigaltstack(&old_stack_, nullptr);
  }
  LastWords(const LastWords&) = delete;
  LastWords& operator=(const LastWords&) = delete;

  /// Ends the process with a report by `thread`, which runs an exploration and is stuck.
  static void stop(pthread_t thread) noexcept {
    stuck_.store(true, mo::relaxed);  // relaxed: the signal orders it
    pthread_kill(thread, SIGABRT);
  }

 private:
  static void speak(const std::string& why) {
    Explorer* const explorer = Explorer::current();
    if (explorer == nullptr) {
      return;
    }
    explorer->locate_here();
    const std::string text = "conc::testing: " + why + " in this schedule:\n" + explorer->describe() +
                             "  replay: CONC_REPLAY=" + Replay::text_of(explorer->seed(), explorer->choices()) + "\n";
    std::fputs(text.c_str(), stderr);
  }

  static void on_signal(int signal, siginfo_t* info, void* /*context*/) {
    if (stuck_.load(mo::relaxed)) {
      speak(
          "the running thread makes no step any more: it waits for something that is not conc's (a std::mutex, a "
          "system call) or loops without using conc,");
    } else if (signal == SIGSEGV && Explorer::current() != nullptr && Explorer::current()->overflowed(info->si_addr)) {
      speak("the running thread has used up its stack (Options::stack_size)");
    } else {
      speak(std::string{"the program died ("} + strsignal(signal) + ")");
    }
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
      sigaction(kSignals[i], &old_actions_[i], nullptr);
    }
    if (signal == SIGABRT) {
      std::abort();  // asks the handler that was there before; a bad access is tried again and asks it, too
    }
  }

#if defined(CONC_DETAIL_ASAN)
  static constexpr std::array<int, 1> kSignals{SIGABRT};  // AddressSanitizer reports bad accesses itself
#else
  static constexpr std::array<int, 2> kSignals{SIGABRT, SIGSEGV};
#endif
  static constexpr std::size_t kStackSize = 64 * 1024;

  static inline std::mutex guard_;  // the standard's: on a thread that explores conc's would be simulated
  static inline unsigned alive_ = 0;
  static inline std::array<struct sigaction, kSignals.size()> old_actions_{};
  static inline std::atomic<bool> stuck_{false};

  std::vector<char> memory_;
  stack_t old_stack_{};
};

/// Looks from a thread of its own whether the exploration on the thread that makes it goes on. Made of the standard
/// library's mutex and condition variable: it must work where conc itself is stuck, or wrong.
class Watchdog {
 public:
  Watchdog(const Explorer& explorer, std::chrono::seconds patience)
      : thread_{[this, &explorer, patience, watched = pthread_self()] { watch(explorer, patience, watched); }} {}
  ~Watchdog() {
    {
      const std::lock_guard lock{guard_};
      over_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void watch(const Explorer& explorer, std::chrono::seconds patience, pthread_t watched) {
    std::unique_lock lock{guard_};
    std::uint64_t seen = explorer.steps();
    while (!changed_.wait_for(lock, patience, [this] { return over_; })) {
      const std::uint64_t steps = explorer.steps();
      if (steps == seen) {
        LastWords::stop(watched);
        return;
      }
      seen = steps;
    }
  }

  std::mutex guard_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace conc::inline CONC_ABI::detail
