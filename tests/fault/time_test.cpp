// SPDX-License-Identifier: MIT
// Time, interruptions and wakes out of nowhere, for every waiting call of Lock, RLock, Semaphore, BoundedSemaphore,
// Event, Condition, Future and ThreadPoolExecutor, and for wait and as_completed.
#include <signal.h>
#include <conc/barrier.hpp>
#include <conc/condition.hpp>
#include <conc/event.hpp>
#include <conc/future.hpp>
#include <conc/lock.hpp>
#include <conc/rw_lock.hpp>
#include <conc/semaphore.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>

#include <algorithm>
#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdio>
#include <deque>
#include <limits>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "futures.hpp"
#include "support.hpp"
#include "worker.hpp"

namespace {

using namespace std::chrono_literals;
using conc_test::elsewhere;
using conc_test::eventually;
using conc_test::scaled;
using conc_test::Worker;
using SteadyClock = std::chrono::steady_clock;

/// Wakes whoever sleeps on a word at `address`.
void wake_at(const void* address) { conc::detail::sync::wake(address, conc::detail::sync::everybody); }

// The waiting calls. Each has
//   wait(deadline)   the call; another thread than the one that made the object waits
//   signal()         makes one wait succeed
//   kStays           whether a signal that finds nobody waiting serves who waits later
//   object()         what the wait is for, while it lasts
//   disturb(stack)   wakes the waiter for no reason; `stack` lies just above the frame of its wait()

template <class L>
struct AcquireLock {
  static constexpr bool kStays = true;
  AcquireLock() { lock.acquire(); }
  bool wait(conc::Deadline deadline) { return lock.acquire(deadline); }
  void signal() { lock.release(); }
  const void* object() const { return &lock; }
  void disturb(const char*) const { wake_at(&lock); }
  L lock;
};

template <class S>
struct AcquireSemaphore {
  static constexpr bool kStays = true;
  AcquireSemaphore() { semaphore.acquire(); }
  bool wait(conc::Deadline deadline) { return semaphore.acquire(deadline); }
  void signal() { semaphore.release(); }
  const void* object() const { return &semaphore; }
  void disturb(const char*) const { wake_at(&semaphore); }
  S semaphore{1};
};

struct WaitForEvent {
  static constexpr bool kStays = true;
  bool wait(conc::Deadline deadline) { return event.wait(deadline); }
  void signal() { event.set(); }
  const void* object() const { return &event; }
  void disturb(const char*) const { wake_at(&event); }
  conc::Event event;
};

template <class L>
struct WaitForNotify {
  static constexpr bool kStays = false;
  bool wait(conc::Deadline deadline) {
    const conc::ScopedLock guard{condition};
    return condition.wait(deadline);
  }
  void signal() {
    const conc::ScopedLock guard{condition};
    condition.notify();
  }
  const void* object() const { return &condition; }
  // The word lies in the waiter's frame, nobody knows where: every word below `stack` is tried.
  void disturb(const char* stack) const {
    for (int offset = 0; offset < 4096; offset += 4) wake_at(stack - offset);
  }
  conc::Condition<L> condition;
};

template <class L>
struct WaitForPredicate : WaitForNotify<L> {
  static constexpr bool kStays = true;
  bool wait(conc::Deadline deadline) {
    const conc::ScopedLock guard{this->condition};
    return this->condition.wait_for([this] { return ready; }, deadline) && (ready = false, true);
  }
  void signal() {
    const conc::ScopedLock guard{this->condition};
    ready = true;
    this->condition.notify();
  }
  bool ready = false;
};

/// Wakes whoever sleeps on a word of an object of so many bytes, wherever that word lies.
void wake_inside(const void* object, std::size_t size) {
  for (std::size_t offset = 0; offset < size; offset += 4) wake_at(static_cast<const char*>(object) + offset);
}

/// Tells what the thread waits for that is in one of the object's waits; for calls that wait on something of their own.
class Inner {
 public:
  template <class F>
  bool wait(F call) {
    const struct Visit {
      explicit Visit(Inner& all) : inner{all} { inner.enter(&conc::detail::sync::this_thread()); }
      Visit(const Visit&) = delete;
      Visit& operator=(const Visit&) = delete;
      ~Visit() { inner.enter(nullptr); }
      Inner& inner;
    } visit{*this};
    return call();
  }
  /// *this if nothing.
  const void* object() const {
    const std::lock_guard guard{mutex_};
    const void* const object = record_ == nullptr ? nullptr : record_->waits_for.load();
    return object == nullptr ? this : object;
  }

