// SPDX-License-Identifier: MIT
/// @file
/// Every error that conc throws, and the hooks for what has no caller to be thrown at.
///
/// Errors have default visibility, so that a module catches what another one throws: libc++ tells types apart by the
/// address of their type_info.
#pragma once

#include <cxxabi.h>
#include <conc/detail/sync.hpp>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <typeinfo>

namespace conc::inline CONC_ABI {

/// The root of all errors that can happen to a correct program.
class [[gnu::visibility("default")]] Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A value that was waited for did not come before the deadline. Waits whose outcome is a fact return false instead.
class [[gnu::visibility("default")]] TimeoutError : public Error {
 public:
  using Error::Error;
};

/// The task was cancelled before it ran.
class [[gnu::visibility("default")]] CancelledError : public Error {
 public:
  using Error::Error;
};

/// The future is in a state that does not allow the operation: a second result, say.
class [[gnu::visibility("default")]] InvalidStateError : public Error {
 public:
  using Error::Error;
};

/// Queue::get gave up: no item came before the deadline.
class [[gnu::visibility("default")]] QueueEmpty : public Error {
 public:
  using Error::Error;
};

/// Queue::put gave up: no room came before the deadline. The item was not consumed.
class [[gnu::visibility("default")]] QueueFull : public Error {
 public:
  using Error::Error;
};

/// The queue was shut down: it takes no more items, or has none left to give.
class [[gnu::visibility("default")]] QueueShutDown : public Error {
 public:
  using Error::Error;
};

/// The barrier was aborted, reset, timed out or its action threw.
class [[gnu::visibility("default")]] BrokenBarrierError : public Error {
 public:
  using Error::Error;
};

/// The promise was dropped without a value.
class [[gnu::visibility("default")]] BrokenPromise : public Error {
 public:
  using Error::Error;
};

/// The wait could never end.
class [[gnu::visibility("default")]] DeadlockError : public Error {
 public:
  using Error::Error;
};

/// A value could not be turned into bytes, or bytes into a value.
class [[gnu::visibility("default")]] PickleError : public Error {
 public:
  using Error::Error;
};

/// An exception of another process whose type is not known here.
class [[gnu::visibility("default")]] RemoteError : public Error {
 public:
  using Error::Error;
};

/// The executor cannot run tasks any more.
class [[gnu::visibility("default")]] BrokenExecutor : public Error {
 public:
  using Error::Error;
};

class [[gnu::visibility("default")]] BrokenThreadPool : public BrokenExecutor {
 public:
  using BrokenExecutor::BrokenExecutor;
};

class [[gnu::visibility("default")]] BrokenProcessPool : public BrokenExecutor {
 public:
  using BrokenExecutor::BrokenExecutor;
};

/// The worker process that ran the task died of it, or was killed.
class [[gnu::visibility("default")]] WorkerDied : public BrokenProcessPool {
 public:
  WorkerDied(const std::string& what, int pid, std::optional<int> exitcode)
      : BrokenProcessPool{what}, pid_{pid}, exitcode_{exitcode} {}

  [[nodiscard]] int pid() const noexcept { return pid_; }
  /// The exit status, or -N if signal N killed it; nothing if somebody else took that.
  [[nodiscard]] std::optional<int> exitcode() const noexcept { return exitcode_; }

