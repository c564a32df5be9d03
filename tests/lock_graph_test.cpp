// SPDX-License-Identifier: MIT
#define CONC_DEBUG
#include <conc/conc.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "allocations.hpp"
#include "support.hpp"
#include "worker.hpp"

// Functions of this file are found in call stacks by their names, so they have external linkage, and their last call is
// no jump. A thread of a test is what `elsewhere` runs: it has ended before the next one starts, so nothing ever hangs.
using namespace std::chrono_literals;
using conc::debug::LockProblem;
using conc_test::elsewhere;
using conc_test::Worker;

namespace {

std::mutex reports_mutex;  // one that the graph does not follow
std::vector<std::pair<LockProblem, std::string>> reports;

void keep(const conc::debug::LockReport& report) {
  const std::lock_guard guard{reports_mutex};
  reports.emplace_back(report.problem, report.text);
}

/// Keeps the reports of a case.
class Reports {
 public:
  explicit Reports(conc::debug::LockHook hook = &keep) : before_{conc::debug::set_lock_hook(hook)} { reports.clear(); }
  Reports(const Reports&) = delete;
  Reports& operator=(const Reports&) = delete;
  ~Reports() { conc::debug::set_lock_hook(before_); }

  std::size_t count() const {
    const std::lock_guard guard{reports_mutex};
    return reports.size();
  }
  LockProblem problem(std::size_t i = 0) const { return reports.at(i).first; }
  const std::string& text(std::size_t i = 0) const { return reports.at(i).second; }

 private:
  conc::debug::LockHook before_;
};

std::string address_of(const void* object) {
  std::ostringstream text;
  text << object;
  return text.str();
}

/// The report, with each call stack cut down to those of these functions that are in it.
std::string outline(const std::string& report, const std::vector<std::string>& functions) {
  std::string text;
  std::istringstream lines{report};
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("      at ", 0) != 0) {
      text += line + "\n";
      continue;
    }
    for (const std::string& function : functions) {
      if (line.find(" " + function + "(") != std::string::npos) text += "      " + function + "\n";
    }
  }
  return text;
}

constinit conc::Lock global_lock;
constinit conc::RLock global_rlock;

std::string before_main;

void keep_before_main(const conc::debug::LockReport& report) { before_main = report.text; }

struct LocksBeforeMain {
  LocksBeforeMain() {
    const auto before = conc::debug::set_lock_hook(&keep_before_main);
    global_lock.acquire();
    global_rlock.acquire();
    global_lock.release();
    global_lock.acquire();
    global_lock.release();
    global_rlock.release();
    conc::debug::set_lock_hook(before);
  }
} const locks_before_main;

}  // namespace

#define KEEP_FRAME asm volatile("" ::: "memory")

template <class A, class B>
[[gnu::noinline]] void take_second(A&, B& second) {
  second.lock();
  second.unlock();
  KEEP_FRAME;
}
template <class A, class B>
[[gnu::noinline]] void take(A& first, B& second) {
  first.lock();
  take_second(first, second);
  first.unlock();
  KEEP_FRAME;
}

/// On another thread: first, and second inside it.
template <class A, class B>
void taken_elsewhere(A& first, B& second) {
  elsewhere([&] {
    take(first, second);
    return true;
  });
}

/// A function of this name, which reports must show, that takes a lock.
#define TAKES_A_LOCK(name)                        \
  [[gnu::noinline]] void name(conc::Lock& lock) { \
    lock.acquire();                               \
    KEEP_FRAME;                                   \
  }
TAKES_A_LOCK(debit)
TAKES_A_LOCK(debit_then_log)
TAKES_A_LOCK(open_log)
TAKES_A_LOCK(log_then_debit)
TAKES_A_LOCK(leave_held)
#undef TAKES_A_LOCK

[[gnu::noinline]] void destroy(conc::Lock& lock) { lock.~Lock(); }

