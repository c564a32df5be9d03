// SPDX-License-Identifier: MIT
// Tasks that wait for tasks of their own pool: they run what nobody has started, and never wait in a circle.
#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/event.hpp>
#include <conc/lock.hpp>
#include <conc/semaphore.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
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
using conc_test::eventually;
using conc_test::message_of;
using conc_test::outcome;

namespace {

std::uint64_t this_thread() { return conc::current_thread().ident(); }

int fib(conc::ThreadPoolExecutor& pool, int n) {
  if (n < 2) return n;
  const conc::Future<int> other = pool.submit(&fib, std::ref(pool), n - 1);
  const int mine = fib(pool, n - 2);
  return mine + other.result();
}

int depth_below(conc::ThreadPoolExecutor& pool, int left) {
  return left == 0 ? 0 : pool.submit(&depth_below, std::ref(pool), left - 1).result() + 1;
}

/// Tasks that wait for each other: task i waits for task i + 1, the last one for the first. @return how they end
std::vector<std::string> circle(conc::ThreadPoolExecutor& pool, std::size_t n) {
  struct Waits {
    std::vector<conc::Future<void>>* all;
    std::size_t next;
    conc::Event* go;
    void operator()() const {
      go->wait();
      (*all)[next].result();
    }
  };
  conc::Event go;
  std::vector<conc::Future<void>> all;
  for (std::size_t i = 0; i < n; ++i) all.push_back(pool.submit(Waits{&all, (i + 1) % n, &go}));
  CHECK(eventually([&] {
    std::size_t running = 0;
    for (const auto& future : all) running += future.running() ? 1U : 0U;
    return running == std::min(n, pool.max_workers());
  }));
  go.set();
  std::vector<std::string> ends;
  for (const auto& future : all) ends.push_back(message_of<conc::DeadlockError>([&] { future.result(); }));
  return ends;
}

}  // namespace

TEST_CASE("ThreadPoolExecutor: recursion by futures ends on a pool of one worker", "[thread_pool][X16][FR6]") {
  for (const int workers : {1, 2, 3}) {
    conc::ThreadPoolExecutor pool{workers};
    CHECK(pool.submit(&fib, std::ref(pool), conc_test::scaled(16) < 16 ? 10 : 16).result() ==
          (conc_test::scaled(16) < 16 ? 55 : 987));
    CHECK(pool.stats().workers <= static_cast<std::size_t>(workers));
  }
}

TEST_CASE("ThreadPoolExecutor: tasks may wait for each other 100,000 deep", "[thread_pool][X16][FR6]") {
  const int depth = conc_test::sanitizer() == conc_test::Sanitizer::none ? 100'000 : 10'000;
  const std::size_t before = conc::active_count();
  for (const int workers : {1, 2}) {
    conc::ThreadPoolExecutor pool{workers};
    CHECK(pool.submit(&depth_below, std::ref(pool), depth).result() == depth);
    CHECK(pool.stats().workers <= static_cast<std::size_t>(workers));  // the fresh threads are gone, and did not count
    CHECK(pool.wait_idle());
    CHECK(pool.stats().done == static_cast<std::uint64_t>(depth) + 1);
    pool.shutdown();
    CHECK(conc::active_count() == before);
  }
}

TEST_CASE("ThreadPoolExecutor: beyond 1,000 tasks on a stack a fresh thread goes on as the same worker",
          "[thread_pool][X16]") {
  conc::ThreadPoolExecutor pool{{.max_workers = 1, .thread_name_prefix = "deep"}};
  struct Seen {
    std::set<std::uint64_t> threads;
    std::set<std::string> names;
    std::set<std::optional<std::size_t>> numbers;
    std::size_t workers = 0;
  } seen;  // one task after the other
  struct Deeper {
    conc::ThreadPoolExecutor* pool;
    Seen* seen;
    void operator()(int left) const {
      seen->threads.insert(this_thread());
      seen->names.insert(conc::current_thread().name());
      seen->numbers.insert(pool->worker_index());
      seen->workers = std::max(seen->workers, pool->stats().workers);
      if (left > 0) pool->submit(*this, left - 1).result();
    }
  };
  pool.submit(Deeper{&pool, &seen}, 2500).result();
  CHECK(seen.threads.size() == 3);
  CHECK(seen.names == std::set<std::string>{"deep_0"});
  CHECK(seen.numbers == std::set<std::optional<std::size_t>>{0});
  CHECK(seen.workers == 1);
  CHECK(pool.submit([] { return this_thread(); }).result() == *seen.threads.begin());
}

