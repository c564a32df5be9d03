// SPDX-License-Identifier: MIT
/// @file
/// What it takes to start another program: a plan of what it gets, and the child itself.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <conc/detail/descriptor.hpp>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI::detail {

/// A process that was started and not yet waited for. Knows it by a pidfd, so that neither a signal nor a wait can meet
/// another process. Whoever drops it kills it.
class Child {
 public:
  Child() noexcept = default;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ != 0) {
      kill();
      reap();
    }
  }

  /// Sees to it that adopt() will have a descriptor, before anything is started.
  void prepare() {
    pidfd_ = pidfd_of(::getpid());
    if (!pidfd_.is_open()) {
      throw_system_error(errno, "subprocess::run: no pidfd");
    }
  }

  /// From now on it is known, and killed if this throws.
  void adopt(pid_t pid) {
    pid_ = pid;
    pidfd_.close();
    pidfd_ = pidfd_of(pid);
    const int error = pidfd_.is_open() ? 0 : errno;
    // Somebody else may have waited for it already, and the number be another process's.
    siginfo_t unused{};
    if (::waitid(id_type(), id(), &unused, WEXITED | WNOHANG | WNOWAIT) != 0) {
      pid_ = 0;
      pidfd_.close();
    } else if (error != 0) {
      throw_system_error(error, "subprocess::run: no pidfd");
    }
  }

  /// Readable once the process has ended; negative if that is known already.
  int pidfd() const noexcept { return pidfd_.number(); }

  void kill() noexcept {
    if (pid_ == 0) {
      return;
    }
    if (pidfd_.is_open()) {
      ::syscall(SYS_pidfd_send_signal, pidfd_.number(), SIGKILL, nullptr, 0);
    } else {
      ::kill(pid_, SIGKILL);
    }
  }

  /// Waits for its end.
  /// @return the exit status, or -N if signal N killed it; nothing if somebody else has taken that
  std::optional<int> reap() {
    siginfo_t info{};
    while (pid_ != 0 && ::waitid(id_type(), id(), &info, WEXITED) != 0) {
      if (errno != EINTR) {
        pid_ = 0;
      }
    }
    if (std::exchange(pid_, 0) == 0) {
      return std::nullopt;
    }
    return exit_status(info);
  }

 private:
  idtype_t id_type() const noexcept { return pidfd_.is_open() ? by_pidfd : P_PID; }
  id_t id() const noexcept { return static_cast<id_t>(pidfd_.is_open() ? pidfd_.number() : pid_); }

  pid_t pid_ = 0;  // 0: none, or waited for
  Descriptor pidfd_;
};

/// What a program that is about to be started gets: descriptors, signals, working directory.
class SpawnPlan {
 public:
  SpawnPlan() {
    check(::posix_spawn_file_actions_init(&actions_));
    if (const int error = ::posix_spawnattr_init(&attributes_); error != 0) {
      ::posix_spawn_file_actions_destroy(&actions_);
      check(error);
    }
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  ~SpawnPlan() {
    ::posix_spawnattr_destroy(&attributes_);
    ::posix_spawn_file_actions_destroy(&actions_);
  }

  void duplicate(int from, int to) { check(::posix_spawn_file_actions_adddup2(&actions_, from, to)); }
  void discard(int number) { check(::posix_spawn_file_actions_addopen(&actions_, number, "/dev/null", O_WRONLY, 0)); }
  void change_directory(const std::string& path) {
    check(::posix_spawn_file_actions_addchdir_np(&actions_, path.c_str()));
  }

  /// No descriptor but the standard ones, whatever this process has open without O_CLOEXEC. No signal is blocked, and
  /// those are not ignored that a process may ignore for reasons of its own; others stay so, for nohup.
  void isolate() {
    sigset_t reset;
    sigemptyset(&reset);
    for (const int signal : {SIGPIPE, SIGXFSZ, SIGCHLD}) {
      sigaddset(&reset, signal);
    }
    set(STDERR_FILENO + 1, reset, 0);
  }

  /// No descriptor from this number on, no signal that is blocked or ignored, and a process group of its own.
  void lead_a_group(int closed_from) {
    sigset_t reset;
    sigfillset(&reset);
    check(::posix_spawnattr_setpgroup(&attributes_, 0));
    set(closed_from, reset, POSIX_SPAWN_SETPGROUP);
  }

  /// @return 0, or the error number
  int start(pid_t& pid, const char* path, char* const* argv, char* const* envp) const noexcept {
    return ::posix_spawn(&pid, path, &actions_, &attributes_, argv, envp);
  }

 private:
  static void check(int error) {
    if (error != 0) {
      throw_system_error(error, "posix_spawn");
    }
  }

  void set(int closed_from, const sigset_t& reset, int flags) {
    check(::posix_spawn_file_actions_addclosefrom_np(&actions_, closed_from));
    sigset_t none;
    sigemptyset(&none);
    check(::posix_spawnattr_setsigmask(&attributes_, &none));
    check(::posix_spawnattr_setsigdefault(&attributes_, &reset));
    check(::posix_spawnattr_setflags(&attributes_,
                                     static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | flags)));
  }

  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

/// The pointers that exec wants.
inline std::vector<char*> pointers_to(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& text : strings) {
    pointers.push_back(text.data());
  }
  pointers.push_back(nullptr);
  return pointers;
}

/// Starts the program. One that is named without a slash is looked for in the PATH that it will get, as execvp(3) does.
/// @return 0, or the error number
inline int start_program(pid_t& pid, const SpawnPlan& plan, std::vector<std::string> args,
                         std::vector<std::string> environment) {
  const std::string name = args.front();
  const std::vector<char*> argv = pointers_to(args);
  const std::vector<char*> envp = pointers_to(environment);
  if (name.find('/') != std::string::npos || name.empty()) {
    return plan.start(pid, name.c_str(), argv.data(), envp.data());
  }
  std::string_view path = "/bin:/usr/bin";
  for (const std::string& entry : environment) {
    if (entry.starts_with("PATH=")) {
      path = std::string_view{entry}.substr(5);
    }
  }
  int error = ENOENT;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t colon = path.find(':', begin);
    const std::size_t end = colon == path.npos ? path.size() : colon;
    std::string candidate{path.substr(begin, end - begin)};
    candidate += candidate.empty() ? "./" : "/";
    candidate += name;
    begin = end + 1;
    if (candidate.front() == '/' && ::access(candidate.c_str(), F_OK) != 0 && errno == ENOENT) {
      continue;  // cheaper than to find out by a process. Other paths begin where the program will be.
    }
    const int failed = plan.start(pid, candidate.c_str(), argv.data(), envp.data());
    if (failed == 0 || (failed != ENOENT && failed != ENOTDIR && failed != EACCES)) {
      return failed;
    }
    error = failed == EACCES ? EACCES : error;
  }
  return error;
}

/// The program could not be started: says whether it is the working directory that is at fault.
[[noreturn]] inline void throw_not_started(int error, const std::string& program, const std::string& cwd) {
  if ((error == ENOENT || error == EACCES || error == ENOTDIR) && !cwd.empty()) {
    const Descriptor directory{::open(cwd.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!directory.is_open() || ::access(cwd.c_str(), X_OK) != 0) {
      throw_system_error(errno, "subprocess::run: the working directory " + cwd);
    }
  }
  throw_system_error(error, "subprocess::run: " + program);
}

}  // namespace conc::inline CONC_ABI::detail
