// SPDX-License-Identifier: MIT
// Pools of one or two workers, made inside of the programs: their start and their end are explored too.
#include <algorithm>
#include <array>
#include <conc/detail/inbox.hpp>
#include <conc/event.hpp>
#include <conc/future.hpp>
#include <conc/stop_token.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include "explore_type.hpp"

using namespace std::chrono_literals;
using conc::Event;
using conc::Future;
using conc::ThreadPoolExecutor;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;

namespace {

/// Submits fn. @return whether the pool took it
template <class F>
bool try_detach(ThreadPoolExecutor& pool, F fn) {
  try {
    pool.detach(fn);
    return true;
  } catch (const conc::UsageError&) {
    return false;
  }
}

/// How many schedules of a program ended in the one way, and how many in the other.
class Both {
 public:
  void count(bool one_way) { ++(one_way ? one_ : other_); }
  bool occurred() const { return one_ > 0 && other_ > 0; }

 private:
  std::uint64_t one_ = 0;
  std::uint64_t other_ = 0;
};

/// A task that ends only if `n` workers run it at once.
class Meeting {
 public:
  explicit Meeting(int n) : n_{n} {}
  void operator()() { ++arrived_ == n_ ? all_.set() : static_cast<void>(all_.wait()); }

 private:
  const int n_;
  int arrived_ = 0;
  Event all_;
};

void wait_for(const std::vector<Future<void>>& futures) {
  for (const Future<void>& future : futures) {
    future.wait();
  }
}

}  // namespace

TEST_CASE("Inbox: takes each task once, in order, in every schedule", "[inbox]") {
  struct Letter final : conc::detail::Task {
    conc::detail::Outcome run() override { return conc::detail::Outcome::succeeded; }
    conc::detail::Outcome refuse(const std::exception_ptr& /*why*/) noexcept override { return run(); }
  };
  explore_type("Inbox, two senders, one who takes", [] {
    conc::detail::Inbox inbox;
    Letter letters[4];
    const auto push = [&](int i) {
      check(inbox.push(&letters[i], &letters[i]) != conc::detail::Inbox::Pushed::closed, "open");
    };
    std::vector<conc::detail::Task*> taken;
    const auto take = [&] {
      for (conc::detail::Task* task = inbox.take(); task != nullptr; task = task->next) {
        taken.push_back(task);
      }
    };
    parallel(
        [&] {
          push(0);
          push(1);
        },
        [&] {
          push(2);
          push(3);
        },
        [&] {
          take();
          take();
        });
    take();
    const auto place = [&](int i) { return std::find(taken.begin(), taken.end(), &letters[i]) - taken.begin(); };
    check(taken.size() == 4 && inbox.empty(), "each once");
    check(place(0) < place(1) && place(1) < 4 && place(2) < place(3) && place(3) < 4, "in order");
  });
  explore_type("Inbox, two senders, one who closes", [] {
    conc::detail::Inbox inbox;
    Letter letters[3];
    int accepted = 0;
    int taken = 0;
    const auto push = [&](int first, int last) {
      letters[last].next = &letters[first];  // one letter, or two that are linked
      accepted +=
          inbox.push(&letters[first], &letters[last]) != conc::detail::Inbox::Pushed::closed ? last - first + 1 : 0;
    };
    const auto take = [&](bool close) {
      for (conc::detail::Task* task = inbox.take(close); task != nullptr; task = task->next) {
        ++taken;
      }
    };
    parallel([&] { push(0, 0); }, [&] { push(1, 2); },
             [&] {
               take(false);
               take(true);
               check(inbox.closed() && inbox.empty(), "closed");
             });
    take(false);
    check(accepted == taken, "what was accepted is taken, and nothing afterwards");
  });
}

TEST_CASE("ThreadPoolExecutor: runs what is submitted, in every schedule", "[thread_pool][X2][X5]") {
  explore_type("ThreadPoolExecutor(1), one task", [] {
    ThreadPoolExecutor pool{1};
    const Future<int> future = pool.submit([] { return 1; });
    check(future.result() == 1, "another result");
  });
  explore_type("ThreadPoolExecutor(1), one task after the other", [] {
    ThreadPoolExecutor pool{1};
    check(pool.submit([] { return 1; }).result() == 1, "another result");
    check(pool.submit([] { return 2; }).result() == 2, "another result");
  });
  explore_type("ThreadPoolExecutor(1), three tasks, in order", [] {
    int last = 0;
    {
      ThreadPoolExecutor pool{1};
      for (int i = 1; i <= 3; ++i) {
        pool.detach([&last, i] { check(std::exchange(last, i) == i - 1, "not in order"); });
      }
    }
    check(last == 3, "a task was lost");
  });
  explore_type("ThreadPoolExecutor(1), two who submit", [] {
    int runs = 0;
    {
      ThreadPoolExecutor pool{1};
      const auto submit = [&] { pool.detach([&runs] { ++runs; }); };
      parallel(submit, submit);
    }
    check(runs == 2, "a task was lost");
  });
  explore_type("ThreadPoolExecutor(1), a task when the worker sleeps, or is about to", [] {
    ThreadPoolExecutor pool{1};
    pool.submit([] {}).wait();
    Event ran;
    pool.detach([&ran] { ran.set(); });
    ran.wait();
  });
}

