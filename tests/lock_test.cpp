// SPDX-License-Identifier: MIT
#include <conc/condition.hpp>
#include <conc/lock.hpp>

#include <algorithm>
#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cerrno>
#include <chrono>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <type_traits>

#include "support.hpp"
#include "worker.hpp"

namespace {

using namespace std::chrono_literals;
using conc_test::elsewhere;
using conc_test::eventually;
using conc_test::Worker;
using SteadyClock = std::chrono::steady_clock;

constinit conc::Lock global_lock;  // G9: exist before any code runs
constinit conc::RLock global_rlock;

template <class L>
constexpr bool kHasTheShapeOfALock = (std::is_trivially_destructible_v<L> || conc::detail::debugging) &&
                                     !std::is_copy_constructible_v<L> && !std::is_copy_assignable_v<L> &&
                                     !std::is_move_constructible_v<L> && !std::is_move_assignable_v<L> &&
                                     requires(bool(L::*wait)(), bool (L::*timed)(conc::Deadline)) {
  wait = &L::acquire, timed = &L::acquire;
};
static_assert(kHasTheShapeOfALock<conc::Lock>);
static_assert(kHasTheShapeOfALock<conc::RLock>);
static_assert(!std::is_copy_constructible_v<conc::ScopedLock<conc::Lock>>);
static_assert(!std::is_move_constructible_v<conc::ScopedLock<conc::Lock>>);

/// Whether another thread could take the lock now. It gives it back.
template <class L>
bool is_free(L& lock) {
  return elsewhere([&lock] { return lock.try_acquire() && (lock.release(), true); });
}

/// Lets `waiter`, which sleeps on `lock`, look again `times` times.
void disturb(Worker& waiter, conc::Lock& lock, unsigned times) {
  for (unsigned i = 0; i < times; ++i) {
    const long long before = waiter.times_asleep();
    conc::detail::sync::wake(&lock, 1);
    REQUIRE(eventually([&] { return waiter.times_asleep() > before && waiter.sleeps_on(&lock); }));
  }
}

/// A lock that throws when it is taken.
struct Refusing {
  void lock() { throw std::runtime_error{"refused"}; }
  bool try_lock() { throw std::runtime_error{"refused"}; }
  void unlock() { ++unlocked; }
  int unlocked = 0;
};

}  // namespace

TEMPLATE_TEST_CASE("Lock: is free when new, held after acquire and free after release", "[lock][rlock][L1][L7][R1]",
                   conc::Lock, conc::RLock) {
  TestType lock;
  CHECK_FALSE(lock.locked());
  CHECK(is_free(lock));
  CHECK(lock.acquire());
  CHECK(lock.locked());
  CHECK_FALSE(is_free(lock));
  lock.release();
  CHECK_FALSE(lock.locked());
  CHECK(is_free(lock));
}

TEST_CASE("Lock: works in a global that is ready before any code runs", "[lock][rlock][G9]") {
  const conc::ScopedLock guard{global_lock, global_rlock};
  CHECK(global_lock.locked());
  CHECK(global_rlock.owned());
}

TEST_CASE("Lock: try_acquire of a held lock is false for every thread, its owner too", "[lock][L1]") {
  conc::Lock lock;
  CHECK(lock.try_acquire());
  CHECK_FALSE(lock.try_acquire());
  CHECK_FALSE(elsewhere([&] { return lock.try_acquire(); }));
  lock.release();
  CHECK(lock.try_acquire());
}

TEMPLATE_TEST_CASE("Lock: acquire waits until the lock is released", "[lock][rlock][L1][R1]", conc::Lock, conc::RLock) {
  TestType lock;
  lock.acquire();
  bool taken = false;
  Worker waiter{[&] {
    taken = lock.acquire();
    lock.release();
  }};
  CHECK(waiter.falls_asleep_on(&lock));
  lock.release();
  waiter.join();
  CHECK(taken);
  CHECK_FALSE(lock.locked());
}

TEST_CASE("Lock: may be released by a thread that did not acquire it", "[lock][L2]") {
  conc::Lock lock;
  lock.acquire();
  CHECK(elsewhere([&] {
    lock.release();
    return lock.try_acquire();
  }));
  CHECK(lock.locked());
  lock.release();
  CHECK_FALSE(lock.locked());
}