 private:
  int pid_;
  std::optional<int> exitcode_;
};

/// The caller made a mistake; the object is as it was before the call. The message names the operation, the object
/// and the numbers.
class [[gnu::visibility("default")]] UsageError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

namespace detail {

/// Out of line and cold, so that a check costs its caller one compare and one jump never taken.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_usage_error(const char* what) { throw UsageError{what}; }
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_usage_error(const std::string& what) {
  throw UsageError{what};
}

inline std::string readable_name(const char* mangled) {
  struct Readable {
    char* text;
    ~Readable() { std::free(text); }
  };
  int failed = 0;
  const Readable readable{abi::__cxa_demangle(mangled, nullptr, nullptr, &failed)};
  return failed == 0 ? readable.text : mangled;
}

inline std::string type_name(const std::type_info& type) { return readable_name(type.name()); }

/// The type and the message of an exception, "std::runtime_error: no such file", or the type alone if it has no message.
inline std::string describe(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    return type_name(typeid(error)) + ": " + error.what();
  } catch (...) {
    const std::type_info* const type = abi::__cxa_current_exception_type();
    return type == nullptr ? "an unknown exception" : type_name(*type);
  }
}

/// An E with this message; where there is no memory for it, std::bad_alloc.
template <class E>
std::exception_ptr make_error(const char* what) noexcept {
  try {
    return std::make_exception_ptr(E{what});
  } catch (...) {
    return std::current_exception();
  }
}

/// For a catch (...): what pthread_exit() and pthread_cancel() unwind with is no exception of C++, and must go on.
inline bool must_go_on() noexcept { return std::current_exception() == nullptr; }

}  // namespace detail

/// An exception that left the target of a Thread.
struct ExceptHookArgs {
  std::exception_ptr exception;
  const char* thread_name;
};

/// Called on the thread that failed, without a lock held. Whatever it throws is dropped.
using ExceptHook = void (*)(const ExceptHookArgs&);

/// Prints one line to stderr: the thread's name, the type of the exception and its what().
[[gnu::visibility("default")]] inline void default_excepthook(const ExceptHookArgs& args) {
  const std::string line =
      std::string{"Exception in thread "} + args.thread_name + ": " + detail::describe(args.exception) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);  // one call: lines of several threads do not mix
}

namespace detail {
[[gnu::visibility("default")]] inline constinit std::atomic<ExceptHook> excepthook{&default_excepthook};

inline void report_uncaught(const ExceptHookArgs& args) noexcept {
  try {
    excepthook.load()(args);
  } catch (...) {  // a hook that fails has nobody to report to
  }
}
}  // namespace detail

/// Replaces the hook for exceptions that leave the target of a Thread; nullptr brings the default back.
/// @return the hook until now.
/// @par Thread safety   any thread, any time.
/// @par Python          threading.excepthook.
inline ExceptHook set_excepthook(ExceptHook hook) noexcept {
  return detail::excepthook.exchange(hook == nullptr ? &default_excepthook : hook);
}

// What programs compiled with CONC_DEBUG find out about their locks; others never call the hook.
namespace debug {

enum class LockProblem : std::uint8_t {
  order,               // locks are taken in orders that can deadlock
  acquired_again,      // a thread waits, without a deadline, for a lock that it holds itself
  held_at_thread_end,  // a thread ended and left a lock held
};

struct LockReport {
  LockProblem problem;
  const char* text;  // several lines: the locks, by address and name, the threads, and the calls that took them
};

/// Called on the thread that the report is about, before it goes on, without a lock of conc held; but where an item's
/// comparator, copy or move waits for a lock, its queue is locked. What the hook does with locks is not looked at. Whatever
/// it throws is dropped.
using LockHook = void (*)(const LockReport&);

/// Prints the text to stderr.
inline void default_lock_hook(const LockReport& report) {
  const std::string text = std::string{"conc: "} + report.text;
  std::fwrite(text.data(), 1, text.size(), stderr);  // one call: reports of several threads do not mix
}

}  // namespace debug

namespace detail {
[[gnu::visibility("default")]] inline constinit std::atomic<debug::LockHook> lock_hook{&debug::default_lock_hook};

inline void report_lock_problem(const debug::LockReport& report) noexcept {
  try {
    lock_hook.load()(report);
  } catch (...) {  // a hook that fails has nobody to report to
  }
}
}  // namespace detail

namespace debug {

/// Replaces the hook for what CONC_DEBUG finds out about locks; nullptr brings the default back.
/// @return the hook until now.
/// @par Thread safety   any thread, any time.
inline LockHook set_lock_hook(LockHook hook) noexcept {
  return detail::lock_hook.exchange(hook == nullptr ? &default_lock_hook : hook);
}

}  // namespace debug

}  // namespace conc::inline CONC_ABI