TEST_CASE("ThreadPoolExecutor: two workers run what is submitted, in every schedule", "[thread_pool][X2][X5]") {
  explore_type("ThreadPoolExecutor(2), one task each by two who submit",
               [] {
                 ThreadPoolExecutor pool{2};
                 const auto submit = [&] { check(pool.submit([] { return 1; }).result() == 1, "another result"); };
                 parallel(submit, submit);
               },
               {.preemptions = 1});
  explore_type("ThreadPoolExecutor(2), a chain of three tasks", [] {
    int sum = 0;
    {
      ThreadPoolExecutor pool{2};
      for (const Future<int>& future : pool.submit_many([](int n) { return n; }, std::array{1, 2, 3})) {
        sum += future.result();
      }
    }
    check(sum == 6, "a task was lost");
  });
  explore_type("ThreadPoolExecutor(1), dropped handles", [] {
    ThreadPoolExecutor pool{1};
    pool.submit([] { return 1; });
    (void)pool.submit([] { return 2; }).then([](int n) { return n + 1; });
  });
}

// Here the tasks are waited for while the pool is there: its end would wake workers that nobody has called.

TEST_CASE("ThreadPoolExecutor: tasks one after the other use one worker, in every schedule", "[thread_pool][X2]") {
  explore_type("ThreadPoolExecutor(2), one task after the other", [] {
    ThreadPoolExecutor pool{2};
    pool.submit([] {}).wait();
    pool.submit([] {}).wait();
    check(pool.stats().workers == 1, "a second worker was started while the first was idle");
  });
}

TEST_CASE("ThreadPoolExecutor: as many tasks run at once as there are workers, in every schedule",
          "[thread_pool][X2]") {
  explore_type("ThreadPoolExecutor(2), a task that waits for the one submitted after it", [] {
    Event event;
    ThreadPoolExecutor pool{2};
    const Future<void> waits = pool.submit([&] { event.wait(); });
    const Future<void> sets = pool.submit([&] { event.set(); });
    waits.wait();
  });
  explore_type("ThreadPoolExecutor(2), a task that waits for the one dealt after it", [] {
    Meeting meeting{2};
    ThreadPoolExecutor pool{2};
    wait_for(pool.submit_many([&meeting](int /*n*/) { meeting(); }, std::array{0, 1}));
  });
}

TEST_CASE("ThreadPoolExecutor: while a task waits, what it has submitted runs, in every schedule",
          "[thread_pool][X2]") {
  explore_type("ThreadPoolExecutor(2), a task that waits for one that it has submitted", [] {
    ThreadPoolExecutor pool{2};
    pool.submit([&pool] {
          Event event;
          pool.detach([&event] { event.set(); });
          event.wait();
        })
        .wait();
  });
  explore_type("ThreadPoolExecutor(2), a task waits for both that it has submitted", [] {
    ThreadPoolExecutor pool{2};
    pool.submit([&pool] {
          Event events[2];
          pool.detach([&events] { events[0].set(); });
          pool.detach([&events] { events[1].set(); });
          events[0].wait();
          events[1].wait();
        })
        .wait();
  });
  explore_type("ThreadPoolExecutor(2), a callback that waits for a task", [] {
    Event go;
    Event event;
    ThreadPoolExecutor pool{2};
    const Future<void> future = pool.submit([&go] { go.wait(); });
    future.add_done_callback([&event](const Future<void>& /*done*/) { event.wait(); });
    go.set();
    pool.submit([&event] { event.set(); }).wait();
  });
}

TEST_CASE("ThreadPoolExecutor: as many tasks run at once as there are workers that have run before, in every schedule",
          "[thread_pool][X2]") {
  explore_type("ThreadPoolExecutor(2), two meet and sleep, then two meet again",
               [] {
                 ThreadPoolExecutor pool{2};
                 for (int round = 0; round < 2; ++round) {
                   Meeting meeting{2};
                   const Future<void> first = pool.submit(std::ref(meeting));
                   pool.submit(std::ref(meeting)).wait();
                   first.wait();
                 }
               },
               {.preemptions = 1});
  explore_type("ThreadPoolExecutor(2), both have run and sleep, then a task waits for the next one",
               [] {
                 Event first;
                 ThreadPoolExecutor pool{2};
                 pool.detach([&first] { first.wait(); });
                 pool.detach([&first] { first.set(); });
                 pool.wait_idle();
                 Event second;
                 const Future<void> waits = pool.submit([&second] { second.wait(); });
                 pool.detach([&second] { second.set(); });
                 waits.wait();
                 pool.wait_idle();
               },
               {.preemptions = 1});
  explore_type("ThreadPoolExecutor(2), a sleeping worker is called for what another one has submitted",
               [] {
                 Event both;
                 ThreadPoolExecutor pool{2};
                 pool.detach([&both] { both.wait(); });
                 pool.detach([&both] { both.set(); });
                 pool.wait_idle();
                 pool.submit([&pool] {
                       Event event;
                       pool.detach([&event] { event.set(); });
                       event.wait();
                     })
                     .wait();
               },
               {.preemptions = 1});
  explore_type("ThreadPoolExecutor(2), two that meet, dealt out by a worker that comes from another task",
               [] {
                 Event first;
                 Meeting meeting{2};
                 ThreadPoolExecutor pool{2};
                 pool.detach([&first] { first.wait(); });
                 pool.detach([&first] { first.set(); });
                 first.wait();  // both workers have been started
                 wait_for(pool.submit_many([&meeting](int /*n*/) { meeting(); }, std::array{0, 1}));
               },
               {.preemptions = 1});
}

