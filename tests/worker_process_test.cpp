// SPDX-License-Identifier: MIT
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <conc/detail/worker_process.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "background.hpp"
#include "process_support.hpp"
#include "processes.hpp"
#include "remote_worker.hpp"
#include "support.hpp"

namespace {

using conc::StartMethod;
using conc::detail::Descriptor;
using conc::detail::pidfd_of;
using conc::detail::WorkerProcess;
using conc_test::children_of;
using conc_test::Closed;
using conc_test::Disposition;
using conc_test::eventually;
using conc_test::in_child;
using conc_test::message_of;
using conc_test::open_descriptors;
using conc_test::RemoteWorker;
using conc_test::time_to_end;

constexpr std::array methods{StartMethod::fork_server, StartMethod::spawn, StartMethod::fork};

/// "0 /dev/null", …: the descriptors of the calling process and what they are.
std::vector<std::string> descriptors() {
  std::vector<std::string> found;
  DIR* const stream = ::opendir("/proc/self/fd");
  while (const dirent* const entry = ::readdir(stream)) {
    const std::string name = entry->d_name;
    if (name[0] == '.' || std::atoi(entry->d_name) == ::dirfd(stream)) continue;
    std::array<char, 256> target{};
    (void)!::readlink(("/proc/self/fd/" + name).c_str(), target.data(), target.size() - 1);
    found.push_back(name + " " + target.data());
  }
  ::closedir(stream);
  return found;
}

/// What the calling process does with signals, and those that it blocks: as text, empty in a program that was just started.
std::string signal_state() {
  std::string state;
  sigset_t blocked;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) != 0) continue;
    const bool faults = signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE;  // a sanitizer's
    if (action.sa_handler != SIG_DFL && (!faults || action.sa_handler == SIG_IGN)) {
      state += " not default: " + std::to_string(signal);
    }
    if (sigismember(&blocked, signal) == 1) state += " blocked: " + std::to_string(signal);
  }
  return state;
}

/// Has a child in its process group that does nothing. @return the child
int start_grandchild() {
  const pid_t child = ::fork();
  if (child == 0) {
    for (;;) ::pause();
  }
  return child;
}

}  // namespace

TEST_CASE("WorkerProcess: each start method gives a process that serves calls until they end",
          "[worker_process][P19]") {
  for (const StartMethod method : methods) {
    RemoteWorker worker{method};
    CHECK(worker.process.pid() > 0);
    CHECK(worker.call(::getpid) == worker.process.pid());
    CHECK(worker.call([](int a, int b) { return a * b; }, 6, 7) == 42);
    CHECK(worker.call([] { return conc::detail::worker_state == conc::detail::WorkerState::serving; }));
    CHECK(!conc::detail::await_end(worker.process.pidfd(), {}));
    worker.calls.close();
    CHECK(worker.process.reap() == 0);
    CHECK(conc::detail::await_end(worker.process.pidfd(), {}));
    CHECK(worker.process.reap() == 0);
  }
}

TEST_CASE("WorkerProcess: the exit status, or the signal that has killed it, is known", "[worker_process][P6]") {
  for (const StartMethod method : methods) {
    RemoteWorker leaves{method};
    leaves.send([] { ::_exit(3); });
    CHECK(leaves.process.reap() == 3);
    // LeakSanitizer looks in a forked process for the threads of its parent, and says that it finds none.
    if (method != StartMethod::fork || conc_test::sanitizer() != conc_test::Sanitizer::address) {
      RemoteWorker exits{method};
      exits.send([] { std::exit(4); });
      CHECK(exits.process.reap() == 4);
    }
    RemoteWorker dies{method};
    dies.send([] { ::raise(SIGUSR1); });
    CHECK(dies.process.reap() == -SIGUSR1);
    RemoteWorker told{method};
    told.process.signal(SIGTERM);
    CHECK(told.process.reap() == -SIGTERM);
    told.process.signal(SIGKILL);  // nobody is there any more
    CHECK(told.process.reap() == -SIGTERM);
  }
}