TEST_CASE("LockGraph: two orders of two locks are reported with all four stacks, although nothing hung",
          "[lock_graph][FM17]") {
  const Reports kept;
  conc::Lock accounts;
  conc::Lock journal;
  conc::debug::name(accounts, "accounts");
  conc::debug::name(journal, "journal");
  std::string first;
  std::string second;
  elsewhere([&] {
    first = std::to_string(conc::detail::sync::this_thread_id());
    debit(accounts);
    debit_then_log(journal);
    journal.release();
    accounts.release();
    return true;
  });
  CHECK(kept.count() == 0);
  elsewhere([&] {
    second = std::to_string(conc::detail::sync::this_thread_id());
    open_log(journal);
    log_then_debit(accounts);
    accounts.release();
    journal.release();
    return true;
  });
  REQUIRE(kept.count() == 1);
  CHECK(kept.problem() == LockProblem::order);
  const std::string a = address_of(&accounts) + " (accounts)";
  const std::string j = address_of(&journal) + " (journal)";
  CHECK(outline(kept.text(), {"debit", "debit_then_log", "open_log", "log_then_debit"}) ==
        "2 locks are taken in orders that can deadlock: " + j + " -> " + a + " -> " + j + "\n" +  //
            "  Thread " + second + " took " + j + ":\n      open_log\n" +                         //
            "  and waited for " + a + " while it held that:\n      log_then_debit\n" +            //
            "  Thread " + first + " took " + a + ":\n      debit\n" +                             //
            "  and waited for " + j + " while it held that:\n      debit_then_log\n");
  CHECK(kept.text().find("LockGraph") == std::string::npos);  // its own calls are left out
}

TEST_CASE("LockGraph: both orders on one thread, at different times, are reported", "[lock_graph][FM17]") {
  const Reports kept;
  conc::Lock a;
  conc::Lock b;
  take(a, b);
  take(b, a);
  CHECK(kept.count() == 1);
}

TEST_CASE("LockGraph: a longer circle is reported with each of its orders", "[lock_graph][FM17]") {
  const Reports kept;
  conc::Lock a;
  conc::Lock b;
  conc::Lock c;
  conc::Lock d;
  taken_elsewhere(a, b);
  taken_elsewhere(b, c);
  taken_elsewhere(c, d);
  CHECK(kept.count() == 0);
  taken_elsewhere(d, a);
  REQUIRE(kept.count() == 1);
  std::string circle = "4 locks are taken in orders that can deadlock:";
  for (const conc::Lock* lock : {&d, &a, &b, &c}) circle += " " + address_of(lock) + " ->";
  CHECK(kept.text().rfind(circle + " " + address_of(&d) + "\n", 0) == 0);
  std::size_t stacks = 0;
  for (std::size_t at = 0; (at = kept.text().find(":\n      at ", at)) != std::string::npos; ++at) ++stacks;
  CHECK(stacks == 8);
}

TEST_CASE("LockGraph: a pair is reported once, another pair again", "[lock_graph][FM17]") {
  const Reports kept;
  conc::Lock a;
  conc::Lock b;
  conc::Lock c;
  for (int round = 0; round < 3; ++round) {
    taken_elsewhere(a, b);
    taken_elsewhere(b, a);
  }
  CHECK(kept.count() == 1);
  taken_elsewhere(a, c);
  taken_elsewhere(c, a);
  CHECK(kept.count() == 2);
}

TEST_CASE("LockGraph: one order only, over and over, is no report", "[lock_graph][FM17]") {
  const Reports kept;
  conc::Lock a;
  conc::Lock b;
  conc::Lock c;
  for (int round = 0; round < 3; ++round) {
    taken_elsewhere(a, b);
    taken_elsewhere(b, c);
    taken_elsewhere(a, c);
  }
  CHECK(kept.count() == 0);
}

TEST_CASE("LockGraph: a lock that is let go before the next is taken makes no order", "[lock_graph][FM17]") {
  const Reports kept;
  conc::Lock a;
  conc::Lock b;
  for (conc::Lock* lock : {&a, &b, &a}) {
    lock->acquire();
    lock->release();
  }
  a.acquire();
  CHECK(b.try_acquire());
  a.release();  // not in the order of the stack
  conc::Lock c;
  c.acquire();  // b -> c, not a -> c
  c.release();
  b.release();
  take(c, a);
  CHECK(kept.count() == 0);
  take(c, b);
  CHECK(kept.count() == 1);
}

