// SPDX-License-Identifier: MIT
// How a pool of threads ends: shutdown and destruction from everywhere.
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/event.hpp>
#include <conc/semaphore.hpp>
#include <conc/task_group.hpp>
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
using conc_test::Background;
using conc_test::BusyWorkers;
using conc_test::eventually;
using conc_test::message_of;
using conc_test::outcome;

namespace {

std::atomic<int> destroyed{0};

struct CountsItsEnd {
  bool used = false;
  ~CountsItsEnd() {
    if (used) ++destroyed;
  }
};
thread_local CountsItsEnd local;

}  // namespace

TEST_CASE("ThreadPoolExecutor: shutdown waits for the workers, destructors of their thread_locals included",
          "[thread_pool][X5]") {
  destroyed = 0;
  const std::size_t before = conc::active_count();
  conc::ThreadPoolExecutor pool{3};
  {
    conc::Semaphore arrived{0};
    conc::Event go;
    for (int i = 0; i < 3; ++i) {
      pool.detach([&] {
        local.used = true;
        arrived.release();
        go.wait();
      });
    }
    for (int i = 0; i < 3; ++i) arrived.acquire();
    go.set();
    pool.shutdown();
  }
  CHECK(destroyed == 3);
  CHECK(conc::active_count() == before);
  CHECK(pool.stats().workers == 0);
  CHECK(pool.stats().running == 0);
}

TEST_CASE("ThreadPoolExecutor: shutdown without wait returns while tasks run, and they go on", "[thread_pool][X5]") {
  conc::ThreadPoolExecutor pool{2};
  BusyWorkers busy{pool, 2};
  const conc::Future<int> queued = pool.submit([] { return 1; });
  pool.shutdown({.wait = false});
  CHECK(outcome([&] { pool.submit([] {}); }) == "UsageError");
  CHECK_FALSE(queued.done());
  Background waiter{[&pool] { pool.shutdown(); }};
  CHECK(waiter.falls_asleep());
  busy.release();
  CHECK(waiter.join() == "returned");
  CHECK(queued.done());
  CHECK(queued.result() == 1);
}

TEST_CASE("ThreadPoolExecutor: a task that waits for the end of its own pool gets UsageError, and nothing has changed",
          "[thread_pool][X7][FR7][FM11]") {
  conc::ThreadPoolExecutor pool{2};
  const conc::Future<void> failed = pool.submit([&pool] { pool.shutdown(); });
  CHECK(message_of<conc::UsageError>([&] { failed.result(); }) ==
        "ThreadPoolExecutor::shutdown: a task cannot wait for the end of its own pool");
  CHECK(pool.submit([] { return 1; }).result() == 1);
  CHECK(message_of<conc::UsageError>([&] { pool.submit([&pool] { pool.wait_idle(); }).result(); }) ==
        "ThreadPoolExecutor::wait_idle: a task cannot wait for its own end");
  // In a task that another one claims, too.
  const conc::Future<std::string> outer = pool.submit([&pool] {
    const conc::Future<void> inner = pool.submit([&pool] { pool.shutdown({.wait = true, .cancel_futures = true}); });
    return outcome([&] { inner.result(); });
  });
  CHECK(outer.result() == "UsageError");
  CHECK(pool.submit([] { return 2; }).result() == 2);
}

TEST_CASE("ThreadPoolExecutor: a callback on a worker cannot wait for the end of the pool either",
          "[thread_pool][X7][FR7]") {
  conc::ThreadPoolExecutor pool{1};
  std::optional<BusyWorkers> busy{std::in_place, pool};
  std::string how;
  conc::Event called;
  const conc::Future<void> future = pool.submit([] {});
  future.add_done_callback([&](const conc::Future<void>&) {
    how = outcome([&] { pool.shutdown(); });
    called.set();
  });
  busy.reset();
  called.wait();
  CHECK(how == "UsageError");
  CHECK(pool.submit([] { return 1; }).result() == 1);
}

