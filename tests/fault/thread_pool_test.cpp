// SPDX-License-Identifier: MIT
// Pools on a system that has no threads or no memory to give, and threads that are made to exit in the middle of a task.
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <conc/event.hpp>
#include <conc/task_group.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "background.hpp"
#include "busy_pool.hpp"

using namespace std::chrono_literals;
using conc_test::BusyWorkers;
using conc_test::eventually;
using conc_test::fail_each_allocation;
using conc_test::message_of;
using conc_test::outcome;

namespace {

// No system has room for such a stack: no worker can be started.
constexpr std::size_t kTooLarge = std::size_t{1} << 60U;

const char* const kExited = "Future: the thread that ran the task was made to exit";

/// Lets this process have only so much more address space, as long as it lives.
class LittleRoom {
 public:
  explicit LittleRoom(std::size_t bytes) {
    std::size_t pages = 0;
    std::ifstream{"/proc/self/statm"} >> pages;
    ::getrlimit(RLIMIT_AS, &old_);
    rlimit little = old_;
    little.rlim_cur = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + bytes;
    ::setrlimit(RLIMIT_AS, &little);
  }
  LittleRoom(const LittleRoom&) = delete;
  LittleRoom& operator=(const LittleRoom&) = delete;
  ~LittleRoom() { ::setrlimit(RLIMIT_AS, &old_); }

 private:
  rlimit old_{};
};

}  // namespace

TEST_CASE("ThreadPoolExecutor: where no thread can be started at all nothing is submitted",
          "[thread_pool][FR1][T9][G4]") {
  const auto captured = std::make_shared<int>(0);
  std::atomic<int> ran{0};
  const std::size_t threads = conc::active_count();
  conc::ThreadPoolExecutor pool{{.max_workers = 2, .thread_name_prefix = "no", .stack_size = kTooLarge}};
  const auto task = [captured, &ran] { ++ran; };
  for (int i = 0; i < 3; ++i) {
    CHECK(message_of<std::system_error>([&] { pool.submit(task); }).starts_with("Thread::start: no_0: "));
    CHECK(message_of<std::system_error>([&] { pool.detach(task); }) != "");
    CHECK(message_of<std::system_error>([&] {
            (void)pool.submit_many([task](int) { task(); }, std::vector{1, 2});
          }) != "");
    CHECK(message_of<std::system_error>([&] { pool.map([task](int) { task(); }, std::vector{1, 2}); }) != "");
    CHECK(message_of<std::system_error>([&] { conc::parallel_for(pool, 9, [task](std::size_t) { task(); }); }) != "");
    conc::TaskGroup group{pool};
    CHECK(message_of<std::system_error>([&] { group.run(task); }) != "");
    group.wait();
    CHECK(pool.stats().workers == 0);
    CHECK(pool.stats().queued == 0);
    CHECK(pool.wait_idle());
  }
  CHECK(conc::active_count() == threads);
  pool.shutdown();
  CHECK(outcome([&] { pool.submit(task); }) == "UsageError");
  CHECK(captured.use_count() == 2);  // this one and the task's
  CHECK(ran == 0);
}

TEST_CASE("ThreadPoolExecutor: who waits while a start fails wakes up", "[thread_pool][FR1]") {
  for (const bool by_shutdown : {false, true}) {
    for (int round = 0; round < conc_test::scaled(20); ++round) {
      // A name that takes its time to be copied, so that others look meanwhile.
      conc::ThreadPoolExecutor pool{
          {.max_workers = 1, .thread_name_prefix = std::string(2'000'000, 'x'), .stack_size = kTooLarge}};
      std::atomic<bool> ended{false};
      conc_test::run_threads(2, [&](std::size_t thread) {
        if (thread == 0) {
          for (int i = 0; i < 10; ++i) (void)outcome([&] { pool.submit([] {}); });
          ended = true;
        } else if (by_shutdown) {
          pool.shutdown();
        } else {
          while (!ended) pool.wait_idle();
        }
      });
    }
  }
  SUCCEED();
}