TEST_CASE("LockGraph: a real deadlock is reported by the one who closes the circle, before it waits",
          "[lock_graph][FM17]") {
  const Reports kept;
  conc::Lock a;
  conc::Lock b;
  conc::Event a_held;
  a.acquire();
  Worker other{[&] {
    b.acquire();
    a_held.set();
    a.acquire();  // b -> a
    a.release();
    b.release();
  }};
  a_held.wait();
  CHECK(other.falls_asleep_on(&a));
  Worker rescuer{[&] {
    conc_test::eventually([&] { return kept.count() == 1; });
    a.release();
  }};
  b.acquire();  // a -> b: hangs until the rescuer has seen the report
  rescuer.join();
  b.release();
  other.join();
  CHECK(kept.count() == 1);
}

TEST_CASE("LockGraph: a thread that waits for its own Lock is reported once, and goes on waiting", "[lock_graph][L1]") {
  const Reports kept;
  conc::Lock lock;
  conc::debug::name(lock, "mine");
  std::string id;
  std::atomic<int> passed{0};
  Worker owner{[&] {
    id = std::to_string(conc::detail::sync::this_thread_id());
    for (int round = 0; round < 2; ++round) {
      debit(lock);
      debit_then_log(lock);  // until another thread releases it
      ++passed;
      lock.release();
    }
  }};
  for (int round = 0; round < 2; ++round) {
    CHECK(owner.falls_asleep_on(&lock));
    lock.release();
    CHECK(conc_test::eventually([&] { return passed.load() == round + 1; }));
  }
  owner.join();
  REQUIRE(kept.count() == 1);
  CHECK(kept.problem() == LockProblem::acquired_again);
  CHECK(outline(kept.text(), {"debit", "debit_then_log"}) ==
        "Thread " + id + " waits for lock " + address_of(&lock) + " (mine), which it holds itself.\n" +
            "  It took it:\n      debit\n  It waits for it:\n      debit_then_log\n");
}

TEST_CASE("LockGraph: to try one's own Lock, or to wait for it with a deadline, is no report", "[lock_graph][L1][L5]") {
  const Reports kept;
  conc::Lock lock;
  const conc::ScopedLock guard{lock};
  CHECK_FALSE(lock.try_acquire());
  CHECK_FALSE(lock.acquire(1ms));
  CHECK_FALSE(lock.acquire(conc::Deadline::after(1ms)));
  CHECK(kept.count() == 0);
}

TEST_CASE("LockGraph: a deadline that never comes is none", "[lock_graph][G2]") {
  const Reports kept;
  conc::Lock a;
  conc::Lock b;
  take(a, b);
  b.acquire();
  CHECK(a.acquire(conc::never));
  a.release();
  b.release();
  CHECK(kept.count() == 1);
}

TEST_CASE("LockGraph: who gives up in time cannot deadlock, but what it got so counts as held",
          "[lock_graph][L1][L5][R5]") {
  const Reports kept;
  conc::Lock a;
  conc::Lock b;
  conc::RLock c;
  take(a, b);
  take(a, c);
  b.acquire();
  CHECK(a.acquire(1h));
  a.release();
  CHECK(a.try_acquire());
  a.release();
  b.release();
  CHECK(c.acquire(1h));
  CHECK(a.try_acquire());
  c.release();
  a.release();
  CHECK(kept.count() == 0);
  CHECK(b.try_acquire());
  a.acquire();
  a.release();
  b.release();
  CHECK(kept.count() == 1);
  CHECK(c.acquire(1h));
  a.acquire();
  a.release();
  c.release();
  CHECK(kept.count() == 2);
}

TEST_CASE("LockGraph: an attempt that failed leaves nothing held", "[lock_graph][L1][L5]") {
  const Reports kept;
  conc::Lock a;
  conc::Lock b;
  conc::RWLock c;
  take(a, b);
  take(a, c);
  b.acquire();
  c.acquire();
  elsewhere([&] {
    const bool none = !b.try_acquire() && !b.acquire(1ms) && !c.acquire(1ms) && !c.acquire_shared(1ms);
    a.acquire();
    a.release();
    return none;
  });
  c.release();
  b.release();
  CHECK(kept.count() == 0);
}