TEST_CASE("ThreadPoolExecutor: whoever starts the first worker is served like the others, in every schedule",
          "[thread_pool][X2]") {
  explore_type("ThreadPoolExecutor(2), two who submit tasks that meet",
               [] {
                 Meeting meeting{2};
                 ThreadPoolExecutor pool{2};
                 const auto submit = [&] { pool.submit(std::ref(meeting)).wait(); };
                 parallel(submit, submit);
               },
               {.preemptions = 1});
  explore_type("ThreadPoolExecutor(2), two who submit tasks that meet, with an initializer",
               [] {
                 int initialized = 0;
                 Meeting meeting{2};
                 ThreadPoolExecutor pool{{.max_workers = 2, .initializer = [&initialized] { ++initialized; }}};
                 const auto submit = [&] { pool.submit(std::ref(meeting)).wait(); };
                 parallel(submit, submit);
                 check(initialized == 2, "a worker for each");
               },
               {.preemptions = 1});
  explore_type("ThreadPoolExecutor(2), a bound of one, two who submit tasks that meet",
               [] {
                 Meeting meeting{2};
                 ThreadPoolExecutor pool{{.max_workers = 2, .max_queued = 1}};
                 const auto submit = [&] { pool.submit(std::ref(meeting)).wait(); };
                 parallel(submit, submit);
               },
               {.preemptions = 1});
}

TEST_CASE("ThreadPoolExecutor: three tasks run at once on three workers, in every schedule", "[thread_pool][X2]") {
  explore_type("ThreadPoolExecutor(3), three tasks that meet",
               [] {
                 Meeting meeting{3};
                 ThreadPoolExecutor pool{3};
                 wait_for(pool.submit_many([&meeting](int /*n*/) { meeting(); }, std::array{0, 1, 2}));
               },
               {.preemptions = 1});
  explore_type("ThreadPoolExecutor(3), two that meet, submitted by a task",
               [] {
                 Meeting meeting{2};
                 Event submitted;
                 std::vector<Future<void>> futures;
                 ThreadPoolExecutor pool{3};
                 pool.detach([&] {
                   futures.push_back(pool.submit(std::ref(meeting)));
                   futures.push_back(pool.submit(std::ref(meeting)));
                   submitted.set();
                 });
                 submitted.wait();
                 wait_for(futures);
               },
               {.preemptions = 1});
  explore_type("ThreadPoolExecutor(3), two that meet when one worker has run",
               [] {
                 Meeting meeting{2};
                 ThreadPoolExecutor pool{3};
                 pool.submit([] {}).wait();
                 const Future<void> first = pool.submit(std::ref(meeting));
                 pool.submit(std::ref(meeting)).wait();
                 first.wait();
               },
               {.preemptions = 1});
}

TEST_CASE("ThreadPoolExecutor: three submitters, of whom one is a task, get a worker each, in every schedule",
          "[thread_pool][X2]") {
  explore_type("ThreadPoolExecutor(3), a task, what it has submitted, and one from outside meet",
               [] {
                 Meeting meeting{3};
                 Event submitted;
                 Future<void> inner;
                 ThreadPoolExecutor pool{3};
                 const Future<void> outer = pool.submit([&] {
                   inner = pool.submit(std::ref(meeting));
                   submitted.set();
                   meeting();
                 });
                 pool.submit(std::ref(meeting)).wait();
                 submitted.wait();
                 inner.wait();
                 outer.wait();
               },
               {.preemptions = 1});
}

