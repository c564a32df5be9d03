// SPDX-License-Identifier: MIT
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/task_group.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>

#include "explore_type.hpp"

using conc::TaskGroup;
using conc::ThreadPoolExecutor;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;

namespace {

/// How many schedules of a program ended in the one way, and how many in the other.
class Both {
 public:
  void count(bool one_way) { ++(one_way ? one_ : other_); }
  bool occurred() const { return one_ > 0 && other_ > 0; }

 private:
  std::uint64_t one_ = 0;
  std::uint64_t other_ = 0;
};

}  // namespace

TEST_CASE("TaskGroup: wait returns when all tasks have ended, in every schedule", "[task_group]") {
  explore_type("TaskGroup, made outside, one task", [] {
    int runs = 0;
    ThreadPoolExecutor pool{1};
    TaskGroup group{pool};
    group.run([&runs] { ++runs; });
    group.wait();
    check(runs == 1, "not waited for");
  });
  explore_type("TaskGroup, made outside, used again", [] {
    int runs = 0;
    ThreadPoolExecutor pool{1};
    TaskGroup group{pool};
    for (int i = 1; i <= 2; ++i) {
      group.run([&runs] { ++runs; });
      group.wait();
      check(runs == i, "not waited for");
    }
  });
  explore_type("TaskGroup, made outside, two tasks, two workers", [] {
    int runs = 0;
    ThreadPoolExecutor pool{2};
    {
      TaskGroup group{pool};
      group.run([&runs] { ++runs; });
      group.run([&runs] { ++runs; });
    }
    check(runs == 2, "not waited for");
  });
  explore_type("TaskGroup, made by a worker, two tasks, one of two workers", [] {
    int runs = 0;
    ThreadPoolExecutor pool{2};
    pool.submit([&] {
          TaskGroup group{pool};
          group.run([&runs] { ++runs; });
          group.run([&runs] { ++runs; });
          group.wait();
          check(runs == 2, "not waited for");
        })
        .wait();
    check(runs == 2, "not waited for");
  });
}

TEST_CASE("TaskGroup: wait returns when tasks that were added meanwhile have ended, in every schedule",
          "[task_group]") {
  explore_type("TaskGroup, a task that adds a task", [] {
    int runs = 0;
    ThreadPoolExecutor pool{2};
    TaskGroup group{pool};
    group.run([&] {
      group.run([&runs] { ++runs; });
      ++runs;
    });
    group.wait();
    check(runs == 2, "not waited for");
  });
  explore_type("TaskGroup, made by a worker, a task that adds a task", [] {
    int runs = 0;
    ThreadPoolExecutor pool{2};
    pool.submit([&] {
          TaskGroup group{pool};
          group.run([&] {
            group.run([&runs] { ++runs; });
            ++runs;
          });
          group.wait();
          check(runs == 2, "not waited for");
        })
        .wait();
  });
  explore_type("TaskGroup, tasks added by another thread", [] {
    int runs = 0;
    ThreadPoolExecutor pool{1};
    TaskGroup group{pool};
    parallel([&] { group.run([&runs] { ++runs; }); }, [&] { group.run([&runs] { ++runs; }); });
    group.wait();
    check(runs == 2, "not waited for");
  });
  explore_type("TaskGroup, made by a worker, a task added by another thread", [] {
    int runs = 0;
    ThreadPoolExecutor pool{1};
    pool.submit([&] {
          TaskGroup group{pool};
          group.run([&runs] { ++runs; });
          conc::Thread other{[&] { group.run([&runs] { ++runs; }); }};
          other.start();
          other.join();
          group.wait();
          check(runs == 2, "not waited for");
        })
        .wait();
  });
  explore_type("TaskGroup, groups in groups", [] {
    int runs = 0;
    ThreadPoolExecutor pool{2};
    pool.submit([&] {
          TaskGroup outer{pool};
          outer.run([&] {
            TaskGroup inner{pool};
            inner.run([&runs] { ++runs; });
            inner.wait();
            check(runs == 1, "not waited for");
          });
          outer.wait();
          check(runs == 1, "not waited for");
        })
        .wait();
  });
}

TEST_CASE("TaskGroup: its tasks run while others wait for them, in every schedule", "[task_group]") {
  explore_type("TaskGroup, a task that waits for a later one", [] {
    ThreadPoolExecutor pool{2};
    conc::Event event;
    TaskGroup group{pool};
    group.run([&event] { event.wait(); });
    group.run([&event] { event.set(); });
    group.wait();
  });
  explore_type("TaskGroup, a worker that waits for the task of another one to be woken", [] {
    ThreadPoolExecutor pool{2};
    pool.submit([&pool] {
          conc::Event event;
          TaskGroup group{pool};
          group.run([&event] { event.set(); });
          event.wait();  // not through the group: another worker must come
          group.wait();
        })
        .wait();
  });
}

