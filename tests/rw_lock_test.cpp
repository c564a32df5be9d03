// SPDX-License-Identifier: MIT
#include <conc/barrier.hpp>
#include <conc/event.hpp>
#include <conc/lock.hpp>
#include <conc/rw_lock.hpp>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <type_traits>

#include "background.hpp"
#include "support.hpp"
#include "worker.hpp"

namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Message;
using conc_test::Background;
using conc_test::elsewhere;
using conc_test::eventually;
using conc_test::scaled;
using SteadyClock = std::chrono::steady_clock;

static_assert(!std::is_copy_constructible_v<conc::RWLock> && !std::is_copy_assignable_v<conc::RWLock>);
static_assert(!std::is_move_constructible_v<conc::RWLock> && !std::is_move_assignable_v<conc::RWLock>);
static_assert(!std::is_copy_constructible_v<conc::ScopedSharedLock<conc::RWLock>>);
static_assert(!std::is_move_constructible_v<conc::ScopedSharedLock<conc::RWLock>>);
static_assert(std::is_same_v<decltype(conc::ScopedSharedLock{std::declval<conc::RWLock&>()}),
                             conc::ScopedSharedLock<conc::RWLock>>);

/// The named requirement Lockable, then TimedLockable.
template <class L>
constexpr bool kIsTimedLockable = requires(L& lock, SteadyClock::duration span, SteadyClock::time_point point) {
  requires std::is_void_v<decltype(lock.lock())> && std::is_void_v<decltype(lock.unlock())>;
  requires std::is_same_v<decltype(lock.try_lock()), bool>;
  requires std::is_same_v<decltype(lock.try_lock_for(span)), bool>;
  requires std::is_same_v<decltype(lock.try_lock_until(point)), bool>;
};
/// SharedLockable, then SharedTimedLockable.
template <class L>
constexpr bool kIsSharedTimedLockable = requires(L& lock, SteadyClock::duration span, SteadyClock::time_point point) {
  requires std::is_void_v<decltype(lock.lock_shared())> && std::is_void_v<decltype(lock.unlock_shared())>;
  requires std::is_same_v<decltype(lock.try_lock_shared()), bool>;
  requires std::is_same_v<decltype(lock.try_lock_shared_for(span)), bool>;
  requires std::is_same_v<decltype(lock.try_lock_shared_until(point)), bool>;
};
static_assert(kIsTimedLockable<conc::RWLock> && kIsSharedTimedLockable<conc::RWLock>);

enum class State { free, shared, exclusive };

/// How another thread finds the lock: exclusive too where a writer only waits for it.
State state_of(conc::RWLock& lock) {
  return elsewhere([&lock] {
    if (lock.try_acquire()) {
      lock.release();
      return State::free;
    }
    if (lock.try_acquire_shared()) {
      lock.release_shared();
      return State::shared;
    }
    return State::exclusive;
  });
}

/// Waits until no reader gets in, because a writer waits for those that hold the lock.
bool is_closed(conc::RWLock& lock) {
  return eventually([&lock] { return !lock.try_acquire_shared() || (lock.release_shared(), false); });
}

/// A thread that holds the lock, one way or the other, until it is told to leave.
class Holder {
 public:
  enum Kind { reads, writes };
  Holder(conc::RWLock& lock, Kind kind)
      : thread_{[this, &lock, kind] {
          if (kind == writes) {
            const conc::ScopedLock guard{lock};
            hold();
          } else {
            const conc::ScopedSharedLock guard{lock};
            hold();
          }
        }} {}
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  ~Holder() { leave(); }

  bool falls_asleep() const { return thread_.falls_asleep(); }
  bool gets_in() {
    return eventually([this] { return in_.is_set(); });
  }
  bool is_in() const { return in_.is_set(); }
  void leave() { may_leave_.set(); }

 private:
  void hold() {
    in_.set();
    may_leave_.wait();
  }

  conc::Event in_;
  conc::Event may_leave_;
  Background thread_;
};

/// A lock that cannot be had.
struct Refusing {
  void lock_shared() { throw std::runtime_error{"refused"}; }
  void unlock_shared() { ++unlocked; }
  int unlocked = 0;
};

}  // namespace

TEST_CASE("RWLock: is free when new, held after acquire and free after release", "[rw_lock]") {
  conc::RWLock lock;
  CHECK(state_of(lock) == State::free);
  CHECK(lock.acquire());
  CHECK(state_of(lock) == State::exclusive);
  lock.release();
  CHECK(state_of(lock) == State::free);
  CHECK(lock.acquire_shared());
  CHECK(state_of(lock) == State::shared);
  lock.release_shared();
  CHECK(state_of(lock) == State::free);
}