TEST_CASE("ThreadPoolExecutor: a stack holds 1,000 tasks that wait for each other, and not one more",
          "[thread_pool][X16]") {
  if (conc_test::sanitizer() != conc_test::Sanitizer::none) SKIP("the frames of a sanitizer fill a stack earlier");
  conc::ThreadPoolExecutor pool{1};
  struct Deeper {
    conc::ThreadPoolExecutor* pool;
    std::vector<std::uint64_t>* threads;
    void operator()(int left) const {
      threads->push_back(this_thread());
      if (left > 1) pool->submit(*this, left - 1).wait();
    }
  };
  std::vector<std::uint64_t> threads;  // of one task after the other
  pool.submit(Deeper{&pool, &threads}, 2500).result();
  REQUIRE(threads.size() == 2500);
  std::vector<std::size_t> changes;
  for (std::size_t i = 1; i < threads.size(); ++i) {
    if (threads[i] != threads[i - 1]) changes.push_back(i);
  }
  CHECK(changes == std::vector<std::size_t>{1000, 2000});
}

TEST_CASE("ThreadPoolExecutor: where the stacks are small claims go to fresh threads earlier", "[thread_pool][X16]") {
  const std::size_t stack_size = std::size_t{conc_test::sanitizer() == conc_test::Sanitizer::none ? 64U : 512U} << 10U;
  const int depth = conc_test::scaled(3000);
  for (const int workers : {1, 2}) {
    conc::ThreadPoolExecutor pool{{.max_workers = workers, .stack_size = stack_size}};
    CHECK(pool.submit(&depth_below, std::ref(pool), depth).result() == depth);
    CHECK(pool.stats().workers <= static_cast<std::size_t>(workers));
  }
}

TEST_CASE("ThreadPoolExecutor: where the frames are big claims go to fresh threads earlier", "[thread_pool][X16]") {
  struct Big {
    conc::ThreadPoolExecutor* pool;
    std::set<std::uint64_t>* threads;  // one task after the other
    int operator()(int left) const {
      volatile char frame[std::size_t{32} << 10U];
      for (std::size_t i = 0; i < sizeof frame; i += 1024) frame[i] = 1;
      threads->insert(this_thread());
      return (left == 0 ? 0 : pool->submit(*this, left - 1).result()) + frame[0];
    }
  };
  conc::ThreadPoolExecutor pool{1};
  std::set<std::uint64_t> threads;
  CHECK(pool.submit(Big{&pool, &threads}, 900).result() == 901);
  CHECK(threads.size() > 1);
}

TEST_CASE("ThreadPoolExecutor: a task that is claimed on a fresh thread finds that thread initialized",
          "[thread_pool][X8][X16]") {
  static thread_local int initialized = 0;
  std::atomic<int> calls{0};
  struct Deeper {
    conc::ThreadPoolExecutor* pool;
    std::atomic<int>* wrong;
    std::set<std::uint64_t>* threads;  // one task after the other
    void operator()(int left) const {
      threads->insert(this_thread());
      if (initialized != 1) ++*wrong;
      if (left > 0) pool->submit(*this, left - 1).result();
    }
  };
  std::atomic<int> wrong{0};
  std::set<std::uint64_t> threads;
  {
    conc::ThreadPoolExecutor pool{{.max_workers = 1, .initializer = [&calls] {
                                     ++initialized;
                                     ++calls;
                                   }}};
    pool.submit(Deeper{&pool, &wrong, &threads}, 1500).result();
    CHECK(threads.size() >= 2);
    CHECK(static_cast<std::size_t>(calls) == threads.size());
    CHECK(wrong == 0);
  }
  // Where it cannot be initialized, the tasks go on on the stack where they are.
  calls = 0;
  threads.clear();
  conc::ThreadPoolExecutor pool{{.max_workers = 1,
                                 .initializer =
                                     [&calls] {
                                       if (++calls > 1) throw std::runtime_error{"no more than one"};
                                       ++initialized;
                                     },
                                 .stack_size = std::size_t{64} << 20U}};
  pool.submit(Deeper{&pool, &wrong, &threads}, 1100).result();
  CHECK(threads.size() == 1);
  CHECK(calls > 1);
  CHECK(wrong == 0);
  CHECK(pool.submit([] { return 1; }).result() == 1);
}