TEST_CASE("WorkerProcess: a stopped worker can be killed", "[worker_process][FW6]") {
  for (const StartMethod method : methods) {
    RemoteWorker worker{method};
    worker.process.signal(SIGSTOP);
    worker.process.signal(SIGKILL);
    CHECK(worker.process.reap() == -SIGKILL);
  }
}

TEST_CASE("WorkerProcess: a worker has no descriptors but its own", "[worker_process][FW13]") {
  const Descriptor inheritable{::open("/dev/zero", O_RDONLY)};
  for (const StartMethod method : methods) {
    RemoteWorker sibling{method};
    RemoteWorker worker{method};
    const std::vector<std::string> found = worker.call(descriptors);
    const bool by_server = method == StartMethod::fork_server;
    REQUIRE(found.size() == (by_server ? 5U : 6U));
    CHECK(found[0] == "0 /dev/null");
    for (std::size_t i = 3; i < found.size(); ++i) CHECK(found[i].find(" pipe:") != std::string::npos);
    // Nobody else holds an end of them: each sees the other's go.
    sibling.calls.close();
    CHECK(sibling.process.reap() == 0);
    char byte = 0;
    CHECK(::read(sibling.results.number(), &byte, 1) == 0);
    // What it executes inherits none of the pipes.
    CHECK(worker.call([] {
      for (int number = 3; number < 64; ++number) {
        const int flags = ::fcntl(number, F_GETFD);
        if (flags >= 0 && (flags & FD_CLOEXEC) == 0) return false;
      }
      return true;
    }));
  }
}

