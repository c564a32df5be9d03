// SPDX-License-Identifier: MIT
/// @file
/// WorkerProcess: a process that runs calls of this one. StartMethod, process_init.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio_ext.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <conc/detail/child.hpp>
#include <conc/detail/descriptor.hpp>
#include <conc/detail/fork_server.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/worker_entry.hpp>
#include <conc/error.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI {

/// How the processes come about that run this one's calls.
enum class StartMethod : std::uint8_t {
  /// Forked by a process that was itself forked early: see process_init(). Cheap however large the program has grown, and
  /// safe whatever its threads do. Statics are as they were when process_init() was called; so is the environment.
  fork_server,
  /// The program's own file, executed once more: static objects are made again, main runs as far as process_init().
  /// Several times the price of the fork server's.
  spawn,
  /// A copy of this process as it is, with the calling thread alone. A lock that another thread holds at that moment is held
  /// for ever there, also the locks inside of libraries: only for programs with one thread. Text in buffers of std::ofstream, or
  /// of std::cout without sync_with_stdio, may be written twice. Copying the page tables of a large program takes long.
  fork,
};

namespace detail {

/// Whether process_init() was called, in this process or in the one that it is a copy of.
[[gnu::visibility("default")]] inline constinit bool process_is_initialized = false;

// The descriptors of a worker that this process starts itself.
inline constexpr int kCallsNumber = 3;
inline constexpr int kResultsNumber = 4;
inline constexpr int kLifelineNumber = 5;
inline constexpr std::string_view kSpawnFlag = "--conc-worker=";  // and the number of the process that starts it

/// Whether this program was executed to be a worker, and has not come to process_init() yet.
inline bool is_spawned_worker() noexcept {
  const Descriptor file{::open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC)};
  char text[4096];
  const ssize_t got = ::read(file.number(), text, sizeof text);
  const std::string_view line{text, got < 0 ? 0 : static_cast<std::size_t>(got)};
  const std::size_t name = line.find('\0');
  return name != line.npos && line.substr(name + 1).starts_with(kSpawnFlag);
}

/// A process that serves this one's calls. Movable; whoever drops it kills and reaps it, but for a forked child of the
/// process that started it: there it is nothing.
///
/// @par Thread safety   start() from any threads; of one object one member at a time, but for pid() and pidfd().
class WorkerProcess {
 public:
  WorkerProcess() noexcept = default;

  /// Sees to it that start() will do, also when the program has more threads.
  /// @throws UsageError if the method needs process_init() and that was not called first in main, or if this process is a
  ///         worker that is just being started; BrokenProcessPool if the fork server has ended; std::system_error.
  static void prepare(StartMethod method) {
    check_not_being_started();
    if (method == StartMethod::fork_server) {
      fork_server.require();
    } else if (method == StartMethod::spawn) {
      check_initialized();
    }
  }

  /// Throws what prepare() will throw, if that is certain already. While the program has one thread it may still get to
  /// process_init(): static objects are made before.
  static void check(StartMethod method) {
    const bool ready =
        method == StartMethod::fork || (method == StartMethod::spawn ? process_is_initialized : fork_server.is_there());
    if (!ready && !is_single_threaded()) {
      prepare(method);
    }
  }

  /// Starts a process that serves what comes from `calls`, answers to `results`, and never comes back from there. It
  /// leads a process group of its own, reads /dev/null, writes where this process's standard output and error go now,
  /// begins in its working directory, and has no other descriptor but these two and, if it was not the fork server that
  /// started it, one that tells of the end of this process. Signals are as in a program that was just started. It ends
  /// with this process, however that ends.
  /// @param preload  plugins that it loads first, as dlopen(3) wants them
  /// @throws std::system_error if the system has no process or descriptor to give; UsageError if the method needs
  ///         process_init() and that was not called first in main, or if this process is a worker that is just being
  ///         started; BrokenProcessPool if the fork server is gone: what it has started is gone, too. std::bad_alloc.
  ///         Whatever it throws, no process and no descriptor is left.
  static WorkerProcess start(StartMethod method, Descriptor calls, Descriptor results,
                             const std::vector<std::string>& preload = {}) {
    check_not_being_started();
    WorkerProcess worker;
    worker.owner_ = ::getpid();
    if (method == StartMethod::fork_server) {
      ForkServer::Started started = fork_server.start(calls.number(), results.number(), preload);
      worker.pid_ = started.pid;
      worker.server_ = started.server;
      worker.pidfd_ = std::move(started.pidfd);
      return worker;
    }
    const std::string text = preload_text(preload);
    // They are moved to their numbers in the worker, where they must not overwrite each other.
    Ends ends{
        at_least(kLifelineNumber + 1, std::move(calls)), at_least(kLifelineNumber + 1, std::move(results)), {}, {}};
    ends.null = at_least(kLifelineNumber + 1, Descriptor{::open("/dev/null", O_RDWR | O_CLOEXEC)});
    for (const Descriptor* const needed : {&ends.calls, &ends.results, &ends.null}) {
      if (!needed->is_open()) {
        throw_system_error(errno, "worker process: no descriptor");
      }
    }
    Pipe lifeline;
    lifeline.open("worker process");
    ends.lifeline = at_least(kLifelineNumber + 1, std::move(lifeline.read_end));
    if (!ends.lifeline.is_open()) {
      throw_system_error(errno, "worker process: no descriptor");
    }
    auto line = std::make_unique<Lifeline>();
    line->end = std::move(lifeline.write_end);
    lifelines.add(*line);
    worker.lifeline_ = std::move(line);
    const pid_t pid = method == StartMethod::fork ? fork_worker(ends, text) : spawn_worker(ends, preload);
    worker.adopt(pid);
    return worker;
  }

