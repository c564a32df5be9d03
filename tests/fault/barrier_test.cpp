// SPDX-License-Identifier: MIT
// Barriers that break: actions that throw, abort, reset and timeouts. Some cases are those of CPython's
// lock_tests.BarrierTests.
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <conc/barrier.hpp>
#include <conc/event.hpp>
#include <conc/thread.hpp>

#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <thread>

#include "background.hpp"
#include "barrier_waiters.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using conc_test::Acting;
using conc_test::Background;
using conc_test::eventually;
using conc_test::kBrokenBarrier;
using conc_test::late;
using conc_test::run_threads;
using conc_test::SlowAction;
using conc_test::wait_at;
using conc_test::Waiters;
using SteadyClock = std::chrono::steady_clock;

}  // namespace

TEST_CASE("Barrier: what the action throws reaches the thread that ran it, and breaks it for the others",
          "[barrier][B4][FM5]") {
  bool throws = true;
  conc::Barrier barrier{3, [&] {
                          if (throws) throw std::runtime_error{"by the action"};
                        }};
  Waiters two{barrier, 2};
  CHECK(wait_at(barrier) == "by the action");
  CHECK(two.all(kBrokenBarrier));
  CHECK(barrier.broken());
  CHECK(wait_at(barrier) == kBrokenBarrier);
  throws = false;
  barrier.reset();
  Waiters again{barrier, 2};
  CHECK(wait_at(barrier) == "returned");
  CHECK(again.all("returned"));
}

TEST_CASE("Barrier: an action that throws what is no exception breaks it too", "[barrier][B4][FM5]") {
  conc::Barrier alone{1, [] { throw 42; }};
  CHECK(wait_at(alone) == "something else");
  CHECK(alone.broken());
  CHECK(wait_at(alone) == kBrokenBarrier);
}

TEST_CASE("Barrier: an action that ends its thread breaks it for the others", "[barrier][B4][FM5]") {
  conc::Barrier barrier{2, [] { ::pthread_exit(nullptr); }};
  Waiters one{barrier, 1};
  bool went_on = false;
  conc::Thread last{[&] {
    barrier.wait();
    went_on = true;
  }};
  last.start();
  last.join();
  CHECK_FALSE(went_on);
  CHECK(one.all(kBrokenBarrier));
  CHECK(barrier.broken());
}

TEST_CASE("Barrier: abort fails who waits, and who comes until it is reset", "[barrier][B7][FM5]") {
  conc::Barrier barrier{3};
  Waiters two{barrier, 2};
  barrier.abort();
  CHECK(two.all(kBrokenBarrier));
  CHECK(barrier.broken());
  CHECK(barrier.n_waiting() == 0);
  CHECK(wait_at(barrier) == kBrokenBarrier);
  CHECK(wait_at(barrier, 0s) == kBrokenBarrier);
  CHECK(wait_at(barrier, 1h) == kBrokenBarrier);
  barrier.abort();
  CHECK(wait_at(barrier) == kBrokenBarrier);
  barrier.reset();
  CHECK_FALSE(barrier.broken());
  Waiters again{barrier, 2};
  CHECK(barrier.wait() == 2);
  CHECK(again.all("returned"));
}

TEST_CASE("Barrier: abort by one of the threads fails all the others", "[barrier][B7][FM5]") {
  constexpr std::size_t kParties = 5;
  conc::Barrier barrier{kParties};
  conc::Barrier meeting{kParties};
  std::atomic<int> passed{0};
  std::atomic<int> broken{0};
  std::atomic<int> passed_again{0};
  std::atomic<int> was_broken{0};
  run_threads(kParties, [&](std::size_t) {
    try {
      if (barrier.wait() == kParties / 2) {
        barrier.abort();
      } else {
        barrier.wait();
        ++passed;
      }
    } catch (const conc::BrokenBarrierError&) {
      ++broken;
    }
    // All have left it when it is reset, and nobody enters it before.
    if (meeting.wait() == kParties / 2) {
      was_broken += barrier.broken() ? 1 : 0;
      barrier.reset();
    }
    meeting.wait();
    barrier.wait();
    ++passed_again;
  });
  CHECK(passed == 0);
  CHECK(broken == kParties - 1);
  CHECK(was_broken == 1);
  CHECK(passed_again == kParties);
  CHECK_FALSE(barrier.broken());
}

