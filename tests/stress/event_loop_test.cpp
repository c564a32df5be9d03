// SPDX-License-Identifier: MIT
// Event loops fed by many threads: what was accepted is run or dropped, in order, and nothing is lost.
// First: it says how Asio is to be compiled.
#include <conc/event_loop.hpp>

#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/event.hpp>
#include <conc/thread_pool.hpp>
#include <cstddef>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "background.hpp"
#include "event_loops.hpp"
#include "futures.hpp"

using namespace std::chrono_literals;
using asio::awaitable;
using conc::EventLoop;
using conc::Future;
using conc::LoopHandle;
using conc::LoopThread;
using conc::run_coroutine_threadsafe;
using conc_test::Counted;
using conc_test::ending;
using conc_test::run_threads;
using conc_test::scaled;

namespace {

/// Spends some time, another one each round.
void dawdle(int round) {
  for (int i = 0; i < round * 37 % 400; ++i) conc::detail::sync::pause();
}

}  // namespace

TEST_CASE("EventLoop: calls of many threads are all made, in the order of each", "[event_loop][V1][V2][G7]") {
  constexpr std::size_t producers = 8;
  const int calls = conc_test::long_form() ? 1'000'000 : 100'000;  // under sanitizers too
  std::vector<int> next(producers, 0);                             // of the loop's thread: no atomics
  long long out_of_order = 0;
  EventLoop loop;
  std::size_t ended = 0;
  conc_test::Worker runner{[&] { loop.run_forever(); }};
  run_threads(producers, [&](std::size_t producer) {
    for (int i = 0; i < calls; ++i) {
      auto value = std::make_unique<int>(i);  // what was written before is seen
      loop.call_soon_threadsafe([&next, &out_of_order, producer, value = std::move(value)] {
        out_of_order += next[producer]++ == *value ? 0 : 1;
      });
    }
    loop.call_soon_threadsafe([&] {
      if (++ended == producers) loop.stop();
    });
  });
  runner.join();
  CHECK(next == std::vector<int>(producers, calls));
  CHECK(out_of_order == 0);
}

TEST_CASE("EventLoop: while it is stopped, run and closed no call is lost", "[event_loop][V2][V5][V6][FM16][G7]") {
  constexpr std::size_t producers = 4;
  const int rounds = scaled(200);
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> alive{0};
    std::atomic<int> called{0};
    std::atomic<int> dropped{0};
    std::atomic<int> accepted{0};
    EventLoop loop{{.debug = false}};
    run_threads(producers + 1, [&](std::size_t thread) {
      if (thread == producers) {  // runs, is stopped, and closes while the others go on
        for (int run = 0; run < 3; ++run) loop.run_forever();
        loop.close();
        return;
      }
      std::vector<LoopHandle> handles;
      const auto call = [&called, counted = Counted{alive}] { ++called; };
      for (int i = 0; i < 2000; ++i) {
        try {
          handles.push_back(i % 3 == 0 ? loop.call_later(std::chrono::microseconds{i % 5}, call)
                                       : loop.call_soon_threadsafe(call));
        } catch (const conc::UsageError&) {
          break;
        }
        if (i % 16 == 0) loop.stop();
        if (i % 7 == 0) handles.back().cancel();
      }
      while (!loop.is_closed()) loop.stop();
      accepted += static_cast<int>(handles.size());
      while (loop.is_running()) std::this_thread::yield();
      for (const LoopHandle& handle : handles) dropped += handle.cancelled() ? 1 : 0;
    });
    REQUIRE(alive == 0);
    REQUIRE(called + dropped == accepted);
  }
}

TEST_CASE("run_coroutine_threadsafe: coroutines of many threads all end while the loop closes",
          "[event_loop][V10][V12]") {
  constexpr std::size_t producers = 4;
  const int rounds = scaled(200);
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> alive{0};
    std::atomic<int> unsettled{0};
    std::atomic<int> wrong{0};
    std::optional<LoopThread> loop{std::in_place};
    EventLoop& inside = loop->loop();
    conc::Event all_began;
    std::atomic<std::size_t> began{0};
    run_threads(producers + 1, [&](std::size_t thread) {
      if (thread == producers) {
        all_began.wait();
        dawdle(round);
        loop->stop();
        return;
      }
      std::vector<Future<int>> futures;
      try {
        for (int i = 0; i < 1000; ++i) {
          futures.push_back(run_coroutine_threadsafe(
              [i, counted = Counted{alive}]() -> awaitable<int> {
                if (i % 2 == 0) co_await conc::sleep(std::chrono::microseconds{i % 100});
                if (i % 5 == 0) co_await asio::post(asio::use_awaitable);
                co_return int{i};
              },
              inside));
          if (i % 3 == 0) futures.back().cancel();
          if (i == 5 && ++began == producers) all_began.set();
        }
      } catch (const conc::UsageError&) {
      }
      for (std::size_t i = 0; i < futures.size(); ++i) {
        if (!futures[i].wait(10s)) ++unsettled;
        const std::string end = ending([&] { wrong += futures[i].result() == static_cast<int>(i) ? 0 : 1; });
        // Where the loop is gone between two steps a coroutine that catches nothing ends so.
        wrong += end == "returned" || end == "CancelledError" ? 0 : 1;
      }
    });
    loop.reset();
    REQUIRE(unsettled == 0);
    REQUIRE(wrong == 0);
    REQUIRE(alive == 0);
  }
}