TEST_CASE("RWLock: readers share it", "[rw_lock]") {
  conc::RWLock lock;
  conc::Barrier all_inside{4};
  conc_test::run_threads(4, [&](std::size_t) {
    const conc::ScopedSharedLock guard{lock};
    all_inside.wait();
  });
  CHECK(lock.try_acquire_shared());
  CHECK(lock.try_acquire_shared());
  CHECK_FALSE(lock.try_acquire());
  lock.release_shared();
  CHECK_FALSE(lock.try_acquire());
  lock.release_shared();
  CHECK(lock.try_acquire());
}

TEST_CASE("RWLock: a writer excludes readers and writers", "[rw_lock]") {
  conc::RWLock lock;
  lock.acquire();
  CHECK_FALSE(lock.try_acquire());
  CHECK_FALSE(lock.try_acquire_shared());
  Holder reader{lock, Holder::reads};
  Holder writer{lock, Holder::writes};
  CHECK(reader.falls_asleep());
  CHECK(writer.falls_asleep());
  CHECK_FALSE((reader.is_in() || writer.is_in()));
  lock.release();
  CHECK(reader.gets_in());
  reader.leave();
  CHECK(writer.gets_in());
  writer.leave();
}

TEST_CASE("RWLock: a reader excludes writers", "[rw_lock]") {
  conc::RWLock lock;
  lock.acquire_shared();
  Holder writer{lock, Holder::writes};
  CHECK(writer.falls_asleep());
  CHECK_FALSE(writer.is_in());
  lock.release_shared();
  CHECK(writer.gets_in());
}

TEST_CASE("RWLock: a writer gets in only when the last reader leaves", "[rw_lock]") {
  conc::RWLock lock;
  for (int i = 0; i < 3; ++i) lock.acquire_shared();
  Holder writer{lock, Holder::writes};
  CHECK(writer.falls_asleep());
  lock.release_shared();
  lock.release_shared();
  CHECK_FALSE(lock.try_acquire_shared());
  CHECK(writer.falls_asleep());
  CHECK_FALSE(writer.is_in());
  lock.release_shared();
  CHECK(writer.gets_in());
}

TEST_CASE("RWLock: a waiting writer holds new readers back", "[rw_lock]") {
  conc::RWLock lock;
  Holder first{lock, Holder::reads};
  CHECK(first.gets_in());
  Holder writer{lock, Holder::writes};
  CHECK(writer.falls_asleep());
  CHECK_FALSE(lock.try_acquire_shared());
  CHECK_FALSE(lock.acquire_shared(1ms));
  Holder second{lock, Holder::reads};
  CHECK(second.falls_asleep());
  CHECK_FALSE(second.is_in());
  first.leave();
  CHECK(writer.gets_in());
  CHECK(second.falls_asleep());
  CHECK_FALSE(second.is_in());
  writer.leave();
  CHECK(second.gets_in());
}

TEST_CASE("RWLock: a writer that leaves lets all waiting readers in before the next writer", "[rw_lock]") {
  conc::RWLock lock;
  Holder writer{lock, Holder::writes};
  CHECK(writer.gets_in());
  Holder next_writer{lock, Holder::writes};
  CHECK(next_writer.falls_asleep());
  std::deque<Holder> readers;  // that come after the next writer
  for (int i = 0; i < 4; ++i) readers.emplace_back(lock, Holder::reads);
  for (Holder& reader : readers) CHECK(reader.falls_asleep());
  writer.leave();
  for (Holder& reader : readers) CHECK(reader.gets_in());  // all at once
  CHECK(is_closed(lock));                                  // the next writer waits for them
  CHECK_FALSE(next_writer.is_in());
  Holder late_reader{lock, Holder::reads};
  CHECK(late_reader.falls_asleep());
  for (Holder& reader : readers) {
    CHECK_FALSE(next_writer.is_in());
    reader.leave();
  }
  CHECK(next_writer.gets_in());
  CHECK_FALSE(late_reader.is_in());
  next_writer.leave();
  CHECK(late_reader.gets_in());
}