TEST_CASE("ThreadPoolExecutor: an exception comes back through tasks that wait for each other", "[thread_pool][X16]") {
  conc::ThreadPoolExecutor pool{1};
  struct Deeper {
    conc::ThreadPoolExecutor* pool;
    void operator()(int left) const {
      if (left == 0) throw std::runtime_error{"the bottom"};
      pool->submit(*this, left - 1).result();
    }
  };
  CHECK(outcome([&] { pool.submit(Deeper{&pool}, 1500).result(); }) == "the bottom");
}

TEST_CASE("ThreadPoolExecutor: a claimed task runs on the waiter's thread, with its locks", "[thread_pool][X16]") {
  conc::ThreadPoolExecutor pool{1};
  conc::RLock lock;
  const conc::Future<bool> same = pool.submit([&] {
    const conc::ScopedLock guard{lock};
    const conc::Future<bool> owned = pool.submit([&] { return lock.owned(); });
    const conc::Future<std::uint64_t> thread = pool.submit(&this_thread);
    return owned.result() && thread.result() == this_thread();
  });
  CHECK(same.result());
}

TEST_CASE("ThreadPoolExecutor: every wait without a deadline claims: wait, exception, wait for all, as_completed",
          "[thread_pool][X16]") {
  conc::ThreadPoolExecutor pool{1};
  const auto task = [](int x) { return x; };
  const std::vector<int> items{1, 2, 3};
  CHECK(pool.submit([&] { return pool.submit(task, 1).wait(); }).result());
  CHECK(pool.submit([&] { return pool.submit(task, 1).exception() == nullptr; }).result());
  CHECK(pool.submit([&] { return conc::wait(pool.submit_many(task, items)).done.size(); }).result() == 3);
  CHECK(pool.submit([&] {
              int sum = 0;
              for (const auto& future : conc::as_completed(pool.submit_many(task, items))) sum += future.result();
              return sum;
            })
            .result() == 6);
  for (const auto when : {conc::ReturnWhen::first_completed, conc::ReturnWhen::first_exception}) {
    CHECK(pool.submit([&] {
                const auto futures = pool.submit_many(task, items);
                return conc::wait(futures, conc::WaitOptions{.return_when = when}).done.size();
              })
              .result() == (when == conc::ReturnWhen::first_completed ? 1 : 3));
  }
  CHECK(pool.submit([&] {
              int sum = 0;
              for (const int x : pool.map(task, items)) sum += x;
              return sum;
            })
            .result() == 6);
}

TEST_CASE("ThreadPoolExecutor: a wait with a deadline claims nothing, and times out", "[thread_pool][X16]") {
  conc::ThreadPoolExecutor pool{1};
  std::atomic<int> ran{0};
  const auto task = [&ran] { ++ran; };
  const conc::Future<int> waiting = pool.submit([&] {
    const conc::Future<void> future = pool.submit(task);
    const std::vector<conc::Future<void>> futures{future};
    int timeouts = 0;
    timeouts += outcome([&] { future.result(1ms); }) == "Future::result: not done before the deadline" ? 1 : 0;
    timeouts += future.wait(0s) ? 0 : 1;
    timeouts += conc::wait(futures, 1ms).not_done.size() == 1 ? 1 : 0;
    timeouts += message_of<conc::TimeoutError>([&] {
                  for (const auto& done : conc::as_completed(futures, 1ms)) (void)done;
                }) == "as_completed: 1 (of 1) futures unfinished"
                    ? 1
                    : 0;
    return timeouts + 10 * ran;
  });
  CHECK(waiting.result() == 4);
  CHECK(pool.wait_idle());
  CHECK(ran == 1);
}