TEST_CASE("Barrier: reset throws out who waits, and the barrier is as new", "[barrier][B8][FM5]") {
  constexpr std::size_t kParties = 5;
  conc::Barrier barrier{kParties};
  barrier.reset();  // with nobody there
  CHECK_FALSE(barrier.broken());
  std::atomic<int> passed{0};
  std::atomic<int> thrown_out{0};
  std::atomic<int> passed_again{0};
  run_threads(kParties, [&](std::size_t) {
    if (barrier.wait() == kParties / 2) {
      if (eventually([&] { return barrier.n_waiting() == kParties - 1; })) barrier.reset();
    } else {
      try {
        barrier.wait();
        ++passed;
      } catch (const conc::BrokenBarrierError&) {
        ++thrown_out;
      }
    }
    barrier.wait();
    ++passed_again;
  });
  CHECK(passed == 0);
  CHECK(thrown_out == kParties - 1);
  CHECK(passed_again == kParties);
  CHECK_FALSE(barrier.broken());
  CHECK(barrier.n_waiting() == 0);
}

TEST_CASE("Barrier: a timeout of one breaks it for all", "[barrier][B5][FM5][timeout]") {
  conc::Barrier barrier{4};
  Waiters two{barrier, 2};
  const auto start = SteadyClock::now();
  CHECK(wait_at(barrier, 30ms) == late(4));
  CHECK(SteadyClock::now() - start >= 30ms);
  CHECK(two.all(kBrokenBarrier));
  CHECK(barrier.broken());
  CHECK(barrier.n_waiting() == 0);
  CHECK(wait_at(barrier, 1h) == kBrokenBarrier);
}

TEST_CASE("Barrier: a timeout breaks it although others would wait longer", "[barrier][B5][FM5][timeout]") {
  constexpr std::size_t kParties = 5;
  conc::Barrier barrier{kParties};
  std::array<std::string, kParties> ends;
  run_threads(kParties - 1, [&](std::size_t thread) {
    ends.at(thread) = wait_at(barrier, thread == 0 ? conc::Deadline{50ms} : conc::Deadline{1h});
  });
  CHECK(ends[0] == late(kParties));
  for (std::size_t thread = 1; thread < kParties - 1; ++thread) CHECK(ends.at(thread) == kBrokenBarrier);
  CHECK(barrier.broken());
}

TEST_CASE("Barrier: a wait that looks once breaks it unless it is the last to come", "[barrier][B5][G2][timeout]") {
  for (const conc::Deadline deadline :
       {conc::Deadline{0s}, conc::Deadline{-1s}, conc::Deadline{SteadyClock::now() - 1h}}) {
    conc::Barrier barrier{2};
    {
      Waiters one{barrier, 1};
      CHECK(barrier.wait(deadline) == 1);
      CHECK(one.all("returned"));
    }
    CHECK(wait_at(barrier, deadline) == late(2));
    CHECK(barrier.broken());
    barrier.reset();
    Waiters one{barrier, 1};
    CHECK(barrier.wait(deadline) == 1);
    CHECK(one.all("returned"));
  }
}

TEST_CASE("Barrier: while the action runs a timeout of a waiter breaks nothing", "[barrier][B11][timeout]") {
  for (auto span = 100ms;; span *= 2) {  // until the last has come before the first gave up
    SlowAction action;
    conc::Barrier barrier{2, action.call()};
    const conc::Deadline end = conc::Deadline::after(span);
    Background first{[&] { barrier.wait(end); }};
    Background last{[&] {
      while (barrier.n_waiting() == 0 && !barrier.broken()) std::this_thread::yield();
      const std::string how = wait_at(barrier);
      action.begun.set();  // also where the action did not run
      if (how != "returned") throw std::runtime_error{how};
    }};
    action.begun.wait();
    const bool acting = !barrier.broken();
    CHECK_FALSE(conc::Event{}.wait(end));  // the first one's deadline passes
    CHECK_FALSE(conc::Event{}.wait(10ms));
    if (acting) CHECK_FALSE(barrier.broken());
    action.may_end.set();
    const std::string ended = first.join();
    last.join();
    if (!acting) continue;
    CHECK(ended == "returned");
    CHECK_FALSE(barrier.broken());
    break;
  }
}

