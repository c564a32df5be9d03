// SPDX-License-Identifier: MIT
/// @file
/// What a process does to become a worker, in whatever way it was started.
#pragma once

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <conc/detail/descriptor.hpp>
#include <conc/detail/worker_loop.hpp>
#include <conc/error.hpp>
#include <conc/lock.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#pragma weak dlopen  // a static program has none, and the linker would warn of it
#pragma weak dlerror

namespace conc::inline CONC_ABI::detail {

enum class WorkerState : std::uint8_t {
  none,      // this process is no worker
  starting,  // it will be: plugins are loaded
  serving,
};
[[gnu::visibility("default")]] inline constinit WorkerState worker_state = WorkerState::none;

/// Plugins for a worker, each with a zero byte behind it.
inline constexpr std::size_t kMostPreload = 65536;

inline std::string preload_text(const std::vector<std::string>& plugins) {
  std::string text;
  for (const std::string& plugin : plugins) {
    if (plugin.empty() || plugin.find('\0') != std::string::npos) {
      throw_usage_error("preload: a plugin's name is empty or has a zero byte in it");
    }
    text.append(plugin.c_str(), plugin.size() + 1);
  }
  if (text.size() > kMostPreload) {
    throw_usage_error("preload: the plugins' names have " + std::to_string(text.size()) + " bytes, " +
                      std::to_string(kMostPreload) + " are the most");
  }
  return text;
}

/// As in a program that was just started: nothing is blocked, handled or ignored.
inline void reset_signals() noexcept {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    ::sigaction(signal, &action, nullptr);  // EINVAL for those that nobody may change
  }
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

/// Loads the plugins and serves until the end of `calls`.
[[noreturn]] inline void be_worker(int calls, int results, std::string_view preload) noexcept {
  worker_state = WorkerState::starting;
  while (!preload.empty()) {
    const char* const plugin = preload.data();
    preload.remove_prefix(std::string_view{plugin}.size() + 1);
    if (&dlopen == nullptr || ::dlopen(plugin, RTLD_NOW) == nullptr) {
      const std::string_view why = &dlopen == nullptr ? "a static program loads none" : ::dlerror();
      std::string line{"conc: a worker cannot load "};
      line.append(plugin).append(": ").append(why).append("\n");
      (void)!::write(STDERR_FILENO, line.data(), line.size());
      ::_exit(1);
    }
  }
  worker_state = WorkerState::serving;
  serve(calls, results);
}

/// The end of a pipe that nobody writes to. It is closed when this process ends, and the system then kills the worker that
/// has the other end, with its process group. PR_SET_PDEATHSIG would kill it when the thread ends that has started it.
struct Lifeline {
  Descriptor end;
  Lifeline* previous = nullptr;  // guarded by the lock of Lifelines
  Lifeline* next = nullptr;
};

/// Those of all workers that this process has started itself.
class Lifelines {
 public:
  constexpr Lifelines() noexcept = default;

  /// @throws std::bad_alloc; then it was not added
  void add(Lifeline& line) {
    const ScopedLock guard{lock_};
    if (!children_forget_ && forget_in_children_() != 0) {
      throw std::bad_alloc{};
    }
    children_forget_ = true;
    line.next = first_;
    if (first_ != nullptr) {
      first_->previous = &line;
    }
    first_ = &line;
  }

  void remove(Lifeline& line) noexcept {
    const ScopedLock guard{lock_};
    (line.previous != nullptr ? line.previous->next : first_) = line.next;
    if (line.next != nullptr) {
      line.next->previous = line.previous;
    }
  }

  /// In a forked child: it must not keep its parent's workers alive. A thread that does not exist there may have held the
  /// lock.
  void forget() noexcept {
    std::construct_at(&lock_);
    for (Lifeline* line = first_; line != nullptr; line = line->next) {
      line->end.close();
    }
  }

  /// Likewise, where all descriptors were closed.
  void drop() noexcept {
    for (Lifeline* line = first_; line != nullptr; line = line->next) {
      line->end.release();
    }
    forget();
  }

 private:
  static int forget_in_children() noexcept;

  Lock lock_;
  Lifeline* first_ = nullptr;
  // That of the module in which this lies: what pthread_atfork is given is gone when the module is unloaded that calls it.
  int (*const forget_in_children_)() noexcept = &forget_in_children;
  bool children_forget_ = false;
};

[[gnu::visibility("default")]] inline constinit Lifelines lifelines{};

inline int Lifelines::forget_in_children() noexcept {
  return pthread_atfork(nullptr, nullptr, [] { lifelines.forget(); });
}

/// In a worker: from now on it ends with the program.
inline void hold_on_to(int lifeline) noexcept {
  // For a negative number F_SETOWN names a process group; O_ASYNC then sends it the signal when the pipe has no writer any
  // more (fcntl(2)).
  if (::fcntl(lifeline, F_SETOWN, -::getpid()) != 0 || ::fcntl(lifeline, F_SETSIG, SIGKILL) != 0 ||
      ::fcntl(lifeline, F_SETFL, O_ASYNC) != 0) {
    ::_exit(1);
  }
  pollfd ended{lifeline, POLLIN, 0};
  if (::poll(&ended, 1, 0) != 0) {  // it ended before
    ::_exit(1);
  }
}

}  // namespace conc::inline CONC_ABI::detail