  WorkerProcess(WorkerProcess&& other) noexcept
      : pid_{std::exchange(other.pid_, 0)},
        owner_{other.owner_},
        server_{other.server_},
        pidfd_{std::move(other.pidfd_)},
        lifeline_{std::move(other.lifeline_)},
        reaped_{other.reaped_},
        status_{other.status_} {}
  WorkerProcess& operator=(WorkerProcess&& other) noexcept {
    if (this != &other) {
      put_away();
      pid_ = std::exchange(other.pid_, 0);
      owner_ = other.owner_;
      server_ = other.server_;
      pidfd_ = std::move(other.pidfd_);
      lifeline_ = std::move(other.lifeline_);
      reaped_ = other.reaped_;
      status_ = other.status_;
    }
    return *this;
  }
  ~WorkerProcess() { put_away(); }

  /// 0 for none.
  pid_t pid() const noexcept { return pid_; }

  /// Readable once it has ended; negative for none.
  int pidfd() const noexcept { return pidfd_.number(); }

  /// Sends it a signal; SIGKILL goes to its whole process group. Nothing happens to a process that was reaped, nor to one of
  /// another process's.
  void signal(int number) noexcept {
    if (!is_mine() || reaped_) {
      return;
    }
    if (number == SIGKILL) {
      if (server_ != 0) {
        fork_server.kill(pid_, server_);
      } else if (siginfo_t unused{};
                 ::waitid(by_pidfd, static_cast<id_t>(pidfd_.number()), &unused, WEXITED | WNOHANG | WNOWAIT) == 0) {
        ::kill(-pid_, SIGKILL);  // nobody has waited for it, so that the number is still its own
      }
    }
    ::syscall(SYS_pidfd_send_signal, pidfd_.number(), number, nullptr, 0);
  }

  /// Waits for its end. pidfd() stays open.
  /// @return the exit status, or -N if signal N killed it; nothing if somebody else took that, or the fork server has
  ///         ended, or in a forked child. The same if called again.
  std::optional<int> reap() noexcept {
    if (!is_mine() || reaped_) {
      return status_;
    }
    const NoCancellation whole;
    await_end(pidfd_.number(), sync::forever);
    if (server_ != 0) {
      status_ = fork_server.reap(pid_, server_);
    } else {
      siginfo_t info{};
      int failed = 0;
      while ((failed = ::waitid(by_pidfd, static_cast<id_t>(pidfd_.number()), &info, WEXITED)) != 0 && errno == EINTR) {
      }
      if (failed == 0) {
        status_ = exit_status(info);
      }
      cut_lifeline();
    }
    reaped_ = true;
    return status_;
  }

 private:
  struct Ends {
    Descriptor calls;
    Descriptor results;
    Descriptor lifeline;
    Descriptor null;
  };

  static void check_not_being_started() {
    if (worker_state == WorkerState::starting || (!process_is_initialized && is_spawned_worker())) {
      throw_usage_error(
          "a worker that is being started cannot start workers: make pools in main, after process_init()");
    }
  }
  static void check_initialized() {
    if (!process_is_initialized) {
      throw_usage_error(
          "StartMethod::spawn: call conc::process_init(argc, argv) first in main: the new process runs main, too");
    }
  }

  static bool is_open(int number) noexcept { return ::fcntl(number, F_GETFD) >= 0; }