 private:
  void enter(const conc::detail::sync::ThreadRecord* record) {
    const std::lock_guard guard{mutex_};
    record_ = record;
  }
  mutable std::mutex mutex_;
  const conc::detail::sync::ThreadRecord* record_ = nullptr;
};

struct WaitForFuture {
  static constexpr bool kStays = true;
  bool wait(conc::Deadline deadline) { return future.wait(deadline); }
  void signal() { promise.set_result(1); }
  const void* object() const { return conc_test::core_of(future); }
  void disturb(const char*) const { wake_inside(object(), sizeof(conc::detail::FutureCore)); }
  conc::Promise<int> promise;
  conc::Future<int> future = promise.get_future();
};

struct ResultOfFuture : WaitForFuture {
  bool wait(conc::Deadline deadline) {
    try {
      return future.result(deadline) == 1;
    } catch (const conc::TimeoutError&) {
      return false;
    }
  }
};

struct WaitForAll : WaitForFuture {
  bool wait(conc::Deadline deadline) { return conc::wait({ready, future}, deadline).not_done.empty(); }
  conc::Future<int> ready = conc::make_ready_future(0);
};

struct WaitForFirst : WaitForFuture {
  bool wait(conc::Deadline deadline) {
    return inner.wait([&] {
      return !conc::wait({other, future}, {.timeout = deadline, .return_when = conc::ReturnWhen::first_completed})
                  .done.empty();
    });
  }
  const void* object() const { return inner.object(); }
  void disturb(const char*) const { wake_inside(object(), sizeof(conc::detail::Completions)); }
  Inner inner;
  conc::Promise<int> another;
  conc::Future<int> other = another.get_future();
};

struct WaitInOrder : WaitForFirst {
  bool wait(conc::Deadline deadline) {
    return inner.wait([&] {
      try {
        int sum = 0;
        for (const conc::Future<int>& done : conc::as_completed({ready, future}, deadline)) sum += done.result();
        return sum == 1;
      } catch (const conc::TimeoutError&) {
        return false;
      }
    });
  }
  conc::Future<int> ready = conc::make_ready_future(0);
};

struct WaitUntilIdle {
  static constexpr bool kStays = true;
  WaitUntilIdle() {
    pool.detach([this] { go.wait(); });
  }
  WaitUntilIdle(const WaitUntilIdle&) = delete;
  WaitUntilIdle& operator=(const WaitUntilIdle&) = delete;
  ~WaitUntilIdle() { go.set(); }
  bool wait(conc::Deadline deadline) {
    return inner.wait([&] { return pool.wait_idle(deadline); });
  }
  void signal() {
    go.set();
    pool.wait_idle();
  }
  const void* object() const { return inner.object(); }
  void disturb(const char*) const { wake_inside(object(), sizeof(conc::detail::Scheduler)); }
  Inner inner;
  conc::Event go;
  conc::ThreadPoolExecutor pool{1};
};

struct WaitForLatch {
  static constexpr bool kStays = true;
  bool wait(conc::Deadline deadline) { return latch.wait(deadline); }
  void signal() { latch.count_down(); }
  const void* object() const { return &latch; }
  void disturb(const char*) const { wake_at(&latch); }
  conc::Latch latch{1};
};

/// A timeout breaks a barrier: who gave up resets it here, and who came to meet him comes again.
struct WaitAtBarrier {
  static constexpr bool kStays = true;
  ~WaitAtBarrier() {
    over = true;
    barrier.abort();
  }
  bool wait(conc::Deadline deadline) {
    try {
      barrier.wait(deadline);
      return true;
    } catch (const conc::BrokenBarrierError&) {
      barrier.reset();
      return false;
    }
  }
  void signal() {
    std::atomic<bool>& met = meetings.emplace_back(false);
    others.emplace_back([this, &met] {
      while (!met && !over) {
        try {
          barrier.wait();
          met = true;
        } catch (const conc::BrokenBarrierError&) {
        }
      }
    });
    CHECK(eventually([&] { return met || others.back().sleeps_on(&barrier); }));
  }
  const void* object() const { return &barrier; }
  void disturb(const char*) const { wake_at(&barrier); }
  conc::Barrier barrier{2};
  std::atomic<bool> over{false};
  std::deque<std::atomic<bool>> meetings;
  std::deque<Worker> others;
};

struct AcquireShared {
  static constexpr bool kStays = true;
  AcquireShared() { lock.acquire(); }
  bool wait(conc::Deadline deadline) { return lock.acquire_shared(deadline); }
  void signal() { lock.release(); }
  const void* object() const { return &lock; }
  void disturb(const char*) const { wake_at(&lock); }
  conc::RWLock lock;
};

struct AcquireFromReader {
  static constexpr bool kStays = true;
  AcquireFromReader() { lock.acquire_shared(); }
  bool wait(conc::Deadline deadline) { return lock.acquire(deadline); }
  void signal() { lock.release_shared(); }
  const void* object() const { return &lock; }
  // The word lies somewhere in the lock.
  void disturb(const char*) const {
    for (std::size_t offset = 0; offset < sizeof lock; offset += 4) {
      wake_at(reinterpret_cast<const char*>(&lock) + offset);
    }
  }
  conc::RWLock lock;
};

#define WAITING_CALLS                                                                                                \
  AcquireLock<conc::Lock>, AcquireLock<conc::RLock>, AcquireSemaphore<conc::Semaphore>,                              \
      AcquireSemaphore<conc::BoundedSemaphore>, WaitForEvent, WaitForNotify<conc::RLock>, WaitForNotify<conc::Lock>, \
      WaitForPredicate<conc::RLock>, WaitForPredicate<conc::Lock>, WaitForFuture, ResultOfFuture, WaitForAll,        \
      WaitForFirst, WaitInOrder, WaitUntilIdle, WaitForLatch, WaitAtBarrier, AcquireShared, AcquireFromReader

/// One waiting call on a thread of its own.
template <class Call>
class Waiting {
 public:
  Waiting(Call& call, conc::Deadline deadline)
      : call_{call}, worker_{[this, deadline] {
          const char here = 0;
          // A word's address is a multiple of four.
          stack_ = &here - reinterpret_cast<std::uintptr_t>(&here) % 4;
          begin_ = SteadyClock::now();
          result_ = call_.wait(deadline);
          end_ = SteadyClock::now();
          returned_ = true;
        }} {}