TEST_CASE("LockGraph: further levels of an RLock are no orders, its first is", "[lock_graph][R1]") {
  const Reports kept;
  conc::RLock a;
  conc::RLock b;
  conc::Lock c;
  a.acquire();
  b.acquire();
  a.acquire();  // never waits
  a.release();
  c.acquire();
  b.acquire();
  b.release();
  c.release();
  b.release();
  a.release();
  CHECK(kept.count() == 0);
  a.acquire();
  a.acquire();
  a.release();
  take_second(c, c);  // still holds a: a -> c
  a.release();
  CHECK(kept.count() == 0);
  take(c, a);
  REQUIRE(kept.count() == 1);
  CHECK(kept.text().find(address_of(&a)) != std::string::npos);  // the address of the RLock itself
  take(b, a);
  CHECK(kept.count() == 2);
}

TEST_CASE("LockGraph: an RWLock counts however it is held", "[lock_graph]") {
  const Reports kept;
  conc::RWLock table;
  conc::debug::name(table, "table");
  conc::Lock lock;
  {
    const conc::ScopedSharedLock guard{table};
    lock.acquire();
    lock.release();
  }
  CHECK(kept.count() == 0);
  SECTION("a writer the other way round") {
    take(lock, table);
    REQUIRE(kept.count() == 1);
    CHECK(kept.text().find("took " + address_of(&table) + " (table) shared:") != std::string::npos);
    CHECK(kept.text().find("waited for " + address_of(&table) + " (table) while") != std::string::npos);
  }
  SECTION("a reader the other way round: it waits behind a writer") {
    lock.acquire();
    table.acquire_shared();
    table.release_shared();
    lock.release();
    REQUIRE(kept.count() == 1);
    CHECK(kept.text().find("waited for " + address_of(&table) + " (table) shared while") != std::string::npos);
  }
  SECTION("nothing is left of it after the release") {
    table.acquire();
    table.release();
    table.acquire_shared();
    table.release_shared();
    CHECK(table.try_acquire());
    table.release();
    conc::RWLock before;
    take(before, table);  // would close a circle if `table` were still held
    CHECK(kept.count() == 0);
  }
}

TEST_CASE("LockGraph: readers of two RWLocks in two orders are reported", "[lock_graph]") {
  const Reports kept;
  conc::RWLock a;
  conc::RWLock b;
  for (conc::RWLock* first : {&a, &b}) {
    conc::RWLock& second = first == &a ? b : a;
    const conc::ScopedSharedLock outer{*first};
    const conc::ScopedSharedLock inner{second};
  }
  CHECK(kept.count() == 1);
}

TEST_CASE("LockGraph: a thread that wants an RWLock again is reported, a reader too", "[lock_graph]") {
  const Reports kept;
  conc::RWLock lock;
  const auto problem_of = [&] {
    CHECK(kept.count() == 1);
    return kept.count() == 1 ? kept.text() : "";
  };
  SECTION("shared and shared again") {
    lock.acquire_shared();
    lock.acquire_shared();  // gets it: no writer waits
    lock.release_shared();
    CHECK(problem_of().find("  It waits for it shared:\n") != std::string::npos);
    lock.release_shared();
  }
  SECTION("not with a deadline") {
    lock.acquire_shared();
    CHECK(lock.acquire_shared(1h));
    CHECK(lock.try_acquire_shared());
    CHECK_FALSE(lock.acquire(1ms));
    for (int i = 0; i < 3; ++i) lock.release_shared();
    CHECK(kept.count() == 0);
  }
  SECTION("shared and exclusively") {
    Worker owner{[&] {
      lock.acquire_shared();
      lock.acquire();
      lock.release();
    }};
    CHECK(conc_test::eventually([&] { return kept.count() == 1; }));
    lock.release_shared();  // that of the other thread
    owner.join();
    CHECK(problem_of().find("  It took it shared:\n") != std::string::npos);
  }
}