TEST_CASE("Lock: release of a free lock is a UsageError and leaves it free", "[lock][L3][FM1][G5]") {
  conc::Lock lock;
  CHECK_THROWS_MATCHES(lock.release(), conc::UsageError,
                       Catch::Matchers::Message("Lock::release: the lock is not held"));
  CHECK_FALSE(lock.locked());
  CHECK(lock.acquire());
  lock.release();
  CHECK_THROWS_AS(lock.release(), conc::UsageError);
  CHECK_THROWS_AS(lock.unlock(), conc::UsageError);
  CHECK(is_free(lock));
}

TEMPLATE_TEST_CASE("Lock: a timed acquire of a held lock is false, not early, and leaves the lock intact",
                   "[lock][rlock][L5][G2]", conc::Lock, conc::RLock) {
  TestType lock;
  lock.acquire();
  for (const auto span : {-1s, 0s}) CHECK_FALSE(elsewhere([&] { return lock.acquire(span); }));
  CHECK_FALSE(elsewhere([&] { return lock.acquire(SteadyClock::now() - 1h); }));
  const auto start = SteadyClock::now();
  CHECK_FALSE(elsewhere([&] { return lock.acquire(30ms); }));
  CHECK(SteadyClock::now() - start >= 30ms);
  CHECK(lock.locked());
  lock.release();
  CHECK_FALSE(lock.locked());
  CHECK(lock.acquire(1h));
  lock.release();
  CHECK(is_free(lock));
}

TEMPLATE_TEST_CASE("Lock: a timed acquire gets the lock when it is released in time", "[lock][rlock][L5]", conc::Lock,
                   conc::RLock) {
  TestType lock;
  lock.acquire();
  bool taken = false;
  Worker waiter{[&] {
    taken = lock.acquire(1h);
    lock.release();
  }};
  CHECK(waiter.falls_asleep_on(&lock));
  lock.release();
  waiter.join();
  CHECK(taken);
}

TEST_CASE("Lock: each release admits exactly one waiter", "[lock][L6]") {
  constexpr int kWaiters = 4;
  conc::Lock lock;
  lock.acquire();
  std::atomic<int> entered{0};
  std::deque<Worker> waiters;
  for (int i = 0; i < kWaiters; ++i) {
    waiters.emplace_back([&] {
      lock.acquire();
      ++entered;
    });
  }
  const auto asleep = [&] {
    return std::count_if(waiters.begin(), waiters.end(), [&](Worker& waiter) { return waiter.sleeps_on(&lock); });
  };
  CHECK(eventually([&] { return asleep() == kWaiters; }));
  for (int admitted = 1; admitted <= kWaiters; ++admitted) {
    lock.release();
    CHECK(eventually([&] { return entered >= admitted && asleep() == kWaiters - admitted; }));
    CHECK(entered == admitted);
  }
  for (Worker& waiter : waiters) waiter.join();
  CHECK(lock.locked());
  lock.release();
  CHECK_FALSE(lock.locked());
}

TEST_CASE("Lock: a waiter that lost many races is next, whoever comes", "[lock][L6]") {
  for (int trial = 0; trial < 20; ++trial) {
    conc::Lock lock;
    lock.acquire();
    Worker waiter{[&] { lock.acquire(); }};
    REQUIRE(waiter.falls_asleep_on(&lock));
    disturb(waiter, lock, 2 * conc::detail::sync::patience);
    lock.release();
    const bool overtook = lock.try_acquire();  // long before the waiter is awake
    CHECK_FALSE(overtook);
    if (overtook) lock.release();
    waiter.join();
    CHECK(lock.locked());
    lock.release();
    CHECK(lock.try_acquire());
  }
}

TEST_CASE("Lock: a waiter that lost many races and gives up leaves the lock to the others", "[lock][L5][L6]") {
  conc::Lock lock;
  lock.acquire();
  bool taken = true;
  Worker impatient{[&] { taken = lock.acquire(500ms); }};
  REQUIRE(impatient.falls_asleep_on(&lock));
  disturb(impatient, lock, 2 * conc::detail::sync::patience);
  Worker patient{[&] { lock.acquire(); }};
  CHECK(patient.falls_asleep_on(&lock));
  impatient.join();
  CHECK_FALSE(taken);
  lock.release();
  patient.join();
  CHECK(lock.locked());
  lock.release();
  CHECK(lock.try_acquire());
}