  bool sleeps() {
    return eventually([this] { return worker_.sleeps_on(call_.object()); });
  }
  bool sleeps_or_has_returned() {
    return eventually([this] { return returned_ || worker_.sleeps_on(call_.object()); });
  }
  bool returned() const { return returned_; }
  Worker& worker() { return worker_; }
  void disturb() {
    if (stack_ != nullptr) call_.disturb(stack_);
  }

  // After it.
  bool result() {
    worker_.join();
    return result_;
  }
  SteadyClock::time_point begin() const { return begin_; }
  SteadyClock::duration took() const { return end_ - begin_; }

 private:
  Call& call_;
  SteadyClock::time_point begin_;
  SteadyClock::time_point end_;
  bool result_ = false;
  std::atomic<bool> returned_{false};
  std::atomic<const char*> stack_{nullptr};
  Worker worker_;
};

/// A deadline of the table, and how long it lasts at least.
struct Limit {
  const char* name;
  conc::Deadline deadline;
  SteadyClock::duration least;
};

std::vector<Limit> limits() {
  return {{"expired", SteadyClock::now() - 1h, 0ns},
          {"0", 0s, 0ns},
          {"1 ns", 1ns, 1ns},
          {"1 ms", 1ms, 1ms},
          {"100 ms", 100ms, 100ms},
          {"never", conc::never, 0ns}};
}

/// A clock that a test sets.
struct WallClock {
  using duration = std::chrono::microseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<WallClock>;
  [[maybe_unused]] static constexpr bool is_steady = false;
  static time_point now() { return current.load(); }
  static inline std::atomic<time_point> current{time_point{std::chrono::hours{24 * 365 * 50}}};
};

/// Waits with a deadline and for ever while `disturb(waiting)` happens about ten thousand times a second: none of it
/// shows.
template <class Call, class Disturb>
void check_undisturbed(Disturb disturb) {
  const auto disturb_until = [&disturb](Waiting<Call>& waiting, auto condition) {
    auto next = SteadyClock::now() + 100us;
    return eventually(
        [&] {
          if (SteadyClock::now() >= next) {
            disturb(waiting);
            next = SteadyClock::now() + 100us;
          }
          return condition();
        },
        30s);  // a wait that begins anew after each disturbance lasts longer
  };
  // Until it has gone to sleep again and again: on a busy machine that takes more than 200 ms.
  long long most = 0;
  auto limit = 200ms;
  while (most <= 50) {
    REQUIRE(limit < 10s);
    Call call;
    Waiting waiting{call, limit};
    CHECK(disturb_until(waiting, [&] {
      most = std::max(most, waiting.worker().times_asleep());
      return waiting.returned();
    }));
    CHECK_FALSE(waiting.result());
    CHECK(waiting.took() >= limit);
    limit *= 2;
  }
  {
    Call call;
    Waiting waiting{call, conc::never};
    CHECK(waiting.sleeps());
    const long long before = waiting.worker().times_asleep();
    CHECK(disturb_until(waiting, [&] { return waiting.worker().times_asleep() > before + 200; }));
    CHECK_FALSE(waiting.returned());
    call.signal();
    CHECK(waiting.result());
  }
}

}  // namespace

