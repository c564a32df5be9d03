// SPDX-License-Identifier: MIT
#include <conc/semaphore.hpp>
#include <memory>

#include "explore_type.hpp"

using namespace std::chrono_literals;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;
using conc_test::Tally;

TEST_CASE("Semaphore: never more holders than permits, in every schedule", "[semaphore][S1]") {
  explore_type("Semaphore, two permits, three threads", [] {
    conc::Semaphore permits{2};
    Tally inside;
    conc::detail::sync::Atomic<int> steps{0};
    const auto work = [&] {
      permits.acquire();
      check(++inside <= 2, "three threads hold two permits");
      steps.fetch_add(1);
      --inside;
      permits.release();
    };
    parallel(work, work, work);
    check(permits.value() == 2 && steps.load() == 3, "a permit was lost");
  });
  explore_type("Semaphore, one permit, two threads, twice each", [] {
    conc::Semaphore permit;
    int inside = 0;
    conc::detail::sync::Atomic<int> steps{0};
    const auto work = [&] {
      for (int round = 0; round < 2; ++round) {
        permit.acquire();
        check(++inside == 1, "two threads hold one permit");
        steps.fetch_add(1);
        --inside;
        permit.release();
      }
    };
    parallel(work, work);
    check(permit.value() == 1 && steps.load() == 4, "a permit was lost");
  });
}

TEST_CASE("Semaphore: releases reach every sleeper, one by one or together, in every schedule", "[semaphore][S3]") {
  explore_type("Semaphore, release(2) for two waiters", [] {
    conc::Semaphore permits{0};
    parallel([&] { permits.acquire(); }, [&] { permits.acquire(); }, [&] { permits.release(2); });
    check(permits.value() == 0, "both permits were taken");
  });
  explore_type("Semaphore, two single releases for two waiters", [] {
    conc::Semaphore permits{0};
    parallel([&] { permits.acquire(); }, [&] { permits.acquire(); },
             [&] {
               permits.release();
               permits.release();
             });
    check(permits.value() == 0, "both permits were taken");
  });
}

TEST_CASE("Semaphore: nobody sleeps on a count that was there before, in every schedule", "[semaphore][S3]") {
  explore_type("Semaphore, two waiters, a taker, release(2) twice", [] {
    conc::Semaphore permits{0};
    parallel([&] { permits.acquire(); }, [&] { permits.acquire(); },
             [&] {
               permits.acquire();
               permits.acquire();
             },
             [&] {
               permits.release(2);
               permits.release(2);
             });
    check(permits.value() == 0, "all permits were taken");
  });
}

TEST_CASE("Semaphore: a waiter that times out takes nobody's permit, in every schedule", "[semaphore][S6]") {
  explore_type("Semaphore, timed and untimed waiters", [] {
    conc::Semaphore permits{0};
    Tally taken;
    parallel(
        [&] {
          permits.acquire();
          ++taken;
        },
        [&] { taken += permits.acquire(1ms) ? 1 : 0; },
        [&] {
          check(!permits.acquire(0ms) || (permits.release(), true), "a poll");
          permits.release();
          conc::detail::sync::yield();
          permits.release();
        });
    check(taken + permits.value() == 2, "a permit was lost");
  });
}

TEST_CASE("Semaphore: whoever was let in may destroy it, in every schedule", "[semaphore][G8]") {
  explore_type("Semaphore, destroyed by who was let in", [] {
    auto permits = std::make_unique<conc::Semaphore>(0);
    parallel([&] { permits->release(); },
             [&] {
               permits->acquire();
               permits.reset();
             });
  });
}

TEST_CASE("BoundedSemaphore: the bound holds, in every schedule", "[semaphore][S5]") {
  explore_type("BoundedSemaphore, three threads", [] {
    conc::BoundedSemaphore permits{1};
    const auto work = [&] {
      permits.acquire();
      permits.release();
    };
    parallel(work, work, work);
    bool refused = false;
    try {
      permits.release();
    } catch (const conc::UsageError&) {
      refused = true;
    }
    check(refused && permits.value() == 1, "one release too many");
  });
}
