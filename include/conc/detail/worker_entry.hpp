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

/// A pipe that nobody writes to. It ends when this process does, and the system then kills the workers that this process
/// has started itself, with their process groups. PR_SET_PDEATHSIG would kill them when the thread ends that started them.
class Lifeline {
 public:
  constexpr Lifeline() noexcept = default;

  /// An end of it for one more worker, which may get a signal of its own from it.
  /// @throws std::system_error
  Descriptor take() {
    const ScopedLock guard{lock_};
    if (users_ == 0) {
      Pipe pipe;
      pipe.open("worker process");
      read_end_ = pipe.read_end.release();
      write_end_ = pipe.write_end.release();
    }
    // Not a duplicate: that would share with others who gets which signal.
    const std::string path = "/proc/self/fd/" + std::to_string(read_end_);
    Descriptor end = above_standard(Descriptor{::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)});
    if (!end.is_open()) {
      const int error = errno;
      close_unused();
      throw_system_error(error, "worker process: " + path);
    }
    ++users_;
    return end;
  }

  /// A worker is gone.
  void give_back() noexcept {
    const ScopedLock guard{lock_};
    --users_;
    close_unused();
  }

  /// In a worker: from now on it ends with the program.
  static void hold_on_to(int end) noexcept {
    // For a negative number F_SETOWN names a process group; then O_ASYNC sends it the signal when the pipe has no writer
    // any more (fcntl(2)).
    if (::fcntl(end, F_SETOWN, -::getpid()) != 0 || ::fcntl(end, F_SETSIG, SIGKILL) != 0 ||
        ::fcntl(end, F_SETFL, O_NONBLOCK | O_ASYNC) != 0) {
      ::_exit(1);
    }
    pollfd ended{end, POLLIN, 0};
    if (::poll(&ended, 1, 0) != 0) {  // it ended before
      ::_exit(1);
    }
  }

  /// In a forked child, whose workers these are not: it must not keep them alive.
  void forget() noexcept {
    for (const int number : {read_end_, write_end_}) {
      if (number >= 0) {
        ::close(number);
      }
    }
    drop();
  }

  /// Likewise, but the descriptors are closed.
  void drop() noexcept {
    std::construct_at(&lock_);
    users_ = 0;
    read_end_ = write_end_ = -1;
  }

 private:
  void close_unused() noexcept {
    if (users_ == 0) {
      ::close(std::exchange(write_end_, -1));
      ::close(std::exchange(read_end_, -1));
    }
  }

  Lock lock_;
  std::size_t users_ = 0;
  int read_end_ = -1;
  int write_end_ = -1;
};

[[gnu::visibility("default")]] inline constinit Lifeline lifeline{};
[[gnu::visibility("default")]] inline const int lifeline_is_forgotten =
    pthread_atfork(nullptr, nullptr, [] { lifeline.forget(); });

}  // namespace conc::inline CONC_ABI::detail