TEST_CASE("ThreadPoolExecutor: goes on with the workers that it could start", "[thread_pool][FR1]") {
  if (conc_test::sanitizer() != conc_test::Sanitizer::none) SKIP("a sanitizer does not live with a limit on addresses");
  constexpr std::size_t stack = std::size_t{1} << 30U;
  for (std::size_t k = 1; k <= 3; ++k) {
    conc::Event go;
    conc::ThreadPoolExecutor pool{{.max_workers = 4, .stack_size = stack}};
    std::vector<conc::Future<void>> futures;
    {
      const LittleRoom room{k * stack + stack / 2};
      for (int i = 0; i < 8; ++i) futures.push_back(pool.submit([&go] { go.wait(); }));
      CHECK(eventually([&] { return pool.stats().workers == k && pool.stats().queued == 8 - k; }));
      // What its tasks submit finds no new worker either.
      go.set();
      for (const auto& future : futures) CHECK(future.wait(10s));
      CHECK(pool.submit([&pool] { return pool.submit([] { return 5; }).result(); }).result() == 5);
      CHECK(pool.stats().workers == k);
    }
    const BusyWorkers all{pool, 4};  // now there is room
    CHECK(pool.stats().workers == 4);
  }
}

TEST_CASE("ThreadPoolExecutor: a recursion too deep for fresh threads goes on on its stack",
          "[thread_pool][X16][FR1]") {
  if (conc_test::sanitizer() != conc_test::Sanitizer::none) SKIP("a sanitizer does not live with a limit on addresses");
  struct Deeper {
    conc::ThreadPoolExecutor* pool;
    int operator()(int left) const { return left == 0 ? 0 : pool->submit(*this, left - 1).result() + 1; }
  };
  conc::ThreadPoolExecutor pool{{.max_workers = 1, .stack_size = std::size_t{4} << 30U}};
  pool.submit([] {}).result();
  const LittleRoom room{std::size_t{1} << 30U};  // for all but another stack
  CHECK(pool.submit(Deeper{&pool}, 3000).result() == 3000);
}

TEST_CASE("ThreadPoolExecutor: a constructor without memory leaks nothing", "[thread_pool][FR2]") {
  const std::string name = "a prefix that is too long for small strings";
  const auto captured = std::make_shared<int>(0);
  int got_through = 0;
  const std::size_t before = conc_test::live_bytes;
  const int needed = fail_each_allocation(
      [&] {
        const conc::ThreadPoolExecutor pool{
            {.max_workers = 3, .thread_name_prefix = name, .initializer = [captured] {}, .max_queued = 4}};
      },
      [&got_through](bool anyhow) { got_through += anyhow ? 1 : 0; });
  CHECK(conc_test::live_bytes == before);
  CHECK(needed >= 4);  // the prefix, the initializer, the pool and its list of workers
  CHECK(got_through == 0);
  CHECK(captured.use_count() == 1);
}

TEST_CASE("ThreadPoolExecutor: what cannot be submitted for want of memory is as if it had never been",
          "[thread_pool][FR2][G4]") {
  const std::vector<int> items(40, 1);
  for (const bool started : {false, true}) {
    for (const std::size_t bound : {std::size_t{0}, std::size_t{50}}) {
      const auto captured = std::make_shared<int>(0);
      std::atomic<int> ran{0};
      int expected = 0;
      {
        conc::ThreadPoolExecutor pool{{.max_workers = 2, .max_queued = bound}};
        if (started) pool.submit([] {}).result();
        const auto each = [&](int calls, auto submit) {
          expected = ran;
          fail_each_allocation(submit, [&](bool) { CHECK(pool.wait_idle()); });
          CHECK(pool.wait_idle());
          return ran >= expected + calls;
        };
        const auto task = [captured, &ran] { ++ran; };
        CHECK(each(1, [&] { pool.submit(task).result(); }));
        CHECK(each(1, [&] { pool.detach(task); }));
        CHECK(each(40, [&] { (void)pool.submit_many([task](int) { task(); }, items); }));
        CHECK(each(40, [&] {
          for (auto& nothing : pool.map(
                   {.chunksize = 3}, [task](int) { task(); }, items))
            (void)nothing;
        }));
        CHECK(each(40, [&] { conc::parallel_for(pool, 40, [&task](std::size_t) { task(); }); }));
        CHECK(each(1, [&] {
          conc::TaskGroup group{pool};
          group.run(task);
          group.wait();
        }));
        CHECK(pool.stats().queued == 0);
      }
      CHECK(captured.use_count() == 1);
    }
  }
}

