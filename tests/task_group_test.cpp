// SPDX-License-Identifier: MIT
#include <conc/task_group.hpp>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "background.hpp"
#include "busy_pool.hpp"

using namespace std::chrono_literals;
using conc_test::Background;
using conc_test::BusyWorkers;
using conc_test::message_of;
using conc_test::outcome;

namespace {

static_assert(!std::is_copy_constructible_v<conc::TaskGroup>);
static_assert(!std::is_move_constructible_v<conc::TaskGroup>);

std::uint64_t this_thread() { return conc::current_thread().ident(); }

int fib(conc::ThreadPoolExecutor& pool, int n) {
  if (n < 2) return n;
  int other = 0;  // no atomic: wait() makes it visible
  conc::TaskGroup group{pool};
  group.run([&other, &pool, n] { other = fib(pool, n - 1); });
  const int mine = fib(pool, n - 2);
  group.wait();
  return mine + other;
}

int depth_below(conc::ThreadPoolExecutor& pool, int left) {
  if (left == 0) return 0;
  int below = 0;
  conc::TaskGroup group{pool};
  group.run([&below, &pool, left] { below = depth_below(pool, left - 1); });
  group.wait();
  return below + 1;
}

}  // namespace

TEST_CASE("TaskGroup: wait returns when all tasks have ended, and shows what they did", "[task_group]") {
  conc::ThreadPoolExecutor pool{3};
  const std::size_t tasks = conc_test::scaled<std::size_t>(2000);
  for (const bool by_worker : {false, true}) {
    std::vector<int> results(tasks, 0);
    const auto fork_join = [&] {
      conc::TaskGroup group{pool};
      for (std::size_t i = 0; i < tasks; ++i) group.run([&results, i] { results[i] = static_cast<int>(i) + 1; });
      group.wait();
    };
    if (by_worker) {
      pool.submit(fork_join).result();
    } else {
      fork_join();
    }
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < tasks; ++i) wrong += results[i] == static_cast<int>(i) + 1 ? 0U : 1U;
    CHECK(wrong == 0);
  }
}

TEST_CASE("TaskGroup: an empty group has nothing to wait for", "[task_group]") {
  conc::ThreadPoolExecutor pool{1};
  conc::TaskGroup group{pool};
  group.wait();
  group.wait();
  CHECK(pool.stats().workers == 0);
}

TEST_CASE("TaskGroup: can be used again after wait", "[task_group]") {
  conc::ThreadPoolExecutor pool{2};
  const auto rounds = [&pool] {
    conc::TaskGroup group{pool};
    int wrong = 0;
    for (int round = 1; round <= conc_test::scaled(500); ++round) {
      std::atomic<int> ran{0};
      for (int i = 0; i < round % 5; ++i) group.run([&ran] { ++ran; });
      group.wait();
      wrong += ran == round % 5 ? 0 : 1;
    }
    return wrong;
  };
  CHECK(rounds() == 0);
  CHECK(pool.submit(rounds).result() == 0);
}

TEST_CASE("TaskGroup: recursion ends on a pool of one worker, and of more", "[task_group][X16][FR6]") {
  for (const int workers : {1, 2, 4}) {
    conc::ThreadPoolExecutor pool{workers};
    const int n = conc_test::sanitizer() == conc_test::Sanitizer::none ? 20 : 12;
    const int expected = n == 20 ? 6765 : 144;
    CHECK(pool.submit(&fib, std::ref(pool), n).result() == expected);
    CHECK(fib(pool, n / 2) == (n == 20 ? 55 : 8));
    CHECK(pool.submit(&depth_below, std::ref(pool), 500).result() == 500);
    CHECK(pool.wait_idle());
    CHECK(pool.stats().workers <= static_cast<std::size_t>(workers));
  }
}