  static pid_t fork_worker(const Ends& ends, const std::string& preload) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);  // no handler of the program may run in the worker
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::setpgid(0, 0);
      ::dup2(ends.null.number(), STDIN_FILENO);
      for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
        if (!is_open(stream)) {
          ::dup2(ends.null.number(), stream);
        }
      }
      ::dup3(ends.calls.number(), kCallsNumber, O_CLOEXEC);
      ::dup3(ends.results.number(), kResultsNumber, O_CLOEXEC);
      ::dup3(ends.lifeline.number(), kLifelineNumber, O_CLOEXEC);
      ::closefrom(kLifelineNumber + 1);
      for (FILE* const stream : {stdin, stdout, stderr}) {
        __fpurge(stream);  // what is left in a buffer will be written by the program
      }
      reset_signals();
      hold_on_to(kLifelineNumber);
      be_worker(kCallsNumber, kResultsNumber, preload);
    }
    const int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (pid < 0) {
      throw_system_error(error, "worker process: fork");
    }
    ::setpgid(pid, pid);  // both do it, so that it is done when either goes on
    return pid;
  }

  static pid_t spawn_worker(const Ends& ends, const std::vector<std::string>& preload) {
    check_initialized();
    std::vector<std::string> args{program_invocation_name, std::string{kSpawnFlag} + std::to_string(::getpid())};
    args.insert(args.end(), preload.begin(), preload.end());
    const std::vector<char*> argv = pointers_to(args);
    SpawnPlan plan;
    plan.duplicate(ends.null.number(), STDIN_FILENO);
    for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
      if (!is_open(stream)) {
        plan.duplicate(ends.null.number(), stream);
      }
    }
    plan.duplicate(ends.calls.number(), kCallsNumber);
    plan.duplicate(ends.results.number(), kResultsNumber);
    plan.duplicate(ends.lifeline.number(), kLifelineNumber);
    plan.lead_a_group(kLifelineNumber + 1);
    pid_t pid = 0;
    if (const int error = plan.start(pid, "/proc/self/exe", argv.data(), environ); error != 0) {
      throw_system_error(error, "worker process: spawn");
    }
    return pid;
  }

  /// A child of this process is the worker from now on.
  void adopt(pid_t pid) {
    pidfd_ = pidfd_of(pid);
    const int error = pidfd_.is_open() ? 0 : errno;
    // Somebody else may have waited for it already, and the number be another process's.
    siginfo_t unused{};
    const bool by_number = error != 0;
    if (::waitid(by_number ? P_PID : by_pidfd, static_cast<id_t>(by_number ? pid : pidfd_.number()), &unused,
                 WEXITED | WNOHANG | WNOWAIT) != 0) {
      throw_system_error(ECHILD, "worker process: it ended at once, and somebody else waited for it");
    }
    if (error != 0) {
      ::kill(pid, SIGKILL);
      while (::waitid(P_PID, static_cast<id_t>(pid), &unused, WEXITED) != 0 && errno == EINTR) {
      }
      throw_system_error(error, "worker process: no pidfd");
    }
    pid_ = pid;
  }

  bool is_mine() const noexcept { return pid_ != 0 && owner_ == ::getpid(); }

  void cut_lifeline() noexcept {
    if (lifeline_ != nullptr) {
      lifelines.remove(*lifeline_);
      lifeline_.reset();
    }
  }

  void put_away() noexcept {
    if (is_mine() && !reaped_) {
      signal(SIGKILL);
      reap();
    }
    cut_lifeline();
  }

  pid_t pid_ = 0;
  pid_t owner_ = 0;           // the process that has started it
  std::uint64_t server_ = 0;  // the fork server that did; 0: it is a child of this process
  Descriptor pidfd_;
  std::unique_ptr<Lifeline> lifeline_;
  bool reaped_ = false;
  std::optional<int> status_;
};

/// In a process that was executed to be a worker.
[[noreturn]] inline void serve_spawned(int argc, char** argv) noexcept {
  for (const int number : {kCallsNumber, kResultsNumber, kLifelineNumber}) {
    struct stat kind {};
    if (::fstat(number, &kind) != 0 || (number != kResultsNumber && !S_ISFIFO(kind.st_mode)) ||
        ::fcntl(number, F_SETFD, FD_CLOEXEC) != 0) {
      std::fprintf(stderr, "%s: %s is for conc's own use\n", argv[0], argv[1]);
      std::_Exit(2);
    }
  }
  hold_on_to(kLifelineNumber);
  process_is_initialized = true;
  std::string preload;
  for (int i = 2; i < argc; ++i) {
    preload.append(argv[i]).push_back('\0');
  }
  be_worker(kCallsNumber, kResultsNumber, preload);
}

}  // namespace detail

/// Prepares for processes that run calls of this one: starts the fork server while the program has one thread and little
/// memory, and is what a process that was started by StartMethod::spawn comes to: there it never returns. Call it first
/// in main.
///
///     int main(int argc, char** argv) {
///       conc::process_init(argc, argv);
///
/// Without it StartMethod::spawn cannot be used, and the fork server is started with the first worker, which must then be
/// made while the program has one thread. If it has several threads here already there is no fork server.
///
/// The fork server is a child of the program that no wait reports but one with __WALL, and that sends no SIGCHLD. It has
/// no descriptor of the program, runs in a process group of its own, and ends with the program. A program that exits waits
/// for it, so that no zombie is left to process 1.
///
/// @throws std::system_error if the system has no process to give. std::bad_alloc. It may be called again then.
/// @par Thread safety   the main thread, before there are others.
/// @par Cost            a fork; one sleeping process, two descriptors; at exit a tenth of a millisecond.
/// @par Python          multiprocessing.freeze_support and set_start_method in one; there is one for everything.
inline void process_init(int argc, char** argv) {
  if (argc > 1 && std::string_view{argv[1]}.starts_with(detail::kSpawnFlag)) {
    detail::serve_spawned(argc, argv);
  }
  detail::process_is_initialized = true;
  detail::fork_server.prepare();
}

}  // namespace conc::inline CONC_ABI
