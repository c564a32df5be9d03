// SPDX-License-Identifier: MIT
// Things that happen to a process pool at a bad moment: while a worker is started, while something is written to one,
// while a call is pickled.
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
int die_behind(const std::string& gate) {
  conc_test::hold(gate);
  ::raise(SIGKILL);
  return 0;
}

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
  ProcessPoolExecutor pool{1};
  CHECK(pool.submit(&twice, 1).result() == 2);
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