TEST_CASE("ThreadPoolExecutor: what a task cannot submit for want of memory is as if it had never been",
          "[thread_pool][FR2][G4]") {
  const std::vector<int> many(700, 1);  // more than fit in a worker's queue at first
  const auto captured = std::make_shared<int>(0);
  std::atomic<int> ran{0};
  std::atomic<int> failures{0};
  const auto task = [captured, &ran](int) { ++ran; };
  const auto in_task = [&](conc::ThreadPoolExecutor& pool, auto submit) {
    pool.submit([&] { fail_each_allocation(submit, [&failures](bool) { ++failures; }); }).result();
    return pool.wait_idle();
  };
  for (int round = 0; round < 2; ++round) {
    conc::ThreadPoolExecutor pool{1};
    CHECK(in_task(pool, [&] { (void)pool.submit_many(task, many); }));
    CHECK(in_task(pool, [&] { pool.submit(task, 1).result(); }));
    CHECK(in_task(pool, [&] {
      conc::TaskGroup group{pool};
      for (int i = 0; i < 5; ++i) group.run([&task] { task(1); });
      group.wait();
    }));
    CHECK(in_task(pool, [&] { conc::parallel_for(pool, 5, [&task](std::size_t) { task(1); }); }));
    CHECK(pool.stats().queued == 0);
    pool.shutdown();
    CHECK(ran >= 700 + 1 + 5 + 5);
    ran = 0;
  }
  CHECK(failures > 0);
  CHECK(captured.use_count() == 2);
}

TEST_CASE("ThreadPoolExecutor: a group whose queue cannot grow when it is full fails alone", "[thread_pool][FR2][G4]") {
  conc::ThreadPoolExecutor pool{1};
  std::atomic<int> ran{0};
  std::atomic<int> failures{0};
  pool.submit([&] {
        conc::TaskGroup group{pool};
        for (int i = 0; i < 1000; ++i) {
          fail_each_allocation([&] { group.run([&ran] { ++ran; }); }, [&](bool) { ++failures; });
        }
        group.wait();
      })
      .result();
  CHECK(failures >= 2);  // at least twice the queue had to grow
  CHECK(ran == 1000);
}

TEST_CASE("ThreadPoolExecutor: a thread that is made to exit leaves BrokenPromise, and another takes its place",
          "[thread_pool][X9]") {
  conc::ThreadPoolExecutor pool{{.max_workers = 1, .thread_name_prefix = "p"}};
  for (int round = 0; round < conc_test::scaled(50); ++round) {
    conc::Event go;
    const auto captured = std::make_shared<int>(0);
    const conc::Future<int> exits = pool.submit([&go, captured]() -> int {
      go.wait();
      ::pthread_exit(nullptr);
    });
    const conc::Future<std::string> queued = pool.submit([] { return conc::current_thread().name(); });
    go.set();
    CHECK(message_of<conc::BrokenPromise>([&] { (void)exits.result(); }) == kExited);
    CHECK(captured.use_count() == 1);
    CHECK(queued.result() == "p_0");
    CHECK(eventually([&] { return pool.stats().workers == 1; }));
  }
}

TEST_CASE("ThreadPoolExecutor: what a thread that is made to exit had queued is run by others", "[thread_pool][X9]") {
  for (const int workers : {1, 2}) {
    conc::ThreadPoolExecutor pool{workers};
    std::atomic<int> ran{0};
    const conc::Future<void> exits = pool.submit([&] {
      for (int i = 0; i < 100; ++i) pool.detach([&ran] { ++ran; });
      ::pthread_exit(nullptr);
    });
    CHECK(outcome([&] { exits.result(); }) == kExited);
    CHECK(pool.wait_idle());
    CHECK(ran == 100);
  }
}

TEST_CASE("ThreadPoolExecutor: detached tasks may exit their thread", "[thread_pool][X9]") {
  conc::ThreadPoolExecutor pool{2};
  const auto captured = std::make_shared<int>(0);
  for (int i = 0; i < 20; ++i) pool.detach([captured] { ::pthread_exit(nullptr); });
  CHECK(pool.wait_idle());
  CHECK(captured.use_count() == 1);
  CHECK(pool.submit([] { return 1; }).result() == 1);
  CHECK(pool.stats().failed == 20);
}