TEMPLATE_TEST_CASE("Time: the longest values of all duration and time_point types wait for ever", "[time][FT1]",
                   WAITING_CALLS) {
  using Seconds = std::chrono::duration<double>;
  const std::vector<conc::Deadline> endless{
      std::chrono::nanoseconds::max(),
      std::chrono::microseconds::max(),
      std::chrono::milliseconds::max(),
      std::chrono::seconds::max(),
      std::chrono::minutes::max(),
      std::chrono::hours::max(),
      std::chrono::years::max(),
      Seconds::max(),
      Seconds{std::numeric_limits<double>::infinity()},
      SteadyClock::time_point::max(),
      std::chrono::system_clock::time_point::max(),
      SteadyClock::time_point::max() - 1ns,
      std::chrono::nanoseconds::max() - 1ns,
  };
  for (const conc::Deadline& deadline : endless) {
    TestType call;
    Waiting waiting{call, deadline};
    CHECK(waiting.sleeps());
    CHECK_FALSE(waiting.returned());
    call.signal();
    CHECK(waiting.result());
  }
}

TEMPLATE_TEST_CASE("Time: negative and smallest values look once", "[time][FT1]", WAITING_CALLS) {
  using Seconds = std::chrono::duration<double>;
  const std::vector<conc::Deadline> past{
      -1s,
      0s,
      -1ns,
      std::chrono::nanoseconds::min(),
      std::chrono::hours::min(),
      std::chrono::years::min(),
      Seconds::min(),
      Seconds{-std::numeric_limits<double>::infinity()},
      SteadyClock::time_point::min(),
      SteadyClock::time_point{},
      SteadyClock::time_point{} - 1h,
      std::chrono::system_clock::time_point::min(),
      std::chrono::system_clock::now() - 24h,
  };
  for (const conc::Deadline& deadline : past) {
    TestType call;
    CHECK_FALSE(elsewhere([&] { return call.wait(deadline); }));
    call.signal();
    CHECK(elsewhere([&] { return call.wait(deadline); }) == TestType::kStays);
  }
}

TEMPLATE_TEST_CASE("Time: a timeout that is not a number is a UsageError and leaves the object as it was",
                   "[time][FT1]", WAITING_CALLS) {
  TestType call;
  const std::chrono::duration<double> not_a_number{std::numeric_limits<double>::quiet_NaN()};
  CHECK_THROWS_AS(elsewhere([&] { return call.wait(not_a_number); }), conc::UsageError);
  CHECK_FALSE(elsewhere([&] { return call.wait(0s); }));
  call.signal();
  CHECK(elsewhere([&] { return call.wait(0s); }) == TestType::kStays);
}

TEMPLATE_TEST_CASE("Time: a clock that is set a day on or back does not reach a wait that has begun", "[time][FT2]",
                   WAITING_CALLS) {
  for (const auto step : {24h, -24h}) {
    TestType call;
    const auto begin = SteadyClock::now();
    Waiting waiting{call, WallClock::now() + 50ms};
    CHECK(waiting.sleeps_or_has_returned());
    WallClock::current = WallClock::now() + step;
    CHECK_FALSE(waiting.result());
    CHECK(begin + 50ms <= waiting.begin() + waiting.took());
  }
}

TEMPLATE_TEST_CASE("Time: a signal before the wait ends it at once, if signals of this kind stay", "[time][FT3]",
                   WAITING_CALLS) {
  for (const Limit& limit : limits()) {
    INFO(limit.name);
    TestType call;
    call.signal();
    Waiting waiting{call, limit.deadline};
    if (!TestType::kStays && limit.deadline.is_never()) {
      CHECK(waiting.sleeps());
      call.signal();
      CHECK(waiting.result());
    } else {
      CHECK(waiting.result() == TestType::kStays);
      CHECK((TestType::kStays || waiting.took() >= limit.least));
    }
  }
}

TEMPLATE_TEST_CASE("Time: a signal during the wait ends it, unless the deadline came first", "[time][FT3]",
                   WAITING_CALLS) {
  for (const Limit& limit : limits()) {
    INFO(limit.name);
    TestType call;
    Waiting waiting{call, limit.deadline};
    CHECK(waiting.sleeps_or_has_returned());
    call.signal();
    const auto signalled = SteadyClock::now();
    if (waiting.result()) continue;
    CHECK_FALSE(limit.deadline.is_never());
    CHECK(waiting.took() >= limit.least);
    CHECK(signalled > waiting.begin() + limit.least);  // too late
  }
}