TEST_CASE("TaskGroup: what is queued besides its tasks is not lost, in every schedule", "[task_group]") {
  explore_type("TaskGroup, what a worker has submitted besides is put back", [] {
    int others = 0;
    int members = 0;
    {
      ThreadPoolExecutor pool{1};
      pool.submit([&] {
            TaskGroup group{pool};
            pool.detach([&others] { ++others; });
            group.run([&members] { ++members; });
            pool.detach([&others] { ++others; });
            group.wait();
            check(members == 1 && others == 0, "it runs tasks of the group, and no others");
          })
          .wait();
    }
    check(members == 1 && others == 2, "a task was lost");
  });
  explore_type("TaskGroup, what was put back is run by another worker", [] {
    int members = 0;
    ThreadPoolExecutor pool{2};
    pool.submit([&] {
          conc::Event event;
          TaskGroup group{pool};
          group.run([&members] { ++members; });
          pool.detach([&event] { event.set(); });
          group.wait();
          event.wait();
        })
        .wait();
    check(members == 1, "a task was lost");
  });
}

TEST_CASE("TaskGroup: the first exception comes out of wait, in every schedule", "[task_group]") {
  explore_type("TaskGroup, two tasks that throw", [] {
    ThreadPoolExecutor pool{2};
    TaskGroup group{pool};
    int thrown = 0;
    for (int i = 0; i < 2; ++i) {
      group.run([] { throw std::runtime_error{"no"}; });
    }
    try {
      group.wait();
    } catch (const std::runtime_error&) {
      ++thrown;
    }
    group.wait();
    check(thrown == 1, "once");
  });
  explore_type("TaskGroup, made by a worker, one task throws", [] {
    int runs = 0;
    ThreadPoolExecutor pool{2};
    const bool thrown = pool.submit([&] {
                              TaskGroup group{pool};
                              group.run([] { throw std::runtime_error{"no"}; });
                              group.run([&runs] { ++runs; });
                              try {
                                group.wait();
                                return false;
                              } catch (const std::runtime_error&) {
                                return true;
                              }
                            })
                            .result();
    check(thrown && runs == 1, "the other task runs all the same");
  });
}

TEST_CASE("TaskGroup: ends with its pool, in every schedule", "[task_group]") {
  Both by_worker;  // or by the thread that called run(), after the shutdown
  explore_type("TaskGroup, run() against shutdown", [&by_worker] {
    int runs = 0;
    ThreadPoolExecutor pool{1};
    parallel(
        [&] {
          TaskGroup group{pool};
          group.run([&] {
            ++runs;
            by_worker.count(pool.worker_index().has_value());
          });
          group.wait();
          check(runs == 1, "it is never refused");
        },
        [&] { pool.shutdown(); });
  });
  CHECK(by_worker.occurred());
  Both by_worker_or_not;
  explore_type("TaskGroup, run() against cancel_futures", [&by_worker_or_not] {
    int runs = 0;
    ThreadPoolExecutor pool{1};
    parallel(
        [&] {
          TaskGroup group{pool};
          group.run([&] {
            ++runs;
            by_worker_or_not.count(pool.worker_index().has_value());
          });
          group.wait();
          check(runs == 1, "who waits for it counts on it");
        },
        [&] { pool.shutdown({.cancel_futures = true}); });
  });
  CHECK(by_worker_or_not.occurred());
}

TEST_CASE("TaskGroup: of a worker ends with its pool, in every schedule", "[task_group]") {
  explore_type("TaskGroup, made by a worker, tasks that meet after shutdown",
               [] {
                 ThreadPoolExecutor pool{2};
                 conc::Event begun;
                 const auto outer = pool.submit([&] {
                   begun.set();
                   TaskGroup group{pool};
                   group.run([] {});
                   group.wait();
                   conc::Event event;
                   group.run([&event] { event.set(); });
                   event.wait();
                   group.wait();
                 });
                 begun.wait();
                 pool.shutdown();
                 check(outer.done(), "done");
               },
               {.preemptions = 1});
  Both cancelled;
  explore_type("TaskGroup, made by a worker, against cancel_futures", [&cancelled] {
    int runs = 0;
    ThreadPoolExecutor pool{1};
    const auto outer = pool.submit([&] {
      TaskGroup group{pool};
      group.run([&runs] { ++runs; });
      group.run([&runs] { ++runs; });
      group.wait();
      check(runs == 2, "who waits for it counts on it");
    });
    pool.shutdown({.cancel_futures = true});
    check(outer.done() && runs == (outer.cancelled() ? 0 : 2), "run or cancelled");
    cancelled.count(outer.cancelled());
  });
  CHECK(cancelled.occurred());
  Both by_shutdown;
  explore_type("TaskGroup, made by a worker, a member that calls parallel_for against cancel_futures", [&by_shutdown] {
    int calls = 0;
    ThreadPoolExecutor pool{1};
    conc::Event begun;
    const auto outer = pool.submit([&] {
      TaskGroup group{pool};
      group.run([&] {
        by_shutdown.count(!pool.worker_index().has_value());
        conc::parallel_for(pool, 2, [&calls](std::size_t /*i*/) { ++calls; });
      });
      begun.set();
      group.wait();
    });
    begun.wait();
    pool.shutdown({.cancel_futures = true});
    outer.result();
    check(calls == 2, "who waits for it counts on it");
  });
  CHECK(by_shutdown.occurred());
  explore_type("TaskGroup, of a pool whose initializer fails", [] {
    ThreadPoolExecutor pool{{.max_workers = 1, .initializer = [] { throw std::runtime_error{"no"}; }}};
    TaskGroup group{pool};
    bool broken = false;
    try {
      group.run([] { check(false, "no worker is able to run it"); });
      group.wait();
    } catch (const conc::BrokenThreadPool&) {
      broken = true;
    }
    check(broken, "the group learns of it");
  });
}
