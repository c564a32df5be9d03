// SPDX-License-Identifier: MIT
// Without sanitizers these are optimized and have no assertions: what must be reported in every build is reported here.
#include <catch2/catch_test_macros.hpp>
#include <conc/conc.hpp>
#include <optional>
#include <string>

#include "background.hpp"

using conc_test::outcome;

TEST_CASE("Misuse: a thread that joins itself, and one that was not started, get UsageError", "[misuse][T2][FM11]") {
  std::optional<conc::Thread> thread;
  std::string ending;
  thread.emplace([&] { ending = outcome([&] { thread->join(); }); });
  CHECK(outcome([&] { thread->join(); }) == "UsageError");
  thread->start();
  thread->join();
  CHECK(ending == "UsageError");
  CHECK(outcome([&] { thread->start(); }) == "UsageError");
}

TEST_CASE("Misuse: a task that waits for itself gets DeadlockError", "[misuse][X16][FM11]") {
  conc::ThreadPoolExecutor pool{2};
  const conc::Promise<conc::Future<void>> promise;
  const conc::Future<void> itself = pool.submit([future = promise.get_future()] { future.result().result(); });
  promise.set_result(itself);
  CHECK(conc_test::message_of<conc::DeadlockError>([&] { itself.result(); }).find("would never end") !=
        std::string::npos);
}

TEST_CASE("Misuse: a pool that is to wait for its own task gets UsageError", "[misuse][X7]") {
  conc::ThreadPoolExecutor pool{1};
  CHECK(outcome([&] { pool.submit([&pool] { pool.shutdown(); }).result(); }) == "UsageError");
  CHECK(outcome([&] { pool.submit([&pool] { pool.wait_idle(); }).result(); }) == "UsageError");
}

TEST_CASE("Misuse: releases and task_done() too many get UsageError, and change nothing", "[misuse][FM1][FM2][FM3]") {
  conc::Lock lock;
  CHECK(outcome([&] { lock.release(); }) == "UsageError");
  conc::RLock rlock;
  CHECK(outcome([&] { rlock.release(); }) == "UsageError");
  conc::BoundedSemaphore semaphore{1};
  CHECK(outcome([&] { semaphore.release(); }) == "UsageError");
  conc::Queue<int> queue{2};
  CHECK(outcome([&] { queue.task_done(); }) == "UsageError");
  conc::Condition<> condition;
  CHECK(outcome([&] { condition.notify(); }) == "UsageError");
  CHECK(lock.try_acquire());
  CHECK(rlock.try_acquire());
  CHECK(semaphore.value() == 1);
  CHECK(queue.unfinished_tasks() == 0);
}
