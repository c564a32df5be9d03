// SPDX-License-Identifier: MIT
// Programs that end, fork servers that are killed, and a system that has nothing to give, around worker processes.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <conc/detail/worker_process.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "background.hpp"
#include "process_support.hpp"
#include "processes.hpp"
#include "remote_worker.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using conc::StartMethod;
using conc::detail::Descriptor;
using conc::detail::fork_server;
using conc::detail::pidfd_of;
using conc_test::children_of;
using conc_test::DescriptorLimit;
using conc_test::Disposition;
using conc_test::error_of;
using conc_test::in_child;
using conc_test::message_of;
using conc_test::open_descriptors;
using conc_test::RemoteWorker;
using conc_test::scaled;
using conc_test::time_to_end;

constexpr std::array methods{StartMethod::fork_server, StartMethod::spawn, StartMethod::fork};

[[noreturn]] void pause_for_ever() {
  for (;;) ::pause();
}

pid_t start_grandchild() {
  const pid_t child = ::fork();
  if (child == 0) pause_for_ever();
  return child;
}

std::atomic<int> signals_seen{0};

/// A handler for SIGCHLD that takes every child it finds.
void reap_all(int) {
  const int error = errno;
  ++signals_seen;
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {
  }
  errno = error;
}

/// How long all processes took to end that a program has started, each with a worker's grandchild, after the program was
/// told to do `last`, which must end it; and how it ended.
template <class F>
std::pair<std::chrono::milliseconds, int> time_after(F last) {
  constexpr std::size_t most = 16;
  conc::detail::Pipe told;
  conc::detail::Pipe go;
  told.open("test");
  go.open("test");
  std::fflush(nullptr);
  const pid_t program = ::fork();
  if (program == 0) {
    static std::vector<std::unique_ptr<RemoteWorker>> workers;
    std::array<pid_t, most> pids{};
    std::size_t count = 0;
    for (const StartMethod method : methods) {
      for (const bool busy : {true, false}) {
        workers.push_back(std::make_unique<RemoteWorker>(method));
        pids[count++] = workers.back()->process.pid();
        pids[count++] = workers.back()->call(start_grandchild);
        if (busy) workers.back()->send(pause_for_ever);
      }
    }
    pids[count++] = fork_server.pid();
    (void)!::write(told.write_end.number(), pids.data(), sizeof pids);
    char byte = 0;
    (void)!::read(go.read_end.number(), &byte, 1);
    last();
    ::_exit(99);
  }
  std::array<pid_t, most> pids{};
  told.write_end.close();
  std::vector<Descriptor> all;
  if (::read(told.read_end.number(), pids.data(), sizeof pids) == sizeof pids) {
    for (const pid_t pid : pids) {
      if (pid != 0) all.push_back(pidfd_of(pid));
    }
  }
  (void)!::write(go.write_end.number(), "", 1);
  int status = 0;
  ::waitpid(program, &status, 0);
  const auto begin = std::chrono::steady_clock::now();
  std::chrono::milliseconds longest = all.size() == 4 * methods.size() + 1 ? 0ms : 99'999ms;
  for (const Descriptor& pidfd : all) {
    longest = pidfd.is_open() ? std::max(longest, time_to_end(pidfd)) : 99'999ms;
  }
  if (longest < 10s) {
    longest = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
  }
  return {longest, WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status)};
}

/// In the long form the limit is the figure itself; otherwise it guards against hanging.
std::chrono::milliseconds at_most_a_second() { return conc_test::long_form() ? 1'000ms : 10'000ms; }

}  // namespace

TEST_CASE("WorkerProcess: a program that is killed takes its workers along, and what they have started",
          "[worker_process][P14][FW9]") {
  const auto [time, status] = time_after([] { ::raise(SIGKILL); });
  CHECK(status == -SIGKILL);
  CHECK(time <= at_most_a_second());
}

TEST_CASE("WorkerProcess: a program that ends without a word to its workers takes them along",
          "[worker_process][P14][FW10]") {
  const auto [time, status] = time_after([] { ::_exit(7); });
  CHECK(status == 7);
  CHECK(time <= at_most_a_second());
}