TEST_CASE("ThreadPoolExecutor: a waiting worker runs nothing but what it waits for", "[thread_pool][X16]") {
  conc::ThreadPoolExecutor pool{1};
  const conc::Promise<int> promise;
  std::atomic<int> ran{0};
  conc::Event waits;
  const conc::Future<int> waiting = pool.submit([&] {
    pool.submit([&ran] { ++ran; });  // unrelated, from inside
    const conc::Future<void> related = pool.submit([] {});
    related.result();
    waits.set();
    return promise.get_future().result();
  });
  pool.submit([&ran] { ++ran; });  // and from outside
  waits.wait();
  CHECK_FALSE(waiting.wait(5ms));
  CHECK(ran == 0);
  promise.set_result(3);
  CHECK(waiting.result() == 3);
  CHECK(pool.wait_idle());
  CHECK(ran == 2);
}

TEST_CASE("ThreadPoolExecutor: who is no worker claims nothing", "[thread_pool][X16]") {
  conc::ThreadPoolExecutor pool{1};
  conc::ThreadPoolExecutor other{1};
  const std::uint64_t worker = pool.submit(&this_thread).result();
  std::optional<BusyWorkers> busy{std::in_place, pool};
  const conc::Future<std::uint64_t> first = pool.submit(&this_thread);
  const conc::Future<std::uint64_t> second = pool.submit(&this_thread);
  conc_test::Background outside{[&] { first.wait(); }};
  const conc::Future<std::uint64_t> by_other = other.submit([&second] { return second.result(); });
  CHECK(outside.falls_asleep());
  CHECK_FALSE(second.wait(5ms));
  busy.reset();
  CHECK(outside.join() == "returned");
  CHECK(first.result() == worker);
  CHECK(by_other.result() == worker);
}

TEST_CASE("ThreadPoolExecutor: as_completed and wait for the first claim nothing while an awaited task runs",
          "[thread_pool][X16]") {
  conc::ThreadPoolExecutor pool{2};
  for (const bool iterate : {false, true}) {
    conc::Event running;
    conc::Event go;
    std::atomic<bool> second_ran{false};
    const conc::Future<int> waiting = pool.submit([&] {
      std::vector<conc::Future<void>> futures;
      futures.push_back(pool.submit([&] {
        running.set();
        go.wait();
      }));
      running.wait();  // another worker has it
      futures.push_back(pool.submit([&] { second_ran = true; }));
      int first_done = 0;
      if (iterate) {
        for (const auto& future : conc::as_completed(futures)) {
          first_done = future == futures[0] ? 1 : 2;
          break;
        }
      } else {
        const auto done = conc::wait(futures, conc::WaitOptions{.return_when = conc::ReturnWhen::first_completed}).done;
        first_done = done[0] == futures[0] ? 1 : 2;
      }
      return first_done;
    });
    running.wait();
    CHECK_FALSE(waiting.wait(5ms));
    CHECK_FALSE(second_ran);
    go.set();
    CHECK(waiting.result() == 1);
    CHECK(pool.wait_idle());
    CHECK(second_ran);
  }
}

TEST_CASE("ThreadPoolExecutor: a task that waits for itself gets DeadlockError", "[thread_pool][X16][FM11]") {
  conc::ThreadPoolExecutor pool{2};
  for (int way = 0; way < 3; ++way) {
    conc::Promise<conc::Future<void>> promise;
    const conc::Future<void> itself = pool.submit([way, future = promise.get_future()] {
      const conc::Future<void> me = future.result();
      switch (way) {
        case 0:
          me.result();
          break;
        case 1:
          me.wait();
          break;
        default:
          (void)me.exception();
      }
    });
    promise.set_result(itself);
    const std::string message = message_of<conc::DeadlockError>([&] { itself.result(); });
    CHECK(message.find("the wait would never end") != std::string::npos);
  }
  CHECK(pool.submit([] { return 1; }).result() == 1);
}

