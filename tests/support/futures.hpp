// SPDX-License-Identifier: MIT
/// @file
/// For the tests of futures: how a call ended, what the hooks were told, values that count their copies, a coroutine.
#pragma once

#include <conc/error.hpp>
#include <conc/future.hpp>
#include <coroutine>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

namespace conc_test {

/// How `fn()` ended: "returned", the name of the error of conc that it threw, or the text of another exception.
template <class F>
std::string ending(F&& fn) {
  try {
    fn();
    return "returned";
  } catch (const conc::TimeoutError&) {
    return "TimeoutError";
  } catch (const conc::CancelledError&) {
    return "CancelledError";
  } catch (const conc::InvalidStateError&) {
    return "InvalidStateError";
  } catch (const conc::BrokenPromise&) {
    return "BrokenPromise";
  } catch (const conc::DeadlockError&) {
    return "DeadlockError";
  } catch (const conc::UsageError&) {
    return "UsageError";
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "something else";
  }
}

inline std::exception_ptr boom(const char* text = "boom") { return std::make_exception_ptr(std::runtime_error{text}); }

/// What a thread that waits for the future without other futures sleeps on.
template <class T>
const void* core_of(const conc::Future<T>& future) {
  return static_cast<const conc::detail::FutureCore*>(conc::detail::FutureAccess::state(future));
}

/// A future that is cancelled already.
template <class T>
conc::Future<T> cancelled_future() {
  const conc::Promise<T> promise;
  conc::Future<T> future = promise.get_future();
  future.cancel();
  return future;
}

/// Writes down what the two hooks for exceptions are told, as long as it lives.
class Hooks {
 public:
  Hooks()
      : uncaught_{conc::set_excepthook(&uncaught)}, unretrieved_{conc::set_unretrieved_exception_hook(&unretrieved)} {
    take();
  }
  Hooks(const Hooks&) = delete;
  Hooks& operator=(const Hooks&) = delete;
  ~Hooks() {
    conc::set_excepthook(uncaught_);
    conc::set_unretrieved_exception_hook(unretrieved_);
  }

  /// What they were told since the last call: "uncaught boom;unretrieved boom;".
  static std::string take() {
    const std::lock_guard guard{mutex};
    return std::exchange(told, {});
  }

 private:
  static void note(const char* hook, const std::exception_ptr& exception) {
    const std::string text = ending([&] { std::rethrow_exception(exception); });
    const std::lock_guard guard{mutex};
    told += std::string{hook} + " " + text + ";";
  }
  static void uncaught(const conc::ExceptHookArgs& args) { note("uncaught", args.exception); }
  static void unretrieved(const std::exception_ptr& exception) { note("unretrieved", exception); }

  static inline std::mutex mutex;
  static inline std::string told;
  conc::ExceptHook uncaught_;
  conc::UnretrievedExceptionHook unretrieved_;
};

/// A number that tells how it came here.
struct Travelled {
  explicit Travelled(int number) noexcept : value{number} {}
  Travelled(const Travelled& other) noexcept : value{other.value}, copies{other.copies + 1}, moves{other.moves} {}
  Travelled(Travelled&& other) noexcept
      : value{std::exchange(other.value, -1)}, copies{other.copies}, moves{other.moves + 1} {}
  Travelled& operator=(const Travelled&) = delete;
  ~Travelled() = default;

  int value;
  int copies = 0;
  int moves = 0;
};

/// A coroutine that begins at once and belongs to nobody, unless it says where its handle is to be kept.
struct Detached {
  struct promise_type {
    Detached get_return_object() noexcept { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const { throw; }  // out of resume()
  };
  std::coroutine_handle<> handle;  // valid while the coroutine is suspended
};

}  // namespace conc_test
