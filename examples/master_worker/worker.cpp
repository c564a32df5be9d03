// SPDX-License-Identifier: MIT
#include "worker.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <thread>

namespace master_worker {
namespace {

constexpr const char* kStarted = " started";

/// The primes up to the square root of `limit`: they divide every other number below it.
std::vector<std::uint64_t> divisors_below(std::uint64_t limit) {
  std::vector<std::uint64_t> primes;
  for (std::uint64_t n = 2; n * n < limit; ++n) {
    const bool divided = std::any_of(primes.begin(), primes.end(), [n](std::uint64_t p) { return n % p == 0; });
    if (!divided) primes.push_back(n);
  }
  return primes;
}

/// The sieve of Eratosthenes, a piece at a time.
std::uint64_t count_primes(std::uint64_t from, std::uint64_t to) {
  constexpr std::uint64_t piece = 1'000'000;
  const std::vector<std::uint64_t> divisors = divisors_below(to);
  std::uint64_t count = 0;
  for (std::uint64_t begin = std::max<std::uint64_t>(from, 2); begin < to; begin += piece) {
    std::vector<bool> composite(std::min(piece, to - begin));
    for (const std::uint64_t p : divisors) {
      const std::uint64_t first = std::max(p * p, (begin + p - 1) / p * p);
      for (std::uint64_t n = first; n < begin + composite.size(); n += p) composite[n - begin] = true;
    }
    count += static_cast<std::uint64_t>(std::count(composite.begin(), composite.end(), false));
  }
  return count;
}

/// The system kills this process when the thread that has started it ends. A thread that waits in subprocess::run ends
/// with its process and not before.
void die_with(pid_t master) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) throw std::system_error(errno, std::generic_category(), "prctl");
  if (::getppid() != master) std::_Exit(EXIT_FAILURE);  // it has ended already
}

/// One call, so that the lines of several workers do not mix.
void append_line(const std::string& file, const std::string& line) {
  const int fd = ::open(file.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), file);
  const std::string text = line + '\n';
  const ssize_t written = ::write(fd, text.data(), text.size());
  const int error = written < 0 ? errno : written < static_cast<ssize_t>(text.size()) ? ENOSPC : 0;
  ::close(fd);
  if (error != 0) throw std::system_error(error, std::generic_category(), file);
}

}  // namespace

std::vector<std::string> command_for(const Work& work) {
  std::vector<std::string> command{std::filesystem::read_symlink("/proc/self/exe"),
                                   "worker",
                                   "--name=" + work.name,
                                   "--from=" + std::to_string(work.from),
                                   "--to=" + std::to_string(work.to),
                                   "--least-ms=" + std::to_string(work.least.count())};
  if (!work.append.empty()) command.push_back("--append=" + work.append);
  if (work.die_with != 0) command.push_back("--die-with=" + std::to_string(work.die_with));
  return command;
}

std::uint64_t count_primes(const Work& work) {
  const auto end = std::chrono::steady_clock::now() + work.least;
  const std::uint64_t count = count_primes(work.from, work.to);
  std::this_thread::sleep_until(end);
  return count;
}

void do_work(const Work& work) {
  if (work.die_with != 0) die_with(work.die_with);
  if (!work.append.empty()) append_line(work.append, work.name + kStarted);
  const std::uint64_t count = count_primes(work);
  if (work.append.empty()) {
    std::printf("%llu\n", static_cast<unsigned long long>(count));
  } else {
    append_line(work.append, work.name + ": " + std::to_string(count) + " primes from " + std::to_string(work.from) +
                                 " to " + std::to_string(work.to - 1));
  }
}

bool says_started(const std::string& line, std::string& name) {
  if (!line.ends_with(kStarted)) return false;
  name = line.substr(0, line.size() - std::string(kStarted).size());
  return true;
}

}  // namespace master_worker
