// SPDX-License-Identifier: MIT
/// @file
/// ForkServerLoop: what the fork server does, and what it is asked. fork_server.hpp has the program's end of it.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <conc/detail/descriptor.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/worker_entry.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

namespace conc::inline CONC_ABI::detail {

struct ServerRequest {
  enum Kind : std::uint32_t { start, kill, reap };
  Kind kind = start;
  pid_t pid = 0;              // kill and reap: which worker
  std::uint32_t streams = 0;  // start: bit n is set if descriptor n of this process is open and comes along
};

struct ServerReply {
  int error = 0;   // 0, or why not; then the rest means nothing
  pid_t pid = 0;   // start: the worker
  int status = 0;  // reap: its exit status, or -N
};

/// What comes with a request to start: the worker's two pipe ends, the working directory, standard output and error.
inline constexpr std::size_t kMostPassed = 5;

/// What runs in the server process. Uses no lock, and nothing of the program but its memory allocator.
class ForkServerLoop {
 public:
  ForkServerLoop(int socket, int program) noexcept : socket_{socket}, program_{program} {}

  [[noreturn]] void run() noexcept {
    for (;;) {
      pollfd fds[2] = {{socket_, POLLIN, 0}, {program_, POLLIN, 0}};
      const int ready = ::poll(fds, 2, -1);
      if (ready > 0 && fds[1].revents != 0) {
        end();
      }
      if (ready > 0) {
        handle();
      }
    }
  }

 private:
  struct Passed {
    int numbers[kMostPassed];
    std::size_t count = 0;

    ~Passed() {
      for (std::size_t i = 0; i < count; ++i) {
        ::close(numbers[i]);
      }
    }
  };

  /// The program is gone: so are its workers, and what they have started in their process groups.
  [[noreturn]] void end() noexcept {
    for (const pid_t worker : workers_) {
      kill(worker);
    }
    for (const pid_t worker : workers_) {
      siginfo_t unused{};
      while (::waitid(P_PID, static_cast<id_t>(worker), &unused, WEXITED) != 0 && errno == EINTR) {
      }
    }
    ::_exit(0);
  }

  static void kill(pid_t worker) noexcept {
    ::kill(-worker, SIGKILL);
    ::kill(worker, SIGKILL);  // it may have left its group
  }

  void handle() noexcept {
    const std::optional<ServerReply> reply = answer();  // by now nothing is open that came with the request
    while (reply && ::send(socket_, &*reply, sizeof *reply, MSG_NOSIGNAL) < 0) {
      if (errno != EINTR && errno != ENOMEM && errno != ENOBUFS) {
        end();
      }
    }
  }

  /// Does what the next request says. @return the answer; nothing if there is no request after all
  std::optional<ServerReply> answer() noexcept {
    ServerRequest request;
    Passed passed;
    iovec parts[2] = {{&request, sizeof request}, {text_, sizeof text_}};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof passed.numbers)];
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = ::recvmsg(socket_, &message, MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOMEM || errno == ENOBUFS)) {
      return std::nullopt;
    }
    if (got < static_cast<ssize_t>(sizeof request)) {
      end();
    }
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
      if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) {
        passed.count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        std::memcpy(passed.numbers, CMSG_DATA(part), passed.count * sizeof(int));
      }
    }
    ServerReply reply;
    if (request.kind == ServerRequest::start) {
      const std::size_t expected = 3 + static_cast<std::size_t>(std::popcount(request.streams));
      if ((message.msg_flags & MSG_CTRUNC) != 0 || passed.count != expected) {
        reply.error = EMFILE;  // the system gave the server fewer descriptors than were sent
      } else if ((message.msg_flags & MSG_TRUNC) != 0) {
        reply.error = EMSGSIZE;
      } else {
        start(request, passed, {text_, static_cast<std::size_t>(got) - sizeof request}, reply);
      }
    } else {
      look_after(request, reply);
    }
    return reply;
  }

  void start(const ServerRequest& request, Passed& passed, std::string_view preload, ServerReply& reply) noexcept {
    try {
      workers_.reserve(workers_.size() + 1);
    } catch (...) {
      reply.error = ENOMEM;
      return;
    }
    const pid_t server = ::getpid();
    const pid_t worker = ::fork();
    if (worker == 0) {
      ::close(socket_);
      ::close(program_);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != server) {  // it ended before
        ::_exit(1);
      }
      ::setpgid(0, 0);
      if (::fchdir(passed.numbers[2]) != 0) {
        ::_exit(1);
      }
      std::size_t next = 3;
      for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
        if ((request.streams >> static_cast<unsigned>(stream) & 1U) != 0) {
          ::dup2(passed.numbers[next++], stream);
        }
      }
      for (std::size_t i = 2; i < passed.count; ++i) {
        ::close(passed.numbers[i]);
      }
      be_worker(passed.numbers[0], passed.numbers[1], preload);
    }
    if (worker < 0) {
      reply.error = errno;
      return;
    }
    ::setpgid(worker, worker);  // both do it, so that it is done when either goes on
    workers_.push_back(worker);
    reply.pid = worker;
  }

  /// Kills a worker with its process group, or waits for its end.
  void look_after(const ServerRequest& request, ServerReply& reply) noexcept {
    reply.error = ESRCH;
    for (pid_t& worker : workers_) {
      if (worker != request.pid) {
        continue;
      }
      reply.error = 0;
      if (request.kind == ServerRequest::kill) {
        kill(worker);
        return;
      }
      siginfo_t info{};
      while (::waitid(P_PID, static_cast<id_t>(worker), &info, WEXITED) != 0) {
        if (errno != EINTR) {
          reply.error = errno;
          break;
        }
      }
      reply.status = exit_status(info);
      worker = workers_.back();
      workers_.pop_back();
      return;
    }
  }

  int socket_;
  int program_;                 // a pidfd of the program
  std::vector<pid_t> workers_;  // those whose status was not asked for yet
  char text_[kMostPreload];
};

}  // namespace conc::inline CONC_ABI::detail
