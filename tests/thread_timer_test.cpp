// SPDX-License-Identifier: MIT
#include <conc/event.hpp>
#include <conc/thread.hpp>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "background.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using conc::Timer;

TEST_CASE("Timer: calls the function once, after the interval and not before", "[timer][T15]") {
  std::atomic<int> calls{0};
  std::chrono::steady_clock::time_point called;
  Timer timer{20ms,
              [&](int n, const std::string& word) {
                called = std::chrono::steady_clock::now();
                calls += n + static_cast<int>(word.size());
              },
              1, "two"};
  CHECK_FALSE(timer.is_alive());
  const auto begin = std::chrono::steady_clock::now();
  timer.start();
  CHECK(timer.join());
  CHECK_FALSE(timer.is_alive());
  CHECK(calls == 4);
  CHECK(called - begin >= 20ms);
  CHECK_FALSE(timer.cancel());
  CHECK(calls == 4);
}

TEST_CASE("Timer: cancelled before, it never calls, and its thread ends at once", "[timer][T15]") {
  std::atomic<int> calls{0};
  Timer waiting{1h, [&calls] { ++calls; }};
  waiting.start();
  CHECK(waiting.is_alive());
  CHECK(waiting.cancel());
  CHECK(waiting.cancel());
  CHECK(waiting.join(30s));
  Timer before_start{0s, [&calls] { ++calls; }};
  CHECK(before_start.cancel());
  before_start.start();
  CHECK(before_start.join());
  CHECK(calls == 0);
}

TEST_CASE("Timer: cancel() tells whether it came in time, whenever it comes", "[timer][T15]") {
  int fired = 0;
  int cancelled = 0;
  for (int round = 0; round < conc_test::scaled(300); ++round) {
    std::atomic<int> calls{0};
    Timer timer{std::chrono::microseconds{round % 3 * 40}, [&calls] { ++calls; }};
    timer.start();
    if (round % 2 == 0) (void)timer.join(std::chrono::microseconds{round % 7 * 30});
    const bool in_time = timer.cancel();
    timer.join();
    REQUIRE(calls == (in_time ? 0 : 1));
    (in_time ? cancelled : fired) += 1;
  }
  CHECK(fired > 0);
  CHECK(cancelled > 0);
}

TEST_CASE("Timer: a time_point is waited for, and never is never", "[timer][T15][G2]") {
  const auto then = std::chrono::steady_clock::now() + 10ms;
  std::chrono::steady_clock::time_point called;
  Timer timer{then, [&called] { called = std::chrono::steady_clock::now(); }};
  timer.start();
  timer.join();
  CHECK(called >= then);
  Timer endless{conc::never, [] {}};
  endless.start();
  CHECK_FALSE(endless.join(5ms));
  CHECK(endless.cancel());
  CHECK(endless.join());
}

TEST_CASE("Timer: start twice, and join before start, are UsageErrors", "[timer][T1][T2]") {
  Timer timer{0s, [] {}};
  CHECK(conc_test::outcome([&] { timer.join(); }) == "UsageError");
  timer.start();
  CHECK(conc_test::outcome([&] { timer.start(); }) == "UsageError");
  timer.join();
}

TEST_CASE("Timer: has the options of a thread, and is one", "[timer][T8]") {
  std::string name;
  Timer timer{{.name = "tick", .daemon = true}, 0s, [&name] { name = conc::current_thread().name(); }};
  CHECK(timer.thread().name() == "tick");
  CHECK(timer.thread().daemon());
  timer.start();
  timer.join();
  CHECK(name == "tick");
}

TEST_CASE("Timer: handles may be dropped, and the function and its arguments go when it ends", "[timer][T14][T16]") {
  const auto alive = std::make_shared<int>(0);
  conc::Event called;
  {
    Timer timer{1ms, [&called](const std::shared_ptr<int>&) { called.set(); }, alive};
    timer.start();
  }
  CHECK(called.wait(30s));
  CHECK(conc_test::eventually([&alive] { return alive.use_count() == 1; }));
  Timer cancelled{1h, [](const std::shared_ptr<int>&) {}, alive};
  cancelled.start();
  Timer copy = cancelled;
  CHECK(copy.cancel());
  CHECK(cancelled.join());
  CHECK(alive.use_count() == 1);
}