TEST_CASE("ThreadPoolExecutor: after shutdown a thread that is made to exit is replaced while tasks are queued",
          "[thread_pool][X5][X9]") {
  conc::ThreadPoolExecutor pool{1};
  conc::Event go;
  std::vector<conc::Future<int>> futures;
  const conc::Future<void> exits = pool.submit([&go] {
    go.wait();
    ::pthread_exit(nullptr);
  });
  for (int i = 0; i < 10; ++i) futures.push_back(pool.submit([i] { return i; }));
  pool.shutdown({.wait = false});
  go.set();
  pool.shutdown();
  CHECK(outcome([&] { exits.result(); }) == kExited);
  for (int i = 0; i < 10; ++i) CHECK(futures[static_cast<std::size_t>(i)].done());
  CHECK(pool.stats().workers == 0);
}

TEST_CASE("ThreadPoolExecutor: a claimed task that exits its thread breaks the waiter's promise too",
          "[thread_pool][X9][X16]") {
  conc::ThreadPoolExecutor pool{1};
  conc::Future<void> inner;
  const conc::Future<void> outer = pool.submit([&] {
    inner = pool.submit([] { ::pthread_exit(nullptr); });
    inner.result();
  });
  CHECK(outcome([&] { outer.result(); }) == kExited);
  CHECK(outcome([&] { inner.result(); }) == kExited);
  CHECK(pool.submit([] { return 1; }).result() == 1);
}

TEST_CASE("TaskGroup: a thread that is made to exit in a task leaves BrokenPromise", "[task_group][X9]") {
  conc::ThreadPoolExecutor pool{2};
  const auto captured = std::make_shared<int>(0);
  const auto exits = [captured] { ::pthread_exit(nullptr); };
  {
    conc::TaskGroup group{pool};
    group.run(exits);
    CHECK(message_of<conc::BrokenPromise>([&] { group.wait(); }) ==
          "TaskGroup: the thread that ran a task was made to exit");
  }
  // On a worker that runs the task itself: then that task ends too, when the rest of the group has ended.
  std::atomic<int> ran{0};
  const conc::Future<void> task = pool.submit([&] {
    conc::TaskGroup group{pool};
    for (int i = 0; i < 5; ++i) group.run([&ran] { ++ran; });
    group.run(exits);
    group.wait();
  });
  const std::string how = outcome([&] { task.result(); });
  CHECK((how == kExited || how == "TaskGroup: the thread that ran a task was made to exit"));
  CHECK(ran == 5);
  CHECK(captured.use_count() == 2);
  CHECK(pool.submit([] { return 1; }).result() == 1);
}

TEST_CASE("parallel_for: a thread that is made to exit in a call leaves BrokenPromise", "[parallel_for][X9]") {
  conc::ThreadPoolExecutor pool{2};
  for (int round = 0; round < conc_test::scaled(20); ++round) {
    // Not on this thread: the caller takes part.
    const std::string how = pool.submit([&pool] {
                                  return outcome([&pool] {
                                    const std::uint64_t caller = conc::current_thread().ident();
                                    conc::Event helped;
                                    conc::parallel_for(pool, 2, [&](std::size_t) {
                                      if (conc::current_thread().ident() != caller) {
                                        helped.set();
                                        ::pthread_exit(nullptr);
                                      }
                                      helped.wait();
                                    });
                                  });
                                })
                                .result();
    CHECK(how == "parallel_for: a thread that took part was made to exit");
    // A caller that exits, or hears of a helper that did.
    conc::Thread caller{[&pool] {
      (void)message_of<conc::BrokenPromise>(
          [&pool] { conc::parallel_for(pool, 100, [](std::size_t) { ::pthread_exit(nullptr); }); });
    }};
    caller.start();
    caller.join();
    CHECK(pool.wait_idle());
  }
  CHECK(pool.submit([] { return 1; }).result() == 1);
}