TEST_CASE("ThreadPoolExecutor: a task may end its own pool without waiting", "[thread_pool][X7][FR7]") {
  for (const bool cancel : {false, true}) {
    conc::ThreadPoolExecutor pool{1};
    conc::Event go;
    const conc::Future<std::string> ender = pool.submit([&] {
      go.wait();
      pool.shutdown({.wait = false, .cancel_futures = cancel});
      return outcome([&] { pool.submit([] {}); });
    });
    const conc::Future<int> queued = pool.submit([] { return 1; });
    go.set();
    CHECK(ender.result() == "UsageError");
    pool.shutdown();
    CHECK(queued.done());
    CHECK(queued.cancelled() == cancel);
  }
}

TEST_CASE("ThreadPoolExecutor: a task may wait for the end of another pool", "[thread_pool][X7]") {
  conc::ThreadPoolExecutor pool{1};
  conc::ThreadPoolExecutor other{1};
  const conc::Future<int> last = other.submit([] { return 3; });
  pool.submit([&other] {
        other.wait_idle();
        other.shutdown();
      })
      .result();
  CHECK(last.done());
  CHECK(outcome([&] { other.submit([] {}); }) == "UsageError");
  CHECK(pool.submit([] { return 1; }).result() == 1);
}

TEST_CASE("ThreadPoolExecutor: several threads may shut it down at once, and all wait", "[thread_pool][X4][FR7]") {
  for (int round = 0; round < conc_test::scaled(100); ++round) {
    conc::ThreadPoolExecutor pool{3};
    std::vector<conc::Future<int>> futures;
    for (int i = 0; i < 30; ++i) futures.push_back(pool.submit([i] { return i; }));
    std::atomic<int> not_done{0};
    conc_test::run_threads(4, [&](std::size_t thread) {
      pool.shutdown({.wait = true, .cancel_futures = round % 4 == 3 && thread == 0});
      for (const auto& future : futures) not_done += future.done() ? 0 : 1;
    });
    CHECK(not_done == 0);
    CHECK(pool.stats().workers == 0);
  }
}

TEST_CASE("ThreadPoolExecutor: cancel_futures destroys the callables of what is queued", "[thread_pool][X5][F12]") {
  const auto captured = std::make_shared<int>(1);
  conc::ThreadPoolExecutor pool{1};
  BusyWorkers busy{pool};
  std::vector<conc::Future<void>> futures;
  for (int i = 0; i < 10; ++i) futures.push_back(pool.submit([captured] {}));
  for (int i = 0; i < 10; ++i) pool.detach([captured] {});
  int called = 0;
  futures[3].add_done_callback([&called](const conc::Future<void>& future) { called += future.cancelled() ? 1 : 0; });
  pool.shutdown({.wait = false, .cancel_futures = true});
  CHECK(called == 1);
  CHECK(captured.use_count() == 1);
  for (const auto& future : futures) CHECK(future.cancelled());
  CHECK(pool.stats().cancelled == 20);
  CHECK(pool.stats().queued == 0);
}

TEST_CASE("ThreadPoolExecutor: cancel_futures comes to an end although a task submits until it is refused",
          "[thread_pool][X4][X5][X13]") {
  // Whoever cancels a task waits until another one has been submitted: there would always be one more.
  struct Progress {
    std::atomic<std::uint64_t> worker{0};
    std::atomic<int> submitted{0};
    std::atomic<bool> ended{false};
  } progress;
  struct WaitsForTheNext {
    Progress* progress;
    explicit WaitsForTheNext(Progress& of) : progress{&of} {}
    WaitsForTheNext(WaitsForTheNext&& other) noexcept : progress{std::exchange(other.progress, nullptr)} {}
    ~WaitsForTheNext() {
      if (progress == nullptr || conc::current_thread().ident() == progress->worker) return;
      const int before = progress->submitted;
      eventually([this, before] { return progress->submitted > before || progress->ended; });
    }
    void operator()() const {}
  };
  constexpr int enough = 20'000;
  conc::ThreadPoolExecutor pool{1};
  const conc::Future<std::string> submitter = pool.submit([&] {
    progress.worker = conc::current_thread().ident();
    std::string how = outcome([&] {
      for (; progress.submitted < enough; ++progress.submitted) pool.detach(WaitsForTheNext{progress});
    });
    progress.ended = true;
    return how;
  });
  CHECK(eventually([&progress] { return progress.submitted >= 10; }));
  pool.shutdown({.wait = false, .cancel_futures = true});
  CHECK(submitter.result() == "UsageError");
  CHECK(progress.submitted < enough);
  pool.shutdown();
}

