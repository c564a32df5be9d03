// SPDX-License-Identifier: MIT
// Pools with a bound on what may be queued; stats and wait_idle.
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/event.hpp>
#include <conc/semaphore.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "background.hpp"
#include "busy_pool.hpp"

using namespace std::chrono_literals;
using conc::WhenFull;
using conc_test::Background;
using conc_test::BusyWorkers;
using conc_test::eventually;
using conc_test::message_of;
using conc_test::outcome;

TEST_CASE("ThreadPoolExecutor: with WhenFull::raise submit throws QueueFull at the bound, exactly",
          "[thread_pool][X17]") {
  for (const std::size_t bound : {std::size_t{1}, std::size_t{2}, std::size_t{100}}) {
    conc::ThreadPoolExecutor pool{{.max_workers = 2, .max_queued = bound, .when_full = WhenFull::raise}};
    // The first tasks may not be met by their workers at once, so each is waited for.
    const BusyWorkers first{pool};
    std::optional<BusyWorkers> second{std::in_place, pool};
    std::atomic<std::size_t> ran{0};
    std::vector<conc::Future<void>> futures;
    for (std::size_t i = 0; i < bound; ++i) futures.push_back(pool.submit([&ran] { ++ran; }));
    const auto argument = std::make_shared<int>(1);
    CHECK(message_of<conc::QueueFull>([&] { pool.submit([argument, &ran] { ++ran; }); }) ==
          "ThreadPoolExecutor::submit: " + std::to_string(bound) + " tasks are queued already");
    CHECK(message_of<conc::QueueFull>([&] { pool.detach([argument, &ran] { ++ran; }); }) != "");
    CHECK(argument.use_count() == 1);
    CHECK(pool.stats().queued == bound);
    second.reset();
    conc::wait(futures);
    CHECK(ran == bound);
    CHECK_NOTHROW(pool.submit([&ran] { ++ran; }).result());
    CHECK(ran == bound + 1);
  }
}

TEST_CASE("ThreadPoolExecutor: with WhenFull::block submit waits for room", "[thread_pool][X17]") {
  conc::ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = 2}};
  std::optional<BusyWorkers> busy{std::in_place, pool};
  std::atomic<int> ran{0};
  for (int i = 0; i < 2; ++i) pool.submit([&ran] { ++ran; });
  std::atomic<int> submitted{0};
  Background submitter{[&] {
    for (int i = 0; i < 10; ++i) {
      pool.submit([&ran] { ++ran; });
      ++submitted;
    }
  }};
  CHECK(submitter.falls_asleep());
  CHECK(submitted == 0);
  CHECK(ran == 0);
  CHECK(pool.stats().queued == 2);
  busy.reset();
  CHECK(submitter.join() == "returned");
  pool.shutdown();
  CHECK(ran == 12);
}

TEST_CASE("ThreadPoolExecutor: who waits for room learns of a shutdown", "[thread_pool][X17][X13]") {
  for (const bool cancel : {false, true}) {
    conc::ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = 1}};
    BusyWorkers busy{pool};
    const conc::Future<void> queued = pool.submit([] {});
    Background first{[&] { pool.submit([] {}); }};
    Background second{[&] { pool.detach([] {}); }};
    CHECK(first.falls_asleep());
    CHECK(second.falls_asleep());
    pool.shutdown({.wait = false, .cancel_futures = cancel});
    CHECK(first.join() == "UsageError");
    CHECK(second.join() == "UsageError");
    CHECK(outcome([&] { pool.submit([] {}); }) == "UsageError");
    busy.release();
    pool.shutdown();
    CHECK(queued.done());
    CHECK(queued.cancelled() == cancel);
  }
}

TEST_CASE("ThreadPoolExecutor: with WhenFull::run_by_caller the caller runs what has no room", "[thread_pool][X17]") {
  conc::ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = 1, .when_full = WhenFull::run_by_caller}};
  BusyWorkers busy{pool};
  const std::uint64_t me = conc::current_thread().ident();
  const auto whoever = [] { return conc::current_thread().ident(); };
  const conc::Future<std::uint64_t> queued = pool.submit(whoever);
  const conc::Future<std::uint64_t> here = pool.submit(whoever);
  CHECK(here.done());
  CHECK(here.result() == me);
  CHECK_FALSE(queued.done());
  const conc::Future<void> failed = pool.submit([] { throw std::runtime_error{"boom"}; });
  CHECK(failed.done());
  CHECK(outcome([&] { failed.result(); }) == "boom");
  std::uint64_t detached = 0;
  pool.detach([&] { detached = whoever(); });
  CHECK(detached == me);
  const auto many = pool.submit_many([](int x) { return x; }, std::vector<int>{1, 2, 3});
  CHECK(conc::wait(many, 0s).done.size() == 3);
  CHECK(conc::current_thread().ident() == me);
  busy.release();
  CHECK(queued.result() != me);
}