TEST_CASE("WorkerProcess: workers end when the program becomes another one", "[worker_process][P14]") {
  const auto [time, status] = time_after([] { ::execlp("sh", "sh", "-c", "exit 5", nullptr); });
  CHECK(status == 5);
  CHECK(time <= at_most_a_second());
}

TEST_CASE("WorkerProcess: a child that the program has forked does not keep the program's workers alive",
          "[worker_process][P14][FR10]") {
  conc::detail::Pipe survivor;
  survivor.open("test");
  const auto [time, status] = time_after([&] {
    const pid_t child = ::fork();
    if (child == 0) pause_for_ever();
    (void)!::write(survivor.write_end.number(), &child, sizeof child);
    ::raise(SIGKILL);
  });
  CHECK(status == -SIGKILL);
  CHECK(time <= at_most_a_second());
  pid_t child = 0;
  REQUIRE(::read(survivor.read_end.number(), &child, sizeof child) == sizeof child);
  const Descriptor pidfd = pidfd_of(child);
  REQUIRE(pidfd.is_open());
  CHECK(!conc::detail::await_end(pidfd.number(), {}));
  ::kill(child, SIGKILL);
  CHECK(time_to_end(pidfd) < 10s);
}

TEST_CASE("WorkerProcess: the thread that has started a worker may end before it", "[worker_process][P14]") {
  std::array<std::unique_ptr<RemoteWorker>, methods.size()> workers;
  for (std::size_t i = 0; i < methods.size(); ++i) {
    std::thread{[&, i] { workers[i] = std::make_unique<RemoteWorker>(methods[i]); }}.join();
  }
  for (const auto& worker : workers) CHECK(worker->call(::getpid) == worker->process.pid());
}

TEST_CASE("WorkerProcess: a fork server that is killed takes its workers along, is told, and leaves no zombie",
          "[worker_process][FW8][P16]") {
  CHECK(in_child([] {
          const auto before = open_descriptors();
          {
            RemoteWorker busy;
            RemoteWorker idle;
            RemoteWorker spawned{StartMethod::spawn};
            busy.send(pause_for_ever);
            const pid_t server = fork_server.pid();
            const Descriptor pidfd = pidfd_of(server);
            ::kill(server, SIGKILL);
            const std::string words = message_of<conc::BrokenProcessPool>([] { RemoteWorker{}; });
            if (words != "the fork server (process " + std::to_string(server) + ") was killed by signal 9 (SIGKILL)") {
              return 1;
            }
            if (!conc::detail::await_end(pidfd.number(), {})) return 2;
            if (busy.process.reap() || idle.process.reap()) return 3;
            busy.process.signal(SIGKILL);
            if (spawned.call(::getpid) != spawned.process.pid()) return 4;
            // This process has one thread: it may have another server.
            RemoteWorker again;
            if (again.call(::getpid) != again.process.pid()) return 5;
            if (fork_server.pid() == server) return 6;
            if (children_of(::getpid()).size() != 2) return 7;  // that server and the spawned one
          }
          return open_descriptors() == before + 2 ? 0 : 8;  // of the second server
        }) == 0);
}

TEST_CASE("WorkerProcess: the end of the fork server may be noticed by whoever waits for a worker",
          "[worker_process][FW8]") {
  CHECK(in_child([] {
          RemoteWorker worker;
          ::kill(fork_server.pid(), SIGKILL);
          if (worker.process.reap()) return 1;
          worker.process.signal(SIGKILL);
          return children_of(::getpid()).empty() ? 0 : 2;
        }) == 0);
}