TEMPLATE_TEST_CASE("Lock: may be destroyed while it is held", "[lock][rlock][L7]", conc::Lock, conc::RLock) {
  auto* const lock = new TestType;
  lock->acquire();
  delete lock;
  SUCCEED("neither a crash nor a report of a sanitizer");
}

TEST_CASE("Lock: leaves errno alone when it has to wait", "[lock]") {
  conc::Lock lock;
  lock.acquire();
  errno = E2BIG;
  CHECK_FALSE(lock.acquire(1ms));
  CHECK(errno == E2BIG);
  Worker waiter{[&] { lock.acquire(); }};
  CHECK(waiter.falls_asleep_on(&lock));
  errno = E2BIG;
  lock.release();
  CHECK(errno == E2BIG);
  waiter.join();
}

TEMPLATE_TEST_CASE("Lock: is what std::unique_lock, std::scoped_lock and std::lock want", "[lock][rlock][L8]",
                   conc::Lock, conc::RLock) {
  TestType lock;
  TestType other;
  {
    const std::scoped_lock both{lock, other};
    CHECK(lock.locked());
    CHECK(other.locked());
    CHECK_FALSE(elsewhere([&] { return std::unique_lock{lock, std::try_to_lock}.owns_lock(); }));
    CHECK_FALSE(elsewhere([&] { return std::unique_lock{lock, 1ms}.owns_lock(); }));
    CHECK_FALSE(elsewhere([&] { return std::unique_lock{lock, SteadyClock::now() + 1ms}.owns_lock(); }));
    CHECK_FALSE(elsewhere([&] { return std::unique_lock{lock, std::chrono::system_clock::now() + 1ms}.owns_lock(); }));
    CHECK(elsewhere([&] { return std::try_lock(lock, other); }) == 0);
  }
  CHECK_FALSE(lock.locked());
  CHECK_FALSE(other.locked());
  {
    std::unique_lock first{lock, std::defer_lock};
    std::unique_lock second{other, std::defer_lock};
    std::lock(first, second);
    CHECK(lock.locked());
    CHECK(other.locked());
  }
  CHECK(std::unique_lock{lock, 1h}.owns_lock());
  CHECK(std::unique_lock{lock, SteadyClock::now() + 1h}.owns_lock());
  CHECK(std::unique_lock{lock, std::try_to_lock}.owns_lock());
  CHECK_FALSE(lock.locked());
}

TEST_CASE("ScopedLock: holds any number of locks of any type for its scope", "[lock][scoped_lock][L8]") {
  conc::Lock a;
  conc::RLock b;
  std::mutex c;
  conc::Condition<> d;
  conc::Condition<conc::Lock> e;
  const auto held = [&] {  // as another thread finds them
    return elsewhere([&] {
      const auto is_held = [](auto& lock) { return !lock.try_lock() || (lock.unlock(), false); };
      return is_held(a) * 1 + is_held(b) * 2 + is_held(c) * 4 + is_held(d) * 8 + is_held(e) * 16;
    });
  };
  {
    const conc::ScopedLock guard{a};
    CHECK(held() == 1);
  }
  {
    const conc::ScopedLock guard{b, a};
    CHECK(held() == 3);
  }
  {
    const conc::ScopedLock guard{c, a, b};
    CHECK(held() == 7);
  }
  {
    const conc::ScopedLock guard{a, b, c, d};
    CHECK(held() == 15);
  }
  {
    const conc::ScopedLock guard{e, d, c, b, a};
    CHECK(held() == 31);
  }
  CHECK(held() == 0);
}

namespace {

/// A lock of somebody who likes the same names for members.
struct Namesake {
  void lock() { lock_.lock(); }
  void unlock() { lock_.unlock(); }
  bool try_lock() { return lock_.try_lock(); }
  std::mutex lock_;
  int tracker_ = 0;
};

}  // namespace

TEST_CASE("ScopedLock: takes locks whose members have the names of conc's", "[lock][scoped_lock][L8]") {
  conc::Lock a;
  Namesake b;
  {
    const conc::ScopedLock guard{a, b};
    CHECK(a.locked());
    CHECK_FALSE(elsewhere([&] { return b.try_lock(); }));
  }
  CHECK_FALSE(a.locked());
  CHECK(b.try_lock());
  b.unlock();
}

