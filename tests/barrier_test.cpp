// SPDX-License-Identifier: MIT
// Some cases are those of CPython's lock_tests.BarrierTests. How a barrier breaks is tested in fault/barrier_test.cpp.
#include <conc/barrier.hpp>

#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "background.hpp"
#include "barrier_waiters.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Message;
using conc_test::Acting;
using conc_test::Background;
using conc_test::eventually;
using conc_test::late;
using conc_test::run_threads;
using conc_test::scaled;
using conc_test::wait_at;
using conc_test::Waiters;
using SteadyClock = std::chrono::steady_clock;

static_assert(!std::is_copy_constructible_v<conc::Barrier> && !std::is_copy_assignable_v<conc::Barrier>);
static_assert(!std::is_move_constructible_v<conc::Barrier> && !std::is_move_assignable_v<conc::Barrier>);
static_assert(!std::is_convertible_v<int, conc::Barrier>);

}  // namespace

TEST_CASE("Barrier: knows its parties, and is whole and empty when new", "[barrier][B10]") {
  conc::Barrier barrier{3};
  CHECK(barrier.parties() == 3);
  CHECK(barrier.n_waiting() == 0);
  CHECK_FALSE(barrier.broken());
  const conc::Barrier large{conc::Barrier::max_parties()};
  CHECK(large.parties() == static_cast<std::size_t>(conc::Barrier::max_parties()));
}

TEST_CASE("Barrier: less than one party, or too many, is a UsageError", "[barrier][B1][G5]") {
  CHECK_THROWS_MATCHES(conc::Barrier{0}, conc::UsageError, Message("Barrier: 0 parties; 1 to 134217727 are possible"));
  CHECK_THROWS_MATCHES(conc::Barrier{-1}, conc::UsageError,
                       Message("Barrier: -1 parties; 1 to 134217727 are possible"));
  CHECK_THROWS_MATCHES(conc::Barrier{conc::Barrier::max_parties() + 1}, conc::UsageError,
                       Message("Barrier: 134217728 parties; 1 to 134217727 are possible"));
  CHECK_THROWS_AS(conc::Barrier{std::numeric_limits<std::int64_t>::min()}, conc::UsageError);
  CHECK_THROWS_AS(conc::Barrier{std::numeric_limits<std::int64_t>::max()}, conc::UsageError);
}

TEST_CASE("Barrier: of one party never blocks", "[barrier][B1][B3]") {
  int actions = 0;
  conc::Barrier barrier{1, [&] { ++actions; }};
  for (const conc::Deadline deadline :
       {conc::never, conc::Deadline{0s}, conc::Deadline{-1s}, conc::Deadline{SteadyClock::now() - 1h}}) {
    CHECK(barrier.wait(deadline) == 0);
  }
  CHECK(barrier.wait() == 0);
  CHECK(actions == 5);
  CHECK_FALSE(barrier.broken());
}

TEST_CASE("Barrier: is passed in lockstep, again and again", "[barrier][B9]") {
  for (const int passes : {1, 10}) {
    for (const int parties : {2, 5}) {
      conc::Barrier barrier{parties};
      std::atomic<int> before{0};
      std::atomic<int> after{0};
      std::atomic<int> wrong{0};
      run_threads(static_cast<std::size_t>(parties), [&](std::size_t) {
        for (int pass = 0; pass < passes; ++pass) {
          ++before;
          wrong += after == pass * parties ? 0 : 1;
          barrier.wait();
          ++after;
          wrong += before == (pass + 1) * parties ? 0 : 1;
          barrier.wait();
        }
      });
      CHECK(wrong == 0);
      CHECK(after == passes * parties);
      CHECK(barrier.n_waiting() == 0);
      CHECK_FALSE(barrier.broken());
    }
  }
}

TEST_CASE("Barrier: gives each thread an index of its own in each pass", "[barrier][B2]") {
  constexpr std::size_t kParties = 5;
  constexpr std::size_t kPasses = 20;
  conc::Barrier barrier{kParties};
  std::vector<std::array<int, kParties>> given(kPasses);  // plain: distinct indices touch distinct numbers
  run_threads(kParties, [&](std::size_t) {
    for (std::size_t pass = 0; pass < kPasses; ++pass) ++given[pass].at(barrier.wait());
  });
  for (const auto& counts : given) CHECK(counts == std::array{1, 1, 1, 1, 1});
}

TEST_CASE("Barrier: the index tells who came first, and who came last", "[barrier][B2]") {
  conc::Barrier barrier{3};
  std::array<std::size_t, 2> index{9, 9};
  Background first{[&] { index[0] = barrier.wait(); }};
  CHECK(eventually([&] { return barrier.n_waiting() == 1; }));
  Background second{[&] { index[1] = barrier.wait(1h); }};
  CHECK(eventually([&] { return barrier.n_waiting() == 2; }));
  CHECK(barrier.wait(0s) == 2);
  CHECK(first.join() == "returned");
  CHECK(second.join() == "returned");
  CHECK(index == std::array<std::size_t, 2>{0, 1});
}

