// SPDX-License-Identifier: MIT
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "background.hpp"
#include "busy_pool.hpp"

using namespace std::chrono_literals;
using conc_test::BusyWorkers;
using conc_test::outcome;

namespace {
std::uint64_t this_thread() { return conc::current_thread().ident(); }
}  // namespace

TEST_CASE("parallel_for: calls the function once for each number, and shows what it did", "[parallel_for]") {
  conc::ThreadPoolExecutor pool{3};
  for (const std::size_t n : {0UL, 1UL, 2UL, 3UL, 7UL, 100UL, 10'000UL}) {
    std::vector<int> calls(n, 0);  // no atomics: the end makes them visible
    conc::parallel_for(pool, n, [&calls](std::size_t i) { ++calls[i]; });
    CHECK(std::accumulate(calls.begin(), calls.end(), 0) == static_cast<int>(n));
    std::size_t once = 0;
    for (const int count : calls) once += count == 1 ? 1U : 0U;
    CHECK(once == n);
  }
}

TEST_CASE("parallel_for: takes integers of any type", "[parallel_for]") {
  conc::ThreadPoolExecutor pool{2};
  std::atomic<long long> sum{0};
  conc::parallel_for(pool, -10, 11, [&sum](int i) { sum += i + 1; });
  CHECK(sum == 21);
  sum = 0;
  using Small = std::numeric_limits<std::int8_t>;
  conc::parallel_for(pool, Small::min(), Small::max(), [&sum](std::int8_t i) { sum += i; });
  CHECK(sum == -128 - 127);
  sum = 0;
  conc::parallel_for(pool, 5U, 5U, [&sum](unsigned) { ++sum; });
  conc::parallel_for(pool, 5, -5, [&sum](int) { ++sum; });
  conc::parallel_for(pool, std::uint64_t{7}, std::uint64_t{3}, [&sum](std::uint64_t) { ++sum; });
  CHECK(sum == 0);
}

TEST_CASE("parallel_for: reaches over the whole range of an integer type", "[parallel_for]") {
  conc::ThreadPoolExecutor pool{2};
  using Int = std::numeric_limits<int>;
  std::mutex mutex;
  std::set<int> seen;
  const auto note_and_stop = [&](int i) {
    const std::lock_guard guard{mutex};
    seen.insert(i);
    if (i == Int::min()) throw std::runtime_error{"enough"};
  };
  // The ends are far apart, and the parts that others take begin beyond 2^31.
  CHECK(outcome([&] { conc::parallel_for(pool, Int::min(), Int::max(), note_and_stop); }) == "enough");
  CHECK(seen.contains(Int::min()));
}

TEST_CASE("parallel_for: takes random access iterators", "[parallel_for]") {
  conc::ThreadPoolExecutor pool{3};
  std::vector<int> numbers(1000);
  conc::parallel_for(pool, numbers.begin(), numbers.end(), [](int& x) { x = 1; });
  CHECK(std::accumulate(numbers.begin(), numbers.end(), 0) == 1000);
  std::deque<int> deque(1000, 2);
  std::atomic<int> sum{0};
  conc::parallel_for(pool, deque.cbegin() + 10, deque.cend(), [&sum](const int& x) { sum += x; });
  CHECK(sum == 1980);
  int array[3] = {1, 2, 3};
  conc::parallel_for(pool, array, array + 3, [](int& x) { x *= 2; });
  CHECK(array[0] + array[1] + array[2] == 12);
  conc::parallel_for(pool, array, array, [](int& x) { x = 0; });
  CHECK(array[0] == 2);
}

TEST_CASE("parallel_for: nobody copies the function", "[parallel_for]") {
  struct Counts {
    std::atomic<int> calls{0};  // neither copied nor moved
    void operator()(std::size_t) { ++calls; }
  } counts;
  conc::ThreadPoolExecutor pool{2};
  conc::parallel_for(pool, 100, counts);
  CHECK(counts.calls == 100);
}

TEST_CASE("parallel_for: the calling thread takes part, and does all where nobody else is free", "[parallel_for]") {
  conc::ThreadPoolExecutor pool{2};
  std::set<std::uint64_t> threads;
  {
    const BusyWorkers busy{pool, 2};
    conc::parallel_for(pool, 1000, [&threads](std::size_t) { threads.insert(this_thread()); });
    CHECK(threads == std::set<std::uint64_t>{this_thread()});
  }
  CHECK(pool.wait_idle());  // the helpers that came too late have gone again
  threads.clear();
  conc::parallel_for(pool, 1, [&threads](std::size_t) { threads.insert(this_thread()); });
  CHECK(threads == std::set<std::uint64_t>{this_thread()});
}

TEST_CASE("parallel_for: workers that are free take part", "[parallel_for]") {
  conc::ThreadPoolExecutor pool{3};
  for (int round = 0; round < conc_test::scaled(50); ++round) {
    // Four calls that all must run at once to end.
    std::atomic<int> running{0};
    conc::Event all;
    std::atomic<int> alone{0};
    conc::parallel_for(pool, 4, [&](std::size_t) {
      if (++running == 4) all.set();
      if (!all.wait(10s)) ++alone;
    });
    REQUIRE(alone == 0);
  }
}

TEST_CASE("parallel_for: from a task the other workers help", "[parallel_for]") {
  conc::ThreadPoolExecutor pool{3};
  const conc::Future<int> alone = pool.submit([&pool] {
    std::atomic<int> running{0};
    conc::Event all;
    std::atomic<int> failed{0};
    conc::parallel_for(pool, 3, [&](std::size_t) {
      if (++running == 3) all.set();
      if (!all.wait(10s)) ++failed;
    });
    return failed.load();
  });
  CHECK(alone.result() == 0);
}

TEST_CASE("parallel_for: from a task of another pool the workers help as for anybody", "[parallel_for][X4]") {
  conc::ThreadPoolExecutor pool{1};
  conc::ThreadPoolExecutor other{1};
  const auto meet = [&pool] {
    std::atomic<int> running{0};
    conc::Event both;
    std::atomic<int> alone{0};
    conc::parallel_for(pool, 2, [&](std::size_t) {
      if (++running == 2) both.set();
      if (!both.wait(10s)) ++alone;
    });
    return alone.load();
  };
  for (int round = 0; round < conc_test::scaled(50); ++round) REQUIRE(other.submit(meet).result() == 0);
  pool.shutdown();
  std::atomic<int> calls{0};
  const auto count = [&] { conc::parallel_for(pool, 100, [&calls](std::size_t) { ++calls; }); };
  CHECK(outcome([&] { other.submit(count).result(); }) == "UsageError");
  CHECK(calls == 0);
}

TEST_CASE("parallel_for: may be nested, on a pool of any size", "[parallel_for][X16][FR6]") {
  for (const int workers : {1, 2, 4}) {
    conc::ThreadPoolExecutor pool{workers};
    std::atomic<int> calls{0};
    const auto nested = [&] {
      conc::parallel_for(pool, 10, [&](std::size_t) {
        conc::parallel_for(pool, 10, [&](std::size_t) { conc::parallel_for(pool, 3, [&](std::size_t) { ++calls; }); });
      });
    };
    nested();
    CHECK(calls == 300);
    pool.submit(nested).result();
    CHECK(calls == 600);
  }
}

TEST_CASE("parallel_for: throws the first exception when all that was begun has ended", "[parallel_for]") {
  conc::ThreadPoolExecutor pool{3};
  for (int round = 0; round < conc_test::scaled(100); ++round) {
    constexpr std::size_t n = 100'000;
    std::atomic<int> inside{0};
    std::atomic<std::size_t> calls{0};
    const auto loop = [&] {
      conc::parallel_for(pool, n, [&](std::size_t i) {
        ++inside;
        ++calls;
        if (i % 50 == 10) {
          --inside;
          throw std::runtime_error{"boom"};
        }
        --inside;
      });
    };
    REQUIRE(outcome(loop) == "boom");
    REQUIRE(inside == 0);
    REQUIRE(calls < n);  // the rest was not done
    REQUIRE(pool.submit([&loop] { return outcome(loop); }).result() == "boom");
    REQUIRE(inside == 0);
  }
  CHECK(outcome([&] { conc::parallel_for(pool, 3, [](std::size_t) { throw 42; }); }) == "something else");
}

TEST_CASE("parallel_for: after shutdown it throws UsageError and calls nothing, but for tasks that still run",
          "[parallel_for][X4]") {
  conc::ThreadPoolExecutor pool{2};
  conc::Event go;
  const conc::Future<int> task = pool.submit([&] {
    go.wait();
    std::atomic<int> calls{0};
    conc::parallel_for(pool, 100, [&calls](std::size_t) { ++calls; });
    return calls.load();
  });
  pool.shutdown({.wait = false});
  std::atomic<int> calls{0};
  CHECK(outcome([&] { conc::parallel_for(pool, 100, [&calls](std::size_t) { ++calls; }); }) == "UsageError");
  CHECK(calls == 0);
  go.set();
  CHECK(task.result() == 100);
}

TEST_CASE("parallel_for: works on pools with a bound", "[parallel_for][X17]") {
  using conc::WhenFull;
  for (const WhenFull when_full : {WhenFull::block, WhenFull::run_by_caller}) {
    conc::ThreadPoolExecutor pool{{.max_workers = 4, .max_queued = 1, .when_full = when_full}};
    for (int round = 0; round < conc_test::scaled(100); ++round) {
      std::atomic<int> calls{0};
      conc::parallel_for(pool, 100, [&calls](std::size_t) { ++calls; });
      REQUIRE(calls == 100);
    }
  }
}
