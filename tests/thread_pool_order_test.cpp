// SPDX-License-Identifier: MIT
// In which order tasks start, and tasks that submit tasks.
#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/event.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include "background.hpp"
#include "busy_pool.hpp"

using namespace std::chrono_literals;
using conc_test::BusyWorkers;
using conc_test::message_of;
using conc_test::outcome;

TEST_CASE("ThreadPoolExecutor: one worker starts tasks from outside in their order", "[thread_pool][X15]") {
  conc::ThreadPoolExecutor pool{1};
  const int tasks = conc_test::scaled(5000);
  std::vector<int> order;  // touched by the one worker only
  for (int round = 0; round < 3; ++round) {
    order.clear();
    std::optional<BusyWorkers> busy;
    if (round == 0) busy.emplace(pool);  // else the worker takes them while they come
    for (int i = 0; i < tasks; ++i) {
      if (round == 2) {
        pool.detach([&order, i] { order.push_back(i); });
      } else {
        pool.submit([&order, i] { order.push_back(i); });
      }
    }
    busy.reset();
    pool.submit([] {}).result();
    REQUIRE(order.size() == static_cast<std::size_t>(tasks));
    int wrong = 0;
    for (int i = 0; i < tasks; ++i) wrong += order[static_cast<std::size_t>(i)] == i ? 0 : 1;
    CHECK(wrong == 0);
  }
}

namespace {
/// A task that submits itself again and counts how often, until `end`.
struct Again {
  conc::ThreadPoolExecutor* pool;
  std::atomic<int>* times;
  const std::atomic<bool>* end;
  void operator()() const {
    ++*times;
    if (!*end) pool->detach(*this);
  }
};
}  // namespace

TEST_CASE("ThreadPoolExecutor: a task from outside waits for no more than 64 tasks that tasks submit",
          "[thread_pool][X15]") {
  conc::ThreadPoolExecutor pool{1};
  std::atomic<int> times{0};
  std::atomic<bool> end{false};
  pool.submit(Again{&pool, &times, &end}).wait();
  int worst = 0;
  for (int i = 0; i < conc_test::scaled(200); ++i) {
    std::optional<BusyWorkers> busy{std::in_place, pool};  // it came in, too
    const int before = times;
    const conc::Future<int> outside = pool.submit([&times] { return times.load(); });
    busy.reset();
    worst = std::max(worst, outside.result() - before);
  }
  end = true;
  CHECK(pool.wait_idle());
  CHECK(worst > 0);  // they do overtake it
  CHECK(worst <= 64);
}

TEST_CASE("ThreadPoolExecutor: a task that submits itself until another one of its own is done comes to an end",
          "[thread_pool][X15]") {
  conc::ThreadPoolExecutor pool{1};
  conc::Future<int> work;  // touched by the one worker only
  std::atomic<int> polls{0};
  std::atomic<bool> end{false};
  conc::Event over;
  struct Poll {
    conc::ThreadPoolExecutor* pool;
    const conc::Future<int>* work;
    std::atomic<int>* polls;
    const std::atomic<bool>* end;
    conc::Event* over;
    void operator()() const {
      ++*polls;
      if (work->done()) {
        over->set();
      } else if (!*end) {
        pool->detach(*this);
      }
    }
  };
  pool.detach([&] {
    work = pool.submit([] { return 1; });
    pool.detach(Poll{&pool, &work, &polls, &end, &over});
  });
  CHECK(over.wait(10s));
  end = true;
  CHECK(pool.wait_idle());
  CHECK(polls <= 1025);  // of 1,024 looks one goes to the oldest
}