TEST_CASE("ScopedLock: waits for whichever lock is taken, holding none of the others", "[lock][scoped_lock][L8]") {
  conc::Lock a;
  conc::Lock b;
  conc::Lock c;
  for (conc::Lock* const taken : {&a, &b, &c}) {
    taken->acquire();
    Worker waiter{[&] { const conc::ScopedLock guard{a, b, c}; }};
    CHECK(waiter.falls_asleep_on(taken));
    CHECK(a.locked() + b.locked() + c.locked() == 1);
    taken->release();
    waiter.join();
    CHECK(a.locked() + b.locked() + c.locked() == 0);
  }
}

TEST_CASE("ScopedLock: holds nothing when one of its locks throws", "[lock][scoped_lock][L8][G4]") {
  conc::Lock a;
  conc::RLock b;
  Refusing refusing;
  CHECK_THROWS_AS(conc::ScopedLock(refusing), std::runtime_error);
  CHECK_THROWS_AS(conc::ScopedLock(refusing, a, b), std::runtime_error);
  CHECK_THROWS_AS(conc::ScopedLock(a, refusing, b), std::runtime_error);
  CHECK_THROWS_AS(conc::ScopedLock(a, b, refusing), std::runtime_error);
  CHECK(is_free(a));
  CHECK(is_free(b));
  CHECK(refusing.unlocked == 0);
}

TEST_CASE("RLock: its owner may acquire it many times, and it is free after as many releases", "[rlock][R1]") {
  conc::RLock lock;
  for (int level = 0; level < 100; ++level) CHECK(lock.acquire());
  for (int level = 100; level > 0; --level) {
    CHECK(lock.owned());
    CHECK(lock.locked());
    CHECK_FALSE(is_free(lock));
    lock.release();
  }
  CHECK_FALSE(lock.owned());
  CHECK_FALSE(lock.locked());
  CHECK(is_free(lock));
}

TEST_CASE("RLock: release by another thread is a UsageError and changes nothing", "[rlock][R2][FM1][G5]") {
  conc::RLock lock;
  lock.acquire();
  lock.acquire();
  CHECK_THROWS_MATCHES(elsewhere([&] { return lock.release(), true; }), conc::UsageError,
                       Catch::Matchers::Message("RLock::release: another thread owns the lock"));
  CHECK_FALSE(elsewhere([&] { return lock.owned(); }));
  CHECK(lock.owned());
  lock.release();
  CHECK_FALSE(is_free(lock));
  lock.release();
  CHECK(is_free(lock));
}

TEST_CASE("RLock: release of a free lock is a UsageError and leaves it free", "[rlock][R2][FM1][G5]") {
  conc::RLock lock;
  CHECK_THROWS_MATCHES(lock.release(), conc::UsageError,
                       Catch::Matchers::Message("RLock::release: the lock is not held"));
  CHECK_THROWS_AS(lock.release_levels(), conc::UsageError);
  lock.acquire();
  lock.release();
  CHECK_THROWS_AS(lock.release(), conc::UsageError);  // once the owner, not any more
  CHECK(is_free(lock));
}

TEST_CASE("RLock: try and timed acquire by the owner succeed at once", "[rlock][R5]") {
  conc::RLock lock;
  lock.acquire();
  CHECK(lock.try_acquire());
  CHECK(lock.acquire(0s));
  CHECK(lock.acquire(-1s));
  CHECK(lock.acquire(SteadyClock::now() - 1h));
  CHECK(lock.acquire(conc::never));
  CHECK(lock.acquire(1h));
  for (int level = 7; level > 1; --level) lock.release();
  CHECK_FALSE(is_free(lock));
  lock.release();
  CHECK(is_free(lock));
}

TEST_CASE("RLock: gives up all levels and restores them", "[rlock][R3]") {
  conc::RLock lock;
  lock.acquire();
  lock.acquire();
  lock.acquire();
  const std::uint32_t levels = lock.release_levels();
  CHECK(levels == 3);
  CHECK(is_free(lock));
  lock.acquire_levels(levels);
  lock.release();
  lock.release();
  CHECK_FALSE(is_free(lock));
  lock.release();
  CHECK(is_free(lock));
}
