// SPDX-License-Identifier: MIT
/// @file
/// What any executor must do, as test cases. The including file first names what is tested:
///
///     struct ThreadPools {
///       static conc::ThreadPoolExecutor make(int workers) { return conc::ThreadPoolExecutor{workers}; }
///       static constexpr int most_queued = 1000;       // tasks that submit() takes at once while no worker is free
///       static constexpr std::size_t taken_ahead = 0;  // how many of them a worker may have got then: they are run
///     };
///     using ExecutorsUnderTest = std::tuple<ThreadPools>;
///     #include "executor_suite.hpp"
///
/// All tasks are functions with plain arguments that share nothing with the test but files, so that they can be run by
/// other processes too. Cases that hold all workers queue no more than most_queued tasks, since an executor with a bound
/// would wait for ever. map is called as conc::map: an executor needs no member of that name.
#pragma once

#include <algorithm>
#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <chrono>
#include <conc/error.hpp>
#include <conc/executor.hpp>
#include <conc/future.hpp>
#include <conc/wait.hpp>
#include <cstddef>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "background.hpp"
#include "gate.hpp"
#include "support.hpp"

namespace conc_test::executor {

using namespace std::chrono_literals;

using conc_test::Folder;
using conc_test::Gate;
using conc_test::hold;
using conc_test::make_file;

// Tasks.

inline int twice(int x) { return 2 * x; }
inline int add(int a, int b) { return a + b; }
inline int zero() { return 0; }
inline std::string join_words(const std::string& a, const std::string& b) { return a + " " + b; }
inline void nothing() {}
inline int fail(const std::string& words) { throw std::runtime_error{words}; }
inline int throw_number() { throw 42; }  // NOLINT(hicpp-exception-baseclass): no std::exception, on purpose
inline int fail_at_three(int x) {
  if (x == 3) throw std::runtime_error{"three"};
  return x;
}
inline int hold_at_two(int x, const std::string& path) { return x == 2 ? hold(path) : x; }

/// So many tasks, or as many as the executor takes while no worker is free.
template <class ExecutorUnderTest>
constexpr int most(int tasks) {
  return std::min(tasks, ExecutorUnderTest::most_queued);
}

template <class T>
bool starts(const conc::Future<T>& future) {
  return eventually([&future] { return future.running() || future.done(); });
}

inline std::vector<int> numbers(int n) {
  std::vector<int> all;
  for (int i = 0; i < n; ++i) all.push_back(i);
  return all;
}

}  // namespace conc_test::executor

TEMPLATE_LIST_TEST_CASE("Executor: submit gives a future of what the function returns", "[executor]",
                        ExecutorsUnderTest) {
  using namespace conc_test::executor;
  auto pool = TestType::make(2);
  STATIC_REQUIRE(conc::Executor<decltype(pool)>);
  const conc::Future<int> sum = pool.submit(&add, 40, 2);
  CHECK(sum.result() == 42);
  CHECK(sum.result(0s) == 42);
  CHECK(pool.submit(&zero).result() == 0);
  CHECK(pool.submit(&join_words, std::string{"two"}, std::string{"words"}).result() == "two words");
  const conc::Future<void> done = pool.submit(&nothing);
  done.result();
  CHECK(done.done());
  CHECK(done.exception() == nullptr);
  CHECK_FALSE(done.cancelled());
  CHECK_FALSE(done.running());
}

TEMPLATE_LIST_TEST_CASE("Executor: many tasks all run, once each", "[executor]", ExecutorsUnderTest) {
  using namespace conc_test::executor;
  auto pool = TestType::make(3);
  const int tasks = conc_test::scaled(2000);
  std::vector<conc::Future<int>> futures;
  for (int i = 0; i < tasks; ++i) futures.push_back(pool.submit(&twice, i));
  int wrong = 0;
  for (int i = 0; i < tasks; ++i) wrong += futures[static_cast<std::size_t>(i)].result() == 2 * i ? 0 : 1;
  CHECK(wrong == 0);
  const Folder folder;
  for (int i = 0; i < 50; ++i) pool.detach(&make_file, folder.file(i));
  pool.shutdown();
  CHECK(folder.count() == 50);
}

TEMPLATE_LIST_TEST_CASE("Executor: fewer than one worker is a UsageError, and max_workers tells the number",
                        "[executor][X1][G5]", ExecutorsUnderTest) {
  for (const int workers : {0, -1}) {
    CHECK(conc_test::outcome([workers] { TestType::make(workers); }) == "UsageError");
  }
  auto pool = TestType::make(3);
  CHECK(pool.max_workers() == 3);
}

