// SPDX-License-Identifier: MIT
#include <conc/condition.hpp>
#include <conc/semaphore.hpp>

#include <algorithm>
#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <chrono>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "support.hpp"
#include "worker.hpp"

namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Message;
using conc_test::elsewhere;
using conc_test::eventually;
using conc_test::Worker;
using SteadyClock = std::chrono::steady_clock;

/// A lock with nothing but what a Condition needs: it cannot tell whether it is held.
class PlainLock {
 public:
  void lock() { lock_.acquire(); }
  bool try_lock() { return lock_.try_acquire(); }
  void unlock() { lock_.release(); }

 private:
  conc::Lock lock_;
};

/// A lock that cannot be released once.
class Stubborn : public PlainLock {
 public:
  void unlock() {
    if (std::exchange(refuses, false)) throw std::runtime_error{"refused"};
    PlainLock::unlock();
  }
  bool refuses = false;
};

static_assert(std::is_same_v<conc::Condition<>, conc::Condition<conc::RLock>>);
static_assert(std::is_same_v<decltype(conc::Condition{}), conc::Condition<conc::RLock>>);
static_assert(std::is_same_v<decltype(conc::Condition{std::declval<conc::Lock&>()}), conc::Condition<conc::Lock>>);
static_assert(!std::is_copy_constructible_v<conc::Condition<>> && !std::is_copy_assignable_v<conc::Condition<>>);
static_assert(!std::is_move_constructible_v<conc::Condition<>> && !std::is_move_assignable_v<conc::Condition<>>);

/// Whether another thread could take the lock now. It gives it back.
template <class L>
bool is_free(L& lock) {
  return elsewhere([&lock] { return lock.try_lock() && (lock.unlock(), true); });
}

/// Threads that wait once, all of them asleep or, if the deadline is short, back already.
template <class L>
class Waiters {
 public:
  Waiters(conc::Condition<L>& condition, int count, conc::Deadline deadline = conc::never) : condition_{&condition} {
    for (int i = 0; i < count; ++i) {
      workers_.emplace_back([this, deadline] {
        const conc::ScopedLock guard{*condition_};
        (condition_->wait(deadline) ? notified_ : given_up_)++;
      });
    }
    CHECK(eventually([&] { return asleep() + returned() == count; }));
  }
  int asleep() {
    return static_cast<int>(std::count_if(workers_.begin(), workers_.end(),
                                          [this](Worker& worker) { return worker.sleeps_on(condition_); }));
  }
  int notified() const { return notified_; }
  int given_up() const { return given_up_; }
  int returned() const { return notified_ + given_up_; }
  void join() {
    for (Worker& worker : workers_) worker.join();
    workers_.clear();
  }

 private:
  conc::Condition<L>* condition_;
  std::atomic<int> notified_{0};
  std::atomic<int> given_up_{0};
  std::deque<Worker> workers_;
};

template <class L>
void notify_locked(conc::Condition<L>& condition, std::size_t n) {
  const conc::ScopedLock guard{condition};
  condition.notify(n);
}

/// Every member that needs the lock.
template <class L>
void check_usage_errors(conc::Condition<L>& condition) {
  bool asked = false;
  const auto predicate = [&asked] { return asked = true; };
  CHECK_THROWS_MATCHES(condition.wait(), conc::UsageError, Message("Condition::wait: the lock is not held"));
  CHECK_THROWS_MATCHES(condition.wait(0s), conc::UsageError, Message("Condition::wait: the lock is not held"));
  CHECK_THROWS_MATCHES(condition.wait_for(predicate), conc::UsageError,
                       Message("Condition::wait_for: the lock is not held"));
  CHECK_THROWS_MATCHES(condition.wait_for(predicate, 1h), conc::UsageError,
                       Message("Condition::wait_for: the lock is not held"));
  CHECK_THROWS_MATCHES(condition.notify(), conc::UsageError, Message("Condition::notify: the lock is not held"));
  CHECK_THROWS_MATCHES(condition.notify(3), conc::UsageError, Message("Condition::notify: the lock is not held"));
  CHECK_THROWS_AS(condition.notify_all(), conc::UsageError);
  CHECK_FALSE(asked);
}

}  // namespace

