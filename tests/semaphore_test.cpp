// SPDX-License-Identifier: MIT
#include <conc/lock.hpp>
#include <conc/semaphore.hpp>

#include <algorithm>
#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <limits>
#include <mutex>
#include <type_traits>

#include "support.hpp"
#include "worker.hpp"

namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Message;
using conc_test::elsewhere;
using conc_test::eventually;
using conc_test::Worker;
using SteadyClock = std::chrono::steady_clock;

constinit conc::Semaphore global{2};  // G9: exist before any code runs
constinit conc::BoundedSemaphore global_bounded{3};

template <class S>
constexpr bool kHasTheShapeOfALock =
    std::is_trivially_destructible_v<S> && !std::is_copy_constructible_v<S> && !std::is_copy_assignable_v<S> &&
    !std::is_move_constructible_v<S> && !std::is_move_assignable_v<S> && !std::is_convertible_v<int, S>;
static_assert(kHasTheShapeOfALock<conc::Semaphore>);
static_assert(kHasTheShapeOfALock<conc::BoundedSemaphore>);

/// Threads that acquire one permit each, all asleep for it.
class Waiters {
 public:
  template <class S>
  Waiters(S& semaphore, int count) : semaphore_{&semaphore} {
    for (int i = 0; i < count; ++i) {
      workers_.emplace_back([this, &semaphore] {
        semaphore.acquire();
        ++admitted_;
      });
    }
    CHECK(eventually([&] { return asleep() == count; }));
  }
  int asleep() {
    return static_cast<int>(std::count_if(workers_.begin(), workers_.end(),
                                          [this](Worker& worker) { return worker.sleeps_on(semaphore_); }));
  }
  int admitted() const { return admitted_; }
  void join() {
    for (Worker& worker : workers_) worker.join();
  }

 private:
  const void* semaphore_;
  std::atomic<int> admitted_{0};
  std::deque<Worker> workers_;
};

}  // namespace

TEMPLATE_TEST_CASE("Semaphore: has one permit unless told otherwise", "[semaphore][S1]", conc::Semaphore,
                   conc::BoundedSemaphore) {
  TestType one;
  CHECK(one.value() == 1);
  CHECK(one.acquire());
  CHECK_FALSE(one.try_acquire());
  TestType three{3};
  for (int i = 0; i < 3; ++i) CHECK(three.try_acquire());
  CHECK_FALSE(three.try_acquire());
  TestType none{0};
  CHECK_FALSE(none.try_acquire());
  CHECK(TestType{TestType::max_permits()}.value() == TestType::max_permits());
}

TEST_CASE("Semaphore: is ready before any code runs", "[semaphore][G9]") {
  CHECK(global.value() == 2);
  CHECK(global_bounded.value() == 3);
}