TEST_CASE("ThreadPoolExecutor: a task that the caller of submit runs may destroy the pool", "[thread_pool][X17][FM9]") {
  const std::size_t before = conc::active_count();
  for (const bool detached : {false, true}) {
    auto pool = std::make_unique<conc::ThreadPoolExecutor>(
        conc::ThreadPoolOptions{.max_workers = 1, .max_queued = 1, .when_full = WhenFull::run_by_caller});
    conc::Event running;
    conc::Event go;
    pool->detach([&] {
      running.set();
      go.wait();
    });
    running.wait();
    const conc::Future<int> queued = pool->submit([] { return 1; });
    const auto destroy = [&] {
      go.set();
      pool.reset();
    };
    if (detached) {
      pool->detach(destroy);
    } else {
      pool->submit(destroy).result();
    }
    CHECK(pool == nullptr);
    CHECK(queued.result(0s) == 1);
  }
  CHECK(conc::active_count() == before);
}

TEST_CASE("ThreadPoolExecutor: a bound of more than 2^30 is a UsageError that names it", "[thread_pool][X17][G5]") {
  constexpr std::size_t most = std::size_t{1} << 30U;
  for (const std::size_t wrong : {most + 1, std::size_t{1'500'000'000}, SIZE_MAX}) {
    CHECK(message_of<conc::UsageError>([wrong] {
            conc::ThreadPoolExecutor{{.max_workers = 1, .max_queued = wrong}};
          }) == "ThreadPoolExecutor: max_queued is " + std::to_string(wrong) + ", and must be at most 1073741824");
  }
  conc::ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = most}};
  CHECK(pool.submit([] { return 1; }).result() == 1);
  pool.shutdown();
  pool.shutdown({.wait = true, .cancel_futures = true});
}

TEST_CASE("ThreadPoolExecutor: the first two who submit to a bounded pool get a worker each",
          "[thread_pool][X17][X2]") {
  // The one who starts the first worker is at it for a while, since the name takes its time to be copied. The other one
  // takes the only place meanwhile, so that the first waits until a worker has that task: which waits for his.
  for (int round = 0; round < conc_test::scaled(50); ++round) {
    conc::ThreadPoolExecutor pool{
        {.max_workers = 2, .thread_name_prefix = std::string(1'000'000, 'x'), .max_queued = 1}};
    conc::Event events[2];
    std::atomic<int> alone{0};
    conc_test::run_threads(2, [&](std::size_t mine) {
      pool.submit([&, mine] {
            events[mine].set();
            if (!events[1 - mine].wait(10s)) ++alone;
          })
          .wait();
    });
    REQUIRE(alone == 0);
  }
}

TEST_CASE("ThreadPoolExecutor: what a full pool's caller runs does not count as work of its own pool",
          "[thread_pool][X17][X2]") {
  conc::ThreadPoolExecutor full{{.max_workers = 1, .max_queued = 1, .when_full = WhenFull::run_by_caller}};
  const BusyWorkers busy{full};
  const conc::Future<void> queued = full.submit([] {});
  conc::Event ran;
  conc::Event go;
  conc::ThreadPoolExecutor pool{4};
  pool.detach([&] {
    full.submit([] {}).result();
    ran.set();
    go.wait();
  });
  ran.wait();
  CHECK(pool.stats().running == 1);
  CHECK(pool.stats().done == 0);
  // The worker is busy still, so these need workers of their own.
  const BusyWorkers another{pool};
  CHECK(pool.submit([] { return 1; }).wait(10s));
  go.set();
}