TEMPLATE_TEST_CASE("Condition: wait and notify without the lock are UsageErrors that change nothing",
                   "[condition][C1][FM10][G5]", conc::RLock, conc::Lock) {
  conc::Condition<TestType> condition;
  check_usage_errors(condition);
  CHECK(is_free(condition));
  condition.acquire();
  condition.notify_all();
  CHECK_FALSE(condition.wait(0s));
  condition.release();
  check_usage_errors(condition);
  CHECK(is_free(condition));
}

TEST_CASE("Condition: wait and notify while another thread owns the RLock are UsageErrors", "[condition][C1][FM10]") {
  conc::RLock lock;
  conc::Condition condition{lock};
  conc_test::StartGate done;
  std::atomic<bool> taken{false};
  Worker owner{[&] {
    const conc::ScopedLock guard{lock};
    taken = true;
    done.wait();
  }};
  CHECK(eventually([&] { return taken.load(); }));
  check_usage_errors(condition);
  CHECK(lock.locked());
  done.open();
  owner.join();
}

TEST_CASE("Condition: has an RLock of its own unless it is given a lock", "[condition][C2]") {
  conc::Condition first;
  conc::Condition second;
  const conc::ScopedLock guard{first, first};  // reentrant
  CHECK_FALSE(is_free(first));
  CHECK(is_free(second));
}

TEMPLATE_TEST_CASE("Condition: shares the lock it is given", "[condition][C2]", conc::RLock, conc::Lock, std::mutex,
                   PlainLock) {
  TestType lock;
  conc::Condition one{lock};
  conc::Condition other{lock};
  {
    const conc::ScopedLock guard{one};
    CHECK_FALSE(is_free(lock));
    CHECK_FALSE(is_free(other));
  }
  {
    const std::scoped_lock guard{lock};
    CHECK_FALSE(is_free(one));
  }
  // A notify on one reaches none of the other's waiters.
  Waiters of_one{one, 1};
  Waiters of_other{other, 1};
  notify_locked(other, 10);
  of_other.join();
  CHECK(of_other.notified() == 1);
  CHECK(of_one.asleep() == 1);
  CHECK(of_one.notified() == 0);
  notify_locked(one, 1);
  of_one.join();
  CHECK(of_one.notified() == 1);
}

TEST_CASE("Condition: is itself a lock", "[condition][C2][L8]") {
  conc::Condition condition;
  {
    const std::unique_lock guard{condition};
    CHECK_FALSE(is_free(condition));
    CHECK_FALSE(elsewhere([&] { return std::unique_lock{condition, std::try_to_lock}.owns_lock(); }));
    CHECK_FALSE(elsewhere([&] { return condition.try_acquire(); }));
  }
  {
    conc::Condition other;
    const std::scoped_lock guard{condition, other};
    CHECK_FALSE(is_free(condition));
    CHECK_FALSE(is_free(other));
  }
  CHECK(condition.try_acquire());
  condition.release();
  CHECK_THROWS_AS(condition.release(), conc::UsageError);
  CHECK(is_free(condition));
}

TEMPLATE_TEST_CASE("Condition: notify(n) wakes at most n of those who wait", "[condition][C3]", conc::RLock, conc::Lock,
                   std::mutex, PlainLock) {
  conc::Condition<TestType> condition;
  Waiters waiters{condition, 5};
  notify_locked(condition, 0);
  notify_locked(condition, 2);
  CHECK(eventually([&] { return waiters.notified() >= 2 && waiters.asleep() == 3; }));
  CHECK(waiters.notified() == 2);
  {
    const conc::ScopedLock guard{condition};
    condition.notify();
  }
  CHECK(eventually([&] { return waiters.notified() >= 3 && waiters.asleep() == 2; }));
  CHECK(waiters.notified() == 3);
  notify_locked(condition, 100);
  waiters.join();
  CHECK(waiters.notified() == 5);
}

TEST_CASE("Condition: several notifies before a waiter runs count one waiter each", "[condition][C3]") {
  conc::Condition condition;
  Waiters waiters{condition, 4};
  {
    const conc::ScopedLock guard{condition};
    condition.notify();
    condition.notify();
    condition.notify();
  }
  CHECK(eventually([&] { return waiters.notified() >= 3 && waiters.asleep() == 1; }));
  CHECK(waiters.notified() == 3);
  notify_locked(condition, 1);
  waiters.join();
}