TEST_CASE("ThreadPoolExecutor: a submit against shutdown is run or refused, in every schedule",
          "[thread_pool][X4][X13]") {
  Both first;
  explore_type("ThreadPoolExecutor(1), the first submit against shutdown", [&first] {
    int runs = 0;
    bool accepted = false;
    {
      ThreadPoolExecutor pool{1};
      parallel([&] { accepted = try_detach(pool, [&runs] { ++runs; }); }, [&] { pool.shutdown(); });
    }
    check(runs == (accepted ? 1 : 0), "run or refused");
    first.count(accepted);
  });
  CHECK(first.occurred());
  Both later;
  explore_type("ThreadPoolExecutor(1), a later submit against shutdown", [&later] {
    int runs = 0;
    bool accepted = false;
    {
      ThreadPoolExecutor pool{1};
      pool.submit([] {}).wait();
      parallel([&] { accepted = try_detach(pool, [&runs] { ++runs; }); }, [&] { pool.shutdown(); });
      check(runs == (accepted ? 1 : 0), "run or refused");
      later.count(accepted);
    }
  });
  CHECK(later.occurred());
  Both own;
  explore_type("ThreadPoolExecutor(1), a task's own submit against shutdown", [&own] {
    int runs = 0;
    bool accepted = false;
    {
      ThreadPoolExecutor pool{1};
      pool.detach([&] { accepted = try_detach(pool, [&runs] { ++runs; }); });
      pool.shutdown();
      check(runs == (accepted ? 1 : 0), "run or refused");
      own.count(accepted);
    }
  });
  CHECK(own.occurred());
  Both own_of_two;
  explore_type("ThreadPoolExecutor(2), a task's own submit against shutdown", [&own_of_two] {
    int runs = 0;
    bool accepted = false;
    ThreadPoolExecutor pool{2};
    pool.detach([&] { accepted = try_detach(pool, [&runs] { ++runs; }); });
    pool.shutdown();
    check(runs == (accepted ? 1 : 0), "run or refused");
    own_of_two.count(accepted);
  });
  CHECK(own_of_two.occurred());
  explore_type("ThreadPoolExecutor(1), two shutdowns",
               [] {
                 int runs = 0;
                 ThreadPoolExecutor pool{1};
                 pool.detach([&runs] { ++runs; });
                 const auto end = [&] {
                   pool.shutdown();
                   check(runs == 1, "it waits");
                 };
                 parallel(end, end);
               },
               {.preemptions = 1});
  explore_type("ThreadPoolExecutor(1), shutdown by its own task", [] {
    int refused = 0;
    {
      ThreadPoolExecutor pool{1};
      pool.detach([&] {
        try {
          pool.shutdown();
        } catch (const conc::UsageError&) {
          ++refused;
        }
        pool.shutdown({.wait = false});
      });
    }
    check(refused == 1, "it would wait for itself");
  });
  explore_type("ThreadPoolExecutor(1), destroyed by its own task", [] {
    auto pool = std::make_unique<ThreadPoolExecutor>(1);
    Event gone;
    Event submitted;
    pool->detach([&] {
      submitted.wait();
      pool.reset();
      gone.set();
    });
    submitted.set();
    gone.wait();
  });
}

TEST_CASE("ThreadPoolExecutor: cancel_futures leaves every future done, in every schedule", "[thread_pool][X5][X6]") {
  Both ran;
  explore_type("ThreadPoolExecutor(1), two tasks, cancelled", [&ran] {
    int runs = 0;
    std::vector<Future<void>> futures;
    {
      ThreadPoolExecutor pool{1};
      futures.push_back(pool.submit([&runs] { ++runs; }));
      futures.push_back(pool.submit([&runs] { ++runs; }));
      pool.shutdown({.cancel_futures = true});
    }
    const auto cancelled = [&](std::size_t i) { return futures[i].cancelled() ? 1 : 0; };
    check(futures[0].done() && futures[1].done(), "done");
    ran.count(!futures[1].cancelled());
    check(runs + cancelled(0) + cancelled(1) == 2 && cancelled(1) >= cancelled(0),
          "each was run or cancelled, in order");
  });
  CHECK(ran.occurred());
  Both last_ran;
  explore_type("ThreadPoolExecutor(2), three dealt tasks, cancelled", [&last_ran] {
    int runs = 0;
    std::vector<Future<void>> futures;
    {
      ThreadPoolExecutor pool{2};
      futures = pool.submit_many([&runs](int /*n*/) { ++runs; }, std::array{0, 1, 2});
      pool.shutdown({.cancel_futures = true});
    }
    for (const Future<void>& future : futures) {
      check(future.done(), "done");
      runs += future.cancelled() ? 1 : 0;
    }
    check(runs == 3, "each was run or cancelled");
    last_ran.count(!futures[2].cancelled());
  });
  CHECK(last_ran.occurred());
  Both accepted;
  explore_type("ThreadPoolExecutor(1), a submit against cancel_futures", [&accepted] {
    std::optional<Future<void>> future;
    int runs = 0;
    ThreadPoolExecutor pool{1};
    parallel(
        [&] {
          try {
            future = pool.submit([&runs] { ++runs; });
          } catch (const conc::UsageError&) {
          }
        },
        [&] { pool.shutdown({.cancel_futures = true}); });
    accepted.count(future.has_value());
    if (future) {
      future->wait();
      check(runs == (future->cancelled() ? 0 : 1), "run or cancelled");
    } else {
      check(runs == 0, "refused");
    }
  });
  CHECK(accepted.occurred());
  Both own_accepted;
  explore_type("ThreadPoolExecutor(1), a task's own submit against cancel_futures", [&own_accepted] {
    std::optional<Future<void>> inner;
    int runs = 0;
    ThreadPoolExecutor pool{1};
    pool.detach([&] {
      try {
        inner = pool.submit([&runs] { ++runs; });
      } catch (const conc::UsageError&) {
      }
    });
    pool.shutdown({.cancel_futures = true});
    check(!inner || inner->done(), "done");
    own_accepted.count(inner.has_value());
    check(runs == (inner && !inner->cancelled() ? 1 : 0), "run, cancelled or refused");
  });
  CHECK(own_accepted.occurred());
  explore_type("ThreadPoolExecutor(1), what a busy worker has queued or was dealt is cancelled", [] {
    std::optional<Future<void>> inner;
    int runs = 0;
    Event submitted;
    Event go;
    ThreadPoolExecutor pool{1};
    const auto outer = pool.submit_many(
        [&](bool submits) {
          ++runs;
          if (submits) {
            inner = pool.submit([&runs] { ++runs; });
            submitted.set();
            go.wait();
          }
        },
        std::array{true, false, false});
    submitted.wait();
    pool.shutdown({.wait = false, .cancel_futures = true});
    check(inner->cancelled() && outer[1].cancelled() && outer[2].cancelled(), "cancelled when shutdown() returns");
    go.set();
    pool.shutdown();
    check(outer[0].done() && !outer[0].cancelled() && runs == 1, "the one that ran goes on");
  });
  Both got;
  explore_type("ThreadPoolExecutor(1), a cancelled task that somebody waits for", [&got] {
    ThreadPoolExecutor pool{1};
    const Future<int> future = pool.submit([] { return 1; });
    parallel(
        [&] {
          try {
            check(future.result() == 1, "another result");
            got.count(true);
          } catch (const conc::CancelledError&) {
            got.count(false);
          }
        },
        [&] { pool.shutdown({.wait = false, .cancel_futures = true}); });
  });
  CHECK(got.occurred());
  explore_type("ThreadPoolExecutor(1), a task waits for its own when the queue is swept", [] {
    ThreadPoolExecutor pool{1};
    const Future<int> outer = pool.submit([&pool] {
      try {
        return pool.submit([] { return 1; }).result();
      } catch (const conc::CancelledError&) {
        return 2;
      } catch (const conc::UsageError&) {
        return 3;
      }
    });
    pool.shutdown({.cancel_futures = true});
    check(outer.done(), "done");
  });
}