TEST_CASE("ThreadPoolExecutor: cancel_futures reaches what tasks have submitted", "[thread_pool][X5]") {
  conc::ThreadPoolExecutor pool{1};
  conc::Event submitted;
  conc::Event go;
  std::vector<conc::Future<int>> futures;
  const conc::Future<void> parent = pool.submit([&] {
    for (int i = 0; i < 300; ++i) futures.push_back(pool.submit([i] { return i; }));
    submitted.set();
    go.wait();
  });
  submitted.wait();
  pool.shutdown({.wait = false, .cancel_futures = true});
  int cancelled = 0;
  for (const auto& future : futures) cancelled += future.cancelled() ? 1 : 0;
  CHECK(cancelled == 300);
  go.set();
  pool.shutdown();
  CHECK(parent.done());
  CHECK_FALSE(parent.cancelled());
}

TEST_CASE("ThreadPoolExecutor: a task that waits for what is cancelled by shutdown gets CancelledError",
          "[thread_pool][X6]") {
  conc::ThreadPoolExecutor pool{2};
  std::optional<BusyWorkers> busy{std::in_place, pool};
  conc::Promise<std::vector<conc::Future<int>>> promise;
  const conc::Future<std::string> waiting = pool.submit([&] {
    const std::vector<conc::Future<int>> futures = promise.get_future().result();
    return outcome([&] { (void)futures[0].result(1h); });  // with a deadline: it does not run it itself
  });
  promise.set_result(std::vector{pool.submit([] { return 1; })});
  CHECK(eventually([&] { return waiting.running(); }));
  pool.shutdown({.wait = false, .cancel_futures = true});
  busy->let_go();
  CHECK(waiting.result() == "Future::result: the future was cancelled");
}

TEST_CASE("ThreadPoolExecutor: cancel_futures does not cancel the members of a group that is waited for",
          "[thread_pool][task_group][X5]") {
  conc::ThreadPoolExecutor pool{1};
  BusyWorkers busy{pool};
  conc::TaskGroup group{pool};
  std::atomic<int> ran{0};
  for (int i = 0; i < 5; ++i) group.run([&ran] { ++ran; });
  pool.shutdown({.wait = false, .cancel_futures = true});
  busy.let_go();
  group.wait();
  CHECK(ran == 5);
}

TEST_CASE("ThreadPoolExecutor: the last handle of a pool may be dropped by its own task",
          "[thread_pool][X11][FR7][FM9]") {
  const std::size_t before = conc::active_count();
  for (int round = 0; round < conc_test::scaled(100); ++round) {
    auto pool = std::make_shared<conc::ThreadPoolExecutor>(2);
    conc::Event go;
    std::atomic<int> ran{0};
    const conc::Future<void> dropper = pool->submit([&go, &ran, pool]() mutable {
      go.wait();
      pool.reset();
      ++ran;
    });
    std::vector<conc::Future<void>> others;
    for (int i = 0; i < 10; ++i) others.push_back(pool->submit([&ran] { ++ran; }));
    pool.reset();
    go.set();
    dropper.result();
    for (const auto& other : others) other.result();
    CHECK(ran == 11);
  }
  CHECK(eventually([before] { return conc::active_count() == before; }));
}

TEST_CASE("ThreadPoolExecutor: a callback may destroy the pool that calls it", "[thread_pool][X11][FM9]") {
  const std::size_t before = conc::active_count();
  for (int round = 0; round < conc_test::scaled(100); ++round) {
    auto pool = std::make_unique<conc::ThreadPoolExecutor>(1);
    conc::Event go;
    conc::Event pool_is_gone;
    const conc::Future<void> future = pool->submit([&go] { go.wait(); });
    const conc::Future<void> queued = pool->submit([] {});
    future.add_done_callback([&](const conc::Future<void>&) {
      pool.reset();
      pool_is_gone.set();
    });
    go.set();
    pool_is_gone.wait();
    queued.result();
  }
  CHECK(eventually([before] { return conc::active_count() == before; }));
}

