// SPDX-License-Identifier: MIT
/// @file
/// Worker: a thread of a test whose sleep can be seen. Whoever must act on a waiting thread makes sure that it waits.
#pragma once

#include <signal.h>
#include <unistd.h>
#include <conc/detail/sync.hpp>

#include <cstdint>
#include <exception>
#include <fstream>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "support.hpp"

namespace conc_test {

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
  bool sleeps_on(const void* object) {
    const std::lock_guard guard{mutex_};
    return record_ != nullptr && record_->waits_for.load() == object && kernel_says("stat", ") ") == "S";
  }

  /// Waits until it does.
  bool falls_asleep_on(const void* object) {
    return eventually([this, object] { return sleeps_on(object); });
  }

  /// How often the thread has gone to sleep so far; 0 if it has ended.
  long long times_asleep() {
    const std::lock_guard guard{mutex_};
    return record_ == nullptr ? 0 : std::stoll(kernel_says("status", "\nvoluntary_ctxt_switches:\t"));
  }

  void send(int signal) { ::pthread_kill(thread_.native_handle(), signal); }

 private:
  void enter(const conc::detail::sync::ThreadRecord* record) {
    const std::lock_guard guard{mutex_};
    record_ = record;
    id_ = ::gettid();
  }

  /// The word behind the last `label` in one of the thread's files in /proc (proc(5)).
  std::string kernel_says(const char* file, const std::string& label) const {
    std::ifstream stream{"/proc/self/task/" + std::to_string(id_) + "/" + file};
    const std::string text{std::istreambuf_iterator<char>{stream}, std::istreambuf_iterator<char>{}};
    const std::size_t begin = text.rfind(label) + label.size();
    return text.substr(begin, text.find_first_of(" \n", begin) - begin);
  }

  std::mutex mutex_;
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