TEST_CASE("RWLock: readers and writers take turns while both wait", "[rw_lock]") {
  conc::RWLock lock;
  std::deque<Holder> writers;
  std::deque<Holder> readers;
  writers.emplace_back(lock, Holder::writes);
  CHECK(writers.back().gets_in());
  for (int turn = 0; turn < scaled(20); ++turn) {
    Holder& writer = writers.back();
    readers.emplace_back(lock, Holder::reads);
    CHECK(readers.back().falls_asleep());
    writers.emplace_back(lock, Holder::writes);
    CHECK(writers.back().falls_asleep());
    writer.leave();
    CHECK(readers.back().gets_in());
    CHECK_FALSE(writers.back().is_in());
    readers.back().leave();
    CHECK(writers.back().gets_in());
  }
}

TEST_CASE("RWLock: a timed acquire is false, not early, and leaves the lock intact", "[rw_lock][timeout][G2]") {
  for (const State held : {State::shared, State::exclusive}) {
    conc::RWLock lock;
    held == State::shared ? lock.acquire_shared() : lock.acquire();
    for (const conc::Deadline past :
         {conc::Deadline{0s}, conc::Deadline{-1s}, conc::Deadline{SteadyClock::now() - 1h}}) {
      CHECK_FALSE(lock.acquire(past));
      CHECK(lock.acquire_shared(past) == (held == State::shared));
      if (held == State::shared) lock.release_shared();
    }
    auto start = SteadyClock::now();
    CHECK_FALSE(elsewhere([&] { return lock.acquire(30ms); }));
    CHECK(SteadyClock::now() - start >= 30ms);
    CHECK_FALSE(elsewhere([&] { return lock.acquire(SteadyClock::now() + 1ms); }));
    if (held == State::exclusive) {
      start = SteadyClock::now();
      CHECK_FALSE(elsewhere([&] { return lock.acquire_shared(30ms); }));
      CHECK(SteadyClock::now() - start >= 30ms);
      CHECK_FALSE(elsewhere([&] { return lock.acquire_shared(SteadyClock::now() + 1ms); }));
    }
    CHECK(state_of(lock) == held);
    held == State::shared ? lock.release_shared() : lock.release();
    CHECK(state_of(lock) == State::free);
    CHECK(lock.acquire(1h));
    lock.release();
    CHECK(lock.acquire_shared(1h));
    lock.release_shared();
    CHECK(state_of(lock) == State::free);
  }
}

TEST_CASE("RWLock: a timed acquire gets the lock that comes in time", "[rw_lock][timeout]") {
  conc::RWLock lock;
  for (const bool shared : {true, false}) {
    lock.acquire();
    bool taken = false;
    Background waiter{[&] { taken = shared ? lock.acquire_shared(1h) : lock.acquire(1h); }};
    CHECK(waiter.falls_asleep());
    lock.release();
    CHECK(waiter.join() == "returned");
    CHECK(taken);
    CHECK(state_of(lock) == (shared ? State::shared : State::exclusive));
    shared ? lock.release_shared() : lock.release();
  }
  lock.acquire_shared();
  bool taken = false;
  Background waiter{[&] { taken = lock.acquire(1h); }};
  CHECK(waiter.falls_asleep());
  lock.release_shared();
  CHECK(waiter.join() == "returned");
  CHECK(taken);
  CHECK(state_of(lock) == State::exclusive);
}

TEST_CASE("RWLock: a writer that gives up lets in the readers that it held back", "[rw_lock][timeout]") {
  conc::RWLock lock;
  Holder first{lock, Holder::reads};
  CHECK(first.gets_in());
  for (int round = 0; round < 3; ++round) {
    bool taken = true;
    std::atomic<bool> gave_up{false};
    Background impatient{[&] {
      taken = lock.acquire(100ms);
      gave_up = true;
    }};
    // On a machine so busy that nobody sees it wait, the readers do not find it in their way.
    CHECK(eventually([&] { return gave_up || !lock.try_acquire_shared() || (lock.release_shared(), false); }));
    std::deque<Holder> readers;
    for (int i = 0; i < 3; ++i) readers.emplace_back(lock, Holder::reads);
    for (Holder& reader : readers) CHECK(reader.gets_in());
    CHECK(impatient.join() == "returned");
    CHECK_FALSE(taken);
    CHECK(first.is_in());
    CHECK(state_of(lock) == State::shared);
  }
}

