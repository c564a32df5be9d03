// SPDX-License-Identifier: MIT
#include <conc/event.hpp>
#include <conc/thread.hpp>
#include <optional>

#include "explore_type.hpp"

using namespace std::chrono_literals;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;

TEST_CASE("Thread: join publishes what the target did, in every schedule", "[thread][T3]") {
  explore_type("Thread, two threads joined by the program", [] {
    int values[2] = {};
    conc::Thread first{[&] { values[0] = 1; }};
    conc::Thread second{[&] { values[1] = 2; }};
    first.start();
    second.start();
    second.join();
    check(values[1] == 2 && !second.is_alive(), "joined before the end");
    first.join();
    check(values[0] == 1 && !first.is_alive(), "joined before the end");
  });
}

TEST_CASE("Thread: several threads may join one, in every schedule", "[thread][T3]") {
  explore_type("Thread, joined by three", [] {
    int value = 0;
    conc::Thread thread{[&] { value = 1; }};
    thread.start();
    const auto join = [&] {
      thread.join();
      check(value == 1, "joined before the end");
    };
    parallel(join, join);
    join();
  });
}

TEST_CASE("Thread: a timed join tells the truth, in every schedule", "[thread][T3]") {
  explore_type("Thread, timed join",
               [] {
                 conc::Event go;
                 conc::Thread thread{[&] { go.wait(); }};
                 thread.start();
                 check(!thread.join(1ms), "it waits for the event");
                 go.set();
                 check(thread.join(1ms), "it ends, and no time passes while somebody can run");
               },
               {.mishaps = 0});
}

TEST_CASE("Thread: only one start wins, in every schedule", "[thread][T1]") {
  explore_type("Thread, started by two", [] {
    int runs = 0;
    int refused = 0;
    conc::Thread thread{[&] { ++runs; }};
    const auto start = [&] {
      try {
        thread.start();
      } catch (const conc::UsageError&) {
        ++refused;
      }
    };
    parallel(start, start);
    thread.join();
    check(runs == 1 && refused == 1, "started twice");
  });
}

TEST_CASE("Thread: a handle may be dropped while the thread runs, in every schedule", "[thread][G6][T16]") {
  explore_type("Thread, handle dropped", [] {
    conc::Event ended;
    {
      conc::Thread thread{[&] { ended.set(); }};
      thread.start();
    }
    ended.wait();
    conc::Thread next{[] {}};  // its start() joins the first, if that has come to its end
    next.start();
    next.join();
    for (conc::Thread& other : conc::enumerate()) {
      if (other != conc::main_thread() && other != conc::current_thread()) {
        other.join();
      }
    }
  });
}

TEST_CASE("Timer: cancel() tells whether the call comes, in every schedule", "[timer][T15]") {
  explore_type("Timer, cancelled when its time comes", [] {
    int calls = 0;
    conc::Timer timer{1ms, [&] { ++calls; }};
    timer.start();
    conc::Event nobody;
    nobody.wait(1ms);
    const bool cancelled = timer.cancel();
    timer.join();
    check(calls == (cancelled ? 0 : 1), "it called, and said that it would not; or the other way round");
  });
}