TEST_CASE("ThreadPoolExecutor: Future::cancel against the start of its task, in every schedule",
          "[thread_pool][F1][F12]") {
  Both cancels;
  explore_type("ThreadPoolExecutor(1), a cancel against a start", [&cancels] {
    int runs = 0;
    const auto argument = std::make_shared<int>(1);
    ThreadPoolExecutor pool{1};
    const Future<void> future = pool.submit([&runs, argument] { ++runs; });
    const bool cancelled = future.cancel();
    future.wait();
    check(runs == (cancelled ? 0 : 1) && future.cancelled() == cancelled, "run or cancelled");
    cancels.count(cancelled);
    check(argument.use_count() == 1, "callable and arguments are gone before the future is done");
  });
  CHECK(cancels.occurred());
  Both cancels_of_two;
  explore_type("ThreadPoolExecutor(1), two cancels and a dropped handle against a start", [&cancels_of_two] {
    int runs = 0;
    int calls = 0;
    ThreadPoolExecutor pool{1};
    std::optional<Future<void>> future{pool.submit([&runs] { ++runs; })};
    future->add_done_callback([&calls](const Future<void>& /*done*/) { ++calls; });
    const Future<void> other = *future;
    bool cancelled = false;
    parallel(
        [&] {
          cancelled = future->cancel();
          future.reset();
        },
        [&] { check(other.cancel() == (other.wait() && other.cancelled()), "all say the same"); });
    check(runs == (cancelled ? 0 : 1), "run or cancelled");
    cancels_of_two.count(cancelled);
    pool.shutdown();
    check(calls == 1, "one call");
  });
  CHECK(cancels_of_two.occurred());
}

TEST_CASE("ThreadPoolExecutor: wait_idle returns when all is done, in every schedule", "[thread_pool][X17]") {
  explore_type("ThreadPoolExecutor(1), wait_idle after two tasks", [] {
    int runs = 0;
    ThreadPoolExecutor pool{1};
    pool.detach([&runs] { ++runs; });
    pool.detach([&runs] { ++runs; });
    pool.wait_idle();
    check(runs == 2, "not idle");
  });
  explore_type("ThreadPoolExecutor(2), wait_idle after a future's task", [] {
    ThreadPoolExecutor pool{2};
    const Future<void> one = pool.submit([] {});
    int calls = 0;
    one.add_done_callback([&calls](const Future<void>& /*done*/) { ++calls; });
    pool.wait_idle();
    check(one.done(), "its future is done");
    check(calls == 1, "its callbacks have been called");
  });
  explore_type("ThreadPoolExecutor(2), wait_idle after a task that submits", [] {
    int runs = 0;
    ThreadPoolExecutor pool{2};
    pool.detach([&] {
      pool.detach([&runs] { ++runs; });
      ++runs;
    });
    pool.wait_idle();
    check(runs == 2, "not idle");
  });
  explore_type("ThreadPoolExecutor(2), wait_idle after a chain", [] {
    int runs = 0;
    ThreadPoolExecutor pool{2};
    pool.submit_many([&runs](int /*n*/) { ++runs; }, std::array{0, 1, 2});
    pool.wait_idle();
    check(runs == 3, "not idle");
  });
}