TEST_CASE("Barrier: n_waiting counts who waits for others", "[barrier][B10]") {
  conc::Barrier barrier{3};
  Background first{[&] { barrier.wait(); }};
  CHECK(first.falls_asleep());
  CHECK(barrier.n_waiting() == 1);
  Background second{[&] { barrier.wait(1h); }};
  CHECK(second.falls_asleep());
  CHECK(barrier.n_waiting() == 2);
  CHECK(barrier.wait() == 2);
  CHECK(barrier.n_waiting() == 0);
  CHECK(first.join() == "returned");
  CHECK(second.join() == "returned");
}

TEST_CASE("Barrier: one thread runs the action of a pass, the last to come, before any goes on", "[barrier][B3]") {
  constexpr std::size_t kParties = 4;
  constexpr int kPasses = 10;
  std::atomic<int> arrived{0};
  int actions = 0;  // plain, these three: ThreadSanitizer sees whether the barrier orders them
  int too_early = 0;
  std::thread::id actor;
  conc::Barrier barrier{kParties, [&] {
                          ++actions;
                          too_early += arrived == actions * static_cast<int>(kParties) ? 0 : 1;
                          actor = std::this_thread::get_id();
                        }};
  std::array<int, kParties> wrong{};
  run_threads(kParties, [&](std::size_t thread) {
    for (int pass = 1; pass <= kPasses; ++pass) {
      ++arrived;
      const bool last = barrier.wait() == kParties - 1;
      wrong.at(thread) += actions == pass && last == (actor == std::this_thread::get_id()) ? 0 : 1;
    }
  });
  CHECK(actions == kPasses);
  CHECK(too_early == 0);
  CHECK(wrong == std::array<int, kParties>{});
}

TEST_CASE("Barrier: the action may ask the barrier how it is", "[barrier][B3][B10][B11]") {
  std::unique_ptr<conc::Barrier> barrier;
  std::size_t parties = 0;
  std::size_t waiting = 9;
  bool broken = true;
  barrier = std::make_unique<conc::Barrier>(2, [&, only_moves = std::make_unique<int>(1)] {
    parties = barrier->parties();
    waiting = barrier->n_waiting();
    broken = barrier->broken();
  });
  Waiters one{*barrier, 1};
  CHECK(barrier->wait() == 1);
  CHECK(one.all("returned"));
  CHECK(parties == 2);
  CHECK(waiting == 0);  // nobody waits for others to come
  CHECK_FALSE(broken);
}

TEST_CASE("Barrier: who comes while a pass is not over waits for the next one", "[barrier][B8][B9]") {
  Acting acting;
  std::array<std::size_t, 2> index{9, 9};
  Background third{[&] { index[0] = acting.barrier.wait(); }};
  Background fourth{[&] { index[1] = acting.barrier.wait(1h); }};
  CHECK(third.falls_asleep());
  CHECK(fourth.falls_asleep());
  CHECK(acting.barrier.n_waiting() == 0);
  CHECK(index == std::array<std::size_t, 2>{9, 9});
  CHECK(acting.end() == "returned");
  CHECK(third.join() == "returned");
  CHECK(fourth.join() == "returned");
  CHECK(index[0] + index[1] == 1);
}

TEST_CASE("Barrier: a completed pass is never undone by what comes later", "[barrier][B5][B7][B8]") {
  conc::Barrier barrier{3};
  for (int round = 0; round < scaled(300); ++round) {
    Waiters two{barrier, 2};
    CHECK(barrier.wait() == 2);
    switch (round % 3) {  // long before both are awake
      case 0:
        barrier.abort();
        break;
      case 1:
        barrier.reset();
        break;
      default:
        CHECK(wait_at(barrier, 0s) == late(3));
        break;
    }
    CHECK(two.all("returned"));
    CHECK(barrier.broken() == (round % 3 != 1));
    barrier.reset();
  }
}

TEST_CASE("Barrier: who has passed may destroy it while the others leave", "[barrier][G8]") {
  for (int round = 0; round < scaled(200); ++round) {
    auto barrier = std::make_unique<conc::Barrier>(3);
    std::atomic<int> destroyed{0};
    run_threads(3, [&, all = barrier.get()](std::size_t) {
      if (all->wait() != static_cast<std::size_t>(round % 3)) return;
      barrier.reset();
      ++destroyed;
    });
    CHECK(destroyed == 1);
  }
}
