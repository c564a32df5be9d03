// SPDX-License-Identifier: MIT
/// @file
/// What tests of other processes need: signals, descriptors and limits that are changed for a while, a child that runs a
/// function, and what /proc tells.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <conc/detail/descriptor.hpp>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace conc_test {

/// The error number of the std::system_error that `fn` must throw, and 0 if it throws none.
template <class F>
int error_of(F fn) {
  try {
    fn();
    return 0;
  } catch (const std::system_error& error) {
    return error.code().category() == std::generic_category() ? error.code().value() : -1;
  }
}

/// What a signal does while this lives.
class Disposition {
 public:
  Disposition(int signal, void (*handler)(int), int flags = 0) : signal_{signal} {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    ::sigaction(signal, &action, &before_);
  }
  Disposition(const Disposition&) = delete;
  Disposition& operator=(const Disposition&) = delete;
  ~Disposition() { ::sigaction(signal_, &before_, nullptr); }

 private:
  int signal_;
  struct sigaction before_ {};
};

/// Descriptors of this process that are closed while this lives.
class Closed {
 public:
  explicit Closed(std::vector<int> numbers) : numbers_{std::move(numbers)} {
    for (const int number : numbers_) {
      kept_.push_back(::fcntl(number, F_DUPFD_CLOEXEC, 3));
      ::close(number);
    }
  }
  Closed(const Closed&) = delete;
  Closed& operator=(const Closed&) = delete;
  ~Closed() {
    for (std::size_t i = 0; i < numbers_.size(); ++i) {
      ::dup2(kept_[i], numbers_[i]);
      ::close(kept_[i]);
    }
  }

 private:
  std::vector<int> numbers_;
  std::vector<int> kept_;
};

/// How many descriptors this process may have, or another one, until this is destroyed.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t limit, pid_t process = 0) : process_{process} {
    ::prlimit(process_, RLIMIT_NOFILE, nullptr, &before_);
    rlimit now = before_;
    now.rlim_cur = limit;
    ::prlimit(process_, RLIMIT_NOFILE, &now, nullptr);
  }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;
  ~DescriptorLimit() { ::prlimit(process_, RLIMIT_NOFILE, &before_, nullptr); }

 private:
  pid_t process_;
  rlimit before_{};
};

inline std::ptrdiff_t open_descriptors() {
  namespace fs = std::filesystem;
  return std::distance(fs::directory_iterator{"/proc/self/fd"}, fs::directory_iterator{});
}

/// Runs `fn` in a forked child of this process. @return what it returned; -N if signal N killed it; 255 if it threw
template <class F>
int in_child(F fn) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    int result = 255;
    try {
      result = fn();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "in the child: %s\n", error.what());
    }
    ::_exit(result);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// Waits until the process has ended that the pidfd stands for. @return how long that took; forever if it goes on
inline std::chrono::milliseconds time_to_end(const conc::detail::Descriptor& pidfd) {
  const auto begin = std::chrono::steady_clock::now();
  pollfd fd{pidfd.number(), POLLIN, 0};
  if (::poll(&fd, 1, 10'000) != 1) return (std::chrono::milliseconds::max)();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
}

/// The children of a process, zombies too.
inline std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
    const int pid = std::atoi(entry.path().filename().c_str());
    std::string stat;
    if (pid == 0 || !std::getline(std::ifstream{entry.path() / "stat"}, stat)) continue;
    const std::size_t name_end = stat.rfind(')');  // "pid (name) state parent …"
    if (name_end != std::string::npos && std::atoi(stat.c_str() + name_end + 4) == parent) children.push_back(pid);
  }
  return children;
}

}  // namespace conc_test
