// SPDX-License-Identifier: MIT
/// @file
/// Background: a thread of a test that waits for something, and outcome: how a call ended.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <conc/error.hpp>
#include <cstdint>
#include <exception>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "support.hpp"

namespace conc_test {

/// How `fn()` ended: "returned", the name of the error of conc that it threw, or the text of another exception.
template <class F>
std::string outcome(F&& fn) {
  try {
    fn();
    return "returned";
  } catch (const conc::QueueEmpty&) {
    return "QueueEmpty";
  } catch (const conc::QueueFull&) {
    return "QueueFull";
  } catch (const conc::QueueShutDown&) {
    return "QueueShutDown";
  } catch (const conc::UsageError&) {
    return "UsageError";
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "something else";
  }
}

/// The message of the exception of type E that `fn()` must throw; empty if it throws none.
template <class E, class F>
std::string message_of(F&& fn) {
  try {
    fn();
    return {};
  } catch (const E& error) {
    return error.what();
  }
}

/// What /proc tells about a thread of this process; empty if there is no such thread.
inline std::string thread_fact(pid_t thread, const char* file) {
  std::string line;
  std::getline(std::ifstream{"/proc/self/task/" + std::to_string(thread) + "/" + file}, line);
  return line;
}

/// Whether the thread sleeps in the kernel on a futex at this moment.
inline bool sleeps(pid_t thread) {
  return thread != 0 && thread_fact(thread, "syscall").starts_with(std::to_string(SYS_futex) + " ");
}

/// Wakes the thread where it sleeps, with nothing changed that it could wait for.
inline void wake_for_no_reason(pid_t thread) {
  std::istringstream fact{thread_fact(thread, "syscall")};
  long number = 0;
  std::uintptr_t address = 0;
  if (fact >> number >> std::hex >> address && number == SYS_futex) {
    ::syscall(SYS_futex, address, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0);
  }
}

/// How often the thread has gone to sleep so far.
inline long naps(pid_t thread) {
  constexpr std::string_view key = "voluntary_ctxt_switches:";
  std::ifstream status{"/proc/self/task/" + std::to_string(thread) + "/status"};
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) return std::stol(line.substr(key.size()));
  }
  return 0;
}

/// A thread that calls `fn`. Its sleep can be waited for, and its end tells how `fn` ended. Joined when destroyed.
class Background {
 public:
  template <class F>
  explicit Background(F fn)
      : thread_{[this, call = std::move(fn)]() mutable {
          thread_id_.store(::gettid());
          outcome_ = outcome(call);
        }} {}
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;
  ~Background() {
    if (thread_.joinable()) thread_.join();
  }

  /// Waits until the thread sleeps.
  bool falls_asleep() const {
    return eventually([this] { return sleeps(thread_id_.load()); });
  }

  long naps() const { return conc_test::naps(thread_id_.load()); }

  /// Waits until the thread has woken since `naps` was read, and sleeps again.
  bool falls_asleep_again(long naps) const {
    return eventually([this, naps] { return this->naps() > naps && sleeps(thread_id_.load()); });
  }

  pid_t id() const { return thread_id_.load(); }
  std::thread::native_handle_type handle() { return thread_.native_handle(); }

  /// Waits for the end of the thread and says how `fn` ended.
  std::string join() {
    thread_.join();
    return outcome_;
  }

 private:
  std::atomic<pid_t> thread_id_{0};
  std::string outcome_;
  std::thread thread_;
};

}  // namespace conc_test
