// SPDX-License-Identifier: MIT
#include <conc/barrier.hpp>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <type_traits>

#include "support.hpp"
#include "worker.hpp"

namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Message;
using conc_test::run_threads;
using conc_test::Worker;
using SteadyClock = std::chrono::steady_clock;

constinit conc::Latch global{2};  // exists before any code runs

static_assert(std::is_trivially_destructible_v<conc::Latch>);
static_assert(!std::is_copy_constructible_v<conc::Latch> && !std::is_copy_assignable_v<conc::Latch>);
static_assert(!std::is_move_constructible_v<conc::Latch> && !std::is_move_assignable_v<conc::Latch>);
static_assert(!std::is_convertible_v<int, conc::Latch>);

}  // namespace

TEST_CASE("Latch: is ready before any code runs", "[latch][G9]") {
  CHECK(global.count() == 2);
  CHECK_FALSE(global.wait(0s));
}

TEST_CASE("Latch: opens when its count is used up, and stays open", "[latch]") {
  conc::Latch latch{3};
  CHECK(latch.count() == 3);
  CHECK_FALSE(latch.wait(0s));
  latch.count_down();
  CHECK(latch.count() == 2);
  CHECK_FALSE(latch.wait(-1s));
  latch.count_down(2);
  CHECK(latch.count() == 0);
  CHECK(latch.wait());
  CHECK(latch.wait(0s));
  CHECK(latch.wait(-1s));
  CHECK(latch.wait(SteadyClock::now() - 1h));
  CHECK(latch.wait(1h));
  CHECK(latch.count() == 0);
}

TEST_CASE("Latch: with a count of zero is open when new", "[latch]") {
  conc::Latch latch{0};
  CHECK(latch.count() == 0);
  CHECK(latch.wait());
  CHECK(latch.wait(0s));
  latch.count_down(0);
  CHECK_THROWS_AS(latch.count_down(), conc::UsageError);
  CHECK(latch.wait());
}

