// SPDX-License-Identifier: MIT
// In which order tasks start, and tasks that submit tasks.
#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <conc/event.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "background.hpp"
#include "busy_pool.hpp"

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
  CHECK(order == items);
}