TEST_CASE("ThreadPoolExecutor: wait_idle among others who submit, wait and end the pool, in every schedule",
          "[thread_pool][X17]") {
  explore_type("ThreadPoolExecutor(1), wait_idle against cancel_futures", [] {
    ThreadPoolExecutor pool{1};
    const auto futures = pool.submit_many([](int /*n*/) {}, std::array{0, 1});
    parallel(
        [&] {
          pool.wait_idle();
          check(futures[0].done() && futures[1].done(), "not idle");
        },
        [&] { pool.shutdown({.cancel_futures = true}); });
  });
  explore_type("ThreadPoolExecutor(1), two wait_idle against a submit", [] {
    int runs = 0;
    ThreadPoolExecutor pool{1};
    parallel([&] { pool.wait_idle(); },
             [&] {
               pool.detach([&runs] { ++runs; });
               pool.wait_idle();
               check(runs == 1, "not idle");
             });
  });
  explore_type("ThreadPoolExecutor(1), wait_idle with a deadline", [] {
    Event go;
    ThreadPoolExecutor pool{1};
    pool.detach([&go] { go.wait(); });
    check(!pool.wait_idle(1ms), "it waits for the event");
    go.set();
    pool.wait_idle();
  });
  explore_type("ThreadPoolExecutor(1), wait_idle against shutdown", [] {
    int runs = 0;
    ThreadPoolExecutor pool{1};
    pool.detach([&runs] { ++runs; });
    parallel(
        [&] {
          pool.wait_idle();
          check(runs == 1, "not idle");
        },
        [&] { pool.shutdown(); });
  });
}

TEST_CASE("ThreadPoolExecutor: a worker claims what it waits for, in every schedule", "[thread_pool][X16]") {
  explore_type("ThreadPoolExecutor(1), a task that waits for one that it has submitted", [] {
    ThreadPoolExecutor pool{1};
    check(pool.submit([&pool] { return pool.submit([] { return 1; }).result(); }).result() == 1, "another result");
  });
  Both claimed;
  explore_type("ThreadPoolExecutor(2), claimed or stolen", [&claimed] {
    int runs = 0;
    ThreadPoolExecutor pool{2};
    std::optional<std::size_t> workers[2];
    const auto outer = [&] {
      workers[0] = pool.worker_index();
      return pool
          .submit([&] {
            workers[1] = pool.worker_index();
            return ++runs;
          })
          .result();
    };
    check(pool.submit(outer).result() == 1 && runs == 1, "once");
    claimed.count(workers[0] == workers[1]);
  });
  CHECK(claimed.occurred());
  Both cancels;
  explore_type("ThreadPoolExecutor(1), claimed from outside against a cancel", [&cancels] {
    int runs = 0;
    std::optional<Future<void>> inner;
    Event go;
    ThreadPoolExecutor pool{1};
    const Future<bool> outer = pool.submit([&] {
      go.wait();
      inner->wait();
      return inner->cancelled();
    });
    inner = pool.submit([&runs] { ++runs; });
    go.set();
    const bool cancelled = inner->cancel();
    check(outer.result() == cancelled && runs == (cancelled ? 0 : 1), "run or cancelled");
    cancels.count(cancelled);
  });
  CHECK(cancels.occurred());
  explore_type("ThreadPoolExecutor(2), two that wait for the same task", [] {
    int runs = 0;
    Event go;
    std::optional<Future<int>> inner;
    ThreadPoolExecutor pool{2};
    const auto wait = [&](int /*n*/) {
      go.wait();
      return inner->result();
    };
    const auto outer = pool.submit_many(wait, std::array{0, 1});
    inner = pool.submit([&runs] { return ++runs; });
    go.set();
    check(outer[0].result() == 1 && outer[1].result() == 1, "once");
  });
  explore_type("ThreadPoolExecutor(1), a claim that is nested too deep for one stack", [] {
    ThreadPoolExecutor pool{1};
    struct Nest {
      ThreadPoolExecutor& pool;
      int operator()(int depth) const { return depth == 0 ? 0 : 1 + pool.submit(Nest{pool}, depth - 1).result(); }
    };
    check(pool.submit(Nest{pool}, 3).result() == 3, "another result");
  });
  Both nested_cancels;
  explore_type("ThreadPoolExecutor(2), a nested claim against a thief and a cancel",
               [&nested_cancels] {
                 std::optional<Future<int>> innermost;
                 Event submitted;
                 ThreadPoolExecutor pool{2};
                 const Future<int> outer = pool.submit([&] {
                   return pool
                       .submit([&] {
                         innermost = pool.submit([] { return 1; });
                         submitted.set();
                         try {
                           return innermost->result();
                         } catch (const conc::CancelledError&) {
                           return 2;
                         }
                       })
                       .result();
                 });
                 submitted.wait();
                 const bool cancelled = innermost->cancel();
                 check(outer.result() == (cancelled ? 2 : 1), "run or cancelled");
                 nested_cancels.count(cancelled);
               },
               {.preemptions = 1});
  CHECK(nested_cancels.occurred());
  explore_type("ThreadPoolExecutor(1), the last handle dropped by a callback of the claimed task", [] {
    int calls = 0;
    ThreadPoolExecutor pool{1};
    pool.submit([&] {
          auto inner = std::make_unique<Future<int>>(pool.submit([] { return 1; }));
          inner->add_done_callback([&](const Future<int>& /*done*/) {
            inner.reset();
            ++calls;
          });
          inner->wait();
        })
        .wait();
    check(calls == 1, "one call");
  });
}

