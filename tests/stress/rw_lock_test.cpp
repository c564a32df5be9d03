// SPDX-License-Identifier: MIT
#include <conc/rw_lock.hpp>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <random>
#include <thread>
#include <vector>

#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using conc_test::run_threads;
using conc_test::scaled;

/// What the lock guards: equal at all times. No atomics: ThreadSanitizer sees whether the lock orders them.
struct Pair {
  long first = 0;
  long second = 0;
};

}  // namespace

TEST_CASE("RWLock: readers see whole writes, however it is taken", "[rw_lock][G7]") {
  constexpr std::size_t kThreads = 5;
  const int rounds = scaled(100'000);
  conc::RWLock lock;
  Pair pair;
  std::vector<long> writes(kThreads);
  std::vector<long> reads(kThreads);
  std::vector<long> wrong(kThreads);
  run_threads(kThreads, [&](std::size_t thread) {
    std::minstd_rand random{static_cast<unsigned>(thread) + 1};
    const auto take = [&](auto wait, auto look, auto timed) {
      switch (random() % 4) {
        case 0:
          return wait();
        case 1:
          return look();
        case 2:
          return timed(std::chrono::microseconds{random() % 50});
        default:
          return timed(1h);
      }
    };
    for (int i = 0; i < rounds; ++i) {
      if (random() % 4 != 0) {
        if (!take([&] { return lock.acquire_shared(); }, [&] { return lock.try_acquire_shared(); },
                  [&](conc::Deadline deadline) { return lock.acquire_shared(deadline); })) {
          continue;
        }
        ++reads[thread];
        wrong[thread] += pair.first == pair.second ? 0 : 1;
        if (random() % 32 == 0) std::this_thread::yield();  // so that others find it held
        lock.release_shared();
      } else {
        if (!take([&] { return lock.acquire(); }, [&] { return lock.try_acquire(); },
                  [&](conc::Deadline deadline) { return lock.acquire(deadline); })) {
          continue;
        }
        ++writes[thread];
        ++pair.first;
        if (random() % 32 == 0) std::this_thread::yield();
        ++pair.second;
        lock.release();
      }
    }
  });
  long written = 0;
  for (std::size_t thread = 0; thread < kThreads; ++thread) {
    written += writes[thread];
    CHECK(wrong[thread] == 0);
    CHECK(reads[thread] > 0);
    CHECK(writes[thread] > 0);
  }
  CHECK(pair.first == written);
  CHECK(pair.second == written);
  CHECK(lock.try_acquire());
}

TEST_CASE("RWLock: what readers did is visible to the next writer", "[rw_lock][G7]") {
  constexpr std::size_t kReaders = 3;
  const int rounds = scaled(30'000);
  conc::RWLock lock;
  std::vector<long> notes(kReaders);  // no atomics: each is written under a shared hold, and read by the writer
  long seen = 0;
  run_threads(kReaders + 1, [&](std::size_t thread) {
    for (int i = 0; i < rounds; ++i) {
      if (thread < kReaders) {
        const conc::ScopedSharedLock guard{lock};
        ++notes[thread];
      } else {
        const conc::ScopedLock guard{lock};
        for (const long note : notes) seen += note;
      }
    }
  });
  CHECK(seen >= 0);
  CHECK(notes == std::vector<long>(kReaders, rounds));
}

TEST_CASE("RWLock: a writer gets in although readers always hold the lock", "[rw_lock]") {
  const int turns = scaled(500);
  constexpr std::size_t kReaders = 3;
  conc::RWLock lock;
  std::atomic<std::size_t> reading{0};
  std::atomic<std::size_t> inside{0};
  std::atomic<bool> over{false};
  int entered = 0;
  run_threads(kReaders + 1, [&](std::size_t thread) {
    if (thread == kReaders) {
      while (reading != kReaders) std::this_thread::yield();
      for (; entered < turns; ++entered) {
        lock.acquire();
        lock.release();
      }
      over = true;
    } else {
      for (++reading; !over;) {
        lock.acquire_shared();
        ++inside;
        // Leaves when another is in: so the lock is never free, until a writer keeps the others out.
        for (int i = 0; i < 100 && inside == 1; ++i) conc::detail::sync::yield();
        --inside;
        lock.release_shared();
      }
    }
  });
  CHECK(entered == turns);
}

TEST_CASE("RWLock: a reader gets in although two writers hammer the lock", "[rw_lock]") {
  const int turns = scaled(3'000);
  conc::RWLock lock;
  std::atomic<int> hammering{0};
  std::atomic<bool> over{false};
  int entered = 0;
  run_threads(3, [&](std::size_t thread) {
    if (thread == 0) {
      while (hammering != 2) std::this_thread::yield();
      for (; entered < turns; ++entered) {
        lock.acquire_shared();
        lock.release_shared();
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

TEST_CASE("RWLock: writers that give up all the time leave the readers alone", "[rw_lock][timeout][G7]") {
  constexpr std::size_t kReaders = 3;
  const int rounds = scaled(30'000);
  conc::RWLock lock;
  Pair pair;
  std::atomic<std::size_t> reading{kReaders};
  std::atomic<int> wrong{0};
  long written = 0;
  run_threads(kReaders + 2, [&](std::size_t thread) {
    std::minstd_rand random{static_cast<unsigned>(thread) + 1};
    if (thread < kReaders) {
      for (int i = 0; i < rounds; ++i) {
        const conc::ScopedSharedLock guard{lock};
        wrong += pair.first == pair.second ? 0 : 1;
        if (i % 16 == 0) std::this_thread::yield();  // so that a writer has to wait
      }
      --reading;
    } else {
      while (reading != 0) {
        if (!lock.acquire(std::chrono::nanoseconds{random() % 5'000})) continue;
        ++pair.first;
        ++pair.second;
        ++written;
        lock.release();
      }
    }
  });
  CHECK(wrong == 0);
  CHECK(pair.first == written);
  CHECK(lock.try_acquire());
}
