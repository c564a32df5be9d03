// SPDX-License-Identifier: MIT
/// @file
/// What every test may use: the form of the run (long, sanitized) and a way to run a function on several threads.
///
/// The test's main thread alone asserts: other threads store what they saw, and it is looked at after the join.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

namespace conc_test {

enum class Sanitizer { none, thread, address };

/// The sanitizer this executable was compiled with (ASan stands for ASan+UBSan).
constexpr Sanitizer sanitizer() noexcept {
#if defined(__SANITIZE_THREAD__)
  return Sanitizer::thread;
#elif defined(__SANITIZE_ADDRESS__)
  return Sanitizer::address;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
  return Sanitizer::thread;
#elif __has_feature(address_sanitizer)
  return Sanitizer::address;
#else
  return Sanitizer::none;
#endif
#else
  return Sanitizer::none;
#endif
}

/// True in the long form of the tests (environment variable CONC_LONG=1): ten times the work.
inline bool long_form() noexcept {
  const char* const value = std::getenv("CONC_LONG");
  return value != nullptr && std::string_view{value} == "1";
}

/// How often to repeat something: `n` in a plain run, a tenth under a sanitizer, ten times that in the long form.
template <class Integer>
Integer scaled(Integer n) noexcept {
  static_assert(std::is_integral_v<Integer>, "scaled(n): n counts repetitions and must be an integer");
  const Integer base = sanitizer() == Sanitizer::none ? n : std::max<Integer>(1, n / 10);
  return long_form() ? static_cast<Integer>(base * 10) : base;
}

/// What the running case and its children have written to stderr so far. It then counts as expected; whatever else a
/// case leaves on stderr fails the run. (In a case tagged [stderr] nothing is looked at, and this is empty.)
std::string take_stderr();

/// Looks until `condition()` holds or `limit` has passed, giving the processor away in between.
/// For facts only the kernel knows (a thread is gone, a thread sleeps); threads of a test meet at events and barriers.
/// @return what `condition()` said last.
template <class Condition>
bool eventually(Condition condition, std::chrono::steady_clock::duration limit = std::chrono::seconds{10}) {
  const auto give_up = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= give_up) return condition();
    std::this_thread::yield();
  }
  return true;
}

/// Threads wait at a gate until it is opened, once and for all.
class StartGate {
 public:
  void open() {
    const std::lock_guard guard{mutex_};
    open_ = true;
    opened_.notify_all();
  }

  void wait() {
    std::unique_lock guard{mutex_};
    opened_.wait(guard, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool open_ = false;
};

/// Runs `fn(0)` … `fn(n - 1)`, each on its own std::thread, all let go at once, and joins them.
/// @throws the exception of the lowest index that threw, after all have ended.
template <class F>
void run_threads(std::size_t n, F fn) {
  static_assert(std::is_invocable_v<F&, std::size_t>, "run_threads(n, fn): fn must be callable with an index");
  StartGate gate;
  std::vector<std::exception_ptr> errors(n);
  std::vector<std::thread> threads;
  threads.reserve(n);
  const auto run = [&](std::size_t index) {
    gate.wait();
    try {
      fn(index);
    } catch (...) {
      errors[index] = std::current_exception();
    }
  };
  std::exception_ptr start_failed;
  try {
    for (std::size_t index = 0; index < n; ++index) threads.emplace_back(run, index);
  } catch (...) {
    start_failed = std::current_exception();
  }
  gate.open();
  for (std::thread& thread : threads) thread.join();
  if (start_failed) std::rethrow_exception(start_failed);
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace conc_test