TEST_CASE("ThreadPoolExecutor: what waits behind a long task is run by another worker although others keep coming",
          "[thread_pool][X15]") {
  constexpr int newer = 120'000;  // each old one and what was dealt with them costs 1,024 of these
  for (const bool submitted_by_it : {false, true}) {
    conc::ThreadPoolExecutor pool{2};
    conc::Event long_runs;
    conc::Event end;
    std::atomic<int> others{0};
    int old_ones[20] = {};  // how many of the others had run then
    std::vector<conc::Future<void>> old;
    BusyWorkers first{pool};
    BusyWorkers second{pool};
    const auto submit_old = [&] {
      for (int& seen : old_ones) old.push_back(pool.submit([&seen, &others] { seen = others; }));
    };
    const conc::Future<void> long_one = pool.submit([&] {
      if (submitted_by_it) submit_old();
      long_runs.set();
      end.wait();
    });
    if (!submitted_by_it) submit_old();
    for (int i = 0; i < newer; ++i) pool.detach([&others] { ++others; });
    first.release();
    long_runs.wait();  // and what comes behind it was dealt to its worker
    second.release();
    for (const auto& future : old) CHECK(future.wait(10s));
    end.set();
    CHECK(pool.wait_idle());
    CHECK(others == newer);
    CHECK(*std::max_element(std::begin(old_ones), std::end(old_ones)) <= newer / 2);
  }
}

TEST_CASE("ThreadPoolExecutor: tasks and callbacks may submit, also to themselves for long", "[thread_pool][X13]") {
  conc::ThreadPoolExecutor pool{3};
  const int depth = conc_test::scaled(10'000);
  conc::Event end;
  struct Step {
    conc::ThreadPoolExecutor* pool;
    conc::Event* end;
    void operator()(int left) const {
      if (left == 0) {
        end->set();
      } else if (left % 2 == 0) {
        pool->submit(*this, left - 1);
      } else {
        pool->submit([] {}).add_done_callback(
            [step = *this, left](const conc::Future<void>&) { step.pool->submit(step, left - 1); });
      }
    }
  };
  pool.submit(Step{&pool, &end}, depth);
  end.wait();
  CHECK(pool.wait_idle());
  CHECK(pool.stats().done >= static_cast<std::uint64_t>(depth));
}

TEST_CASE("ThreadPoolExecutor: submit_many submits a call for each item", "[thread_pool]") {
  conc::ThreadPoolExecutor pool{3};
  const auto square = [](int x) { return x * x; };
  std::vector<int> items;
  for (int i = 0; i < 1000; ++i) items.push_back(i);
  const auto check = [&](const std::vector<conc::Future<int>>& futures) {
    int wrong = futures.size() == items.size() ? 0 : 1;
    for (std::size_t i = 0; i < futures.size(); ++i) wrong += futures[i].result() == items[i] * items[i] ? 0 : 1;
    return wrong;
  };
  CHECK(check(pool.submit_many(square, items)) == 0);
  CHECK(pool.submit([&] { return check(pool.submit_many(square, items)); }).result() == 0);
  CHECK(pool.submit_many(square, std::vector<int>{}).empty());
  conc::ThreadPoolExecutor bounded{{.max_workers = 2, .max_queued = 3}};
  CHECK(check(bounded.submit_many(square, items)) == 0);
  const auto some =
      pool.submit_many([](int x) { return x == 1 ? throw std::runtime_error{"one"} : x; }, std::vector<int>{0, 1, 2});
  CHECK(some[0].result() == 0);
  CHECK(message_of<std::runtime_error>([&] { some[1].result(); }) == "one");
  CHECK(some[2].result() == 2);
  pool.shutdown();
  std::atomic<int> ran{0};
  CHECK(outcome([&] { pool.submit_many([&ran](int) { ++ran; }, items); }) == "UsageError");
  CHECK(ran == 0);
}

TEST_CASE("ThreadPoolExecutor: submit_many leaves its order to one worker", "[thread_pool][X15]") {
  conc::ThreadPoolExecutor pool{1};
  std::vector<int> order;
  std::vector<int> items;
  for (int i = 0; i < 500; ++i) items.push_back(i);
  const auto append = [&order](int x) { order.push_back(x); };
  conc::wait(pool.submit_many(append, items));
  CHECK(order == items);
  order.clear();
  std::vector<conc::Future<void>> futures;
  pool.submit([&] { futures = pool.submit_many(append, items); }).result();
  conc::wait(futures);
  // Of 1,024 looks one goes to the oldest of its tasks, which is the last item: all others keep their order.
  REQUIRE(order.size() == items.size());
  CHECK(std::set<int>(order.begin(), order.end()).size() == items.size());
  int behind = 0;
  for (std::size_t i = 1; i < order.size(); ++i) behind += order[i] < order[i - 1] ? 1 : 0;
  CHECK(behind <= 1);
}