TEST_CASE("WorkerProcess: signals are as in a program that was just started", "[worker_process]") {
  const Disposition interrupt{SIGINT, SIG_IGN};
  const Disposition pipe{SIGPIPE, SIG_IGN};
  const Disposition terminate{SIGTERM, [](int) {}};
  sigset_t some;
  sigset_t before;
  sigemptyset(&some);
  sigaddset(&some, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &some, &before);
  std::vector<std::string> states;
  for (const StartMethod method : methods) {
    states.push_back(RemoteWorker{method}.call(signal_state));
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  CHECK(states == std::vector<std::string>(methods.size()));
}

TEST_CASE("WorkerProcess: a worker leads a process group of its own, in the session of the program",
          "[worker_process]") {
  for (const StartMethod method : methods) {
    RemoteWorker worker{method};
    CHECK(worker.call([] { return ::getpgrp() == ::getpid(); }));
    CHECK(worker.call([] { return static_cast<int>(::getsid(0)); }) == ::getsid(0));
    CHECK(::getpgid(worker.process.pid()) == worker.process.pid());
  }
}

TEST_CASE("WorkerProcess: SIGKILL reaches what a worker has started in its group, other signals only the worker",
          "[worker_process][P12]") {
  for (const StartMethod method : methods) {
    RemoteWorker worker{method};
    const Descriptor grandchild = pidfd_of(worker.call(start_grandchild));
    worker.process.signal(SIGCONT);
    CHECK(worker.call(::getpid) == worker.process.pid());
    CHECK(!conc::detail::await_end(grandchild.number(), {}));
    worker.process.signal(SIGKILL);
    CHECK(worker.process.reap() == -SIGKILL);
    CHECK(time_to_end(grandchild) < std::chrono::seconds{10});
  }
}

TEST_CASE("WorkerProcess: a worker that has left its group is killed too", "[worker_process][P12]") {
  for (const StartMethod method : methods) {
    RemoteWorker worker{method};
    // A group's leader cannot leave the session; it can join the group of a child.
    const int child = worker.call([] {
      const pid_t made = ::fork();
      if (made == 0) {
        for (;;) ::pause();
      }
      ::setpgid(made, made);
      return ::setpgid(0, made) == 0 ? made : 0;
    });
    REQUIRE(child != 0);
    const Descriptor grandchild = pidfd_of(child);
    worker.process.signal(SIGKILL);
    CHECK(worker.process.reap() == -SIGKILL);
    ::kill(child, SIGKILL);
    CHECK(time_to_end(grandchild) < std::chrono::seconds{10});
  }
}

TEST_CASE("WorkerProcess: whoever drops it kills and reaps it", "[worker_process][P16]") {
  const auto before = open_descriptors();
  for (const StartMethod method : methods) {
    Descriptor pidfd;
    {
      RemoteWorker worker{method};
      pidfd = pidfd_of(worker.process.pid());
      worker.send([] { ::pause(); });
      WorkerProcess moved = std::move(worker.process);
      CHECK(worker.process.pid() == 0);
      CHECK(worker.process.pidfd() < 0);
      CHECK(!worker.process.reap());
      worker.process.signal(SIGKILL);
      CHECK(!conc::detail::await_end(pidfd.number(), {}));
      RemoteWorker other{method};
      const Descriptor replaced = pidfd_of(other.process.pid());
      other.process = std::move(moved);
      CHECK(conc::detail::await_end(replaced.number(), {}));
    }
    CHECK(conc::detail::await_end(pidfd.number(), {}));
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("WorkerProcess: a worker writes where the program writes now, and begins where the program is now",
          "[worker_process]") {
  const std::filesystem::path home = std::filesystem::current_path();
  std::filesystem::current_path("/proc");
  std::vector<std::string> places;
  for (const StartMethod method : methods) {
    RemoteWorker worker{method};
    worker.call([] { std::fputs("words of a worker\n", stderr); });
    places.push_back(worker.call([] { return std::filesystem::current_path().string(); }));
  }
  std::filesystem::current_path(home);
  CHECK(places == std::vector<std::string>(methods.size(), "/proc"));
  CHECK(conc_test::take_stderr() == "words of a worker\nwords of a worker\nwords of a worker\n");
}

TEST_CASE("WorkerProcess: a program that has closed standard descriptors starts workers that have them",
          "[worker_process][FW16]") {
  std::fflush(nullptr);
  std::vector<std::vector<std::string>> found;
  for (const std::vector<int>& numbers : {std::vector<int>{0}, {1}, {2}, {0, 1, 2}}) {
    const Closed closed{numbers};
    for (const StartMethod method : methods) {
      RemoteWorker worker{method};
      found.push_back(worker.call(descriptors));
      for (const int number : numbers) {
        const std::string expected = std::to_string(number) + " /dev/null";
        if (std::find(found.back().begin(), found.back().end(), expected) == found.back().end()) found.back().clear();
      }
    }
  }
  for (const auto& open : found) {
    REQUIRE(open.size() >= 5);
    CHECK(open[0].starts_with("0 "));
    CHECK(open[1].starts_with("1 "));
    CHECK(open[2].starts_with("2 "));
  }
}

TEST_CASE("WorkerProcess: text that waits in a buffer of the program's is not written by its workers",
          "[worker_process]") {
  std::fflush(nullptr);
  char buffer[64];
  std::setvbuf(stderr, buffer, _IOFBF, sizeof buffer);
  std::fputs("once\n", stderr);
  for (const StartMethod method : methods) {
    RemoteWorker worker{method};
    worker.call([] { return std::fputs("", stderr); });
    worker.calls.close();
    worker.process.reap();
  }
  const std::string text = conc_test::take_stderr();
  std::setvbuf(stderr, nullptr, _IONBF, 0);
  CHECK(text == "once\n");
}

TEST_CASE("WorkerProcess: the fork server is no child that a wait or a signal reports, and has no zombies",
          "[worker_process][P18][FW11]") {
  const pid_t server = conc::detail::fork_server.pid();
  REQUIRE(server > 0);
  const std::vector<pid_t> children = children_of(::getpid());
  CHECK(std::find(children.begin(), children.end(), server) != children.end());
  RemoteWorker worker;
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
  CHECK(errno == ECHILD);
  CHECK(children_of(server) == std::vector<pid_t>{worker.process.pid()});
  worker.process.signal(SIGKILL);
  worker.process.reap();
  CHECK(children_of(server).empty());
  CHECK(::getpgid(server) == server);
}

TEST_CASE("WorkerProcess: a forked child has none of its parent's workers, and makes its own",
          "[worker_process][P18][FR10]") {
  for (const StartMethod method : methods) {
    RemoteWorker worker{method};
    CHECK(in_child([&] {
            worker.process.signal(SIGKILL);
            if (worker.process.reap()) return 1;
            WorkerProcess dropped = std::move(worker.process);
            dropped = {};
            RemoteWorker own{method};
            if (own.call(::getpid) != own.process.pid()) return 2;
            own.calls.close();
            return own.process.reap() == 0 ? 0 : 3;
          }) == 0);
    CHECK(worker.call(::getpid) == worker.process.pid());
    // The child's copy of the pipe is gone with it.
    worker.calls.close();
    CHECK(worker.process.reap() == 0);
  }
}

TEST_CASE("WorkerProcess: a worker may have workers of its own, which end with it", "[worker_process][P14]") {
  for (const StartMethod method : methods) {
    for (const StartMethod inner : {StartMethod::fork_server, StartMethod::spawn}) {
      RemoteWorker worker{method};
      const Descriptor nested = pidfd_of(worker.call(
          [](int how) {
            static RemoteWorker* kept = nullptr;
            kept = new RemoteWorker{static_cast<StartMethod>(how)};
            return kept->call(::getpid);
          },
          static_cast<int>(inner)));
      REQUIRE(nested.is_open());
      CHECK(!conc::detail::await_end(nested.number(), {}));
      worker.process.signal(SIGKILL);
      CHECK(worker.process.reap() == -SIGKILL);
      CHECK(time_to_end(nested) < std::chrono::seconds{10});
    }
  }
}

TEST_CASE("WorkerProcess: plugins that cannot be loaded end the worker with words", "[worker_process]") {
  for (const StartMethod method : methods) {
    RemoteWorker worker{method, {"libm.so.6", "no-such-plugin.so"}};
    CHECK(worker.process.reap() == 1);
    CHECK(conc_test::take_stderr().starts_with("conc: a worker cannot load no-such-plugin.so: "));
    CHECK(RemoteWorker{method, {"libm.so.6"}}.call([](int n) { return n; }, 5) == 5);
    using Plugins = std::vector<std::string>;
    CHECK(message_of<conc::UsageError>([&] { RemoteWorker{method, Plugins{""}}; }).starts_with("preload: "));
    CHECK(message_of<conc::UsageError>([&] {
            RemoteWorker{method, Plugins{std::string{"a\0b", 3}}};
          }).starts_with("preload: "));
    CHECK(message_of<conc::UsageError>([&] {
            RemoteWorker{method, Plugins(1000, std::string(100, 'x'))};
          }).starts_with("preload: "));
  }
}

TEST_CASE("WorkerProcess: several threads start workers at once", "[worker_process][P17]") {
  constexpr std::size_t threads = 4;
  const int rounds = conc_test::scaled(30);
  std::array<int, threads> right{};
  conc_test::run_threads(threads, [&](std::size_t index) {
    for (int i = 0; i < rounds; ++i) {
      RemoteWorker worker;
      right[index] += worker.call(::getpid) == worker.process.pid() ? 1 : 0;
      if (i % 2 == 0) worker.process.signal(SIGKILL);
      worker.calls.close();
      const std::optional<int> status = worker.process.reap();
      right[index] += status == (i % 2 == 0 ? -SIGKILL : 0) ? 1 : 0;
    }
  });
  CHECK(right == std::array<int, threads>{2 * rounds, 2 * rounds, 2 * rounds, 2 * rounds});
}