TEST_CASE("TaskGroup: wait throws what the first task threw, after all have ended", "[task_group]") {
  conc::ThreadPoolExecutor pool{2};
  const auto failing = [&pool] {
    conc::TaskGroup group{pool};
    std::atomic<int> ended{0};
    for (int i = 0; i < 10; ++i) {
      group.run([&ended, i] {
        ++ended;
        if (i % 3 == 1) throw std::runtime_error{"boom"};
      });
    }
    const std::string how = outcome([&] { group.wait(); });
    const bool all = ended == 10;
    // It is told once.
    return how + (all ? ", all ended, " : ", too early, ") + outcome([&] { group.wait(); });
  };
  CHECK(failing() == "boom, all ended, returned");
  CHECK(pool.submit(failing).result() == "boom, all ended, returned");
  conc::TaskGroup group{pool};
  group.run([] { throw 42; });
  CHECK(outcome([&] { group.wait(); }) == "something else");
  group.run([] {});
  CHECK(outcome([&] { group.wait(); }) == "returned");
}

TEST_CASE("TaskGroup: of two exceptions wait throws the first", "[task_group]") {
  for (int round = 0; round < conc_test::scaled(100); ++round) {
    conc::ThreadPoolExecutor pool{2};
    conc::TaskGroup group{pool};
    conc::Event go;
    group.run([&] {
      go.wait();
      throw std::runtime_error{"second"};
    });
    group.run([] { throw std::runtime_error{"first"}; });
    CHECK(conc_test::eventually([&] { return pool.stats().failed == 1; }));
    go.set();
    CHECK(outcome([&] { group.wait(); }) == "first");
  }
}

TEST_CASE("TaskGroup: the destructor waits, and drops what tasks threw", "[task_group]") {
  conc::ThreadPoolExecutor pool{2};
  std::atomic<int> ended{0};
  {
    const BusyWorkers busy{pool};
    conc::TaskGroup group{pool};
    for (int i = 0; i < 20; ++i) {
      group.run([&ended] {
        ++ended;
        throw std::runtime_error{"boom"};
      });
    }
  }
  CHECK(ended == 20);
  CHECK(pool.submit([&] {
              conc::TaskGroup group{pool};
              group.run([&ended] { ++ended; });
              throw std::runtime_error{"out of the task"};
            })
            .exception() != nullptr);
  CHECK(ended == 21);
}

TEST_CASE("TaskGroup: tasks may add to their own group, from any thread", "[task_group]") {
  conc::ThreadPoolExecutor pool{3};
  const auto grow = [&pool] {
    conc::TaskGroup group{pool};
    std::atomic<int> ran{0};
    struct Split {
      conc::TaskGroup* group;
      std::atomic<int>* ran;
      int left;
      void operator()() const {
        ++*ran;
        if (left == 0) return;
        group->run(Split{group, ran, left - 1});
        group->run(Split{group, ran, left - 1});
      }
    };
    group.run(Split{&group, &ran, 9});
    group.wait();
    return ran.load();
  };
  for (int round = 0; round < conc_test::scaled(30); ++round) {
    CHECK(grow() == 1023);
    CHECK(pool.submit(grow).result() == 1023);
  }
}

TEST_CASE("TaskGroup: any thread may add to a group that is not done", "[task_group]") {
  conc::ThreadPoolExecutor pool{2};
  for (int round = 0; round < conc_test::scaled(100); ++round) {
    conc::TaskGroup group{pool};
    std::atomic<int> ran{0};
    conc_test::run_threads(3, [&](std::size_t) {
      for (int i = 0; i < 10; ++i) group.run([&ran] { ++ran; });
    });
    group.wait();
    CHECK(ran == 30);
  }
}

TEST_CASE("TaskGroup: what a thread that is no worker adds to the group of a worker runs although that one waits",
          "[task_group]") {
  for (const int workers : {1, 2}) {
    conc::ThreadPoolExecutor pool{workers};
    std::atomic<int> ran{0};
    const conc::Future<int> task = pool.submit([&] {
      conc::TaskGroup group{pool};
      conc_test::run_threads(2, [&](std::size_t) {
        for (int i = 0; i < 3; ++i) group.run([&ran] { ++ran; });
      });
      group.run([&ran] { ++ran; });
      group.wait();
      return ran.load();
    });
    CHECK(task.wait(10s));
    pool.shutdown({.cancel_futures = true});
    CHECK(task.result() == 7);
  }
}