TEST_CASE("ThreadPoolExecutor: a callback that shutdown calls may destroy the pool", "[thread_pool][X11][FM9]") {
  const std::size_t before = conc::active_count();
  for (const bool wait : {false, true}) {
    auto pool = std::make_unique<conc::ThreadPoolExecutor>(1);
    conc::Event running;
    conc::Event go;
    const conc::Future<void> first = pool->submit([&] {
      running.set();
      go.wait();
    });
    running.wait();
    const conc::Future<void> queued = pool->submit([] {});
    const conc::Future<void> last = pool->submit([] {});
    queued.add_done_callback([&](const conc::Future<void>&) {
      go.set();
      pool.reset();
    });
    pool->shutdown({.wait = wait, .cancel_futures = true});
    CHECK(pool == nullptr);
    CHECK(queued.cancelled());
    CHECK(last.cancelled());
    first.result();
  }
  CHECK(eventually([before] { return conc::active_count() == before; }));
}

namespace {

struct Holder {
  std::shared_ptr<conc::ThreadPoolExecutor> pool;
  conc::Event* dropped = nullptr;
  ~Holder() {
    pool.reset();
    if (dropped != nullptr) dropped->set();
  }
};
thread_local Holder holder;

}  // namespace

TEST_CASE("ThreadPoolExecutor: the last handle of a pool may be dropped by a thread_local of its worker",
          "[thread_pool][X11][FR9]") {
  const std::size_t before = conc::active_count();
  for (int round = 0; round < conc_test::scaled(50); ++round) {
    auto pool = std::make_shared<conc::ThreadPoolExecutor>(2);
    conc::Event dropped;
    pool->submit([pool, &dropped] {
          holder.pool = pool;
          holder.dropped = &dropped;
        })
        .result();
    pool->submit([] {}).result();
    pool->shutdown({.wait = false});
    pool.reset();
    dropped.wait();
  }
  CHECK(eventually([before] { return conc::active_count() == before; }));
}

namespace {

struct ShutsDown {
  conc::ThreadPoolExecutor* pool = nullptr;
  std::string* how = nullptr;
  ~ShutsDown() {
    if (pool == nullptr) return;
    *how = outcome([this] { pool->shutdown({.wait = false}); });
    *how += ", " + outcome([this] { pool->shutdown(); });  // not by one of its workers any more
  }
};
thread_local ShutsDown at_the_end;

}  // namespace

TEST_CASE("ThreadPoolExecutor: a thread_local of a worker may shut the pool down", "[thread_pool][X4][FR7][FR9]") {
  std::string how;
  {
    conc::ThreadPoolExecutor pool{1};
    pool.submit([&] {
          at_the_end.pool = &pool;
          at_the_end.how = &how;
        })
        .result();
    pool.shutdown();
    CHECK(how == "returned, returned");
  }
}

TEST_CASE("ThreadPoolExecutor: the destructor of a task's callable cannot wait for the end of the pool either",
          "[thread_pool][X7][FR7]") {
  struct Ends {
    conc::ThreadPoolExecutor* pool;
    std::string* how;
    Ends(conc::ThreadPoolExecutor& of, std::string& text) : pool{&of}, how{&text} {}
    Ends(Ends&& other) noexcept : pool{std::exchange(other.pool, nullptr)}, how{other.how} {}
    ~Ends() {
      if (pool == nullptr) return;
      *how = outcome([this] { pool->shutdown(); }) + ", ";
      *how += outcome([this] { pool->submit([] {}).result(); }) + ", ";  // nothing has changed
      *how += outcome([this] { pool->shutdown({.wait = false}); }) + ", ";
      *how += outcome([this] { pool->submit([] {}); });
    }
    void operator()() const {}
  };
  for (const bool detached : {false, true}) {
    std::string how;
    {
      conc::ThreadPoolExecutor pool{1};
      if (detached) {
        pool.detach(Ends{pool, how});
      } else {
        pool.submit(Ends{pool, how}).result();
      }
      CHECK(pool.wait_idle());
    }
    CHECK(how == "UsageError, returned, returned, UsageError");
  }
}

namespace {

/// A callable that uses the pool when it is destroyed: no lock of the pool may be held then.
struct UsesPool {
  conc::ThreadPoolExecutor* pool;
  std::atomic<int>* used;
  std::string expected;
  UsesPool(conc::ThreadPoolExecutor& of, std::atomic<int>& count, std::string how)
      : pool{&of}, used{&count}, expected{std::move(how)} {}
  UsesPool(UsesPool&& other) noexcept
      : pool{std::exchange(other.pool, nullptr)}, used{other.used}, expected{std::move(other.expected)} {}
  ~UsesPool() {
    if (pool == nullptr) return;
    (void)pool->stats();
    (void)pool->worker_index();
    const std::string how = outcome([this] { pool->detach([] {}); });
    if (how.starts_with(expected)) ++*used;
  }
  void operator()() const {}
};

}  // namespace

