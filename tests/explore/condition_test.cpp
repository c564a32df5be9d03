// SPDX-License-Identifier: MIT
#include <conc/condition.hpp>

#include "explore_type.hpp"

using namespace std::chrono_literals;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;

TEST_CASE("Condition: what is announced under the lock is not missed, in every schedule", "[condition][C6]") {
  explore_type("Condition over RLock, one waiter", [] {
    conc::Condition ready;
    bool ok = false;
    parallel(
        [&] {
          const conc::ScopedLock guard{ready};
          check(ready.wait_for([&] { return ok; }), "waits until true");
        },
        [&] {
          const conc::ScopedLock guard{ready};
          ok = true;
          ready.notify();
        });
  });
  explore_type("Condition over Lock, two waiters, notify_all", [] {
    conc::Lock lock;
    conc::Condition ready{lock};
    bool ok = false;
    int seen = 0;
    const auto wait = [&] {
      const conc::ScopedLock guard{lock};
      ready.wait_for([&] { return ok; });
      ++seen;
    };
    parallel(wait, wait, [&] {
      const conc::ScopedLock guard{lock};
      ok = true;
      ready.notify_all();
    });
    check(seen == 2, "both went on");
  });
}

TEST_CASE("Condition: each item wakes one consumer, in every schedule", "[condition][C3]") {
  explore_type("Condition, a producer and two consumers", [] {
    conc::Lock lock;
    conc::Condition not_empty{lock};
    int items = 0;
    int taken = 0;
    const auto consume = [&] {
      const conc::ScopedLock guard{lock};
      not_empty.wait_for([&] { return items > 0; });
      --items;
      ++taken;
    };
    parallel(consume, consume, [&] {
      for (int i = 0; i < 2; ++i) {
        const conc::ScopedLock guard{lock};
        ++items;
        not_empty.notify();
      }
    });
    check(taken == 2 && items == 0, "an item was lost");
  });
}

TEST_CASE("Condition: a timeout and a notify that meet count once, in every schedule", "[condition][C4]") {
  explore_type("Condition, timed waits against one notify",
               [] {
                 conc::Lock lock;
                 conc::Condition condition{lock};
                 int waiting = 0;
                 int notified = 0;
                 const auto wait = [&](conc::Deadline deadline) {
                   const conc::ScopedLock guard{lock};
                   ++waiting;
                   const bool told = condition.wait(deadline);
                   check(lock.locked(), "the lock is held again");
                   notified += told ? 1 : 0;
                 };
                 int expected = 0;
                 parallel([&] { wait(1ms); }, [&] { wait(2ms); },
                          [&] {
                            const conc::ScopedLock guard{lock};
                            expected = waiting > 0 ? 1 : 0;
                            condition.notify(1);
                          });
                 check(notified == expected, "a notify reaches exactly one of those who wait");
               },
               {.mishaps = 0});
}

TEST_CASE("Condition: all levels of an RLock are given up and come back, in every schedule", "[condition][R3]") {
  explore_type("Condition over RLock held twice", [] {
    conc::RLock lock;
    conc::Condition ready{lock};
    bool ok = false;
    parallel(
        [&] {
          const conc::ScopedLock outer{lock};
          {
            const conc::ScopedLock inner{lock};
            while (!ok) {
              ready.wait();
            }
          }
          check(lock.owned(), "one level is left");
        },
        [&] {
          const conc::ScopedLock guard{lock};
          ok = true;
          ready.notify();
        });
    check(!lock.locked(), "all levels were released");
  });
}