TEMPLATE_TEST_CASE("Time: a signal after the deadline serves the next wait, if signals of this kind stay",
                   "[time][FT3]", WAITING_CALLS) {
  for (const Limit& limit : limits()) {
    INFO(limit.name);
    TestType call;
    Waiting waiting{call, limit.deadline};
    if (limit.deadline.is_never()) {  // no deadline, so no signal comes after it
      CHECK(waiting.sleeps());
      call.signal();
      CHECK(waiting.result());
      continue;
    }
    CHECK_FALSE(waiting.result());
    CHECK(waiting.took() >= limit.least);
    call.signal();
    CHECK(elsewhere([&] { return call.wait(0s); }) == TestType::kStays);
  }
}

TEMPLATE_TEST_CASE("Time: a wait without a signal ends with the deadline, not before", "[time][FT3]", WAITING_CALLS) {
  for (const Limit& limit : limits()) {
    INFO(limit.name);
    TestType call;
    Waiting waiting{call, limit.deadline};
    if (limit.deadline.is_never()) {
      CHECK(waiting.sleeps());
      CHECK_FALSE(conc::Event{}.wait(100ms));  // that long at least
      CHECK_FALSE(waiting.returned());
      CHECK(waiting.sleeps());
      call.signal();
      CHECK(waiting.result());
      continue;
    }
    CHECK_FALSE(waiting.result());
    CHECK(waiting.took() >= limit.least);
    CHECK_FALSE(elsewhere([&] { return call.wait(0s); }));
  }
}

TEMPLATE_TEST_CASE("Time: no wait returns early", "[time][FT4]", WAITING_CALLS) {
  TestType call;
  int early = 0;
  int signalled = 0;
  CHECK(elsewhere([&] {
    std::minstd_rand random{42};
    for (int i = 0; i < scaled(1000); ++i) {
      const std::chrono::nanoseconds span{random() % 200'000};
      const auto begin = SteadyClock::now();
      const bool result = i % 2 == 0 ? call.wait(span) : call.wait(begin + span);
      early += SteadyClock::now() < begin + span ? 1 : 0;
      signalled += result ? 1 : 0;
    }
    return true;
  }));
  CHECK(early == 0);
  CHECK(signalled == 0);
}

TEST_CASE("Time: of many waits none ends early, and few end late", "[time][FT4]") {
  constexpr std::size_t kThreads = 8;
  // A million waits in the long form.
  const std::size_t rounds = conc_test::long_form() ? 1'000'000 / kThreads : scaled(std::size_t{2'000});
  std::vector<std::vector<std::chrono::nanoseconds>> late(kThreads);
  conc_test::run_threads(kThreads, [&](std::size_t index) {
    std::minstd_rand random{static_cast<unsigned>(index) + 1};
    conc::Event never_set;
    for (std::size_t i = 0; i < rounds; ++i) {
      const auto end = SteadyClock::now() + std::chrono::nanoseconds{random() % 5'000};
      never_set.wait(end);
      late[index].push_back(SteadyClock::now() - end);
    }
  });
  std::vector<std::chrono::nanoseconds> all;
  for (const auto& some : late) all.insert(all.end(), some.begin(), some.end());
  std::sort(all.begin(), all.end());
  const auto p99 = all[all.size() * 99 / 100];
  std::printf("%zu waits: the earliest ends %lld ns late, 99 of 100 end within %lld us\n", all.size(),
              static_cast<long long>(all.front().count()), static_cast<long long>(p99.count() / 1000));
  CHECK(all.size() == kThreads * rounds);
  CHECK(all.front() >= 0ns);
  CHECK(p99 < 50ms);  // ten times what an idle machine may take
}

TEMPLATE_TEST_CASE("Time: a storm of signals neither ends a wait nor extends it", "[time][FT5]", WAITING_CALLS) {
  struct sigaction action {};  // without SA_RESTART: every one interrupts the system call
  action.sa_handler = [](int) {};
  struct sigaction before {};
  REQUIRE(::sigaction(SIGUSR1, &action, &before) == 0);
  check_undisturbed<TestType>([](auto& waiting) { waiting.worker().send(SIGUSR1); });
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEMPLATE_TEST_CASE("Time: wakes out of nowhere neither end a wait nor extend it", "[time][FT6]", WAITING_CALLS) {
  check_undisturbed<TestType>([](auto& waiting) { waiting.disturb(); });
}
