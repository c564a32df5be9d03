// SPDX-License-Identifier: MIT
/// @file
/// The fork server: a process forked while this one had one thread and little memory, which forks the workers.
///
/// It is a child of this process that no wait reports but one with __WALL, and whose end sends no signal: what the
/// program does with its children and with SIGCHLD does not meet it.
///
///   this process --- socket: request, descriptors ---> server --- fork ---> worker
///                <-- socket: answer ------------------        --- ends ---> zombie, until this process asks for its status
///
/// Whoever of the three ends, however that comes:
///   a worker      stays a zombie of the server's, so its number, and that of its process group, is nobody else's until
///                 its status was asked for. This process sees its end by a pidfd.
///   the server    takes its workers along: the system kills them. This process sees the end of the socket.
///   this process  is seen by the server, by a pidfd and by the end of the socket, whichever comes first: a child that this
///                 process has forked may hold the socket open. It kills all workers with their process groups. When
///                 this process exits, or ends as a worker, it ends the server and waits for it: a server that is left to
///                 process 1 stays a zombie where that waits for nobody, as in many containers.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <conc/detail/descriptor.hpp>
#include <conc/detail/fork_server_loop.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/worker_entry.hpp>
#include <conc/error.hpp>
#include <conc/lock.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI::detail {

/// How many threads this process has; 0 if the system does not tell.
inline std::size_t count_threads() noexcept {
  struct stat tasks {};
  // A directory's links are itself, its parent's entry and one for each thread (proc(5)).
  return ::stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink > 2 ? tasks.st_nlink - 2 : 0;
}

/// Whether the calling thread is the only one of this process. The system counts a joined thread a moment longer.
inline bool is_single_threaded() noexcept {
#if defined(__SANITIZE_THREAD__)
  constexpr std::size_t most =
      2;  // ThreadSanitizer has a thread of its own, before there is a second one of the program
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
  constexpr std::size_t most = 2;
#else
  constexpr std::size_t most = 1;
#endif
#else
  constexpr std::size_t most = 1;
#endif
  const sync::TimePoint end = sync::now() + std::chrono::milliseconds{10};
  for (;;) {
    const std::size_t threads = count_threads();
    if (threads != 0 && threads <= most) {
      return true;
    }
    if (threads == 0 || sync::now() >= end) {
      return false;
    }
    sync::yield();
  }
}

/// This process's end of it. Never destroyed; the server ends when the process does, at the latest.
class ForkServer {
 public:
  struct Started {
    pid_t pid = 0;
    std::uint64_t server = 0;  // which of the servers that this process has had
    Descriptor pidfd;
  };

  constexpr ForkServer() noexcept = default;

  /// Forks the server, unless there is one or other threads run. One that was forked for a pool that is a static object,
  /// before main, is replaced: the program's code may not have been known then, nor its statics made.
  /// @throws std::system_error
  void prepare() {
    const ScopedLock guard{lock_};
    if (is_single_threaded()) {
      if (std::exchange(is_early_, false)) {
        end();
      }
      if (socket_ < 0) {
        launch();
      }
    }
  }

  bool is_there() {
    const ScopedLock guard{lock_};
    return socket_ >= 0;
  }

  /// Sees to it that there is a server.
  /// @throws as WorkerProcess::prepare()
  void require() {
    const ScopedLock guard{lock_};
    need();
  }

