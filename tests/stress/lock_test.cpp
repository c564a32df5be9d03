// SPDX-License-Identifier: MIT
#include <conc/condition.hpp>
#include <conc/lock.hpp>

#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <random>
#include <vector>

#include "lifetime.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using conc_test::run_threads;
using conc_test::scaled;

}  // namespace

TEMPLATE_TEST_CASE("Lock: two sections never overlap, however the lock is taken", "[lock][rlock][L1][L5][L6][R1][G7]",
                   conc::Lock, conc::RLock) {
  constexpr std::size_t kThreads = 4;
  const int rounds = scaled(300'000);
  TestType lock;
  long counter = 0;  // no atomic: ThreadSanitizer sees whether the lock orders it
  std::vector<long> sections(kThreads);
  run_threads(kThreads, [&](std::size_t thread) {
    std::minstd_rand random{static_cast<unsigned>(thread) + 1};
    for (int i = 0; i < rounds; ++i) {
      bool taken = true;
      switch (random() % 4) {
        case 0:
          lock.acquire();
          break;
        case 1:
          taken = lock.try_acquire();
          break;
        case 2:
          taken = lock.acquire(std::chrono::microseconds{random() % 50});
          break;
        default:
          taken = lock.acquire(1h);
          break;
      }
      if (!taken) continue;
      ++counter;
      ++sections[thread];
      lock.release();
    }
  });
  long sum = 0;
  for (const long part : sections) sum += part;
  CHECK(counter == sum);
  CHECK(sum >= static_cast<long>(kThreads) * rounds / 4);
  CHECK_FALSE(lock.locked());
  CHECK(lock.try_acquire());
}

TEST_CASE("RLock: levels are counted right while others want the lock", "[rlock][R1][R5][G7]") {
  constexpr std::size_t kThreads = 3;
  const int rounds = scaled(100'000);
  conc::RLock lock;
  long counter = 0;
  std::atomic<int> wrong{0};
  run_threads(kThreads, [&](std::size_t thread) {
    std::minstd_rand random{static_cast<unsigned>(thread) + 1};
    for (int i = 0; i < rounds; ++i) {
      const int levels = 1 + static_cast<int>(random() % 4);
      lock.acquire();
      for (int level = 1; level < levels; ++level) wrong += lock.acquire(0s) ? 0 : 1;
      ++counter;
      for (int level = 0; level < levels; ++level) {
        wrong += lock.owned() ? 0 : 1;
        lock.release();
      }
      wrong += lock.owned() ? 1 : 0;
    }
  });
  CHECK(counter == static_cast<long>(kThreads) * rounds);
  CHECK(wrong == 0);
}

TEST_CASE("Lock: carries a baton around when each thread releases the next one's lock", "[lock][L2][G7]") {
  constexpr std::size_t kThreads = 3;
  const int rounds = scaled(3'000);
  conc::Lock turns[kThreads];
  for (conc::Lock& turn : turns) turn.acquire();
  turns[0].release();
  long baton = 0;  // no atomic
  std::atomic<int> wrong{0};
  run_threads(kThreads, [&](std::size_t thread) {
    for (int round = 0; round < rounds; ++round) {
      turns[thread].acquire();
      wrong += baton == static_cast<long>(kThreads) * round + static_cast<long>(thread) ? 0 : 1;
      ++baton;
      turns[(thread + 1) % kThreads].release();
    }
  });
  CHECK(baton == static_cast<long>(kThreads) * rounds);
  CHECK(wrong == 0);
}

TEST_CASE("Lock: a waiter gets in although two threads hammer the lock", "[lock][L6]") {
  const int turns = scaled(300);
  conc::Lock lock;
  std::atomic<int> hammering{0};
  std::atomic<bool> over{false};
  int entered = 0;
  run_threads(3, [&](std::size_t thread) {
    if (thread == 0) {
      while (hammering != 2) std::this_thread::yield();
      for (; entered < turns; ++entered) {
        lock.acquire();
        lock.release();
      }
      over = true;
    } else {
      for (++hammering; !over;) {  // next to no gap in which somebody else could get in
        lock.acquire();
        for (int i = 0; i < 100; ++i) conc::detail::sync::pause();
        lock.release();
      }
    }
  });
  CHECK(entered == turns);
}

TEMPLATE_TEST_CASE("Lock: may be destroyed by whom release let in, while release is still returning",
                   "[lock][rlock][G8]", conc::Lock, conc::RLock) {
  const int rounds = scaled(20'000);
  const int deleted = conc_test::destroy_while_releasing<TestType>(
      rounds, [](TestType& lock) { lock.acquire(); }, [](TestType& lock) { lock.release(); },
      [](TestType& lock, conc::Deadline deadline) { return lock.acquire(deadline); });
  CHECK(deleted == rounds);
}

TEST_CASE("ScopedLock: threads that name the same locks in every order do not deadlock", "[lock][scoped_lock][L8]") {
  const int rounds = scaled(50'000);
  conc::Lock a;
  conc::RLock b;
  std::mutex c;
  conc::Condition<> d;
  conc::Condition<conc::Lock> e;
  long guarded_by_a = 0;  // no atomics
  long guarded_by_b = 0;
  long guarded_by_c = 0;
  run_threads(6, [&](std::size_t thread) {
    const auto count = [&] { ++guarded_by_a, ++guarded_by_b, ++guarded_by_c; };
    const auto with = [&](auto&... locks) {
      for (int i = 0; i < rounds; ++i) {
        const conc::ScopedLock guard{locks...};
        count();
      }
    };
    switch (thread) {
      case 0:
        with(a, b, c);
        break;
      case 1:
        with(a, c, b);
        break;
      case 2:
        with(b, a, c);
        break;
      case 3:
        with(b, c, a);
        break;
      case 4:
        with(c, a, b);
        break;
      default:
        with(c, b, a);
        break;
    }
    switch (thread) {
      case 0:
        with(a, b, c, d, e);
        break;
      case 1:
        with(e, d, c, b, a);
        break;
      case 2:
        with(c, e, b, d, a);
        break;
      case 3:
        with(d, a, e, c, b);
        break;
      case 4:
        with(b, d, a, c);
        break;
      default:
        for (int i = 0; i < rounds; ++i) {
          const std::scoped_lock guard{b, a, c};  // may be mixed with the standard's
          count();
        }
    }
  });
  CHECK(guarded_by_a == 12L * rounds);
  CHECK(guarded_by_b == 12L * rounds);
  CHECK(guarded_by_c == 12L * rounds);
  CHECK_FALSE(a.locked());
  CHECK_FALSE(b.locked());
  CHECK(c.try_lock());
  c.unlock();
  CHECK(d.try_acquire());
  d.release();
  CHECK(e.try_acquire());
  e.release();
}