TEST_CASE("RWLock: a writer that gives up waiting for another writer changes nothing", "[rw_lock][timeout]") {
  conc::RWLock lock;
  Holder writer{lock, Holder::writes};
  CHECK(writer.gets_in());
  Holder reader{lock, Holder::reads};
  CHECK(reader.falls_asleep());
  CHECK_FALSE(lock.acquire(10ms));
  CHECK_FALSE(reader.is_in());
  CHECK(reader.falls_asleep());
  writer.leave();
  CHECK(reader.gets_in());
  CHECK(state_of(lock) == State::shared);
}

TEST_CASE("RWLock: a reader that gives up is forgotten", "[rw_lock][timeout]") {
  conc::RWLock lock;
  Holder writer{lock, Holder::writes};
  CHECK(writer.gets_in());
  Holder patient{lock, Holder::reads};
  CHECK(patient.falls_asleep());
  CHECK_FALSE(lock.acquire_shared(10ms));
  CHECK_FALSE(patient.is_in());
  writer.leave();
  CHECK(patient.gets_in());
  patient.leave();
  CHECK(lock.acquire(1h));  // no reader is counted that is not there
  lock.release();
  CHECK_THROWS_AS(lock.release_shared(), conc::UsageError);
}

TEST_CASE("RWLock: release of what is not held is a UsageError and changes nothing", "[rw_lock][FM1][G5]") {
  const auto exclusive = Message("RWLock::release: the lock is not held exclusively");
  const auto shared = Message("RWLock::release_shared: nobody holds the lock shared");
  conc::RWLock lock;
  CHECK_THROWS_MATCHES(lock.release(), conc::UsageError, exclusive);
  CHECK_THROWS_MATCHES(lock.release_shared(), conc::UsageError, shared);
  CHECK_THROWS_AS(lock.unlock(), conc::UsageError);
  CHECK_THROWS_AS(lock.unlock_shared(), conc::UsageError);
  CHECK(state_of(lock) == State::free);
  lock.acquire_shared();
  CHECK_THROWS_MATCHES(lock.release(), conc::UsageError, exclusive);
  CHECK(state_of(lock) == State::shared);
  lock.release_shared();
  CHECK_THROWS_MATCHES(lock.release_shared(), conc::UsageError, shared);
  lock.acquire();
  CHECK_THROWS_MATCHES(lock.release_shared(), conc::UsageError, shared);
  CHECK(state_of(lock) == State::exclusive);
  lock.release();
  CHECK_THROWS_MATCHES(lock.release(), conc::UsageError, exclusive);
  CHECK(state_of(lock) == State::free);
}

TEST_CASE("RWLock: release of what others only wait for is a UsageError and changes nothing", "[rw_lock][FM1][G5]") {
  conc::RWLock lock;
  lock.acquire_shared();
  Holder writer{lock, Holder::writes};
  CHECK(writer.falls_asleep());
  CHECK_THROWS_AS(lock.release(), conc::UsageError);
  CHECK(writer.falls_asleep());
  lock.release_shared();
  CHECK(writer.gets_in());
  Holder reader{lock, Holder::reads};
  CHECK(reader.falls_asleep());
  CHECK_THROWS_AS(lock.release_shared(), conc::UsageError);
  writer.leave();
  CHECK(reader.gets_in());
}

TEST_CASE("RWLock: may be released by a thread that did not acquire it", "[rw_lock]") {
  conc::RWLock lock;
  lock.acquire();
  CHECK(elsewhere([&] { return lock.release(), true; }));
  CHECK(state_of(lock) == State::free);
  lock.acquire_shared();
  CHECK(elsewhere([&] { return lock.release_shared(), true; }));
  CHECK(state_of(lock) == State::free);
}

TEST_CASE("RWLock: one reader more than it can count is a UsageError and changes nothing", "[rw_lock][FM3][G5]") {
  conc::RWLock lock;
  for (std::uint32_t i = 0; i < conc::RWLock::max_readers(); ++i) lock.acquire_shared();
  const auto full = Message("RWLock::acquire_shared: 65535 threads hold the lock, or wait for it, already");
  CHECK_THROWS_MATCHES(lock.acquire_shared(), conc::UsageError, full);
  CHECK_THROWS_MATCHES(lock.try_acquire_shared(), conc::UsageError, full);
  CHECK_THROWS_MATCHES(lock.acquire_shared(1h), conc::UsageError, full);
  Background writer{[&] { lock.acquire(); }};
  CHECK(writer.falls_asleep());
  CHECK_THROWS_MATCHES(lock.acquire_shared(), conc::UsageError, full);
  for (std::uint32_t i = 0; i < conc::RWLock::max_readers(); ++i) lock.release_shared();
  CHECK(writer.join() == "returned");
  CHECK_THROWS_AS(lock.release_shared(), conc::UsageError);
  lock.release();
  CHECK(state_of(lock) == State::free);
}