TEST_CASE("ThreadPoolExecutor: a circle of waiting tasks is a DeadlockError that names them",
          "[thread_pool][X16][FR6]") {
  for (const std::size_t n : {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{5}}) {
    // With fewer workers some of them are claimed: part of the circle, or all of it, is one stack then.
    for (const std::size_t workers : {n, std::size_t{1}, (n + 1) / 2}) {
      conc::ThreadPoolExecutor pool{static_cast<int>(workers)};
      const std::vector<std::string> ends = circle(pool, n);
      for (const std::string& end : ends) {
        CHECK(end.starts_with("Future::result: the wait would never end: "));
        CHECK(end == ends[0]);  // it goes from task to task
        std::size_t names = 0;
        for (std::size_t at = end.find("Waits"); at != std::string::npos; at = end.find("Waits", at + 1)) ++names;
        CHECK(names >= 2);
        CHECK(names <= n + 1);
        if (workers == n) CHECK(names == n + 1);
      }
    }
  }
}

TEST_CASE("ThreadPoolExecutor: a circle of tasks of two pools is a DeadlockError in one of them",
          "[thread_pool][X16]") {
  for (int round = 0; round < conc_test::scaled(50); ++round) {
    conc::ThreadPoolExecutor pools[] = {conc::ThreadPoolExecutor{1}, conc::ThreadPoolExecutor{1}};
    conc::Semaphore running{0};
    conc::Event go;
    std::vector<conc::Future<int>> futures;
    for (std::size_t i = 0; i < 2; ++i) {
      futures.push_back(pools[i].submit([&, other = 1 - i] {
        running.release();
        go.wait();
        return message_of<conc::DeadlockError>([&] { futures[other].result(); }).empty() ? 0 : 1;
      }));
    }
    for (int i = 0; i < 2; ++i) running.acquire();
    go.set();
    REQUIRE(futures[0].result() + futures[1].result() == 1);
  }
}

TEST_CASE("ThreadPoolExecutor: with a deadline a circle of tasks is only late", "[thread_pool][X16]") {
  conc::ThreadPoolExecutor pool{2};
  conc::Promise<conc::Future<int>> promise;
  const conc::Future<int> first = pool.submit([future = promise.get_future()] {
    const conc::Future<int> second = future.result();
    return second.wait(20ms) ? 0 : 1;
  });
  const conc::Future<int> second = pool.submit([first] { return first.result() + 1; });
  promise.set_result(second);
  CHECK(second.result() == 2);
}

TEST_CASE("ThreadPoolExecutor: long chains of waits are no circle", "[thread_pool][X16]") {
  constexpr int length = 20;
  conc::ThreadPoolExecutor pool{length};
  conc::Event go;
  std::vector<conc::Future<int>> chain;
  chain.push_back(pool.submit([&go] {
    go.wait();
    return 0;
  }));
  for (int i = 1; i < length; ++i) {
    chain.push_back(pool.submit([before = chain.back()] { return before.result() + 1; }));
  }
  CHECK(eventually([&] { return chain.back().running(); }));
  go.set();
  CHECK(chain.back().result() == length - 1);
}

TEST_CASE("ThreadPoolExecutor: a worker that runs a claimed task inside a detached one does not count as idle",
          "[thread_pool][X16][X2]") {
  conc::ThreadPoolExecutor pool{4};
  conc::Event claimed;
  conc::Event go;
  pool.detach([&] {
    pool.submit([] {}).result();
    claimed.set();
    go.wait();
  });
  claimed.wait();
  CHECK(conc_test::eventually([&] { return pool.stats().running == 1; }));
  {
    const BusyWorkers others{pool, 3};
    CHECK(pool.stats().workers == 4);
    go.set();
  }
  CHECK(pool.wait_idle());
}