TEST_CASE("LockGraph: Condition::wait lets go of the lock and waits for it again", "[lock_graph][C4][R3]") {
  const Reports kept;
  conc::RLock lock;
  conc::Condition ready{lock};
  conc::Lock other;
  bool go = false;
  SECTION("what is taken meanwhile elsewhere is no report") {
    take(other, lock);
    Worker waiter{[&] {
      const conc::ScopedLock guard{ready};
      const conc::ScopedLock again{lock};
      ready.wait_for([&] { return go; });
    }};
    take(other, lock);
    {
      const conc::ScopedLock guard{ready};
      go = true;
      ready.notify();
    }
    waiter.join();
    CHECK(kept.count() == 0);
  }
  SECTION("the thread holds nothing while it waits, and all of it afterwards") {
    lock.acquire();
    CHECK_FALSE(ready.wait(1ms));
    other.acquire();  // lock -> other
    other.release();
    lock.release();
    take(other, lock);
    CHECK(kept.count() == 1);
  }
  SECTION("with another lock held, the wait for its own lock is an order") {
    lock.acquire();
    other.acquire();               // lock -> other
    CHECK_FALSE(ready.wait(1ms));  // other -> lock: somebody may have taken `lock` and wait for `other`
    other.release();
    lock.release();
    CHECK(kept.count() == 1);
  }
}

TEST_CASE("LockGraph: a Condition over a Lock, with its own name", "[lock_graph][C2]") {
  const Reports kept;
  conc::Lock lock;
  conc::Condition ready{lock};
  conc::Condition own;
  conc::debug::name(ready, "ready's lock");
  conc::debug::name(own, "own lock");
  {
    const conc::ScopedLock guard{ready};
    CHECK_FALSE(ready.wait(1ms));
    const conc::ScopedLock inner{own};
    CHECK_FALSE(own.wait(0ms));
  }
  REQUIRE(kept.count() == 0);
  take(own, ready);
  REQUIRE(kept.count() == 1);
  CHECK(kept.text().find("(ready's lock)") != std::string::npos);
  CHECK(kept.text().find("(own lock)") != std::string::npos);
}

TEST_CASE("LockGraph: ScopedLock of several makes no order among them, but one to all of them", "[lock_graph][L8]") {
  const Reports kept;
  conc::Lock a;
  conc::RLock b;
  conc::RWLock c;
  conc::Lock outer;
  conc::Lock inner;
  { const conc::ScopedLock guard{a, b, c}; }
  { const conc::ScopedLock guard{c, b, a}; }
  { const conc::ScopedLock guard{b, c, a}; }
  { const std::scoped_lock guard{c, a, b}; }
  { const std::scoped_lock guard{a, b, c}; }
  CHECK(kept.count() == 0);
  {
    const conc::ScopedLock guard{outer};
    const conc::ScopedLock all{a, b, c};
    const conc::ScopedLock again{b, inner};  // b is held already: no wait for it
  }
  CHECK(kept.count() == 0);
  take(c, outer);
  CHECK(kept.count() == 1);
  take(a, outer);
  CHECK(kept.count() == 2);
  take(b, outer);
  CHECK(kept.count() == 3);
}

TEST_CASE("LockGraph: ScopedLock of several that has to wait for one makes no order among them", "[lock_graph][L8]") {
  const Reports kept;
  conc::Lock a;
  conc::Lock b;
  take(b, a);
  for (conc::Lock* held : {&a, &b}) {
    held->acquire();
    Worker waiter{[&] { const conc::ScopedLock guard{a, b}; }};
    CHECK(waiter.falls_asleep_on(held));
    held->release();
    waiter.join();
  }
  CHECK(kept.count() == 0);
}

TEST_CASE("LockGraph: ScopedLock with a std::mutex follows what is conc's", "[lock_graph][L8]") {
  const Reports kept;
  std::mutex mutex;
  conc::Lock a;
  conc::Lock b;
  {
    const conc::ScopedLock guard{mutex, a};
    take_second(a, b);
  }
  {
    const conc::ScopedLock guard{b};
    const conc::ScopedLock both{mutex, a};
  }
  CHECK(kept.count() == 1);
}