TEST_CASE("ThreadPoolExecutor: tasks that wait for each other get DeadlockError, in every schedule",
          "[thread_pool][X16]") {
  explore_type("ThreadPoolExecutor(1), a task that waits for itself", [] {
    std::optional<Future<bool>> itself;
    Event go;
    ThreadPoolExecutor pool{1};
    itself = pool.submit([&] {
      go.wait();
      try {
        itself->wait();
        return false;
      } catch (const conc::DeadlockError&) {
        return true;
      }
    });
    go.set();
    check(itself->result(), "no DeadlockError");
  });
  explore_type("ThreadPoolExecutor(2), two tasks that wait for each other", [] {
    std::optional<Future<int>> futures[2];
    Event go;
    ThreadPoolExecutor pool{2};
    const auto wait = [&](int other) {
      go.wait();
      try {
        (void)futures[other]->result();
        return 0;
      } catch (const conc::DeadlockError&) {
        return 1;
      }
    };
    futures[0] = pool.submit(wait, 1);
    futures[1] = pool.submit(wait, 0);
    go.set();
    check(futures[0]->result() + futures[1]->result() == 1, "the wait that closes the cycle, and no other");
  });
  explore_type("ThreadPoolExecutor(1), two tasks that wait for each other on one stack", [] {
    std::optional<Future<int>> futures[2];
    Event go;
    ThreadPoolExecutor pool{1};
    const auto wait = [&](int other) {
      go.wait();
      try {
        (void)futures[other]->result();
        return 0;
      } catch (const conc::DeadlockError&) {
        return 1;
      }
    };
    futures[0] = pool.submit(wait, 1);
    futures[1] = pool.submit(wait, 0);
    go.set();
    check(futures[0]->result() + futures[1]->result() == 1, "the wait that closes the cycle, and no other");
  });
}

TEST_CASE("ThreadPoolExecutor: a bounded queue admits, refuses and wakes, in every schedule", "[thread_pool][X17]") {
  using conc::WhenFull;
  explore_type("ThreadPoolExecutor(1), a bound of one, three tasks", [] {
    int runs = 0;
    {
      ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = 1}};
      for (int i = 0; i < 3; ++i) {
        pool.detach([&runs] { ++runs; });
      }
    }
    check(runs == 3, "a task was lost");
  });
  explore_type("ThreadPoolExecutor(1), a bound of one, two who submit", [] {
    int runs = 0;
    {
      ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = 1}};
      const auto submit = [&] { pool.detach([&runs] { ++runs; }); };
      parallel(submit, submit);
    }
    check(runs == 2, "a task was lost");
  });
  Both first_accepted;
  explore_type("ThreadPoolExecutor(1), a bound of one, a blocked submit against shutdown", [&first_accepted] {
    int runs = 0;
    int accepted = 0;
    {
      Event go;
      ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = 1}};
      pool.detach([&go] { go.wait(); });
      parallel(
          [&] {
            for (int i = 0; i < 2; ++i) {
              accepted += try_detach(pool, [&runs] { ++runs; }) ? 1 : 0;
            }
          },
          [&] {
            pool.shutdown({.wait = false});
            go.set();
          });
    }
    check(runs == accepted, "run or refused");
    first_accepted.count(accepted == 1);
  });
  CHECK(first_accepted.occurred());
  Both one_accepted;
  explore_type("ThreadPoolExecutor(1), a bound of one, shutdown alone releases a blocked submit", [&one_accepted] {
    int runs = 0;
    int accepted = 0;
    Event go;
    ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = 1}};
    pool.detach([&go] { go.wait(); });
    parallel(
        [&] {
          while (try_detach(pool, [&runs] { ++runs; })) {
            ++accepted;
          }
          go.set();  // the worker goes on once a submit was refused
        },
        [&] { pool.shutdown({.wait = false}); });
    pool.shutdown();
    check(runs == accepted && accepted <= 1, "run or refused");
    one_accepted.count(accepted == 1);
  });
  CHECK(one_accepted.occurred());
  Both refuses;
  explore_type("ThreadPoolExecutor(1), a bound of one, run by the caller or refused",
               [&refuses] {
                 int runs = 0;
                 int refused = 0;
                 {
                   ThreadPoolExecutor here{{.max_workers = 1, .max_queued = 1, .when_full = WhenFull::run_by_caller}};
                   here.detach([&runs] { ++runs; });
                   here.detach([&runs] { ++runs; });
                 }
                 {
                   ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = 1, .when_full = WhenFull::raise}};
                   for (int i = 0; i < 2; ++i) {
                     try {
                       pool.detach([&runs] { ++runs; });
                     } catch (const conc::QueueFull&) {
                       ++refused;
                     }
                   }
                 }
                 check(runs + refused == 4 && refused <= 1, "run or refused");
                 refuses.count(refused == 1);
               },
               {.preemptions = 2});
  CHECK(refuses.occurred());
  Both cancelled;
  explore_type("ThreadPoolExecutor(1), a bound of one, cancel_futures against a blocked submit", [&cancelled] {
    int runs = 0;
    std::vector<Future<void>> futures;
    {
      ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = 1}};
      parallel(
          [&] {
            try {
              for (int i = 0; i < 2; ++i) {
                futures.push_back(pool.submit([&runs] { ++runs; }));
              }
            } catch (const conc::UsageError&) {
            }
          },
          [&] { pool.shutdown({.wait = false, .cancel_futures = true}); });
    }
    for (const Future<void>& future : futures) {
      check(future.done(), "done");
      runs -= future.cancelled() ? 0 : 1;
      cancelled.count(future.cancelled());
    }
    check(runs == 0, "run or cancelled");
  });
  CHECK(cancelled.occurred());
}