TEST_CASE("Condition: a notify is not kept for who waits later", "[condition][C3]") {
  conc::Condition condition;
  Waiters early{condition, 1};
  {
    const conc::ScopedLock guard{condition};
    condition.notify(5);  // four more than wait
    condition.notify_all();
    CHECK_FALSE(condition.wait(0s));    // gives the lock away for a moment, and gets nothing of it
    CHECK_FALSE(condition.wait(10ms));  // the same after a sleep
  }
  early.join();
  CHECK(early.notified() == 1);
  Waiters late{condition, 1, 10ms};
  late.join();
  CHECK(late.given_up() == 1);
}

TEST_CASE("Condition: notify_all wakes all, in whatever order", "[condition][C3][C7]") {
  conc::Condition condition;
  for (int round = 0; round < conc_test::scaled(50); ++round) {
    Waiters waiters{condition, 6};
    {
      const conc::ScopedLock guard{condition};
      condition.notify_all();
    }
    waiters.join();
    CHECK(waiters.notified() == 6);
  }
}

TEST_CASE("Condition: a notify goes to a waiter and not to one that gave up", "[condition][C3][C4]") {
  conc::Condition condition;
  for (int round = 0; round < conc_test::scaled(50); ++round) {
    Waiters impatient{condition, 2, 5ms};
    Waiters patient{condition, 1};
    impatient.join();
    CHECK(impatient.given_up() == 2);
    notify_locked(condition, 1);
    patient.join();
    CHECK(patient.notified() == 1);
  }
}

TEMPLATE_TEST_CASE("Condition: wait is false after the deadline, not early, and holds the lock again",
                   "[condition][C4][G2]", conc::RLock, conc::Lock, std::mutex, PlainLock) {
  conc::Condition<TestType> condition;
  const conc::ScopedLock guard{condition};
  CHECK_FALSE(condition.wait(0s));
  CHECK_FALSE(is_free(condition));
  CHECK_FALSE(condition.wait(-1s));
  CHECK_FALSE(is_free(condition));
  CHECK_FALSE(condition.wait(SteadyClock::now() - 1h));
  CHECK_FALSE(is_free(condition));
  const auto start = SteadyClock::now();
  CHECK_FALSE(condition.wait(30ms));
  CHECK(SteadyClock::now() - start >= 30ms);
  CHECK_FALSE(is_free(condition));
}

TEMPLATE_TEST_CASE("Condition: wait lets go of the lock and holds it again when notified", "[condition][C4]",
                   conc::RLock, conc::Lock, std::mutex, PlainLock) {
  conc::Condition<TestType> condition;
  bool notified = false;
  bool held = false;
  Worker waiter{[&] {
    const conc::ScopedLock guard{condition};
    notified = condition.wait();
    held = !is_free(condition);
  }};
  CHECK(waiter.falls_asleep_on(&condition));
  CHECK(is_free(condition));
  notify_locked(condition, 1);
  waiter.join();
  CHECK(notified);
  CHECK(held);
  CHECK(is_free(condition));
}

TEST_CASE("Condition: a notify counts until wait has the lock back, also after the deadline", "[condition][C4]") {
  for (const bool before_the_deadline : {true, false}) {
    for (bool tried = false; !tried;) {
      conc::Condition condition;
      Waiters waiters{condition, 1, 50ms};
      {
        const conc::ScopedLock guard{condition};
        tried = waiters.returned() == 0;  // it waits still, and cannot return while the lock is held here
        if (before_the_deadline) condition.notify();
        const auto late = SteadyClock::now() + 60ms;
        CHECK(eventually([&] { return SteadyClock::now() > late; }));
        if (!before_the_deadline) condition.notify();
      }
      waiters.join();
      if (tried) CHECK(waiters.notified() == 1);
    }
  }
}

TEST_CASE("Condition: wait_for asks the predicate before it waits", "[condition][C6]") {
  conc::Condition condition;
  const conc::ScopedLock guard{condition};
  for (const conc::Deadline deadline : {conc::Deadline{0s}, conc::Deadline{1h}, conc::never}) {
    int asked = 0;
    CHECK(condition.wait_for([&] { return ++asked > 0; }, deadline));
    CHECK(asked == 1);
  }
  CHECK(condition.wait_for([] { return true; }));
}

