// SPDX-License-Identifier: MIT
#include <conc/event.hpp>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <random>
#include <thread>
#include <vector>

#include "lifetime.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using conc_test::run_threads;
using conc_test::scaled;
using SteadyClock = std::chrono::steady_clock;

}  // namespace

TEST_CASE("Event: two threads play ping-pong with two events", "[event][E2][E6][G7]") {
  const int rounds = scaled(20'000);
  conc::Event ping;
  conc::Event pong;
  long ball = 0;  // no atomic: ThreadSanitizer sees whether the events order it
  int wrong = 0;
  run_threads(2, [&](std::size_t thread) {
    for (int round = 0; round < rounds; ++round) {
      if (thread == 0) {
        ++ball;
        ping.set();
        pong.wait();
        pong.clear();
      } else {
        ping.wait();
        ping.clear();
        wrong += ball == 2L * round + 1 ? 0 : 1;
        ++ball;
        pong.set();
      }
    }
  });
  CHECK(ball == 2L * rounds);
  CHECK(wrong == 0);
}

TEST_CASE("Event: one set reaches all threads that come and wait", "[event][E5][E6][G7]") {
  constexpr std::size_t kWaiters = 4;
  const std::size_t rounds = scaled<std::size_t>(10'000);
  struct Round {
    conc::Event go;
    std::size_t message = 0;  // no atomic
  };
  std::vector<Round> all(rounds);
  std::atomic<std::size_t> arrived{0};
  std::atomic<int> wrong{0};
  run_threads(kWaiters + 1, [&](std::size_t thread) {
    for (std::size_t i = 0; i < rounds; ++i) {
      Round& round = all[i];
      if (thread == kWaiters) {
        while (i % 2 == 0 && arrived < kWaiters * i) std::this_thread::yield();  // else it races with those that come
        round.message = i + 1;
        round.go.set();
      } else {
        ++arrived;
        wrong += round.go.wait() && round.message == i + 1 ? 0 : 1;
      }
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("Event: pulses reach whoever waits, and a wait that is false was not early", "[event][E3][E4][G7]") {
  const int rounds = scaled(3'000);
  conc::Event event;
  std::atomic<int> waiting{3};
  std::atomic<int> early{0};
  run_threads(4, [&](std::size_t thread) {
    if (thread == 3) {
      while (waiting != 0) {
        event.set();
        event.clear();
        std::this_thread::yield();
      }
      return;
    }
    std::minstd_rand random{static_cast<unsigned>(thread) + 1};
    for (int i = 0; i < rounds; ++i) {
      if (thread == 0) {
        event.wait();
      } else {
        const std::chrono::microseconds span{random() % 50};
        const auto begin = SteadyClock::now();
        if (!event.wait(span)) early += SteadyClock::now() < begin + span ? 1 : 0;
      }
    }
    --waiting;
  });
  CHECK(early == 0);
}

TEST_CASE("Event: may be destroyed by whom set released, while set is still returning", "[event][G8]") {
  const int rounds = scaled(20'000);
  const int deleted = conc_test::destroy_while_releasing<conc::Event>(
      rounds, [](conc::Event&) {}, [](conc::Event& event) { event.set(); },
      [](conc::Event& event, conc::Deadline deadline) { return event.wait(deadline); });
  CHECK(deleted == rounds);
}
