// SPDX-License-Identifier: MIT
#include <conc/event.hpp>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <deque>
#include <type_traits>
#include <vector>

#include "support.hpp"
#include "worker.hpp"

namespace {

using namespace std::chrono_literals;
using conc_test::eventually;
using conc_test::Worker;
using SteadyClock = std::chrono::steady_clock;

constinit conc::Event global;  // G9: exists before any code runs

static_assert(std::is_trivially_destructible_v<conc::Event>);
static_assert(!std::is_copy_constructible_v<conc::Event> && !std::is_copy_assignable_v<conc::Event>);
static_assert(!std::is_move_constructible_v<conc::Event> && !std::is_move_assignable_v<conc::Event>);

/// Threads that wait for an event, all of them asleep.
class Waiters {
 public:
  Waiters(conc::Event& event, std::size_t count, conc::Deadline deadline) : event_{&event}, results_(count) {
    for (int& result : results_) {
      workers_.emplace_back([&event, &result, deadline] { result = event.wait(deadline) ? 1 : 0; });
    }
    CHECK(eventually([&] { return asleep() == count; }));
  }
  std::size_t asleep() {
    return static_cast<std::size_t>(
        std::count_if(workers_.begin(), workers_.end(), [this](Worker& worker) { return worker.sleeps_on(event_); }));
  }
  /// How many got true, when all have returned.
  std::size_t released() {
    for (Worker& worker : workers_) worker.join();
    return static_cast<std::size_t>(std::count(results_.begin(), results_.end(), 1));
  }

 private:
  const void* event_;
  std::vector<int> results_;
  std::deque<Worker> workers_;
};

}  // namespace

TEST_CASE("Event: starts clear, and set and clear may be repeated", "[event][E1]") {
  conc::Event event;
  CHECK_FALSE(event.is_set());
  event.clear();
  CHECK_FALSE(event.is_set());
  event.set();
  CHECK(event.is_set());
  event.set();
  CHECK(event.is_set());
  event.clear();
  CHECK_FALSE(event.is_set());
  event.clear();
  CHECK_FALSE(event.is_set());
  event.set();
  CHECK(event.is_set());
}

TEST_CASE("Event: is ready before any code runs", "[event][G9]") {
  CHECK_FALSE(global.is_set());
  CHECK_FALSE(global.wait(0s));
}

TEST_CASE("Event: wait on a set event is true at once, a poll of a clear one false", "[event][E2][G2]") {
  conc::Event event;
  CHECK_FALSE(event.wait(0s));
  CHECK_FALSE(event.wait(-1s));
  CHECK_FALSE(event.wait(SteadyClock::now() - 1h));
  event.set();
  CHECK(event.wait());
  CHECK(event.wait(0s));
  CHECK(event.wait(-1s));
  CHECK(event.wait(SteadyClock::now() - 1h));
  CHECK(event.wait(1h));
  CHECK(event.wait(conc::never));
  CHECK(event.is_set());  // waiting does not use it up
}

TEST_CASE("Event: wait sleeps until the event is set", "[event][E2][E4]") {
  conc::Event event;
  for (const conc::Deadline deadline : {conc::Deadline{1h}, conc::never}) {
    event.clear();
    Waiters waiters{event, 1, deadline};
    event.set();
    CHECK(waiters.released() == 1);
  }
}

TEST_CASE("Event: a set-clear pulse releases every waiter", "[event][E3]") {
  conc::Event event;
  for (int round = 0; round < conc_test::scaled(100); ++round) {
    Waiters timed{event, 3, 1h};
    Waiters patient{event, 3, conc::never};
    event.set();
    event.clear();
    CHECK(timed.released() == 3);
    CHECK(patient.released() == 3);
    CHECK_FALSE(event.is_set());
    CHECK_FALSE(event.wait(0s));  // who comes later has to wait for the next one
  }
}

TEST_CASE("Event: a set of an event that is set, then a clear, releases nobody who comes later", "[event][E3]") {
  conc::Event event;
  event.set();
  event.set();
  event.clear();
  CHECK_FALSE(event.wait(1ms));
}

TEST_CASE("Event: wait is false only when the deadline has passed", "[event][E4]") {
  conc::Event event;
  const auto start = SteadyClock::now();
  CHECK_FALSE(event.wait(30ms));
  CHECK(SteadyClock::now() - start >= 30ms);
  event.set();
  CHECK(event.wait(30ms));
}

TEST_CASE("Event: set wakes all waiters", "[event][E5]") {
  conc::Event event;
  for (int round = 0; round < 10; ++round) {
    Waiters waiters{event, 8, conc::never};
    event.set();
    CHECK(waiters.released() == 8);
    event.clear();
  }
}

TEST_CASE("Event: set reaches a sleeper although another waiter gave up", "[event][E4][E5]") {
  conc::Event event;
  for (int round = 0; round < conc_test::scaled(50); ++round) {
    Waiters patient{event, 1, conc::never};
    CHECK_FALSE(event.wait(100us));
    event.set();
    CHECK(patient.released() == 1);
    event.clear();
  }
}

TEST_CASE("Event: what a thread did before set is visible after wait, after a pulse too", "[event][E6]") {
  for (const bool pulse : {false, true}) {
    for (int round = 0; round < conc_test::scaled(200); ++round) {
      conc::Event event;
      int message = 0;  // no atomic: ThreadSanitizer sees whether the event orders it
      int seen = 0;
      Worker reader{[&] {
        event.wait();
        seen = message;
      }};
      if (pulse) CHECK(reader.falls_asleep_on(&event));
      message = round + 1;
      event.set();
      if (pulse) event.clear();
      reader.join();
      CHECK(seen == round + 1);
    }
  }
}