TEST_CASE("WorkerProcess: each descriptor that is missing is std::system_error and leaves nothing behind",
          "[worker_process][FW12]") {
  for (const StartMethod method : methods) {
    for (const bool has_server : {true, false}) {
      CHECK(in_child([method, has_server] {
              if (has_server) RemoteWorker{};
              const auto before = open_descriptors();
              int failures = 0;
              for (rlim_t limit = 3;; ++limit) {
                std::exception_ptr thrown;
                {
                  const DescriptorLimit few{limit};
                  try {
                    RemoteWorker{method};
                  } catch (...) {
                    thrown = std::current_exception();
                  }
                }
                const bool launched =
                    !has_server && method == StartMethod::fork_server && children_of(::getpid()).size() == 1;
                if (open_descriptors() != before + (launched ? 2 : 0)) return 1;
                if (children_of(::getpid()).size() != (has_server || launched ? 1U : 0U)) return 2;
                if (!thrown) break;
                if (error_of([&] { std::rethrow_exception(thrown); }) != EMFILE) return 3;
                ++failures;
              }
              if (failures < 6) return 4;  // two pipes and the pidfd at least, and where it begins
              RemoteWorker works{method};
              return works.call(::getpid) == works.process.pid() ? 0 : 5;
            }) == 0);
    }
  }
}

TEST_CASE("WorkerProcess: descriptors that the fork server is missing are std::system_error",
          "[worker_process][FW12]") {
  const auto descriptors_of = [](pid_t process) {
    namespace fs = std::filesystem;
    return std::distance(fs::directory_iterator{"/proc/" + std::to_string(process) + "/fd"}, fs::directory_iterator{});
  };
  RemoteWorker{};
  const pid_t server = fork_server.pid();
  const auto before = descriptors_of(server);
  CHECK(before == 5);
  for (rlim_t limit = 5; limit < 10; ++limit) {
    const DescriptorLimit few{limit, server};
    CHECK(error_of([] { RemoteWorker{}; }) == EMFILE);
    CHECK(descriptors_of(server) == before);
  }
  RemoteWorker worker;
  CHECK(worker.call(::getpid) == worker.process.pid());
  CHECK(descriptors_of(server) == before);
}

TEST_CASE("WorkerProcess: a system that has no process to give is std::system_error, and later it works",
          "[worker_process][FW12]") {
  for (const StartMethod method : {StartMethod::fork_server, StartMethod::fork}) {
    CHECK(in_child([method] {
            // The limit is not for root. What another user may not read is no matter here.
            if (::getuid() == 0 && (::chdir("/") != 0 || ::setresuid(65534, 65534, 65534) != 0)) return 1;
            RemoteWorker before{method};
            const pid_t forks = method == StartMethod::fork_server ? fork_server.pid() : ::getpid();
            rlimit usual{};
            if (::prlimit(forks, RLIMIT_NPROC, nullptr, &usual) != 0) return 2;
            rlimit none = usual;
            none.rlim_cur = 0;
            if (::prlimit(forks, RLIMIT_NPROC, &none, nullptr) != 0) return 3;
            for (int i = 0; i < 3; ++i) {
              if (error_of([method] { RemoteWorker{method}; }) != EAGAIN) return 4;
            }
            if (::prlimit(forks, RLIMIT_NPROC, &usual, nullptr) != 0) return 5;
            RemoteWorker after{method};
            if (after.call(::getpid) != after.process.pid()) return 6;
            return before.call(::getpid) == before.process.pid() ? 0 : 7;
          }) == 0);
  }
}