TEST_CASE("RWLock: is what std::unique_lock, std::scoped_lock and std::lock want", "[rw_lock][L8]") {
  conc::RWLock lock;
  conc::Lock other;
  {
    const std::scoped_lock both{lock, other};
    CHECK(state_of(lock) == State::exclusive);
    CHECK_FALSE(elsewhere([&] { return std::unique_lock{lock, std::try_to_lock}.owns_lock(); }));
    CHECK_FALSE(elsewhere([&] { return std::unique_lock{lock, 1ms}.owns_lock(); }));
    CHECK_FALSE(elsewhere([&] { return std::unique_lock{lock, SteadyClock::now() + 1ms}.owns_lock(); }));
    CHECK(elsewhere([&] { return std::try_lock(lock, other); }) == 0);
  }
  {
    const conc::ScopedLock both{other, lock};
    CHECK(state_of(lock) == State::exclusive);
  }
  {
    std::unique_lock first{lock, std::defer_lock};
    std::unique_lock second{other, std::defer_lock};
    std::lock(first, second);
    CHECK(state_of(lock) == State::exclusive);
  }
  CHECK(std::unique_lock{lock, 1h}.owns_lock());
  CHECK(std::unique_lock{lock, SteadyClock::now() + 1h}.owns_lock());
  CHECK(std::unique_lock{lock, std::try_to_lock}.owns_lock());
  CHECK(state_of(lock) == State::free);
}

TEST_CASE("RWLock: is what std::shared_lock wants", "[rw_lock][L8]") {
  conc::RWLock lock;
  {
    const std::shared_lock guard{lock};
    CHECK(state_of(lock) == State::shared);
    CHECK(std::shared_lock{lock, std::try_to_lock}.owns_lock());
    CHECK(std::shared_lock{lock, 1h}.owns_lock());
    CHECK(std::shared_lock{lock, SteadyClock::now() + 1h}.owns_lock());
    CHECK_FALSE(std::unique_lock{lock, std::try_to_lock}.owns_lock());
  }
  {
    std::shared_lock first{lock, std::defer_lock};
    conc::RWLock another;
    std::unique_lock second{another, std::defer_lock};
    std::lock(first, second);
    CHECK(state_of(lock) == State::shared);
    CHECK(state_of(another) == State::exclusive);
  }
  {
    const std::unique_lock writer{lock};
    CHECK_FALSE(elsewhere([&] { return std::shared_lock{lock, std::try_to_lock}.owns_lock(); }));
    CHECK_FALSE(elsewhere([&] { return std::shared_lock{lock, 1ms}.owns_lock(); }));
    CHECK_FALSE(elsewhere([&] { return std::shared_lock{lock, SteadyClock::now() + 1ms}.owns_lock(); }));
  }
  CHECK(state_of(lock) == State::free);
}

TEST_CASE("ScopedSharedLock: holds the lock shared for its scope", "[rw_lock][scoped_shared_lock]") {
  conc::RWLock lock;
  {
    const conc::ScopedSharedLock guard{lock};
    const conc::ScopedSharedLock another{lock};
    CHECK(state_of(lock) == State::shared);
  }
  CHECK(state_of(lock) == State::free);
  std::shared_mutex mutex;
  {
    const conc::ScopedSharedLock guard{mutex};
    CHECK_FALSE(elsewhere([&] { return mutex.try_lock(); }));
    CHECK(elsewhere([&] { return mutex.try_lock_shared() && (mutex.unlock_shared(), true); }));
  }
  CHECK(elsewhere([&] { return mutex.try_lock() && (mutex.unlock(), true); }));
}

TEST_CASE("ScopedSharedLock: holds nothing when the lock throws", "[rw_lock][scoped_shared_lock][G4]") {
  Refusing refusing;
  CHECK_THROWS_AS(conc::ScopedSharedLock(refusing), std::runtime_error);
  CHECK(refusing.unlocked == 0);
  conc::RWLock lock;
  CHECK_THROWS_AS(
      [&] {
        const conc::ScopedSharedLock guard{lock};
        throw std::runtime_error{"inside"};
      }(),
      std::runtime_error);
  CHECK(state_of(lock) == State::free);
}