TEMPLATE_LIST_TEST_CASE("Executor: what a task throws is thrown by result, every time, and the executor goes on",
                        "[executor][X9][F3]", ExecutorsUnderTest) {
  using namespace conc_test::executor;
  auto pool = TestType::make(1);
  const conc::Future<int> failed = pool.submit(&fail, std::string{"boom"});
  for (int i = 0; i < 2; ++i) {
    CHECK(conc_test::message_of<std::runtime_error>([&] { failed.result(); }) == "boom");
    CHECK(failed.exception() != nullptr);
  }
  CHECK_FALSE(failed.cancelled());
  const conc::Future<int> odd = pool.submit(&throw_number);
  CHECK(conc_test::outcome([&] { odd.result(); }) != "returned");
  CHECK(pool.submit(&twice, 4).result() == 8);
}

TEMPLATE_LIST_TEST_CASE("Executor: a task is cancelled before it starts, not later", "[executor][F1]",
                        ExecutorsUnderTest) {
  using namespace conc_test::executor;
  Gate gate;
  const Folder folder;
  auto pool = TestType::make(1);
  const conc::Future<int> running = pool.submit(&hold, gate.path());
  REQUIRE(starts(running));
  std::vector<conc::Future<void>> queued;
  for (int i = 0; i < most<TestType>(10); ++i) queued.push_back(pool.submit(&make_file, folder.file(i)));
  CHECK_FALSE(running.cancel());
  const std::size_t stay = std::max(queued.size() / 2, TestType::taken_ahead);
  for (std::size_t i = stay; i < queued.size(); ++i) {
    CHECK(queued[i].cancel());
    CHECK(queued[i].cancelled());
    CHECK(queued[i].done());
    CHECK(conc_test::message_of<conc::CancelledError>([&] { queued[i].result(); }) != "");
  }
  gate.open();
  CHECK(running.result() == 1);
  CHECK_FALSE(running.cancel());
  for (std::size_t i = 0; i < stay; ++i) queued[i].result();
  pool.shutdown();
  CHECK(folder.count() == stay);
}

TEMPLATE_LIST_TEST_CASE("Executor: a result that does not come before the deadline is a TimeoutError", "[executor][F3]",
                        ExecutorsUnderTest) {
  using namespace conc_test::executor;
  Gate gate;
  auto pool = TestType::make(1);
  const conc::Future<int> future = pool.submit(&hold, gate.path());
  for (const auto span : {0ms, 1ms, 20ms}) {
    const auto begin = std::chrono::steady_clock::now();
    CHECK(conc_test::message_of<conc::TimeoutError>([&] { (void)future.result(span); }) != "");
    CHECK_FALSE(future.wait(span));
    CHECK(std::chrono::steady_clock::now() - begin >= 2 * span);
  }
  CHECK_FALSE(future.done());
  gate.open();
  CHECK(future.wait(1h));
  CHECK(future.result(0s) == 1);
}

TEMPLATE_LIST_TEST_CASE("Executor: callbacks get the future, and may submit", "[executor][F6][X13]",
                        ExecutorsUnderTest) {
  using namespace conc_test::executor;
  conc::Promise<conc::Future<int>> next;
  const conc::Future<conc::Future<int>> submitted = next.get_future();
  auto pool = TestType::make(2);
  pool.submit(&twice, 3).add_done_callback(
      [&](const conc::Future<int>& done) { next.set_result(pool.submit(&twice, done.result())); });
  CHECK(submitted.result().result() == 12);
}

TEMPLATE_LIST_TEST_CASE("Executor: submit throws UsageError after shutdown, which may be repeated",
                        "[executor][X4][FR7][G5]", ExecutorsUnderTest) {
  using namespace conc_test::executor;
  auto pool = TestType::make(2);
  const conc::Future<int> before = pool.submit(&twice, 1);
  pool.shutdown();
  CHECK(before.done());
  CHECK(before.result() == 2);
  for (int i = 0; i < 2; ++i) {
    CHECK(conc_test::message_of<conc::UsageError>([&] { pool.submit(&twice, 1); }).find("after shutdown") !=
          std::string::npos);
    CHECK(conc_test::outcome([&] { pool.detach(&nothing); }) == "UsageError");
    CHECK(conc_test::outcome([&] { (void)conc::map(pool, &twice, numbers(3)); }) == "UsageError");
    pool.shutdown();
    pool.shutdown({.wait = false});
    pool.shutdown({.wait = true, .cancel_futures = true});
  }
}

TEMPLATE_LIST_TEST_CASE("Executor: an executor that was never used can be shut down", "[executor][X4][X11]",
                        ExecutorsUnderTest) {
  { auto pool = TestType::make(2); }
  auto pool = TestType::make(2);
  pool.shutdown();
  CHECK(conc_test::outcome([&] { pool.detach(&conc_test::executor::nothing); }) == "UsageError");
}

