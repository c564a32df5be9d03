// SPDX-License-Identifier: MIT
#include <conc/event.hpp>
#include <conc/lock.hpp>
#include <memory>

#include "explore_type.hpp"

using namespace std::chrono_literals;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;

namespace {

/// Notices when two threads are inside at once: its operations are no scheduling points, what lies between them is.
class Section {
 public:
  void enter(conc::detail::sync::Atomic<int>& step) {
    check(!inside_, "two threads hold the lock");
    inside_ = true;
    step.fetch_add(1);
    inside_ = false;
  }

 private:
  bool inside_ = false;
};

}  // namespace

TEST_CASE("Lock: at most one of two threads holds it, in every schedule", "[lock][L2][L6]") {
  explore_type("Lock, two threads, twice each", [] {
    conc::Lock lock;
    Section section;
    conc::detail::sync::Atomic<int> steps{0};
    const auto work = [&] {
      for (int round = 0; round < 2; ++round) {
        lock.acquire();
        section.enter(steps);
        lock.release();
      }
    };
    parallel(work, work);
    check(steps.load() == 4 && !lock.locked(), "a round is missing");
  });
}

TEST_CASE("Lock: at most one of three threads holds it, in every schedule", "[lock][L2][L6]") {
  explore_type("Lock, three threads", [] {
    conc::Lock lock;
    Section section;
    conc::detail::sync::Atomic<int> steps{0};
    const auto work = [&] {
      lock.acquire();
      section.enter(steps);
      lock.release();
    };
    parallel(work, work, work);
    check(steps.load() == 3 && !lock.locked(), "a round is missing");
  });
}

TEST_CASE("Lock: a waiter that loses again and again gets in by reservation, in every schedule", "[lock][L6]") {
  explore_type("Lock, one patient thread against two busy ones", [] {
    conc::Lock lock;
    Section section;
    conc::detail::sync::Atomic<int> steps{0};
    const auto busy = [&] {
      for (int round = 0; round < 2; ++round) {
        const conc::ScopedLock guard{lock};
        section.enter(steps);
      }
    };
    const auto patient = [&] {
      const conc::ScopedLock guard{lock};
      section.enter(steps);
    };
    parallel(patient, busy, busy);
    check(steps.load() == 5 && !lock.locked(), "a round is missing");
  });
}

TEST_CASE("Lock: a waiter that times out leaves the lock intact, in every schedule", "[lock][L5]") {
  explore_type("Lock, timed waiters",
               [] {
                 conc::Lock lock;
                 Section section;
                 conc::detail::sync::Atomic<int> steps{0};
                 lock.acquire();
                 const auto impatient = [&] {
                   if (lock.acquire(1ms)) {
                     section.enter(steps);
                     lock.release();
                   }
                 };
                 const auto patient = [&] {
                   lock.acquire();
                   section.enter(steps);
                   lock.release();
                 };
                 parallel(impatient, patient, [&] {
                   check(!lock.acquire(2ms), "the lock is held");
                   lock.release();
                 });
                 check(!lock.locked() && lock.try_acquire(), "the lock is free");
               },
               {.mishaps = 0});
}

TEST_CASE("Lock: a reservation that is given up lets others in, in every schedule", "[lock][L5][L6]") {
  explore_type("Lock, the patient thread times out",
               [] {
                 conc::Lock lock;
                 Section section;
                 conc::detail::sync::Atomic<int> steps{0};
                 lock.acquire();
                 const auto work = [&](conc::Deadline deadline) {
                   if (lock.acquire(deadline)) {
                     section.enter(steps);
                     lock.release();
                   }
                 };
                 parallel([&] { work(1ms); }, [&] { work(conc::never); },
                          [&] {
                            lock.release();
                            lock.acquire();  // whoever was woken has lost
                            conc::Event nobody;
                            check(!nobody.wait(1ms), "nobody sets it");
                            lock.release();  // at the very moment when the other's time is up
                          });
                 check(!lock.locked() && steps.load() >= 1, "the one that waits for ever got in");
               },
               {.mishaps = 0});
}

TEST_CASE("Lock: whoever was let in may destroy it, in every schedule", "[lock][G8]") {
  explore_type("Lock, destroyed by the next owner", [] {
    auto lock = std::make_unique<conc::Lock>();
    lock->acquire();
    parallel([&] { lock->release(); },
             [&] {
               lock->acquire();
               lock.reset();
             });
  });
}

TEST_CASE("RLock: all levels are given up before another thread gets in, in every schedule", "[rlock][R1]") {
  explore_type("RLock, two threads, nested",
               [] {
                 conc::RLock lock;
                 Section section;
                 conc::detail::sync::Atomic<int> steps{0};
                 const auto work = [&] {
                   lock.acquire();
                   check(lock.acquire(1ms) && lock.owned(), "the owner gets in");
                   section.enter(steps);
                   lock.release();
                   section.enter(steps);
                   lock.release();
                   check(!lock.owned(), "given up");
                 };
                 parallel(work, work);
                 check(steps.load() == 4 && !lock.locked(), "a round is missing");
               },
               {.mishaps = 0});
  explore_type("RLock, three threads", [] {
    conc::RLock lock;
    Section section;
    conc::detail::sync::Atomic<int> steps{0};
    const auto work = [&] {
      const conc::ScopedLock outer{lock};
      const conc::ScopedLock inner{lock};
      section.enter(steps);
    };
    parallel(work, work, work);
    check(steps.load() == 3 && !lock.locked(), "a round is missing");
  });
}

TEST_CASE("ScopedLock: two locks in either order never deadlock, in every schedule", "[lock][L8]") {
  explore_type("ScopedLock, two locks, opposite orders", [] {
    conc::Lock a;
    conc::Lock b;
    Section section;
    conc::detail::sync::Atomic<int> steps{0};
    parallel(
        [&] {
          const conc::ScopedLock guard{a, b};
          section.enter(steps);
        },
        [&] {
          const conc::ScopedLock guard{b, a};
          section.enter(steps);
        });
    check(steps.load() == 2 && !a.locked() && !b.locked(), "both were released");
  });
}