TEST_CASE("map: a thread that is made to exit in a call leaves BrokenPromise", "[map][X9]") {
  conc::ThreadPoolExecutor pool{1};
  std::vector<int> seen;
  CHECK(message_of<conc::BrokenPromise>([&] {
          for (const int x : pool.map(
                   [](int i) {
                     if (i == 2) ::pthread_exit(nullptr);
                     return i;
                   },
                   std::vector{0, 1, 2, 3})) {
            seen.push_back(x);
          }
        }) == kExited);
  CHECK(seen == std::vector{0, 1});
}

TEST_CASE("ThreadPoolExecutor: an initializer that exits its thread breaks the pool like one that throws",
          "[thread_pool][X8][X9]") {
  std::atomic<int> calls{0};
  conc::Event go;
  conc::ThreadPoolExecutor pool{{.max_workers = 1, .initializer = [&] {
                                   ++calls;
                                   go.wait();
                                   ::pthread_exit(nullptr);
                                 }}};
  const conc::Future<void> first = pool.submit([] {});
  const conc::Future<void> second = pool.submit([] {});
  go.set();
  CHECK(first.wait(10s));
  const std::string message = message_of<conc::BrokenThreadPool>([&] { first.result(); });
  CHECK(message.starts_with("ThreadPoolExecutor: the initializer of a worker failed: "));
  CHECK(message.ends_with("it made its thread exit"));
  CHECK(message_of<conc::BrokenThreadPool>([&] { second.result(); }) == message);
  CHECK(message_of<conc::BrokenThreadPool>([&] { pool.submit([] {}); }) == message);
  pool.shutdown();
  CHECK(pool.stats().workers == 0);
  CHECK(calls == 1);
}

TEST_CASE("ThreadPoolExecutor: what runs goes on when the initializer of another worker exits its thread",
          "[thread_pool][X8][X9]") {
  std::atomic<int> workers{0};
  conc::ThreadPoolExecutor pool{{.max_workers = 2, .initializer = [&workers] {
                                   if (++workers == 2) ::pthread_exit(nullptr);
                                 }}};
  BusyWorkers busy{pool};
  const conc::Future<void> second = pool.submit([] {});
  CHECK(second.wait(10s));
  CHECK(message_of<conc::BrokenThreadPool>([&] { second.result(); }) != "");
  CHECK(eventually([&] { return pool.stats().workers == 1; }));
  busy.release();
  pool.shutdown();
  CHECK(workers == 2);
}

TEST_CASE("ThreadPoolExecutor: stats count tasks that make their thread exit", "[thread_pool][X9][X17]") {
  conc::ThreadPoolExecutor pool{1};
  const auto exits = [] { ::pthread_exit(nullptr); };
  CHECK(pool.submit(exits).exception() != nullptr);
  pool.detach(exits);
  conc::Future<void> claimed;
  const conc::Future<void> claimer = pool.submit([&] {
    claimed = pool.submit(exits);
    claimed.wait();
  });
  CHECK(claimer.exception() != nullptr);
  CHECK(claimed.exception() != nullptr);
  CHECK(pool.submit([] { return 1; }).result() == 1);
  CHECK(pool.wait_idle());
  const conc::PoolStats stats = pool.stats();
  CHECK(stats.done == 1);
  CHECK(stats.failed == 4);
  CHECK(stats.cancelled == 0);
}

TEST_CASE("ThreadPoolExecutor: the destructor of a result may wait for tasks of the pool", "[thread_pool][X2]") {
  struct Waits {
    explicit Waits(conc::Event& begun_, conc::Event& end_) : begun{&begun_}, end{&end_} {}
    Waits(Waits&& other) noexcept : begun{other.begun}, end{std::exchange(other.end, nullptr)} {}
    ~Waits() {
      if (end != nullptr) {
        begun->set();
        end->wait();
      }
    }
    conc::Event* begun;
    conc::Event* end;
  };
  conc::Event let_go;
  conc::Event begun;
  conc::Event end;
  conc::ThreadPoolExecutor pool{2};
  pool.submit([&] {
    let_go.wait();
    return Waits{begun, end};
  });  // nobody keeps the future: the worker destroys the result
  let_go.set();
  begun.wait();
  CHECK(pool.submit([&end] { end.set(); }).wait(10s));
  end.set();
}