TEMPLATE_LIST_TEST_CASE("Executor: shutdown runs what is queued", "[executor][X5]", ExecutorsUnderTest) {
  using namespace conc_test::executor;
  Gate gate;
  auto pool = TestType::make(1);
  std::vector<conc::Future<int>> futures{pool.submit(&hold, gate.path())};
  REQUIRE(starts(futures[0]));
  for (int i = 0; i < most<TestType>(100); ++i) futures.push_back(pool.submit(&zero));
  pool.shutdown({.wait = false});
  CHECK_FALSE(futures.back().done());
  gate.open();
  pool.shutdown();
  std::size_t done = 0;
  for (const auto& future : futures) done += future.done() && !future.cancelled() ? 1U : 0U;
  CHECK(done == futures.size());
}

TEMPLATE_LIST_TEST_CASE("Executor: shutdown with cancel_futures cancels what is queued, and what runs goes on",
                        "[executor][X5][X6][W8]", ExecutorsUnderTest) {
  using namespace conc_test::executor;
  Gate gate;
  auto pool = TestType::make(1);
  const conc::Future<int> running = pool.submit(&hold, gate.path());
  REQUIRE(starts(running));
  std::vector<conc::Future<int>> futures;
  for (int i = 0; i < most<TestType>(50); ++i) futures.push_back(pool.submit(&zero));
  conc_test::Background waiter{[&] { conc::wait(futures); }};
  conc_test::Background other{[&] {
    for (const auto& future : conc::as_completed(futures)) (void)future;
  }};
  CHECK(waiter.falls_asleep());
  CHECK(other.falls_asleep());
  pool.shutdown({.wait = false, .cancel_futures = true});
  std::size_t cancelled = 0;
  for (const auto& future : futures) cancelled += future.cancelled() ? 1U : 0U;
  CHECK(cancelled + TestType::taken_ahead >= futures.size());
  CHECK_FALSE(running.done());
  gate.open();
  pool.shutdown();
  CHECK(waiter.join() == "returned");
  CHECK(other.join() == "returned");
  CHECK(running.result() == 1);
  const auto [done, not_done] = conc::wait(futures, 0s);
  CHECK(done.size() == futures.size());
  CHECK(not_done.empty());
}

TEMPLATE_LIST_TEST_CASE("Executor: the destructor waits for all tasks", "[executor][X11]", ExecutorsUnderTest) {
  using namespace conc_test::executor;
  const Folder folder;
  std::vector<conc::Future<void>> futures;
  {
    auto pool = TestType::make(2);
    for (int i = 0; i < 100; ++i) futures.push_back(pool.submit(&make_file, folder.file(i)));
  }
  CHECK(folder.count() == 100);
  int done = 0;
  for (const auto& future : futures) done += future.done() ? 1 : 0;
  CHECK(done == 100);
}

TEMPLATE_LIST_TEST_CASE("Executor: what is submitted while it is shut down is run, or refused", "[executor][X13][FR7]",
                        ExecutorsUnderTest) {
  using namespace conc_test::executor;
  for (int round = 0; round < conc_test::scaled(30); ++round) {
    const Folder folder;
    auto pool = TestType::make(2);
    std::atomic<int> refused{0};
    std::atomic<int> wrong{0};
    std::atomic<int> ran{0};
    conc_test::run_threads(3, [&](std::size_t thread) {
      if (thread == 2) {
        pool.shutdown({.wait = round % 2 == 0});
        return;
      }
      for (int i = 0; i < 20; ++i) {
        std::optional<conc::Future<int>> future;
        try {
          future.emplace(pool.submit(&twice, i));
        } catch (const conc::UsageError&) {
          ++refused;
          continue;
        }
        if (future->result() == 2 * i) {
          ++ran;
        } else {
          ++wrong;
        }
      }
    });
    CHECK(wrong == 0);
    CHECK(ran + refused == 40);
  }
}

TEMPLATE_LIST_TEST_CASE("Executor: wait and as_completed take the futures of several executors",
                        "[executor][FM6][AC5][W1]", ExecutorsUnderTest) {
  using namespace conc_test::executor;
  auto first = TestType::make(1);
  auto second = TestType::make(2);
  std::vector<conc::Future<int>> futures;
  for (int i = 0; i < 20; ++i) futures.push_back((i % 2 == 0 ? first : second).submit(&twice, i));
  futures.push_back(futures.front());
  std::multiset<int> results;
  for (const auto& future : conc::as_completed(futures, 1h)) results.insert(future.result());
  CHECK(results.size() == 20);
  CHECK(std::set<int>(results.begin(), results.end()).size() == 20);
  CHECK(conc::wait(futures).done.size() == 20);
}