TEST_CASE("TaskGroup: a member that a shutdown runs may call parallel_for, fork and wait", "[task_group][X5]") {
  for (const int workers : {1, 2}) {
    conc::ThreadPoolExecutor pool{workers};
    const BusyWorkers others{pool, static_cast<std::size_t>(workers) - 1};
    conc::Event queued;
    conc::Event go;
    std::atomic<std::size_t> sum{0};
    const std::uint64_t me = this_thread();
    std::atomic<int> here{0};
    const conc::Future<void> task = pool.submit([&] {
      conc::TaskGroup group{pool};
      group.run([&] {
        here += this_thread() == me ? 1 : 0;
        conc::parallel_for(pool, 100, [&sum](std::size_t i) { sum += i; });
      });
      group.run([&] {
        here += this_thread() == me ? 1 : 0;
        conc::TaskGroup inner{pool};
        inner.run([&sum] { sum += 50; });
        inner.wait();
      });
      queued.set();
      go.wait();
      group.wait();
    });
    queued.wait();
    pool.shutdown({.wait = false, .cancel_futures = true});
    CHECK(here == 2);
    CHECK(sum == 5000);
    go.set();
    task.result();
  }
}

TEST_CASE("TaskGroup: a worker that waits runs the tasks itself, newest first", "[task_group]") {
  conc::ThreadPoolExecutor pool{1};
  const std::vector<int> order = pool.submit([&pool] {
                                       std::vector<int> ran;
                                       conc::TaskGroup group{pool};
                                       for (int i = 0; i < 5; ++i) group.run([&ran, i] { ran.push_back(i); });
                                       group.wait();
                                       return ran;
                                     })
                                     .result();
  CHECK(order == std::vector<int>{4, 3, 2, 1, 0});
}

TEST_CASE("TaskGroup: a worker that waits runs no other tasks", "[task_group][X16]") {
  conc::ThreadPoolExecutor pool{1};
  std::vector<int> order;
  const conc::Future<void> task = pool.submit([&] {
    pool.submit([&order] { order.push_back(1); });
    conc::TaskGroup outer{pool};
    outer.run([&order] { order.push_back(2); });
    pool.detach([&order] { order.push_back(3); });
    conc::TaskGroup inner{pool};
    inner.run([&order] { order.push_back(4); });
    pool.submit([&order] { order.push_back(5); });
    inner.wait();
    order.push_back(0);
    outer.wait();
    order.push_back(0);
  });
  task.result();
  CHECK(pool.wait_idle());
  REQUIRE(order.size() == 7);
  CHECK(std::vector<int>(order.begin(), order.begin() + 4) == std::vector<int>{4, 0, 2, 0});
  CHECK(std::set<int>(order.begin() + 4, order.end()) == std::set<int>{1, 3, 5});
}

TEST_CASE("TaskGroup: while a worker runs a task of its group, free workers get its other tasks", "[task_group][X16]") {
  conc::Event in_member;
  conc::Event go;
  conc::ThreadPoolExecutor pool{3};
  std::optional<BusyWorkers> busy{std::in_place, pool, 2};
  const conc::Future<void> task = pool.submit([&] {
    conc::TaskGroup group{pool};
    group.run([&] {
      in_member.set();
      go.wait();
    });
    pool.detach([&go] { go.set(); });
    group.wait();
  });
  in_member.wait();
  busy->let_go();
  CHECK(task.wait(10s));
  go.set();
  task.result();
}

TEST_CASE("TaskGroup: who is no worker runs nothing itself", "[task_group]") {
  conc::ThreadPoolExecutor pool{1};
  conc::ThreadPoolExecutor other{1};
  const auto threads = [&pool] {
    std::set<std::uint64_t> seen;
    conc::TaskGroup group{pool};
    for (int i = 0; i < 20; ++i) group.run([&seen] { seen.insert(this_thread()); });
    group.wait();
    return seen;
  };
  const std::uint64_t worker = pool.submit(&this_thread).result();
  CHECK(threads() == std::set<std::uint64_t>{worker});
  CHECK(other.submit(threads).result() == std::set<std::uint64_t>{worker});
}

