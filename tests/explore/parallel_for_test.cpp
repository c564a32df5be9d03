// SPDX-License-Identifier: MIT
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/thread_pool.hpp>
#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include "explore_type.hpp"

using conc::ThreadPoolExecutor;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;

namespace {

/// A place where another thread may run.
void step() {
  conc::detail::sync::Atomic<int> somewhere{0};
  somewhere.load();
}

/// How many schedules of a program saw a refusal, and how many did not.
struct Refusals {
  std::uint64_t refused = 0;
  std::uint64_t accepted = 0;
  void count(bool was_refused) { ++(was_refused ? refused : accepted); }
  bool both() const { return refused > 0 && accepted > 0; }
};

}  // namespace

TEST_CASE("parallel_for: calls fn once for each, in every schedule", "[parallel_for]") {
  explore_type("parallel_for, three calls, one worker", [] {
    int calls[3] = {};
    ThreadPoolExecutor pool{1};
    conc::parallel_for(pool, 3, [&calls](std::size_t i) {
      step();
      ++calls[i];
    });
    check(calls[0] == 1 && calls[1] == 1 && calls[2] == 1, "once each, before it returns");
  });
  explore_type("parallel_for, three calls, two workers", [] {
    int calls[3] = {};
    ThreadPoolExecutor pool{2};
    conc::parallel_for(pool, 3, [&calls](std::size_t i) {
      step();
      ++calls[i];
    });
    check(calls[0] == 1 && calls[1] == 1 && calls[2] == 1, "once each, before it returns");
  });
  explore_type("parallel_for, twelve calls in shrinking shares", [] {
    int calls = 0;
    ThreadPoolExecutor pool{1};
    conc::parallel_for(pool, 12, [&calls](std::size_t i) { calls += 1 << i; });
    check(calls == (1 << 12) - 1, "once each, before it returns");
  });
  explore_type("parallel_for, by a worker, with the other one", [] {
    int calls[2] = {};
    ThreadPoolExecutor pool{2};
    pool.submit([&] {
          conc::parallel_for(pool, 2, [&calls](std::size_t i) {
            step();
            ++calls[i];
          });
          check(calls[0] == 1 && calls[1] == 1, "once each, before it returns");
        })
        .wait();
  });
  explore_type("parallel_for, by the only worker", [] {
    int calls = 0;
    ThreadPoolExecutor pool{1};
    pool.submit([&] {
          conc::parallel_for(pool, 2, [&calls](std::size_t /*i*/) { ++calls; });
          check(calls == 2, "once each, before it returns");
        })
        .wait();
  });
  explore_type("parallel_for, by two threads at once", [] {
    ThreadPoolExecutor pool{1};
    const auto loop = [&pool] {
      int calls = 0;
      conc::parallel_for(pool, 2, [&calls](std::size_t /*i*/) { ++calls; });
      check(calls == 2, "once each, before it returns");
    };
    parallel(loop, loop);
  });
}

TEST_CASE("parallel_for: waits for no helper that has not come, in every schedule", "[parallel_for]") {
  explore_type("parallel_for, while the only worker is busy", [] {
    int calls = 0;
    conc::Event go;
    ThreadPoolExecutor pool{1};
    pool.detach([&go] { go.wait(); });
    conc::parallel_for(pool, 2, [&calls](std::size_t /*i*/) { ++calls; });
    check(calls == 2, "once each, before it returns");
    go.set();
  });
}

TEST_CASE("parallel_for: throws the first exception once all calls have ended, in every schedule", "[parallel_for]") {
  explore_type("parallel_for, every call throws", [] {
    int calls = 0;
    int ended = 0;
    int thrown = 0;
    ThreadPoolExecutor pool{1};
    try {
      conc::parallel_for(pool, 3, [&](std::size_t /*i*/) {
        ++calls;
        step();
        ++ended;
        throw std::runtime_error{"no"};
      });
    } catch (const std::runtime_error&) {
      ++thrown;
    }
    check(thrown == 1 && calls == ended && calls >= 1 && calls <= 2, "each thread stops at its first exception");
    pool.shutdown();
    check(calls == ended && calls <= 2, "nothing is begun afterwards");
  });
  explore_type("parallel_for, one call throws", [] {
    int calls = 0;
    int thrown = 0;
    ThreadPoolExecutor pool{1};
    try {
      conc::parallel_for(pool, 2, [&](std::size_t i) {
        step();
        ++calls;
        if (i == 0) {
          throw std::runtime_error{"no"};
        }
      });
    } catch (const std::runtime_error&) {
      ++thrown;
    }
    check(thrown == 1 && calls >= 1 && calls <= 2, "it comes out");
  });
}

TEST_CASE("parallel_for: against shutdown it runs all or nothing, in every schedule", "[parallel_for][X13]") {
  Refusals against_shutdown;
  explore_type("parallel_for, against shutdown", [&against_shutdown] {
    int calls = 0;
    bool refused = false;
    ThreadPoolExecutor pool{1};
    parallel(
        [&] {
          try {
            conc::parallel_for(pool, 2, [&calls](std::size_t /*i*/) { ++calls; });
          } catch (const conc::UsageError&) {
            refused = true;
          }
          check(calls == (refused ? 0 : 2), "all or nothing");
          against_shutdown.count(refused);
        },
        [&] { pool.shutdown(); });
  });
  CHECK(against_shutdown.both());
  Refusals against_cancel;
  explore_type("parallel_for, against cancel_futures",
               [&against_cancel] {
                 int calls = 0;
                 bool refused = false;
                 ThreadPoolExecutor pool{2};
                 parallel(
                     [&] {
                       try {
                         conc::parallel_for(pool, 2, [&calls](std::size_t /*i*/) { ++calls; });
                       } catch (const conc::UsageError&) {
                         refused = true;
                       }
                       check(refused || calls == 2, "all or nothing");
                       against_cancel.count(refused);
                     },
                     [&] { pool.shutdown({.cancel_futures = true}); });
               },
               {.preemptions = 1});
  CHECK(against_cancel.both());
}