TEST_CASE("ThreadPoolExecutor: callables that are destroyed unrun may use the pool in their destructors",
          "[thread_pool][G3][X5][X8][X17]") {
  std::atomic<int> used{0};
  {  // cancelled by a shutdown: from outside, dealt, and submitted by a task
    conc::Event submitted;
    conc::Event go;
    conc::ThreadPoolExecutor pool{1};
    pool.detach([&] {
      pool.detach(UsesPool{pool, used, "UsageError"});
      pool.submit(UsesPool{pool, used, "UsageError"});
      submitted.set();
      go.wait();
    });
    submitted.wait();
    for (int i = 0; i < 3; ++i) pool.detach(UsesPool{pool, used, "UsageError"});
    const conc::Future<void> queued = pool.submit(UsesPool{pool, used, "UsageError"});
    pool.shutdown({.wait = false, .cancel_futures = true});
    CHECK(used == 6);
    // Refused, too.
    CHECK(outcome([&] { pool.detach(UsesPool{pool, used, "UsageError"}); }) == "UsageError");
    CHECK(outcome([&] { pool.submit(UsesPool{pool, used, "UsageError"}); }) == "UsageError");
    CHECK(used == 8);
    go.set();
  }
  used = 0;
  {  // swept because an initializer has failed
    conc::Event go;
    conc::ThreadPoolExecutor pool{{.max_workers = 1, .initializer = [&go] {
                                     go.wait();
                                     throw std::runtime_error{"no database"};
                                   }}};
    const std::string broken = "ThreadPoolExecutor: the initializer of a worker failed";
    pool.detach(UsesPool{pool, used, broken});
    const conc::Future<void> queued = pool.submit(UsesPool{pool, used, broken});
    go.set();
    CHECK(outcome([&] { queued.result(); }).starts_with(broken));
    CHECK(outcome([&] { pool.submit(UsesPool{pool, used, broken}); }).starts_with(broken));
    pool.shutdown();
    CHECK(used == 3);
  }
  used = 0;
  {  // no room for them
    conc::ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = 1, .when_full = conc::WhenFull::raise}};
    const BusyWorkers busy{pool};
    pool.detach([] {});
    CHECK(outcome([&] { pool.detach(UsesPool{pool, used, "QueueFull"}); }) == "QueueFull");
    CHECK(outcome([&] { pool.submit(UsesPool{pool, used, "QueueFull"}); }) == "QueueFull");
    CHECK(used == 2);
  }
}

TEST_CASE("ThreadPoolExecutor: futures outlive their pool", "[thread_pool][FR11]") {
  conc::Future<std::string> done;
  conc::Future<std::string> failed;
  {
    conc::ThreadPoolExecutor pool{1};
    done = pool.submit([] { return std::string{"a result"}; });
    failed = pool.submit([]() -> std::string { throw std::runtime_error{"a failure"}; });
  }
  CHECK(done.result() == "a result");
  CHECK(outcome([&] { (void)failed.result(); }) == "a failure");
}

TEST_CASE("ThreadPoolExecutor: tasks that submit while the pool is shut down are run or refused, never lost",
          "[thread_pool][X13][FR7]") {
  for (int round = 0; round < conc_test::scaled(300); ++round) {
    conc::ThreadPoolExecutor pool{2};
    std::atomic<int> accepted{0};
    std::atomic<int> ran{0};
    std::atomic<bool> refused{false};
    for (int i = 0; i < 2; ++i) {
      pool.detach([&] {
        while (!refused) {
          try {
            pool.detach([&ran] { ++ran; });
            ++accepted;
          } catch (const conc::UsageError&) {
            refused = true;
          }
        }
      });
    }
    if (round % 2 == 0) {
      CHECK(eventually([&] { return accepted > 10; }));
    }
    pool.shutdown();
    CHECK(refused);
    CHECK(ran == accepted);
  }
}
