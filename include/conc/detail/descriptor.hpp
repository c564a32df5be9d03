// SPDX-License-Identifier: MIT
/// @file
/// Descriptors of this process: owned ones, pipes, and pidfds, which stand for other processes.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <conc/detail/sync.hpp>
#include <cstring>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace conc::inline CONC_ABI::detail {

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_system_error(int error, const std::string& what) {
  throw std::system_error{error, std::generic_category(), what};
}

/// Keeps pthread_cancel from ending the thread in the middle of what must be done whole.
class NoCancellation {
 public:
  NoCancellation() noexcept { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  NoCancellation(const NoCancellation&) = delete;
  NoCancellation& operator=(const NoCancellation&) = delete;
  ~NoCancellation() { pthread_setcancelstate(before_, nullptr); }

 private:
  int before_ = 0;
};

/// A file descriptor, closed with its owner.
class Descriptor {
 public:
  Descriptor() noexcept = default;
  explicit Descriptor(int number) noexcept : number_{number} {}
  Descriptor(Descriptor&& other) noexcept : number_{std::exchange(other.number_, -1)} {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    close();
    number_ = std::exchange(other.number_, -1);
    return *this;
  }
  ~Descriptor() { close(); }

  int number() const noexcept { return number_; }
  bool is_open() const noexcept { return number_ >= 0; }
  /// The number, which is the caller's to close from now on.
  int release() noexcept { return std::exchange(number_, -1); }
  void close() noexcept {
    if (is_open()) {
      ::close(std::exchange(number_, -1));  // nothing is lost with what it may report: pipes keep what was written
    }
  }

 private:
  int number_ = -1;  // negative: none
};

/// The same with a number of at least `least`. Closed, with errno, if the system gives none.
inline Descriptor at_least(int least, Descriptor any) noexcept {
  if (any.number() >= least || !any.is_open()) {
    return any;
  }
  return Descriptor{::fcntl(any.number(), F_DUPFD_CLOEXEC, least)};
}

/// The same with a number above those of the standard streams, also where this process has closed some of them: nothing
/// that another program gets there can be it, or overwrite it. Closed, with errno, if the system gives none.
inline Descriptor above_standard(Descriptor any) noexcept { return at_least(STDERR_FILENO + 1, std::move(any)); }

/// A pipe that no other program inherits, with numbers above those of the standard streams.
struct Pipe {
  Descriptor read_end;
  Descriptor write_end;

  /// @throws std::system_error that names the operation.
  void open(const char* operation) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
      throw_system_error(errno, std::string{operation} + ": no pipe");
    }
    read_end = Descriptor{ends[0]};
    write_end = Descriptor{ends[1]};
    for (Descriptor* const end : {&read_end, &write_end}) {
      *end = above_standard(std::move(*end));
      if (!end->is_open()) {
        throw_system_error(errno, std::string{operation} + ": no pipe");
      }
    }
  }
};

/// write(2), but where nobody reads it gives EPIPE and no SIGPIPE, whatever this process does with that signal. The
/// kernel sends it to the thread that writes; so it is blocked here and taken back.
inline ssize_t write_without_signal(int number, std::string_view data) {
  sigset_t sigpipe;
  sigset_t before;
  sigset_t pending;
  sigemptyset(&sigpipe);
  sigaddset(&sigpipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
  ::sigpending(&pending);
  const ssize_t written = ::write(number, data.data(), data.size());
  const int error = errno;
  if (written < 0 && error == EPIPE && sigismember(&pending, SIGPIPE) == 0) {
    const std::timespec at_once{};
    while (::sigtimedwait(&sigpipe, nullptr, &at_once) < 0 && errno == EINTR) {
    }
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return written;
}

/// Stands for the process, whatever becomes of its number; readable once it has ended. Closed, with errno, if it cannot be had.
inline Descriptor pidfd_of(pid_t pid) noexcept {
  return above_standard(Descriptor{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))});
}

inline constexpr auto by_pidfd = static_cast<idtype_t>(3);  // P_PIDFD, which older C libraries do not name

/// Waits until the process has ended, or until `end`. @return whether it has
inline bool await_end(int pidfd, sync::TimePoint end) noexcept {
  for (;;) {
    std::timespec left{};
    const sync::TimePoint now = end == sync::forever ? end : sync::now();
    if (now < end) {
      const auto span = std::chrono::duration_cast<std::chrono::nanoseconds>(end - now).count();
      left.tv_sec = static_cast<std::time_t>(span / 1'000'000'000);
      left.tv_nsec = static_cast<long>(span % 1'000'000'000);
    }
    pollfd fd{pidfd, POLLIN, 0};
    const int ready = ::ppoll(&fd, 1, end == sync::forever ? nullptr : &left, nullptr);
    if (ready > 0 || (ready == 0 && now >= end)) {
      return ready > 0;
    }
  }
}

/// What waitid(2) tells of a process that has ended: its exit status, or -N if signal N killed it.
inline int exit_status(const siginfo_t& info) noexcept {
  return info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
}

/// "ended with exit status 1", "was killed by signal 9 (SIGKILL)"
inline std::string how_it_ended(std::optional<int> status) {
  if (!status) {
    return "ended, and somebody else took its exit status";
  }
  if (*status >= 0) {
    return "ended with exit status " + std::to_string(*status);
  }
  const char* const name = sigabbrev_np(-*status);
  return "was killed by signal " + std::to_string(-*status) +
         (name != nullptr ? " (SIG" + std::string{name} + ")" : "");
}

}  // namespace conc::inline CONC_ABI::detail