TEST_CASE("ThreadPoolExecutor: a failed initializer breaks all that is queued, in every schedule",
          "[thread_pool][X8]") {
  explore_type("ThreadPoolExecutor(1), a failed initializer against two submits", [] {
    int broken = 0;
    ThreadPoolExecutor pool{{.max_workers = 1, .initializer = [] { throw std::runtime_error{"no"}; }}};
    for (int i = 0; i < 2; ++i) {
      try {
        pool.submit([] { check(false, "no worker is able to run it"); }).result();
      } catch (const conc::BrokenThreadPool&) {
        ++broken;
      }
    }
    check(broken == 2, "both learn of it");
  });
  explore_type("ThreadPoolExecutor(2), initializers run before the tasks", [] {
    int initialized = 0;
    int runs = 0;
    {
      ThreadPoolExecutor pool{{.max_workers = 2, .initializer = [&initialized] { ++initialized; }}};
      for (int i = 0; i < 2; ++i) {
        pool.detach([&] {
          check(initialized > 0, "not initialized");
          ++runs;
        });
      }
    }
    check(runs == 2, "a task was lost");
  });
  explore_type("ThreadPoolExecutor(2), initialized workers meet",
               [] {
                 Meeting meeting{2};
                 ThreadPoolExecutor pool{{.max_workers = 2, .initializer = [] {}}};
                 const Future<void> first = pool.submit(std::ref(meeting));
                 pool.submit(std::ref(meeting)).wait();
                 first.wait();
               },
               {.preemptions = 1});
  explore_type("ThreadPoolExecutor(1), a claim that is nested too deep finds its thread initialized", [] {
    struct Nest {
      ThreadPoolExecutor* pool = nullptr;
      std::set<std::uint64_t> initialized{};
      int operator()(int depth) {
        check(initialized.contains(conc::current_thread().ident()), "not initialized");
        return depth == 0 ? 0 : 1 + pool->submit(std::ref(*this), depth - 1).result();
      }
    } nest;
    ThreadPoolExecutor pool{
        {.max_workers = 1, .initializer = [&nest] { nest.initialized.insert(conc::current_thread().ident()); }}};
    nest.pool = &pool;
    check(pool.submit(std::ref(nest), 3).result() == 3, "another result");
    check(nest.initialized.size() == 2, "once on each thread");
  });
}

TEST_CASE("ThreadPoolExecutor: runs continuations, in every schedule", "[thread_pool][F17]") {
  explore_type("ThreadPoolExecutor(1), then() on the pool", [] {
    ThreadPoolExecutor pool{1};
    const Future<int> next = pool.submit([] { return 1; }).then(pool, [](int n) { return n + 1; });
    check(next.result() == 2, "another result");
  });
  Both ran;
  explore_type("ThreadPoolExecutor(1), then() on the pool against its shutdown", [&ran] {
    conc::Promise<int> promise;
    Future<int> next;
    {
      ThreadPoolExecutor pool{1};
      next = promise.get_future().then(pool, [](int n) { return n + 1; });
      parallel([&] { promise.set_result(1); }, [&] { pool.shutdown(); });
    }
    check(next.done() && (next.cancelled() || next.result() == 2), "run or cancelled");
    ran.count(!next.cancelled());
  });
  CHECK(ran.occurred());
  explore_type("ThreadPoolExecutor(1), request_stop against a task", [] {
    ThreadPoolExecutor pool{1};
    const Future<int> future = pool.submit([](const conc::StopToken& token) {
      Event stopped;
      const conc::StopCallback callback{token, [&stopped] { stopped.set(); }};
      stopped.wait();
      return 1;
    });
    check(future.request_stop() && future.result() == 1, "it ends");
  });
}