TEST_CASE("awaitable: futures of a pool become done while the loop closes", "[event_loop][V13][V12]") {
  const int rounds = scaled(300);
  conc::ThreadPoolExecutor pool{2};
  for (int round = 0; round < rounds; ++round) {
    std::vector<Future<int>> awaiting;
    std::atomic<int> alive{0};
    conc::Event go;
    {
      LoopThread loop;
      for (int i = 0; i < 20; ++i) {
        const Future<int> task = pool.submit([&go, &round, i] {
          go.wait();
          dawdle(round + i);
          return i;
        });
        awaiting.push_back(run_coroutine_threadsafe(
            [task, counted = Counted{alive}]() -> awaitable<int> { co_return co_await conc::awaitable(task); }, loop));
      }
      if (round % 2 == 0) (void)conc_test::on_loop(loop.loop(), [] { return 0; });
      go.set();
      dawdle(round);
    }
    int settled = 0;
    for (int i = 0; i < 20; ++i) {
      const Future<int>& future = awaiting[static_cast<std::size_t>(i)];
      REQUIRE(future.done());
      settled += future.cancelled() || future.result() == i ? 1 : 0;
    }
    REQUIRE(settled == 20);
    REQUIRE(alive == 0);
    pool.wait_idle();
  }
}

TEST_CASE("run_coroutine_threadsafe: cancel at any moment", "[event_loop][V10][G7]") {
  const int rounds = scaled(20'000);
  LoopThread loop;
  std::atomic<int> alive{0};
  int cancelled = 0;
  int wrong = 0;
  const auto body = [&alive](int i) {
    return [i, counted = Counted{alive}]() -> awaitable<int> {
      if (i % 2 == 0) co_await conc::sleep(0s);
      co_return int{i};
    };
  };
  for (int i = 0; i < rounds; ++i) {
    const Future<int> future = run_coroutine_threadsafe(body(i), loop);
    dawdle(i);
    if (future.cancel()) {
      ++cancelled;
      wrong += future.cancelled() && future.cancel() ? 0 : 1;
    } else {
      wrong += future.result() == i ? 0 : 1;
    }
  }
  loop.stop();
  CHECK(wrong == 0);
  CHECK(alive == 0);
  CHECK(cancelled <= rounds);
}

TEST_CASE("EventLoop: run_until_complete hears of every future", "[event_loop][V7][G7]") {
  const int rounds = scaled(5'000);
  EventLoop loop;
  conc::ThreadPoolExecutor pool{2};
  long long sum = 0;
  long long expected = 0;
  for (int round = 0; round < rounds; ++round) {
    sum += loop.run_until_complete(pool.submit([round] {
      dawdle(round);
      return round;
    }));
    sum += loop.run_until_complete(conc::run_in_executor(pool, [round] { return round; }));
    expected += 2LL * round;
  }
  CHECK(sum == expected);
}

TEST_CASE("EventLoop: stop from many threads ends every run", "[event_loop][V5][G7]") {
  const int rounds = scaled(2'000);
  EventLoop loop;
  std::atomic<bool> over{false};
  int runs = 0;
  run_threads(4, [&](std::size_t thread) {
    if (thread == 0) {
      for (; runs < rounds; ++runs) loop.run_forever();
      over = true;
    }
    while (!over) loop.stop();
  });
  CHECK(runs == rounds);
  CHECK_FALSE(loop.is_running());
}

TEST_CASE("use_future: operations that end while the loop closes", "[event_loop][use_future][G7]") {
  const int rounds = scaled(300);
  for (int round = 0; round < rounds; ++round) {
    std::vector<Future<void>> futures;
    {
      LoopThread loop;
      for (int i = 0; i < 20; ++i) {
        futures.push_back(asio::co_spawn(
            loop.loop().context(), [](int us) { return conc::sleep(std::chrono::microseconds{us}); }(i * 5),
            conc::use_future));
      }
      dawdle(round);
    }
    for (const Future<void>& future : futures) {
      REQUIRE(future.done());
      const std::string end = ending([&] { future.result(); });
      REQUIRE((end == "returned" || end == "BrokenPromise"));
    }
  }
}

TEST_CASE("LoopThread: coroutines hand results from loop to loop", "[event_loop][V10][V13][G7]") {
  const int rounds = scaled(5'000);
  LoopThread one;
  LoopThread other;
  const auto number = [](int i) -> awaitable<int> { co_return int{i}; };
  const auto relay = [&](LoopThread& next) -> awaitable<long long> {
    long long sum = 0;
    for (int i = 0; i < rounds; ++i) sum += co_await conc::awaitable(run_coroutine_threadsafe(number(i), next));
    co_return sum;
  };
  const Future<long long> there = run_coroutine_threadsafe(relay(other), one);
  const Future<long long> back = run_coroutine_threadsafe(relay(one), other);
  const long long expected = static_cast<long long>(rounds) * (rounds - 1) / 2;
  CHECK(there.result() == expected);
  CHECK(back.result() == expected);
}