TEMPLATE_LIST_TEST_CASE("Executor: map gives the results in the order of the items, and the shortest range decides",
                        "[executor][map][X10]", ExecutorsUnderTest) {
  using namespace conc_test::executor;
  auto pool = TestType::make(3);
  const std::vector<int> items = numbers(50);
  for (const std::size_t chunksize : {std::size_t{1}, std::size_t{7}, std::size_t{50}, std::size_t{1000}}) {
    for (const std::size_t buffersize : {std::size_t{0}, std::size_t{1}, std::size_t{10}, std::size_t{100}}) {
      std::vector<int> results;
      const conc::MapOptions options{.chunksize = chunksize, .buffersize = buffersize};
      for (const int result : conc::map(pool, options, &add, items, numbers(20))) results.push_back(result);
      REQUIRE(results.size() == 20);
      int wrong = 0;
      for (int i = 0; i < 20; ++i) wrong += results[static_cast<std::size_t>(i)] == 2 * i ? 0 : 1;
      CHECK(wrong == 0);
    }
  }
  int results = 0;
  for (const int result : conc::map(pool, &twice, std::vector<int>{})) results += result + 1;
  CHECK(results == 0);
}

TEMPLATE_LIST_TEST_CASE("Executor: map throws what a call threw when it is reached", "[executor][map][X10]",
                        ExecutorsUnderTest) {
  using namespace conc_test::executor;
  auto pool = TestType::make(2);
  for (const std::size_t chunksize : {std::size_t{1}, std::size_t{2}, std::size_t{10}}) {
    std::vector<int> results;
    CHECK(conc_test::message_of<std::runtime_error>([&] {
            for (const int result : conc::map(pool, {.chunksize = chunksize}, &fail_at_three, numbers(8))) {
              results.push_back(result);
            }
          }) == "three");
    CHECK(results == numbers(3));
  }
}

TEMPLATE_LIST_TEST_CASE("Executor: map throws TimeoutError when its time is over, counted from the call",
                        "[executor][map][X10]", ExecutorsUnderTest) {
  using namespace conc_test::executor;
  Gate gate;
  auto pool = TestType::make(2);
  std::vector<int> results;
  const auto begin = std::chrono::steady_clock::now();
  auto mapped = conc::map(pool, {.timeout = 50ms}, &hold_at_two, numbers(5), std::vector<std::string>(5, gate.path()));
  CHECK(conc_test::message_of<conc::TimeoutError>([&] {
          for (const int result : mapped) results.push_back(result);
        }) != "");
  CHECK(std::chrono::steady_clock::now() - begin >= 50ms);
  CHECK(results.size() <= 2);  // the machine may be slow
  gate.open();
}

TEMPLATE_LIST_TEST_CASE("Executor: leaving the iteration of map early cancels what has not started",
                        "[executor][map][X10]", ExecutorsUnderTest) {
  using namespace conc_test::executor;
  const Folder folder;
  {
    Gate gate;
    auto pool = TestType::make(1);
    const conc::Future<int> before = pool.submit(&hold, gate.path());
    REQUIRE(starts(before));
    CHECK(conc_test::message_of<conc::TimeoutError>([&] {
            std::vector<std::string> files;
            for (int i = 0; i < most<TestType>(100); ++i) files.push_back(folder.file(i));
            auto mapped = conc::map(pool, {.timeout = 0s}, &make_file, files);
            for (auto& result : mapped) (void)result;
          }) != "");
    gate.open();
  }
  CHECK(folder.count() <= TestType::taken_ahead);
}

TEMPLATE_LIST_TEST_CASE("Executor: a result of map that is never iterated cancels nothing", "[executor][map][X10]",
                        ExecutorsUnderTest) {
  using namespace conc_test::executor;
  for (const std::size_t buffersize : {std::size_t{0}, std::size_t{12}}) {
    const Folder folder;
    {
      auto pool = TestType::make(2);
      std::vector<std::string> files;
      for (int i = 0; i < 40; ++i) files.push_back(folder.file(i));
      conc::map(pool, {.chunksize = 4, .buffersize = buffersize}, &make_file, files);
    }
    CHECK(folder.count() == (buffersize == 0 ? 40 : buffersize));
  }
}

TEMPLATE_LIST_TEST_CASE("Executor: map refuses chunks of nothing", "[executor][map][X10][G5]", ExecutorsUnderTest) {
  using namespace conc_test::executor;
  auto pool = TestType::make(1);
  CHECK(conc_test::message_of<conc::UsageError>([&] { (void)conc::map(pool, {.chunksize = 0}, &twice, numbers(3)); }) ==
        "map: chunksize is 0, and must be at least 1");
}