TEST_CASE("TaskGroup: callables may be movable only, and are gone when wait returns", "[task_group]") {
  conc::ThreadPoolExecutor pool{2};
  const auto captured = std::make_shared<int>(0);
  conc::TaskGroup group{pool};
  std::atomic<int> sum{0};
  for (int i = 0; i < 20; ++i) group.run([captured, &sum, p = std::make_unique<int>(i)] { sum += *p; });
  group.wait();
  CHECK(sum == 190);
  CHECK(captured.use_count() == 1);
}

TEST_CASE("TaskGroup: after the shutdown of the pool run calls the function here and now", "[task_group][X4][X5]") {
  conc::ThreadPoolExecutor pool{1};
  conc::TaskGroup group{pool};
  std::vector<std::uint64_t> threads;  // run one after the other
  const auto note = [&threads] { threads.push_back(this_thread()); };
  group.run(note);
  pool.shutdown();
  const auto captured = std::make_shared<int>(0);
  group.run([&note, captured] { note(); });
  CHECK(captured.use_count() == 1);
  group.wait();
  REQUIRE(threads.size() == 2);
  CHECK(threads[0] != this_thread());
  CHECK(threads[1] == this_thread());
  group.run([] { throw std::runtime_error{"boom"}; });
  CHECK(outcome([&] { group.wait(); }) == "boom");
}

TEST_CASE("TaskGroup: a task that runs may fork and join after shutdown", "[task_group][X5]") {
  conc::ThreadPoolExecutor pool{2};
  conc::Event go;
  const conc::Future<int> task = pool.submit([&] {
    go.wait();
    return fib(pool, 8);
  });
  pool.shutdown({.wait = false});
  go.set();
  CHECK(task.result() == 21);
}

TEST_CASE("TaskGroup: tasks fail with BrokenThreadPool where an initializer does", "[task_group][X8]") {
  conc::Event go;
  conc::ThreadPoolExecutor pool{{.max_workers = 1, .initializer = [&go] {
                                   go.wait();
                                   throw std::runtime_error{"no database"};
                                 }}};
  conc::TaskGroup group{pool};
  bool ran = false;
  for (int i = 0; i < 3; ++i) group.run([&ran] { ran = true; });
  go.set();
  CHECK(message_of<conc::BrokenThreadPool>([&] { group.wait(); }) ==
        "ThreadPoolExecutor: the initializer of a worker failed: std::runtime_error: no database");
  CHECK_FALSE(ran);
  CHECK(message_of<conc::BrokenThreadPool>([&] { group.run([] {}); }) != "");
  group.wait();
}

TEST_CASE("TaskGroup: is not held back by the bound of a pool", "[task_group][X17]") {
  conc::ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = 1, .when_full = conc::WhenFull::raise}};
  BusyWorkers busy{pool};
  pool.detach([] {});
  conc::TaskGroup group{pool};
  std::atomic<int> ran{0};
  for (int i = 0; i < 10; ++i) group.run([&ran] { ++ran; });
  CHECK(outcome([&] { pool.detach([] {}); }) == "QueueFull");
  busy.let_go();
  group.wait();
  CHECK(ran == 10);
}

TEST_CASE("TaskGroup: a waiter asleep is woken by the last task", "[task_group]") {
  conc::ThreadPoolExecutor pool{1};
  for (int round = 0; round < conc_test::scaled(50); ++round) {
    conc::Event go;
    int seen = 0;
    Background waiter{[&] {
      int value = 0;
      conc::TaskGroup group{pool};
      group.run([&] {
        go.wait();
        value = 1;
      });
      group.wait();
      seen = value;
    }};
    CHECK(waiter.falls_asleep());
    go.set();
    CHECK(waiter.join() == "returned");
    CHECK(seen == 1);
  }
}
