// SPDX-License-Identifier: MIT
#include <conc/condition.hpp>

#include <algorithm>
#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <deque>
#include <mutex>
#include <random>
#include <thread>

#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using conc_test::run_threads;
using conc_test::scaled;

}  // namespace

TEMPLATE_TEST_CASE("Condition: a bounded buffer loses nothing and hands out nothing twice", "[condition][C3][C6][G7]",
                   conc::RLock, conc::Lock, std::mutex) {
  constexpr std::size_t kSize = 3;
  constexpr std::size_t kProducers = 2;
  constexpr std::size_t kConsumers = 2;
  const long items = scaled(5'000L);  // of each producer
  TestType lock;
  conc::Condition not_empty{lock};
  conc::Condition not_full{lock};
  std::deque<long> buffer;
  long taken = 0;
  long sum = 0;
  std::size_t most = 0;
  run_threads(kProducers + kConsumers, [&](std::size_t thread) {
    for (long i = 1; i <= items; ++i) {
      const conc::ScopedLock guard{lock};
      if (thread < kProducers) {
        not_full.wait_for([&] { return buffer.size() < kSize; });
        buffer.push_back(i);
        most = std::max(most, buffer.size());
        not_empty.notify();
      } else {
        while (!not_empty.wait_for([&] { return !buffer.empty(); }, 20us)) {
        }
        sum += buffer.front();
        buffer.pop_front();
        ++taken;
        not_full.notify();
      }
    }
  });
  CHECK(taken == static_cast<long>(kConsumers) * items);
  CHECK(sum == static_cast<long>(kConsumers) * (items * (items + 1) / 2));
  CHECK(most <= kSize);
  CHECK(buffer.empty());
}

TEMPLATE_TEST_CASE("Condition: as many waits are true as waiters were there when notify was called",
                   "[condition][C3][C4][G7]", conc::RLock, conc::Lock) {
  constexpr std::size_t kWaiters = 4;
  const int rounds = scaled(3'000);
  conc::Condition<TestType> condition;
  // All under the lock.
  long waiting = 0;  // in wait() and not notified yet
  long given = 0;    // how many a notify must have reached
  long got = 0;      // how many waits were true
  std::size_t active = kWaiters;
  run_threads(kWaiters + 1, [&](std::size_t thread) {
    std::minstd_rand random{static_cast<unsigned>(thread) + 1};
    if (thread < kWaiters) {
      for (int i = 0; i < rounds; ++i) {
        const conc::ScopedLock guard{condition};
        ++waiting;
        if (condition.wait(std::chrono::microseconds{random() % 100})) {
          ++got;
        } else {
          --waiting;
        }
      }
      const conc::ScopedLock guard{condition};
      --active;
      return;
    }
    for (bool over = false; !over;) {
      {
        const conc::ScopedLock guard{condition};
        over = active == 0;
        const long n = static_cast<long>(random() % 4);
        const long reached = std::min(n, waiting);
        waiting -= reached;
        given += reached;
        condition.notify(static_cast<std::size_t>(n));
      }
      std::this_thread::yield();
    }
  });
  CHECK(got == given);
  CHECK(given > 0);
  CHECK(waiting == 0);
}

TEST_CASE("Condition: threads take turns with notify_all", "[condition][C3][C6][R3][G7]") {
  constexpr long kThreads = 4;
  const long rounds = scaled(2'000L);
  conc::RLock lock;
  conc::Condition condition{lock};
  long turn = 0;
  run_threads(kThreads, [&](std::size_t thread) {
    for (long round = 0; round < rounds; ++round) {
      const conc::ScopedLock outer{lock};
      const conc::ScopedLock inner{condition};  // all levels are given up in wait_for
      condition.wait_for([&] { return turn % kThreads == static_cast<long>(thread); });
      ++turn;
      condition.notify_all();
    }
  });
  CHECK(turn == kThreads * rounds);
}
