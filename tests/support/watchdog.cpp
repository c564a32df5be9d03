// SPDX-License-Identifier: MIT
#include "watchdog.hpp"

#include <dirent.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>

#include "support.hpp"

namespace conc_test {
namespace {

using Clock = std::chrono::steady_clock;

// Everything here is constant-initialized and never destroyed: the watchdog also guards the end of the process.
std::atomic<const char*> watched{"start"};
std::atomic<Clock::rep> deadline{std::numeric_limits<Clock::rep>::max()};
std::atomic<int> stacks_printed{0};
std::atomic<bool> watching{false};
int report_fd = STDERR_FILENO;
void (*before_report)() = nullptr;

// ThreadSanitizer holds back a signal that finds its thread inside a system call, unless the signal looks like a fault.
constexpr int kStackSignal = SIGTRAP;

void print(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(report_fd, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void nap(int milliseconds) { ::poll(nullptr, 0, milliseconds); }

void print_own_stack(int) {
  std::array<void*, 64> frames;
  const int depth = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  ::backtrace_symbols_fd(frames.data(), depth, report_fd);
  stacks_printed.fetch_add(1);
}

/// Lets gdb print all stacks. Returns false if there is no gdb, or it may not look at this process.
bool print_stacks_with_gdb() {
  if (const char* const wish = std::getenv("CONC_TEST_GDB"); wish != nullptr && std::string_view{wish} == "0")
    return false;
  std::array<int, 2> output{};
  if (::pipe2(output.data(), O_CLOEXEC) != 0) return false;
  ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  std::string pid = std::to_string(::getpid());
  // While gdb looks, this process is stopped, the watchdog too: somebody else must see to it that gdb does not hang.
  std::array<const char*, 13> arguments{
      "timeout", "-k", "1", "20", "gdb", "-nx", "-batch", "-p", pid.c_str(), "-ex", "thread apply all backtrace",
      nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t gdb = 0;
  const int failed =
      ::posix_spawnp(&gdb, arguments[0], &actions, nullptr, const_cast<char**>(arguments.data()), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(output[1]);
  std::string said;
  if (failed == 0) {
    std::array<char, 4096> part;
    for (ssize_t n = 0; (n = ::read(output[0], part.data(), part.size())) > 0;) {
      said.append(part.data(), static_cast<std::size_t>(n));
    }
    ::waitpid(gdb, nullptr, 0);
  }
  ::close(output[0]);
  if (said.find("#0 ") == std::string::npos) return false;
  print(said);
  return true;
}

/// Makes every thread print its own stack, one after the other, from a signal handler.
void print_stacks_with_signals() {
  struct sigaction action {};
  action.sa_handler = print_own_stack;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  ::sigaction(kStackSignal, &action, nullptr);
  DIR* const tasks = ::opendir("/proc/self/task");
  if (tasks == nullptr) return;
  const pid_t self = ::gettid();
  while (const dirent* const entry = ::readdir(tasks)) {
    const pid_t thread = static_cast<pid_t>(std::atoi(entry->d_name));
    if (thread == 0 || thread == self) continue;
    std::string name;
    std::getline(std::ifstream{"/proc/self/task/" + std::to_string(thread) + "/comm"}, name);
    print("\nThread " + std::to_string(thread) + " \"" + name + "\"\n");
    const int before = stacks_printed.load();
    ::syscall(SYS_tgkill, ::getpid(), thread, kStackSignal);
    for (int tries = 0; tries < 200 && stacks_printed.load() == before; ++tries) nap(5);
    if (stacks_printed.load() == before) print("  (does not answer)\n");
  }
  ::closedir(tasks);
}

[[noreturn]] void report_and_abort() {
  before_report();
  print("\nwatchdog: this took too long: " + std::string{watched.load()} + "\nwatchdog: what every thread is doing:\n");
  if (!print_stacks_with_gdb()) print_stacks_with_signals();
  print("watchdog: the end\n");
  std::signal(SIGABRT, SIG_DFL);
  std::abort();
}

void* keep_watch(void*) {
  watching.store(true);
  while (Clock::now().time_since_epoch().count() < deadline.load()) nap(100);
  report_and_abort();
}

}  // namespace

void start_watchdog(int fd, void (*before)()) {
  report_fd = fd;
  before_report = before;
  std::array<void*, 1> unused;
  ::backtrace(unused.data(), 1);  // loads what backtrace needs now: a signal handler could not
  // The watchdog takes no signals meant for the process: they are the business of the tests.
  sigset_t all;
  sigset_t previous;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &previous);
  pthread_t thread;
  if (::pthread_create(&thread, nullptr, keep_watch, nullptr) != 0) std::abort();
  ::pthread_detach(thread);
  ::pthread_setname_np(thread, "watchdog");
  // From here on the watchdog allocates nothing until it reports. A case that forks earlier could leave its child with a
  // lock of the allocator that nobody there holds.
  while (!watching.load()) nap(1);
  ::pthread_sigmask(SIG_SETMASK, &previous, nullptr);
}

void watch(const char* what, std::chrono::seconds limit) {
  watched.store(what);
  deadline.store((Clock::now() + limit).time_since_epoch().count());
}

std::chrono::seconds case_limit() {
  int seconds = 120;
  if (const char* const wish = std::getenv("CONC_TEST_LIMIT")) seconds = std::max(1, std::atoi(wish));
  return std::chrono::seconds{seconds * (sanitizer() == Sanitizer::none ? 1 : 5) * (long_form() ? 10 : 1)};
}

}  // namespace conc_test