TEST_CASE("LockGraph: a Lock that another thread released is not held any more", "[lock_graph][L2]") {
  const Reports kept;
  conc::Lock a;
  conc::Lock b;
  take(b, a);
  Worker holder{[&] {
    a.acquire();
    elsewhere([&] {
      a.release();
      return true;
    });
    b.acquire();  // holds nothing
    b.release();
  }};
  holder.join();
  CHECK(kept.count() == 0);
}

TEST_CASE("LockGraph: a shared hold that another thread gave back is not held any more", "[lock_graph]") {
  const Reports kept;
  conc::RWLock a;
  conc::Lock b;
  take(b, a);
  a.acquire_shared();
  elsewhere([&] {
    a.release_shared();
    return true;
  });
  b.acquire();
  b.release();
  CHECK(kept.count() == 0);
}

TEST_CASE("LockGraph: a destroyed lock is forgotten, whoever lives at its address next", "[lock_graph][L7]") {
  const Reports kept;
  conc::Lock other;
  alignas(conc::Lock) std::byte place[sizeof(conc::Lock)];
  auto* const first = new (place) conc::Lock;
  conc::debug::name(*first, "first");
  take(*first, other);
  first->~Lock();
  auto* const second = new (place) conc::Lock;
  take(other, *second);
  CHECK(kept.count() == 0);
  take(*second, other);
  REQUIRE(kept.count() == 1);
  CHECK(kept.text().find("(first)") == std::string::npos);
  second->~Lock();
}

TEST_CASE("LockGraph: a lock that was destroyed while it was held is not held any more", "[lock_graph][L7]") {
  const Reports kept;
  conc::Lock other;
  auto held = std::make_unique<conc::Lock>();
  take(other, *held);
  held->acquire();
  held.reset();
  take(other, global_lock);
  CHECK(kept.count() == 0);
}

TEST_CASE("LockGraph: who takes a lock exclusively is its only holder, whatever release went unseen",
          "[lock_graph][L2]") {
  const Reports kept;
  conc::Lock a;
  conc::Lock b;
  take(b, a);
  a.acquire();
  {
    const conc::detail::Untracked unseen;
    a.release();
  }
  elsewhere([&] {
    a.acquire();
    a.release();
    return true;
  });
  b.acquire();  // holds nothing
  b.release();
  CHECK(kept.count() == 0);
}

TEST_CASE("LockGraph: a lock that is used after its destruction, as globals are at exit, is no other lock",
          "[lock_graph][G9]") {
  const Reports kept;
  alignas(conc::Lock) static std::byte place[sizeof(conc::Lock)];
  auto* const gone = new (place) conc::Lock;
  conc::debug::name(*gone, "gone");
  destroy(*gone);
  conc::Lock next;  // may use what the graph kept for the other one
  conc::debug::name(next, "next");
  conc::Lock other;
  take(next, other);
  take(other, *gone);
  CHECK(kept.count() == 0);
  take(*gone, other);
  REQUIRE(kept.count() == 1);
  CHECK(kept.text().find("(next)") == std::string::npos);
  destroy(*gone);
}

TEST_CASE("LockGraph: locks with static storage are followed, before main too", "[lock_graph][G9]") {
  CHECK(before_main.find("The main thread took " + address_of(&global_rlock)) != std::string::npos);
}

TEST_CASE("LockGraph: a Synchronized counts by its lock", "[lock_graph]") {
  const Reports kept;
  conc::Synchronized<int> a{1};
  conc::Synchronized<int, conc::RWLock> b{2};
  conc::debug::name(a, "a's lock");
  a.with([&](int& value) { value += *std::as_const(b).lock(); });
  CHECK(kept.count() == 0);
  b.with([&](int& value) { value += *a.lock(); });
  REQUIRE(kept.count() == 1);
  CHECK(kept.text().find("(a's lock)") != std::string::npos);
}