  /// Starts a worker with these ends of its pipes. See WorkerProcess::start.
  Started start(int calls, int results, const std::vector<std::string>& preload) {
    const std::string text = preload_text(preload);
    const Descriptor directory = above_standard(Descriptor{::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)});
    if (!directory.is_open()) {
      throw_system_error(errno, "fork server: the working directory");
    }
    ServerRequest request;
    int passed[kMostPassed] = {calls, results, directory.number()};
    std::size_t count = 3;
    for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
      if (::fcntl(stream, F_GETFD) >= 0) {
        request.streams |= 1U << static_cast<unsigned>(stream);
        passed[count++] = stream;
      }
    }
    const ScopedLock guard{lock_};
    need();
    is_early_ = false;
    ServerReply reply;
    if (const int error = ask(request, {passed, count}, text, reply); error != 0) {
      throw_system_error(error, "fork server: cannot be asked for a worker");
    }
    if (reply.error != 0) {
      throw_system_error(reply.error, "fork server: cannot start a worker");
    }
    Started worker{reply.pid, servers_, pidfd_of(reply.pid)};
    if (!worker.pidfd.is_open()) {
      const int error = errno;
      put_away(reply.pid);
      throw_system_error(error, "fork server: no pidfd for a worker");
    }
    // While the server lives nobody else can have that number. If it does now, it did when the pidfd was opened.
    if (await_end(pidfd_, {})) {
      lose();
    }
    ++workers_;
    return worker;
  }

  /// Kills the worker with its process group.
  void kill(pid_t pid, std::uint64_t server) noexcept {
    const ScopedLock guard{lock_};
    if (socket_ >= 0 && server == servers_) {
      ServerReply reply;
      try_ask({ServerRequest::kill, pid}, reply);
    }
  }

  /// The status of a worker that has ended; nothing if the server has, too.
  std::optional<int> reap(pid_t pid, std::uint64_t server) noexcept {
    const ScopedLock guard{lock_};
    ServerReply reply;
    if (socket_ < 0 || server != servers_ || !try_ask({ServerRequest::reap, pid}, reply) || reply.error != 0) {
      return std::nullopt;
    }
    --workers_;
    return reply.status;
  }

  /// When this process exits: ends the server and waits for it, unless it has workers; then all of them end by themselves.
  /// Neither a server that is stopped nor a thread that waits for its answer keeps this process from its end.
  void end_at_exit() noexcept {
    if (owner_ == ::getpid() && lock_.acquire(kPatience)) {
      if (socket_ >= 0 && workers_ == 0) {
        end_politely();
      }
      lock_.release();
    }
  }

  /// In a forked child, which has no server: what it has is its parent's, and a thread that does not exist here may have
  /// held the lock.
  void forget() noexcept {
    std::construct_at(&lock_);
    for (int* const number : {&socket_, &pidfd_}) {
      if (*number >= 0) {
        ::close(std::exchange(*number, -1));
      }
    }
    forked_ = true;
    is_early_ = false;
  }

  pid_t pid() const noexcept { return pid_; }

 private:
  static constexpr std::chrono::milliseconds kPatience{200};

  struct Numbers {
    const int* first;
    std::size_t count;
  };

  void need() {
    if (socket_ < 0) {
      if (!is_single_threaded()) {
        const std::string threads = std::to_string(count_threads());
        if (servers_ > 0 && !forked_) {
          throw BrokenProcessPool{"the fork server has ended, and no other can be started while the program has " +
                                  threads + " threads"};
        }
        throw_usage_error("no fork server: call conc::process_init(argc, argv) first in main; now there are " +
                          threads + " threads, and only a process with one can become a server");
      }
      launch();
      is_early_ = true;
    }
  }

  static int forget_in_children() noexcept;
  static void end_with_worker() noexcept;

  void launch() {
    if (!children_forget_ && forget_in_children_() != 0) {
      throw std::bad_alloc{};
    }
    children_forget_ = true;
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
      throw_system_error(errno, "fork server: no socket");
    }
    Descriptor mine{ends[0]};
    Descriptor other{ends[1]};
    // The server moves what it keeps to the numbers 3 and 4.
    mine = at_least(5, std::move(mine));
    other = at_least(5, std::move(other));
    const Descriptor self = at_least(5, pidfd_of(::getpid()));
    const Descriptor null = at_least(5, Descriptor{::open("/dev/null", O_RDWR | O_CLOEXEC)});
    Descriptor child = at_least(5, pidfd_of(::getpid()));  // a place for what clone() gives
    for (const Descriptor* const needed :
         {&std::as_const(mine), &std::as_const(other), &self, &null, &std::as_const(child)}) {
      if (!needed->is_open()) {
        throw_system_error(errno, "fork server: no descriptor");
      }
    }
    std::fflush(nullptr);  // what is left in a buffer would be written once more by each worker
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);  // no handler of the program may run in the server
    int pidfd = -1;
    // As fork(2), but it sends no signal when it ends, so that only waits with __WALL know it (clone(2)). What the C library
    // does around its fork() is for a process with several threads, and for its handlers, which are for the workers.
    const auto pid = static_cast<pid_t>(::syscall(SYS_clone, CLONE_PIDFD, nullptr, &pidfd, nullptr, nullptr));
    if (pid == 0) {
      serve_requests(other.number(), self.number(), null.number());
    }
    const int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (pid < 0) {
      throw_system_error(error, "fork server: cannot be started");
    }
    ::dup3(pidfd, child.number(), O_CLOEXEC);
    ::close(pidfd);
    pid_ = pid;
    owner_ = ::getpid();
    socket_ = mine.release();
    pidfd_ = child.release();
    forked_ = false;
    workers_ = 0;
    ++servers_;
    before_worker_ends = end_with_worker_;
  }

  /// What the new process does first: it lets go of all that is the program's.
  [[noreturn]] void serve_requests(int socket, int program, int null) noexcept {
    ::setpgid(0, 0);
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
      ::dup2(null, stream);
    }
    ::dup3(socket, 3, O_CLOEXEC);
    ::dup3(program, 4, O_CLOEXEC);
    ::closefrom(5);
    socket_ = -1;  // closed by now; the numbers will be others'
    pidfd_ = -1;
    forget();
    lifelines.drop();
    reset_signals();
    ForkServerLoop{3, 4}.run();
  }

  /// @return 0, or the error number with which it could not be asked
  /// @throws BrokenProcessPool if the server is gone
  int ask(const ServerRequest& request, Numbers passed, const std::string& text, ServerReply& reply) {
    const NoCancellation whole;  // half of an exchange would leave an answer that belongs to nobody
    ServerRequest sent = request;
    iovec parts[2] = {{&sent, sizeof sent}, {const_cast<char*>(text.data()), text.size()}};
    alignas(cmsghdr) char control[CMSG_SPACE(kMostPassed * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    if (passed.count != 0) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(passed.count * sizeof(int));
      cmsghdr* const rights = CMSG_FIRSTHDR(&message);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(passed.count * sizeof(int));
      std::memcpy(CMSG_DATA(rights), passed.first, passed.count * sizeof(int));
    }
    while (::sendmsg(socket_, &message, MSG_NOSIGNAL) < 0) {
      if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) {
        lose();
      }
      if (errno != EINTR) {
        return errno;
      }
    }
    ssize_t got = 0;
    while ((got = ::recv(socket_, &reply, sizeof reply, 0)) < 0 && errno == EINTR) {
    }
    if (got != static_cast<ssize_t>(sizeof reply)) {
      lose();
    }
    return 0;
  }

  bool try_ask(const ServerRequest& request, ServerReply& reply) noexcept {
    try {
      return ask(request, {nullptr, 0}, {}, reply) == 0;
    } catch (...) {
      return false;
    }
  }

  /// Ends and waits for a worker that nobody will get.
  void put_away(pid_t pid) noexcept {
    ServerReply reply;
    if (try_ask({ServerRequest::kill, pid}, reply)) {
      try_ask({ServerRequest::reap, pid}, reply);
    }
  }

  /// The server is gone, or does not make sense: nothing is left of it.
  [[noreturn]] void lose() {
    const std::optional<int> status = end();
    throw BrokenProcessPool{"the fork server (process " + std::to_string(pid_) + ") " + how_it_ended(status)};
  }

  /// Kills the server, if it has not ended. @return its exit status
  std::optional<int> end() noexcept {
    ::syscall(SYS_pidfd_send_signal, pidfd_, SIGKILL, nullptr, 0);
    return take_status(0);
  }

  /// The server ends as if this process had, or else is killed.
  void end_politely() noexcept {
    const NoCancellation whole;
    ::shutdown(socket_, SHUT_RDWR);  // and not close(): a child that this process has forked may hold it open
    if (!await_end(pidfd_, sync::now() + kPatience)) {
      ::syscall(SYS_pidfd_send_signal, pidfd_, SIGKILL, nullptr, 0);
      static_cast<void>(await_end(pidfd_, sync::now() + 5 * kPatience));
    }
    take_status(WNOHANG);  // a debugger may keep it
  }

  /// Waits for the server, and lets go of it. @return its exit status
  std::optional<int> take_status(int flags) noexcept {
    siginfo_t info{};
    int failed = 0;
    while ((failed = ::waitid(by_pidfd, static_cast<id_t>(pidfd_), &info, WEXITED | __WALL | flags)) != 0 &&
           errno == EINTR) {
    }
    ::close(std::exchange(socket_, -1));
    ::close(std::exchange(pidfd_, -1));
    return failed == 0 ? std::optional{exit_status(info)} : std::nullopt;
  }

  Lock lock_;        // one exchange at a time
  int socket_ = -1;  // negative: there is no server
  int pidfd_ = -1;   // of the server
  pid_t pid_ = 0;
  pid_t owner_ = 0;            // the process that has forked it
  bool is_early_ = false;      // it was not forked by prepare(), and has not been asked for a worker
  bool forked_ = false;        // this process is a child of the one that had the server
  std::uint64_t servers_ = 0;  // how many there have been
  std::size_t workers_ = 0;    // of this one, whose status was not asked for yet
  // Those of the module in which this lies: what the calling module has is gone when that is unloaded.
  int (*const forget_in_children_)() noexcept = &forget_in_children;
  const BeforeEnd end_with_worker_ = &end_with_worker;
  bool children_forget_ = false;
};

[[gnu::visibility("default")]] inline constinit ForkServer fork_server{};

#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wglobal-constructors"
#endif
/// A static object that is older than those whose files include this, and so is destroyed after them. By then the exit rule
/// has closed all pools.
struct ForkServerEnd {
  constexpr ForkServerEnd() noexcept = default;
  ForkServerEnd(const ForkServerEnd&) = delete;
  ForkServerEnd& operator=(const ForkServerEnd&) = delete;
  ~ForkServerEnd() { fork_server.end_at_exit(); }
};
[[gnu::visibility("default")]] inline const ForkServerEnd fork_server_end{};
#if defined(__clang__)
#pragma clang diagnostic pop
#endif

inline void ForkServer::end_with_worker() noexcept { fork_server.end_at_exit(); }

inline int ForkServer::forget_in_children() noexcept {
  return pthread_atfork(nullptr, nullptr, [] { fork_server.forget(); });
}

}  // namespace conc::inline CONC_ABI::detail