TEMPLATE_TEST_CASE("Semaphore: a negative number of permits, or too many, is a UsageError", "[semaphore][S1][G5]",
                   conc::Semaphore, conc::BoundedSemaphore) {
  CHECK_THROWS_MATCHES(TestType{-1}, conc::UsageError, Message("Semaphore: -1 permits; 0 to 2147483647 are possible"));
  CHECK_THROWS_MATCHES(TestType{2'147'483'648}, conc::UsageError,
                       Message("Semaphore: 2147483648 permits; 0 to 2147483647 are possible"));
  CHECK_THROWS_AS(TestType{std::numeric_limits<std::int64_t>::min()}, conc::UsageError);
}

TEMPLATE_TEST_CASE("Semaphore: acquire waits for a permit", "[semaphore][S1]", conc::Semaphore,
                   conc::BoundedSemaphore) {
  TestType semaphore;
  CHECK(semaphore.acquire());
  bool acquired = false;
  Worker waiter{[&] { acquired = semaphore.acquire(); }};
  CHECK(waiter.falls_asleep_on(&semaphore));
  semaphore.release();
  waiter.join();
  CHECK(acquired);
  CHECK(semaphore.value() == 0);
}

TEST_CASE("Semaphore: release(n) adds n permits and wakes up to n waiters", "[semaphore][S3]") {
  conc::Semaphore semaphore{0};
  Waiters waiters{semaphore, 5};
  semaphore.release(3);
  CHECK(eventually([&] { return waiters.admitted() >= 3 && waiters.asleep() == 2; }));
  CHECK(waiters.admitted() == 3);
  CHECK(semaphore.value() == 0);
  semaphore.release(4);  // more than wait: the rest stays
  waiters.join();
  CHECK(waiters.admitted() == 5);
  CHECK(semaphore.value() == 2);
}

TEMPLATE_TEST_CASE("Semaphore: releases in quick succession wake as many waiters", "[semaphore][S3]", conc::Semaphore,
                   conc::BoundedSemaphore) {
  for (int round = 0; round < conc_test::scaled(50); ++round) {
    TestType semaphore{4};
    for (int i = 0; i < 4; ++i) semaphore.acquire();
    Waiters waiters{semaphore, 4};
    for (int i = 0; i < 4; ++i) semaphore.release();
    waiters.join();
    CHECK(semaphore.value() == 0);
  }
}

TEMPLATE_TEST_CASE("Semaphore: release of less than one permit is a UsageError and changes nothing",
                   "[semaphore][S3][G5]", conc::Semaphore, conc::BoundedSemaphore) {
  TestType semaphore{2};
  semaphore.acquire();
  const char* const type =
      std::is_same_v<TestType, conc::Semaphore> ? "Semaphore::release(" : "BoundedSemaphore::release(";
  CHECK_THROWS_MATCHES(semaphore.release(0), conc::UsageError,
                       Message(std::string{type} + "0): at least 1 must be released"));
  CHECK_THROWS_MATCHES(semaphore.release(-7), conc::UsageError,
                       Message(std::string{type} + "-7): at least 1 must be released"));
  CHECK_THROWS_AS(semaphore.release(std::numeric_limits<std::int64_t>::min()), conc::UsageError);
  CHECK(semaphore.value() == 1);
}

TEST_CASE("Semaphore: may be released more often than acquired", "[semaphore][S4]") {
  conc::Semaphore semaphore{1};
  semaphore.release();
  semaphore.release(5);
  CHECK(semaphore.value() == 7);
  for (int i = 0; i < 7; ++i) CHECK(semaphore.try_acquire());
  CHECK_FALSE(semaphore.try_acquire());
}

TEST_CASE("BoundedSemaphore: a release over the initial value is a UsageError and changes nothing",
          "[semaphore][S5][FM3][G5]") {
  conc::BoundedSemaphore semaphore{2};
  CHECK_THROWS_MATCHES(semaphore.release(), conc::UsageError,
                       Message("BoundedSemaphore::release(1): 2 of at most 2 permits are there already"));
  CHECK(semaphore.value() == 2);
  semaphore.acquire();
  CHECK_THROWS_MATCHES(semaphore.release(2), conc::UsageError,
                       Message("BoundedSemaphore::release(2): 1 of at most 2 permits are there already"));
  CHECK_THROWS_AS(semaphore.release(std::numeric_limits<std::int64_t>::max()), conc::UsageError);
  CHECK(semaphore.value() == 1);
  semaphore.release();
  CHECK(semaphore.value() == 2);
  conc::BoundedSemaphore none{0};
  CHECK_THROWS_AS(none.release(), conc::UsageError);
  CHECK(none.value() == 0);
}

TEST_CASE("Semaphore: a release over the largest count is a UsageError and changes nothing", "[semaphore][FM3]") {
  conc::Semaphore semaphore{conc::Semaphore::max_permits() - 1};
  CHECK_THROWS_AS(semaphore.release(2), conc::UsageError);
  CHECK_THROWS_AS(semaphore.release(std::numeric_limits<std::int64_t>::max()), conc::UsageError);
  CHECK(semaphore.value() == conc::Semaphore::max_permits() - 1);
  semaphore.release();
  CHECK(semaphore.value() == conc::Semaphore::max_permits());
  CHECK_THROWS_AS(semaphore.release(), conc::UsageError);
  CHECK(semaphore.value() == conc::Semaphore::max_permits());
  CHECK(semaphore.try_acquire());
}

TEMPLATE_TEST_CASE("Semaphore: a timed acquire without a permit is false, not early, and takes nothing",
                   "[semaphore][S6][G2]", conc::Semaphore, conc::BoundedSemaphore) {
  TestType semaphore{1};
  CHECK(semaphore.acquire(0s));
  CHECK_FALSE(semaphore.acquire(-1s));
  CHECK_FALSE(semaphore.acquire(0s));
  CHECK_FALSE(semaphore.acquire(SteadyClock::now() - 1h));
  const auto start = SteadyClock::now();
  CHECK_FALSE(semaphore.acquire(30ms));
  CHECK(SteadyClock::now() - start >= 30ms);
  CHECK(semaphore.value() == 0);
  semaphore.release();
  CHECK(semaphore.acquire(1h));
  CHECK(semaphore.value() == 0);
}

TEMPLATE_TEST_CASE("Semaphore: a timed acquire gets a permit that comes in time", "[semaphore][S6]", conc::Semaphore,
                   conc::BoundedSemaphore) {
  TestType semaphore{1};
  semaphore.acquire();
  bool acquired = false;
  Worker waiter{[&] { acquired = semaphore.acquire(1h); }};
  CHECK(waiter.falls_asleep_on(&semaphore));
  semaphore.release();
  waiter.join();
  CHECK(acquired);
  CHECK(semaphore.value() == 0);
}

TEST_CASE("Semaphore: a permit goes to a sleeper although another one gave up", "[semaphore][S3][S6]") {
  conc::Semaphore semaphore{0};
  for (int round = 0; round < conc_test::scaled(50); ++round) {
    bool acquired = true;
    Worker impatient{[&] { acquired = semaphore.acquire(1ms); }};
    Waiters patient{semaphore, 2};
    impatient.join();
    CHECK_FALSE(acquired);
    semaphore.release();
    semaphore.release();
    patient.join();
    CHECK(semaphore.value() == 0);
  }
}

TEMPLATE_TEST_CASE("Semaphore: a permit for as long as a block lasts", "[semaphore][L8]", conc::Semaphore,
                   conc::BoundedSemaphore) {
  TestType semaphore{2};
  {
    const conc::ScopedLock guard{semaphore};
    CHECK(semaphore.value() == 1);
    const std::scoped_lock another{semaphore};
    CHECK(semaphore.value() == 0);
    CHECK_FALSE(semaphore.try_lock());
  }
  CHECK(semaphore.value() == 2);
}