TEST_CASE("Barrier: abort while the action runs takes effect at its end, for who runs it too",
          "[barrier][B7][B11][FM5]") {
  Acting acting;
  acting.barrier.abort();
  CHECK(acting.barrier.broken());
  CHECK(wait_at(acting.barrier) == kBrokenBarrier);  // who comes now is refused at once
  CHECK(acting.end() == kBrokenBarrier);
  CHECK(acting.barrier.broken());
}

TEST_CASE("Barrier: reset while the action runs takes effect at its end, for who runs it too",
          "[barrier][B8][B11][FM5]") {
  Acting acting;
  acting.barrier.reset();
  CHECK_FALSE(acting.barrier.broken());
  CHECK(acting.end() == kBrokenBarrier);
  CHECK_FALSE(acting.barrier.broken());
  Waiters one{acting.barrier, 1};
  CHECK(acting.barrier.wait() == 1);
  CHECK(one.all("returned"));
}

TEST_CASE("Barrier: abort, then reset, while the action runs fails the pass and no other", "[barrier][B8][B11][FM5]") {
  Acting acting;
  acting.barrier.abort();
  acting.barrier.reset();
  CHECK_FALSE(acting.barrier.broken());
  CHECK(acting.end() == kBrokenBarrier);
  Waiters one{acting.barrier, 1};
  CHECK(acting.barrier.wait() == 1);
  CHECK(one.all("returned"));
}

TEST_CASE("Barrier: the action itself may abort or reset it", "[barrier][B7][B8][B11][FM5]") {
  for (const bool aborts : {true, false}) {
    conc::Barrier* self = nullptr;
    conc::Barrier barrier{2, [&] { aborts ? self->abort() : self->reset(); }};
    self = &barrier;
    Waiters one{barrier, 1};
    CHECK(wait_at(barrier) == kBrokenBarrier);
    CHECK(one.all(kBrokenBarrier));
    CHECK(barrier.broken() == aborts);
  }
}

TEST_CASE("Barrier: abort refuses who is held back, at once", "[barrier][B7][B9]") {
  Acting acting;
  Background third{[&] { acting.barrier.wait(); }};
  CHECK(third.falls_asleep());
  acting.barrier.abort();
  CHECK(third.join() == kBrokenBarrier);
  CHECK(acting.end() == kBrokenBarrier);
}

TEST_CASE("Barrier: who gives up while held back breaks it, but not the pass that is not over",
          "[barrier][B5][B9][timeout]") {
  Acting acting;
  const auto start = SteadyClock::now();
  CHECK(wait_at(acting.barrier, 20ms) == late(2));
  CHECK(SteadyClock::now() - start >= 20ms);
  CHECK(acting.end() == "returned");
  CHECK(acting.barrier.broken());
}

#if !defined(NDEBUG)
TEST_CASE("Barrier: to destroy it while a thread waits for others is caught by an assertion", "[barrier][FR8]") {
  if (conc_test::sanitizer() == conc_test::Sanitizer::thread) SKIP("ThreadSanitizer allows no threads after a fork");
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::signal(SIGABRT, SIG_DFL);
    auto* const barrier = new conc::Barrier{2};
    Background waiter{[barrier] { barrier->wait(); }};
    if (waiter.falls_asleep()) delete barrier;
    ::_exit(0);
  }
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  CHECK_THAT(conc_test::take_stderr(),
             Catch::Matchers::ContainsSubstring("destroyed while a thread waits for others to come"));
}
#endif