TEST_CASE("Latch: a negative count, or too large a one, is a UsageError", "[latch][G5]") {
  CHECK_THROWS_MATCHES(conc::Latch{-1}, conc::UsageError,
                       Message("Latch: a count of -1; 0 to 2147483647 are possible"));
  CHECK_THROWS_MATCHES(conc::Latch{2'147'483'648}, conc::UsageError,
                       Message("Latch: a count of 2147483648; 0 to 2147483647 are possible"));
  CHECK_THROWS_AS(conc::Latch{std::numeric_limits<std::int64_t>::min()}, conc::UsageError);
  CHECK_THROWS_AS(conc::Latch{std::numeric_limits<std::int64_t>::max()}, conc::UsageError);
  conc::Latch largest{conc::Latch::max_count()};
  CHECK(largest.count() == conc::Latch::max_count());
  largest.count_down(conc::Latch::max_count() - 1);
  CHECK(largest.count() == 1);
  largest.count_down();
  CHECK(largest.wait(0s));
}

TEST_CASE("Latch: to count down more than is left is a UsageError and changes nothing", "[latch][G5]") {
  conc::Latch latch{2};
  CHECK_THROWS_MATCHES(latch.count_down(3), conc::UsageError, Message("Latch::count_down(3): 2 are left"));
  CHECK_THROWS_AS(latch.count_down(std::numeric_limits<std::int64_t>::max()), conc::UsageError);
  CHECK(latch.count() == 2);
  latch.count_down(2);
  CHECK_THROWS_MATCHES(latch.count_down(), conc::UsageError, Message("Latch::count_down(1): 0 are left"));
  CHECK_THROWS_MATCHES(latch.arrive_and_wait(), conc::UsageError, Message("Latch::count_down(1): 0 are left"));
  CHECK(latch.count() == 0);
  CHECK(latch.wait(0s));
}

TEST_CASE("Latch: to count down by a negative number is a UsageError and changes nothing", "[latch][G5]") {
  conc::Latch latch{2};
  CHECK_THROWS_MATCHES(latch.count_down(-1), conc::UsageError, Message("Latch::count_down(-1): 2 are left"));
  CHECK_THROWS_AS(latch.count_down(std::numeric_limits<std::int64_t>::min()), conc::UsageError);
  CHECK(latch.count() == 2);
}

TEST_CASE("Latch: to count down by zero changes nothing and wakes nobody", "[latch]") {
  conc::Latch latch{1};
  bool opened = false;
  Worker waiter{[&] { opened = latch.wait(); }};
  CHECK(waiter.falls_asleep_on(&latch));
  const long long naps = waiter.times_asleep();
  latch.count_down(0);
  CHECK(latch.count() == 1);
  CHECK_FALSE(latch.wait(1ms));
  CHECK(waiter.times_asleep() == naps);
  latch.count_down();
  waiter.join();
  CHECK(opened);
}

TEST_CASE("Latch: wait sleeps until the count is zero, and not before", "[latch]") {
  for (const conc::Deadline deadline : {conc::never, conc::Deadline{1h}}) {
    conc::Latch latch{3};
    std::atomic<int> opened{0};
    std::deque<Worker> waiters;
    for (int i = 0; i < 4; ++i) waiters.emplace_back([&] { opened += latch.wait(deadline) ? 1 : 0; });
    for (Worker& waiter : waiters) CHECK(waiter.falls_asleep_on(&latch));
    latch.count_down();
    latch.count_down();
    for (Worker& waiter : waiters) CHECK(waiter.falls_asleep_on(&latch));
    CHECK(opened == 0);
    latch.count_down();
    for (Worker& waiter : waiters) waiter.join();
    CHECK(opened == 4);
  }
}

TEST_CASE("Latch: wait is false only when the deadline has passed, and leaves the count alone", "[latch][timeout]") {
  conc::Latch latch{1};
  const auto start = SteadyClock::now();
  CHECK_FALSE(latch.wait(30ms));
  CHECK(SteadyClock::now() - start >= 30ms);
  CHECK_FALSE(latch.wait(SteadyClock::now() + 1ms));
  CHECK(latch.count() == 1);
  latch.count_down();
  CHECK(latch.wait(30ms));
}

TEST_CASE("Latch: opens for a sleeper although another one gave up", "[latch][timeout]") {
  for (int round = 0; round < conc_test::scaled(50); ++round) {
    conc::Latch latch{1};
    bool opened = false;
    Worker patient{[&] { opened = latch.wait(); }};
    CHECK(patient.falls_asleep_on(&latch));
    CHECK_FALSE(latch.wait(100us));
    latch.count_down();
    patient.join();
    CHECK(opened);
  }
}

TEST_CASE("Latch: threads that arrive and wait go on together", "[latch]") {
  constexpr std::size_t kThreads = 5;
  for (int round = 0; round < conc_test::scaled(100); ++round) {
    conc::Latch latch{kThreads};
    std::atomic<int> arrived{0};
    std::atomic<int> wrong{0};
    run_threads(kThreads, [&](std::size_t thread) {
      ++arrived;
      const bool opened = thread % 2 == 0 ? latch.arrive_and_wait() : latch.arrive_and_wait(1h);
      wrong += opened && arrived == kThreads ? 0 : 1;
    });
    CHECK(wrong == 0);
    CHECK(latch.count() == 0);
  }
}

TEST_CASE("Latch: who arrived and gave up has arrived", "[latch][timeout]") {
  conc::Latch latch{2};
  CHECK_FALSE(latch.arrive_and_wait(0s));
  CHECK(latch.count() == 1);
  CHECK(latch.arrive_and_wait(0s));  // the last one has nothing to wait for
  CHECK(latch.count() == 0);
}

TEST_CASE("Latch: what a thread did before count_down is visible after wait", "[latch]") {
  for (int round = 0; round < conc_test::scaled(200); ++round) {
    conc::Latch latch{2};
    int message[2] = {0, 0};  // no atomics: ThreadSanitizer sees whether the latch orders them
    int seen = 0;
    run_threads(3, [&](std::size_t thread) {
      if (thread == 2) {
        latch.wait();
        seen = message[0] + message[1];
      } else {
        message[thread] = round + 1;
        latch.count_down();
      }
    });
    CHECK(seen == 2 * (round + 1));
  }
}

TEST_CASE("Latch: count and polls see what was done before they find it open", "[latch]") {
  for (int round = 0; round < conc_test::scaled(200); ++round) {
    conc::Latch latch{1};
    int message = 0;  // no atomic
    int seen = 0;
    run_threads(2, [&](std::size_t thread) {
      if (thread == 0) {
        message = round + 1;
        latch.count_down();
      } else {
        while (round % 2 == 0 ? latch.count() != 0 : !latch.wait(0s)) std::this_thread::yield();
        seen = message;
      }
    });
    CHECK(seen == round + 1);
  }
}
