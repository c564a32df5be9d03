// SPDX-License-Identifier: MIT
#include <conc/event.hpp>
#include <memory>

#include "explore_type.hpp"

using namespace std::chrono_literals;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;
using conc_test::Tally;

TEST_CASE("Event: set releases everybody and publishes what came before, in every schedule", "[event][E5][E6]") {
  explore_type("Event, one setter, two waiters", [] {
    conc::Event event;
    int value = 0;
    const auto wait = [&] {
      event.wait();
      check(value == 42, "what came before set() is not visible");
    };
    parallel(wait, wait, [&] {
      value = 42;
      event.set();
    });
    check(event.is_set(), "the flag stays up");
  });
}

TEST_CASE("Event: a set-clear pulse releases who was waiting, in every schedule", "[event][E3]") {
  explore_type("Event, pulse", [] {
    conc::Event event;
    Tally released;
    conc::detail::sync::Atomic<int> pulses{0};
    // The waiter may come too late for a pulse, so pulses are sent until it has seen one.
    parallel(
        [&] {
          event.wait();
          ++released;
        },
        [&] {
          while (released == 0) {
            event.set();
            event.clear();
            pulses.fetch_add(1);
            conc::detail::sync::yield();
          }
        });
    check(!event.is_set(), "the last pulse was cleared");
  });
}

TEST_CASE("Event: who waits while a pulse comes is released by it, in every schedule", "[event][E3]") {
  explore_type("Event, one pulse for two sleepers",
               [] {
                 conc::Event event;
                 conc::detail::sync::Atomic<int> asleep{0};
                 Tally released;
                 const auto wait = [&] {
                   asleep.fetch_add(1);
                   released += event.wait(1ms) ? 1 : 0;
                 };
                 parallel(wait, wait, [&] {
                   // The clock moves only when nobody can run: at 0.5 ms both wait, and neither has timed out.
                   conc::Event never_set;
                   check(!never_set.wait(500us), "nobody sets it");
                   check(asleep.load() == 2, "both wait");
                   event.set();
                   event.clear();
                 });
                 check(released == 2, "a waiter missed the pulse");
               },
               {.mishaps = 0});
}

TEST_CASE("Event: timed waits, set and clear race without a lost wake-up, in every schedule", "[event][E4][E1]") {
  explore_type("Event, timed and untimed waiters, clear in between",
               [] {
                 conc::Event event;
                 parallel([&] { event.wait(); },
                          [&] {
                            if (!event.wait(1ms)) {
                              check(false, "false although set() came in time");
                            }
                          },
                          [&] {
                            event.clear();
                            event.set();
                          });
               },
               {.mishaps = 0});
}

TEST_CASE("Event: a released waiter may destroy it, in every schedule", "[event][G8]") {
  explore_type("Event, destroyed by the waiter", [] {
    auto event = std::make_unique<conc::Event>();
    parallel([&] { event->set(); },
             [&] {
               event->wait();
               event.reset();
             });
  });
}