TEST_CASE("LockGraph: what the standard's guards do is followed", "[lock_graph][L8]") {
  const Reports kept;
  conc::Lock a;
  conc::RWLock b;
  {
    const std::lock_guard outer{a};
    const std::shared_lock inner{b};
  }
  {
    const std::unique_lock outer{b};
    std::unique_lock inner{a, std::try_to_lock};
    CHECK(kept.count() == 0);
    inner.unlock();
    inner.lock();
  }
  CHECK(kept.count() == 1);
}

TEST_CASE("LockGraph: a thread that ends and holds a lock is reported, with where it took it", "[lock_graph][FR4]") {
  const Reports kept;
  conc::Lock lock;
  conc::RWLock table;
  conc::debug::name(lock, "left");
  std::string id;
  elsewhere([&] {
    id = std::to_string(conc::detail::sync::this_thread_id());
    leave_held(lock);
    table.acquire_shared();
    return true;
  });
  REQUIRE(kept.count() == 2);
  const std::size_t which = kept.text(0).find("(left)") != std::string::npos ? 0 : 1;
  CHECK(kept.problem(which) == LockProblem::held_at_thread_end);
  CHECK(outline(kept.text(which), {"leave_held"}) == "Thread " + id + " ends and still holds lock " +
                                                         address_of(&lock) +
                                                         " (left).\n  It took it:\n      leave_held\n");
  CHECK_FALSE(lock.acquire(1ms));
  lock.release();
  table.release_shared();
  CHECK(lock.acquire());
  lock.release();
}

TEST_CASE("LockGraph: a conc::Thread that ends and holds nothing, or handed it over, is no report",
          "[lock_graph][FR4][L2]") {
  const Reports kept;
  conc::Lock lock;
  conc::RWLock table;
  conc::Event handed_over;
  conc::Event released;
  conc::Thread thread{[&] {
    { const conc::ScopedSharedLock guard{table}; }
    lock.acquire();
    handed_over.set();
    released.wait();
  }};
  thread.start();
  handed_over.wait();
  lock.release();
  released.set();
  thread.join();
  CHECK(kept.count() == 0);
}

namespace {

/// What a thread may hold until it is gone.
struct Session {
  ~Session() {
    if (held != nullptr) held->release();
  }
  conc::Lock* held = nullptr;
};
thread_local Session session;

}  // namespace

TEST_CASE("LockGraph: a conc::Thread that releases a lock by the destructor of a thread_local is no report",
          "[lock_graph][FR4]") {
  const Reports kept;
  conc::Lock lock;
  conc::Thread thread{[&] {
    session.held = &lock;  // older than the thread's first lock
    lock.acquire();
  }};
  thread.start();
  thread.join();
  CHECK_FALSE(lock.locked());
  CHECK(kept.count() == 0);
}

namespace {

conc::Lock* hooks_lock = nullptr;
conc::Lock* hooks_other = nullptr;

/// Takes locks in both orders, itself and on another thread, while it is told of another pair.
void take_locks(const conc::debug::LockReport& report) {
  take(*hooks_lock, *hooks_other);
  take(*hooks_other, *hooks_lock);
  conc::Lock mine;
  std::thread{[&] { take(mine, *hooks_lock); }}.join();  // would hang if a lock of conc were held
  keep(report);
  throw std::runtime_error{"is dropped"};
}

}  // namespace

TEST_CASE("LockGraph: the hook runs under no lock of conc, and what it does with locks is not looked at",
          "[lock_graph][G3]") {
  conc::Lock lock;
  conc::Lock other;
  hooks_lock = &lock;
  hooks_other = &other;
  const Reports kept{&take_locks};
  conc::Lock a;
  conc::Lock b;
  take(a, b);
  take(b, a);
  CHECK(kept.count() == 1);
}

TEST_CASE("LockGraph: by default a report goes to stderr", "[lock_graph]") {
  const Reports kept{nullptr};
  conc::Lock a;
  conc::Lock b;
  take(a, b);
  take(b, a);
  const std::string text = conc_test::take_stderr();
  CHECK(text.rfind("conc: 2 locks are taken in orders that can deadlock: ", 0) == 0);
  CHECK(text.find("\n      at ") != std::string::npos);
}