TEST_CASE("WorkerProcess: many are started and ended, and nothing is left of them", "[worker_process][FW11][P16]") {
  const auto before = open_descriptors();
  const int rounds = scaled(1'000);
  int wrong = 0;
  for (int i = 0; i < rounds; ++i) {
    // The fork server mostly; the others take longer.
    RemoteWorker worker{i % 50 == 1 ? StartMethod::spawn : i % 10 == 2 ? StartMethod::fork : StartMethod::fork_server};
    if (i % 2 == 0) worker.process.signal(SIGKILL);
    worker.calls.close();
    wrong += worker.process.reap() == (i % 2 == 0 ? -SIGKILL : 0) ? 0 : 1;
  }
  CHECK(wrong == 0);
  CHECK(open_descriptors() == before);
  CHECK(children_of(fork_server.pid()).empty());
}

TEST_CASE("WorkerProcess: workers are started while threads hold locks and the heap", "[worker_process][P17][FW14]") {
  std::atomic<bool> over{false};
  std::mutex mutex;
  conc::Lock lock;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, size = 16U << i] {
      while (!over) {
        const std::scoped_lock guard{mutex, lock};
        std::vector<std::string> some(10);
        for (std::string& text : some) text.assign(size, 'x');
        std::fputs("", stderr);
      }
    });
  }
  const int rounds = conc_test::long_form() ? 10'000 : scaled(300);
  int right = 0;
  for (int i = 0; i < rounds; ++i) {
    RemoteWorker worker{i % 50 == 1 ? StartMethod::spawn : StartMethod::fork_server};
    right += worker.call(
                       [](const std::string& text) {
                         std::fputs("", stderr);
                         return std::string(text.size() + 1, 'y');
                       },
                       std::string(1'000, 'x'))
                         .size() == 1'001
                 ? 1
                 : 0;
  }
  over = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(right == rounds);
}

TEST_CASE("WorkerProcess: what the program does with SIGCHLD costs at most a status", "[worker_process][FW15][P18]") {
  for (const bool ignored : {true, false}) {
    const Disposition disposition{SIGCHLD, ignored ? SIG_IGN : reap_all};
    for (const StartMethod method : methods) {
      signals_seen = 0;
      RemoteWorker worker{method};
      CHECK(worker.call(::getpid) == worker.process.pid());
      worker.send([] { ::_exit(3); });
      const std::optional<int> status = worker.process.reap();
      if (method == StartMethod::fork_server) {
        CHECK(status == 3);
        CHECK(signals_seen == 0);
      } else {
        CHECK((!status || status == 3));
      }
      RemoteWorker killed{method};
      killed.process.signal(SIGKILL);
      CHECK(killed.process.reap().value_or(-SIGKILL) == -SIGKILL);
    }
  }
}

TEST_CASE("WorkerProcess: somebody who waits for all children takes no worker of the fork server's",
          "[worker_process][FW15][P18]") {
  std::atomic<bool> over{false};
  std::atomic<int> stolen{0};
  std::thread thief{[&] {
    while (!over) {
      if (::waitpid(-1, nullptr, WNOHANG) > 0) ++stolen;
      std::this_thread::yield();
    }
  }};
  const int rounds = scaled(100);
  int right = 0;
  for (int i = 0; i < rounds; ++i) {
    RemoteWorker worker;
    worker.send([] { ::_exit(3); });
    right += worker.process.reap() == 3 ? 1 : 0;
  }
  CHECK(stolen == 0);
  CHECK(right == rounds);
  // One that this process starts itself may be taken, even before it is known. Whatever happens, there is an answer.
  int answers = 0;
  for (const StartMethod method : {StartMethod::spawn, StartMethod::fork}) {
    for (int i = 0; i < rounds / 5 + 1; ++i) {
      try {
        RemoteWorker worker{method};
        if (i % 2 == 0) {
          worker.process.signal(SIGKILL);
        } else {
          worker.calls.close();
        }
        answers += worker.process.reap().value_or(0) <= 0 ? 1 : 0;
      } catch (const std::system_error& error) {
        answers += error.code() == std::errc::no_child_process ? 1 : 0;
      }
    }
  }
  over = true;
  thief.join();
  CHECK(answers == 2 * (rounds / 5 + 1));
}

TEST_CASE("WorkerProcess: a worker that closes its descriptors is no harm to others", "[worker_process][FW16]") {
  for (const StartMethod method : methods) {
    RemoteWorker other{method};
    RemoteWorker some{method};
    some.call([] { ::close_range(0, 2, 0); });
    CHECK(some.call(::getpid) == some.process.pid());
    RemoteWorker all{method};
    all.send([] { ::close_range(0, ~0U, 0); });
    CHECK(all.process.reap().has_value());
    CHECK(other.call(::getpid) == other.process.pid());
  }
}