TEST_CASE("ThreadPoolExecutor: what its own tasks submit never waits for room", "[thread_pool][X17]") {
  for (const WhenFull when_full : {WhenFull::block, WhenFull::raise, WhenFull::run_by_caller}) {
    conc::ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = 1, .when_full = when_full}};
    std::atomic<int> ran{0};
    conc::Event go;
    const conc::Future<int> parent = pool.submit([&] {
      go.wait();
      for (int i = 0; i < 100; ++i) pool.submit([&ran] { ++ran; });
      pool.submit_many([&ran](int) { ++ran; }, std::vector<int>(50, 0));
      return ran.load();
    });
    CHECK(eventually([&] { return parent.running(); }));
    pool.submit([] {});  // it is full now
    go.set();
    CHECK(parent.result() == 0);
    pool.shutdown();
    CHECK(ran == 150);
  }
}

TEST_CASE("ThreadPoolExecutor: a place is free again after a task was cancelled, claimed or swept",
          "[thread_pool][X17]") {
  conc::ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = 4, .when_full = WhenFull::raise}};
  for (int round = 0; round < 10; ++round) {
    conc::Promise<conc::Future<int>> promise;
    const conc::Future<int> claimer =
        pool.submit([future = promise.get_future()] { return future.result().result() + 1; });
    CHECK(eventually([&] { return claimer.running(); }));
    CHECK(pool.submit([] {}).cancel());
    promise.set_result(pool.submit([] { return 1; }));
    CHECK(claimer.result() == 2);
    CHECK(pool.wait_idle());
    BusyWorkers busy{pool};
    for (int i = 0; i < 4; ++i) pool.detach([] {});
    CHECK(outcome([&] { pool.detach([] {}); }) == "QueueFull");
    busy.release();
    CHECK(pool.wait_idle());
  }
}

TEST_CASE("ThreadPoolExecutor: stats tell what was done", "[thread_pool][X17]") {
  conc::ThreadPoolExecutor pool{2};
  conc::PoolStats stats = pool.stats();
  CHECK(stats.queued + stats.running + stats.workers == 0);
  CHECK(stats.done + stats.failed + stats.cancelled == 0);
  {
    const BusyWorkers busy{pool, 2};
    std::vector<conc::Future<void>> futures;
    for (int i = 0; i < 10; ++i) {
      futures.push_back(pool.submit([i] {
        if (i < 3) throw std::runtime_error{"boom"};
      }));
    }
    futures[8].cancel();
    futures[9].cancel();
    pool.detach([] {});
    stats = pool.stats();
    CHECK(stats.queued == 11);
    CHECK(stats.running == 2);
    CHECK(stats.workers == 2);
    CHECK(stats.done + stats.failed + stats.cancelled == 0);
    for (std::size_t i = 0; i < 3; ++i) {
      futures[i].add_done_callback([](const conc::Future<void>& future) { (void)future.exception(); });
    }
  }
  CHECK(pool.wait_idle());
  stats = pool.stats();
  CHECK(stats.queued == 0);
  CHECK(stats.running == 0);
  CHECK(stats.workers == 2);
  CHECK(stats.done == 2 + 5 + 1);
  CHECK(stats.failed == 3);
  CHECK(stats.cancelled == 2);
  pool.shutdown();
  CHECK(pool.stats().done == 8);
  CHECK(pool.stats().workers == 0);
}

TEST_CASE("ThreadPoolExecutor: a task that is claimed is counted once", "[thread_pool][X17][X16]") {
  conc::ThreadPoolExecutor pool{1};
  for (int i = 0; i < 100; ++i) pool.submit([&pool] { pool.submit([] {}).result(); }).result();
  CHECK(pool.wait_idle());
  CHECK(pool.stats().done == 200);
  CHECK(pool.stats().cancelled == 0);
}

