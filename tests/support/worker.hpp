// SPDX-License-Identifier: MIT
/// @file
/// Worker: a thread of a test whose sleep can be seen. Whoever must act on a waiting thread makes sure that it waits.
#pragma once

#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <conc/detail/sync.hpp>
#include <cstdint>
#include <exception>
#include <fstream>
#include <mutex>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "support.hpp"

namespace conc_test {

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

/// Runs a function in a std::thread.
class Worker {
 public:
  template <class F>
  explicit Worker(F fn)
      : thread_{[this, call = std::move(fn)]() mutable {
          enter(&conc::detail::sync::this_thread());
          try {
            call();
          } catch (...) {
            error_ = std::current_exception();
          }
          enter(nullptr);
        }} {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() {
    if (thread_.joinable()) thread_.join();
  }

  /// Waits for the end of the thread. @throws what the function threw.
  void join() {
    thread_.join();
    if (error_) std::rethrow_exception(error_);
  }

  /// Whether the thread sleeps in a waiting call of `object` now: conc says in which, the kernel that it sleeps.
  bool sleeps_on(const void* object) const {
    const std::lock_guard guard{mutex_};
    return record_ != nullptr && record_->waits_for.load() == object && sleeps(id_);
  }

  /// Waits until it does.
  bool falls_asleep_on(const void* object) const {
    return eventually([this, object] { return sleeps_on(object); });
  }

  /// How often the thread has gone to sleep so far; 0 if it has ended.
  long long times_asleep() const {
    const std::lock_guard guard{mutex_};
    return record_ == nullptr ? 0 : naps(id_);
  }

  /// The thread as the kernel names it; 0 before it runs.
  pid_t id() const {
    const std::lock_guard guard{mutex_};
    return id_;
  }

  std::thread::native_handle_type handle() { return thread_.native_handle(); }
  void send(int signal) { ::pthread_kill(handle(), signal); }

 private:
  void enter(const conc::detail::sync::ThreadRecord* record) {
    const std::lock_guard guard{mutex_};
    record_ = record;
    id_ = ::gettid();
  }

  mutable std::mutex mutex_;
  const conc::detail::sync::ThreadRecord* record_ = nullptr;  // while the function runs
  pid_t id_ = 0;
  std::exception_ptr error_;
  std::thread thread_;
};

/// What `fn()` returns, or throws, on another thread.
template <class F>
auto elsewhere(F fn) {
  decltype(fn()) result{};
  Worker worker{[&] { result = fn(); }};
  worker.join();
  return result;
}

}  // namespace conc_test
