// SPDX-License-Identifier: MIT
// Things that happen to a process pool at a bad moment: while a worker is started, while something is written to one,
// while a call is pickled.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/error.hpp>
#include <conc/future.hpp>
#include <conc/process_pool.hpp>
#include <conc/shared_array.hpp>
#include <conc/thread.hpp>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "gate.hpp"
#include "processes.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using conc::OnWorkerDeath;
using conc::ProcessPoolExecutor;

int twice(int x) { return 2 * x; }
int returns_something(int x) { return x; }
conc::shared_array<int> returns_an_array() { return conc::shared_array<int>(10); }
std::size_t length(const std::string& text) { return text.size(); }
int write_without_flush(const std::string& path) {
  return std::fputc('x', std::fopen(path.c_str(), "we")) == 'x' ? 1 : 0;  // closed when the process ends
}
int open_gate(const std::string& gate) {
  const int descriptor = ::open(gate.c_str(), O_WRONLY | O_CLOEXEC);
  return ::close(descriptor);
}
int die_behind(const std::string& gate) {
  conc_test::hold(gate);
  ::raise(SIGKILL);
  return 0;
}

/// In the worker it answers before what comes behind it has been read: the first call, or what looks like that.
struct AnswersEarly {
  int unused = 0;
};
std::size_t take_early(const AnswersEarly& /*value*/, const std::string& text) { return text.size(); }

/// Its pickling makes the thread exit.
struct EndsTheThread {
  int unused = 0;
};
int take(const EndsTheThread& /*value*/) { return 0; }

}  // namespace

template <>
struct conc::pickler<EndsTheThread> {
  static void save(Pickler& /*to*/, const EndsTheThread& /*value*/) { ::pthread_exit(nullptr); }
  static EndsTheThread load(Unpickler& /*from*/) { return {}; }
};

template <>
struct conc::pickler<AnswersEarly> {
  static void save(Pickler& to, const AnswersEarly& /*value*/) { to(1); }
  static AnswersEarly load(Unpickler& from) {
    const detail::FrameHeader answer{.kind = detail::FrameKind::result, .id = 1, .length = sizeof(std::size_t)};
    for (int number = 3; number < 16; ++number) {  // one of them is the pipe
      static_cast<void>(!::write(number, &answer, sizeof answer));
      static_cast<void>(!::write(number, &answer.id, sizeof answer.id));
    }
    return {from.get<int>()};
  }
};

TEST_CASE("ProcessPoolExecutor: an answer to a call that was not written whole is none", "[process_pool][P5]") {
  ProcessPoolExecutor pool{{.max_workers = 1, .on_worker_death = OnWorkerDeath::respawn}};
  const auto early = pool.submit(&take_early, AnswersEarly{}, std::string(10'000'000, 'x'));
  CHECK_THROWS_AS(early.result(), conc::WorkerDied);
  CHECK(pool.submit(&twice, 2).result() == 4);
}

TEST_CASE("ProcessPoolExecutor: a task is not stuck behind one that waits for it while another worker is free",
          "[process_pool][P2]") {
  ProcessPoolExecutor pool{2};
  std::vector<conc::Future<int>> quick;
  for (int i = 0; i < 200; ++i) quick.push_back(pool.submit(&twice, i));
  for (const auto& future : quick) CHECK(future.result() % 2 == 0);  // from now on a worker may have several
  const conc_test::Gate gate;
  const auto waits = pool.submit(&conc_test::hold, gate.path());
  const auto between = pool.submit(&twice, 1);
  const auto opens = pool.submit(&open_gate, gate.path());
  CHECK(waits.wait(20s));
  CHECK(opens.wait(20s));
  CHECK(between.result() == 2);
  pool.kill_workers();
}

TEST_CASE("ProcessPoolExecutor: a task that is cancelled while a worker is started for it costs nothing",
          "[process_pool][F1][P2]") {
  const int rounds = conc_test::sanitizer() == conc_test::Sanitizer::none ? 100 : 20;
  int lost = 0;
  for (int i = 0; i < rounds; ++i) {
    ProcessPoolExecutor pool{2};
    const auto future = pool.submit(&twice, 1);
    for (int spin = 0; spin < i * 5000; ++spin) __asm__ volatile("");
    future.cancel();
    lost += pool.submit(&twice, 2).result() == 4 ? 0 : 1;
    lost += pool.stats().died == 0 ? 0 : 1;
  }
  CHECK(lost == 0);
}

TEST_CASE("ProcessPoolExecutor: what an initializer returns is dropped", "[process_pool][X8]") {
  ProcessPoolExecutor pool{{.max_workers = 1, .initializer = {&returns_something, 7}}};
  CHECK(pool.submit(&twice, 2).result() == 4);
  ProcessPoolExecutor other{{.max_workers = 1, .initializer = &returns_an_array}};
  CHECK(other.submit(&twice, 2).result() == 4);
}

TEST_CASE("ProcessPoolExecutor: workers end although a forked child holds their pipes open",
          "[process_pool][P16][FW17]") {
  const conc_test::Folder folder;
  ProcessPoolExecutor pool{1};
  CHECK(pool.submit(&write_without_flush, folder.file(0)).result() == 1);
  int release[2];
  REQUIRE(::pipe(release) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(release[1]);
    char byte = 0;
    const ssize_t ended = ::read(release[0], &byte, 1);  // until the test is over
    ::_exit(static_cast<int>(ended));
  }
  pool.shutdown();
  CHECK(pool.stats().died == 0);
  CHECK(pool.stats().workers == 0);
  CHECK(std::filesystem::file_size(folder.file(0)) == 1);  // it was not killed, but flushed what it had
  ::close(release[0]);
  ::close(release[1]);
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("ProcessPoolExecutor: a pool that breaks while calls are written to its workers", "[process_pool][P6][P7]") {
  const std::string large(10'000'000, 'x');
  for (int i = 0; i < 5; ++i) {
    ProcessPoolExecutor pool{2};
    conc_test::Gate gate;
    const auto dies = pool.submit(&die_behind, gate.path());
    std::vector<conc::Future<std::size_t>> futures;
    for (int k = 0; k < 4; ++k) futures.push_back(pool.submit(&length, large));
    gate.open();
    CHECK_THROWS_AS(dies.result(), conc::WorkerDied);
    int settled = 0;
    for (const auto& future : futures)
      settled += future.exception() != nullptr || future.result() == large.size() ? 1 : 0;
    CHECK(settled == 4);
  }
}

TEST_CASE("ProcessPoolExecutor: a thread that is made to exit while it pickles", "[process_pool][X9][FC1]") {
  ProcessPoolExecutor pool{1};
  bool came_back = false;
  conc::Thread thread{[&] {
    pool.submit(&take, EndsTheThread{});
    came_back = true;
  }};
  thread.start();
  thread.join();
  CHECK_FALSE(came_back);
  CHECK(pool.submit(&twice, 1).result() == 2);
}

TEST_CASE("ProcessPoolExecutor: a thread that is cancelled goes on until submit has returned", "[process_pool][X13]") {
  ProcessPoolExecutor pool{1};
  conc::Future<int> future;
  conc::Thread thread{[&] {
    ::pthread_cancel(::pthread_self());
    future = pool.submit(&twice, 2);
    ::pthread_testcancel();
  }};
  thread.start();
  thread.join();
  REQUIRE(future.valid());
  CHECK(future.result() == 4);
}