TEST_CASE("LockGraph: where there is no memory for a report the lock is taken all the same", "[lock_graph]") {
  const Reports kept;
  conc::Lock a;
  conc::Lock b;
  take(a, b);
  conc_test::allocations_left.store(0);
  b.acquire();
  a.acquire();
  conc_test::allocations_left.store(-1);
  CHECK(a.locked());
  CHECK(b.locked());
  a.release();
  b.release();
}

TEST_CASE("LockGraph: a name is copied, and cut", "[lock_graph]") {
  const Reports kept;
  conc::Lock a;
  conc::Lock b;
  {
    std::string name(100, 'x');
    conc::debug::name(a, name.c_str());
    name.assign(100, 'y');
    conc::debug::name(b, "old");
    conc::debug::name(b, "new");
  }
  take(a, b);
  take(b, a);
  REQUIRE(kept.count() == 1);
  CHECK(kept.text().find("(" + std::string(39, 'x') + ")") != std::string::npos);
  CHECK(kept.text().find("(new)") != std::string::npos);
}

TEST_CASE("LockGraph: a lock that is taken before thousands of others", "[lock_graph]") {
  const Reports kept;
  conc::Lock first;
  std::vector<conc::Lock> locks(20'000);
  for (conc::Lock& lock : locks) take(first, lock);
  for (conc::Lock& lock : locks) take(first, lock);
  CHECK(kept.count() == 0);
  take(locks.back(), first);
  CHECK(kept.count() == 1);
}

TEST_CASE("LockGraph: thousands of locks held at once", "[lock_graph]") {
  const Reports kept;
  std::vector<conc::Lock> locks(2'000);
  for (int round = 0; round < 2; ++round) {
    std::size_t i = 0;
    for (conc::Lock& lock : locks) {
      if (++i % 3 == 0) {
        CHECK(lock.try_acquire());
      } else {
        lock.acquire();
      }
    }
    for (conc::Lock& lock : locks) lock.release();
  }
  CHECK(kept.count() == 0);
  // From any lock that was waited for there is a way back to any that was held, near or far.
  take(locks.at(1'999), locks.at(0));
  CHECK(kept.count() == 1);
  take(locks.at(1'999), locks.at(2));
  CHECK(kept.count() == 2);
  take(locks.at(4), locks.at(2));
  CHECK(kept.count() == 3);
}

TEST_CASE("LockGraph: a forked child takes locks, whatever other threads were doing", "[lock_graph]") {
  const Reports kept;
  conc::Lock lock;
  std::atomic<bool> end{false};
  const auto hammer = [&] {
    conc::Lock mine;
    while (!end.load()) take(lock, mine);
  };
  std::thread first{hammer};
  std::thread second{hammer};
  int well = 0;
  const int forks = conc_test::scaled(300);
  for (int i = 0; i < forks; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);  // hanging is death
      conc::Lock a;
      conc::Lock b;
      take(a, b);
      ::_exit(a.try_acquire() ? 0 : 1);
    }
    int status = -1;
    if (child > 0 && ::waitpid(child, &status, 0) == child && status == 0) ++well;
  }
  end.store(true);
  first.join();
  second.join();
  CHECK(well == forks);
}

TEST_CASE("LockGraph: many threads that keep to one order are never reported, whatever comes and goes",
          "[lock_graph][G7]") {
  const Reports kept;
  constexpr std::size_t kThreads = 4;
  conc::Lock a;
  conc::RLock b;
  conc::RWLock c;
  conc::Condition condition{a};
  long counter = 0;
  const int rounds = conc_test::scaled(2'000);
  conc_test::run_threads(kThreads, [&](std::size_t thread) {
    for (int round = 0; round < rounds; ++round) {
      conc::Lock mine;
      const conc::ScopedLock outer{condition};
      if (round % 7 == 0) condition.wait(0ms);
      ++counter;
      const conc::ScopedLock second{b};
      if ((static_cast<std::size_t>(round) + thread) % 2 == 0) {
        const conc::ScopedSharedLock third{c};
        take_second(c, mine);
      } else {
        const conc::ScopedLock both{mine, c};
      }
      condition.notify();
    }
  });
  CHECK(counter == static_cast<long>(kThreads) * rounds);
  CHECK(kept.count() == 0);
}