TEST_CASE("ThreadPoolExecutor: stats count every task that was accepted once, whoever ran it or did not",
          "[thread_pool][X17]") {
  const auto counted = [](const conc::ThreadPoolExecutor& pool) {
    const conc::PoolStats stats = pool.stats();
    return std::vector<std::uint64_t>{stats.done, stats.failed, stats.cancelled};
  };
  using Counts = std::vector<std::uint64_t>;
  const auto nothing = [] {};
  const auto fails = [] { throw std::runtime_error{"boom"}; };
  {  // run by the caller, who may be a worker of another pool
    conc::ThreadPoolExecutor other{1};
    conc::ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = 1, .when_full = WhenFull::run_by_caller}};
    {
      const BusyWorkers busy{pool};
      const conc::Future<void> queued = pool.submit(nothing);
      pool.submit(nothing);
      pool.detach(nothing);
      CHECK(outcome([&] { pool.submit(fails).result(); }) == "boom");
      pool.submit_many([](int) {}, std::vector<int>{1, 2});
      other.submit([&] { pool.submit(nothing).wait(); }).result();
      other.submit([&] { pool.detach(nothing); }).result();
      CHECK(counted(pool) == Counts{6, 1, 0});
    }
    CHECK(pool.wait_idle());
    CHECK(counted(pool) == Counts{8, 1, 0});
    CHECK(other.wait_idle());
    CHECK(counted(other) == Counts{2, 0, 0});
  }
  {  // claimed, and cancelled before that
    conc::ThreadPoolExecutor pool{1};
    pool.submit([&] {
          pool.submit(nothing).wait();
          (void)outcome([&] { pool.submit(fails).result(); });
          const conc::Future<void> cancelled = pool.submit(nothing);
          cancelled.cancel();
          cancelled.wait();
        })
        .wait();
    CHECK(pool.wait_idle());
    CHECK(counted(pool) == Counts{2, 1, 1});
  }
  {  // swept: from outside, submitted by a task, cancelled before, claimed and not yet met, and members of a group
    conc::ThreadPoolExecutor pool{1};
    conc::Event submitted;
    conc::Event go;
    pool.detach([&] {
      const conc::Future<void> claimed = pool.submit(nothing);
      pool.detach(nothing);
      claimed.wait();
      submitted.set();
      go.wait();
    });
    submitted.wait();
    pool.detach(nothing);
    pool.submit(nothing);
    CHECK(pool.submit(nothing).cancel());
    pool.shutdown({.wait = false, .cancel_futures = true});
    CHECK(counted(pool) == Counts{1, 0, 4});
    go.set();
    pool.shutdown();
    CHECK(counted(pool) == Counts{2, 0, 4});
  }
  {  // failed, because no worker can be initialized
    conc::Event go;
    conc::ThreadPoolExecutor pool{{.max_workers = 1, .initializer = [&] {
                                     go.wait();
                                     fails();
                                   }}};
    for (int i = 0; i < 3; ++i) pool.submit(nothing);
    pool.detach(nothing);
    CHECK(pool.submit(nothing).cancel());
    go.set();
    pool.shutdown();
    CHECK(counted(pool) == Counts{0, 4, 1});
  }
}

TEST_CASE("ThreadPoolExecutor: wait_idle waits until all is done", "[thread_pool][X17]") {
  conc::ThreadPoolExecutor pool{2};
  CHECK(pool.wait_idle());
  CHECK(pool.wait_idle(0s));
  BusyWorkers busy{pool};
  const conc::Future<void> queued = pool.submit([] {});
  for (const auto span : {0ms, 1ms, 20ms}) {
    const auto begin = std::chrono::steady_clock::now();
    CHECK_FALSE(pool.wait_idle(span));
    CHECK(std::chrono::steady_clock::now() - begin >= span);
  }
  Background waiter{[&pool] { pool.wait_idle(); }};
  Background other{[&pool] { pool.wait_idle(1h); }};
  CHECK(waiter.falls_asleep());
  CHECK(other.falls_asleep());
  busy.let_go();
  CHECK(waiter.join() == "returned");
  CHECK(other.join() == "returned");
  CHECK(queued.done());
  pool.shutdown();
  CHECK(pool.wait_idle(0s));
}

TEST_CASE("ThreadPoolExecutor: when wait_idle returns, tasks and what they submitted are done", "[thread_pool][X17]") {
  for (int round = 0; round < conc_test::scaled(500); ++round) {
    conc::ThreadPoolExecutor pool{1 + round % 4};
    int sum = 0;  // no atomic: wait_idle makes it visible
    std::vector<conc::Future<void>> futures;
    std::atomic<int> ran{0};
    for (int i = 0; i < 5; ++i) {
      futures.push_back(pool.submit([&] {
        for (int j = 0; j < 3; ++j) pool.detach([&ran] { ++ran; });
      }));
    }
    pool.submit([&sum] { sum = 1; });
    CHECK(pool.wait_idle());
    int not_done = 0;
    for (const auto& future : futures) not_done += future.done() ? 0 : 1;
    REQUIRE(not_done == 0);
    REQUIRE(ran == 15);
    REQUIRE(sum == 1);
  }
}