TEMPLATE_TEST_CASE("Condition: wait_for asks the predicate with the lock held until it is true", "[condition][C6]",
                   conc::RLock, conc::Lock, std::mutex, PlainLock) {
  conc::Condition<TestType> condition;
  int value = 0;
  int asked = 0;
  conc::Semaphore answers{0};
  bool held = true;
  bool result = false;
  Worker waiter{[&] {
    const conc::ScopedLock guard{condition};
    result = condition.wait_for([&] {
      ++asked;
      answers.release();
      held = held && !is_free(condition);
      return value == 3;
    });
    held = held && !is_free(condition);
  }};
  for (int i = 1; i <= 3; ++i) {
    answers.acquire();  // the sleep before is over
    CHECK(waiter.falls_asleep_on(&condition));
    const conc::ScopedLock guard{condition};
    CHECK(asked == i);
    value = i;
    condition.notify();
  }
  waiter.join();
  CHECK(result);
  CHECK(held);
  CHECK(asked == 4);
}

TEST_CASE("Condition: wait_for returns the last value of the predicate when the deadline passes", "[condition][C6]") {
  conc::Condition condition;
  const conc::ScopedLock guard{condition};
  const auto start = SteadyClock::now();
  CHECK_FALSE(condition.wait_for([] { return false; }, 30ms));
  CHECK(SteadyClock::now() - start >= 30ms);
  CHECK_FALSE(condition.wait_for([] { return false; }, 0s));
  int asked = 0;
  CHECK(condition.wait_for([&] { return ++asked == 2; }, 1ms));  // became true without a notify
  CHECK(asked == 2);
}

TEST_CASE("Condition: notifies do not extend the time of wait_for", "[condition][C6]") {
  conc::Condition condition;
  std::atomic<bool> over{false};
  Worker notifier{[&] {
    while (!over) notify_locked(condition, 1);
  }};
  const auto start = SteadyClock::now();
  bool result = true;
  {
    const conc::ScopedLock guard{condition};
    result = condition.wait_for([] { return false; }, 50ms);
  }
  over = true;
  CHECK_FALSE(result);
  CHECK(SteadyClock::now() - start >= 50ms);
  notifier.join();
}

TEMPLATE_TEST_CASE("Condition: what the predicate throws leaves wait_for with the lock held", "[condition][C6][G4]",
                   conc::RLock, conc::Lock) {
  conc::Condition<TestType> condition;
  int asked = 0;
  {
    const conc::ScopedLock guard{condition};
    const auto predicate = [&]() -> bool { return ++asked == 2 ? throw std::runtime_error{"no"} : false; };
    CHECK_THROWS_AS(condition.wait_for(predicate, 1ms), std::runtime_error);
    CHECK_FALSE(is_free(condition));
  }
  CHECK(is_free(condition));
  Waiters waiters{condition, 1};
  notify_locked(condition, 1);  // the one that threw is no waiter any more
  waiters.join();
  CHECK(waiters.notified() == 1);
}

TEST_CASE("Condition: wait throws what the lock throws on release, and then it was no wait", "[condition][C4][G4]") {
  Stubborn lock;
  conc::Condition condition{lock};
  {
    const conc::ScopedLock guard{condition};
    lock.refuses = true;
    CHECK_THROWS_AS(condition.wait(), std::runtime_error);
    CHECK_FALSE(is_free(lock));
  }
  Waiters waiters{condition, 1};
  notify_locked(condition, 1);  // the one that threw is no waiter
  waiters.join();
  CHECK(waiters.notified() == 1);
}

TEST_CASE("Condition: over an RLock gives up all levels and restores them", "[condition][rlock][R3]") {
  conc::RLock lock;
  conc::Condition condition{lock};
  for (const bool notify : {true, false}) {
    bool notified = false;
    bool owned = false;
    int levels = 0;
    Worker waiter{[&] {
      for (int i = 0; i < 3; ++i) lock.acquire();
      notified = condition.wait(notify ? conc::never : conc::Deadline{20ms});
      for (owned = lock.owned(); lock.owned(); ++levels) lock.release();
    }};
    if (notify) {
      CHECK(waiter.falls_asleep_on(&condition));
      CHECK(is_free(lock));
      notify_locked(condition, 1);
    }
    waiter.join();
    CHECK(notified == notify);
    CHECK(owned);
    CHECK(levels == 3);
    CHECK(is_free(lock));
  }
}
