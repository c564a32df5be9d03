// SPDX-License-Identifier: MIT
// Nine classic bugs, each with the program it should have been. The explorer must find every bug with every strategy,
// within a minute, and repeat it from its replay string; of the right programs it must say nothing.
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/condition.hpp>
#include <conc/event.hpp>
#include <conc/lock.hpp>
#include <conc/testing.hpp>
#include <conc/thread.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "support.hpp"

using conc::testing::check;
using conc::testing::explore;
using conc::testing::parallel;
using conc::testing::Report;
using conc::testing::Strategy;
namespace seam = conc::detail::sync;

namespace {

constexpr struct {
  Strategy strategy;
  const char* name;
} kStrategies[] = {{Strategy::random, "random"}, {Strategy::pct, "PCT"}, {Strategy::depth_first, "depth first"}};

/// `program` fails with a message that has `symptom` in it, whatever the strategy, and each such schedule can be repeated.
template <class Program>
void must_be_found(const char* name, Program program, const std::string& symptom) {
  for (const auto& [strategy, strategy_name] : kStrategies) {
    INFO(name << ", " << strategy_name);
    const auto begin = std::chrono::steady_clock::now();
    const Report found = explore(program, {.strategy = strategy, .schedules = UINT64_MAX, .quiet = true});
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    REQUIRE(found.failed);
    INFO(found.message);
    CHECK(found.failure.find(symptom) != std::string::npos);
    CHECK(took < std::chrono::seconds{60});
    std::printf("found: %s: %s, schedule %llu, %.3f s\n", name, strategy_name,
                static_cast<unsigned long long>(found.schedules), took.count());

    const Report again = explore(program, {.replay = found.replay, .quiet = true});
    CHECK(again.failure == found.failure);
    CHECK(again.replay == found.replay);

    setenv("CONC_REPLAY", found.replay.c_str(), 1);
    const Report from_environment = explore(program, {.strategy = Strategy::random, .schedules = 1});
    unsetenv("CONC_REPLAY");
    CHECK(from_environment.failure == found.failure);
    CHECK(conc_test::take_stderr() == from_environment.message);
  }
}

/// No schedule of `program` with at most `preemptions` preemptions fails, nor any of many random and PCT ones.
template <class Program>
void must_be_clean(const char* name, Program program, unsigned preemptions = 2) {
  for (const auto& [strategy, strategy_name] : kStrategies) {
    INFO(name << ", " << strategy_name);
    const bool all = strategy == Strategy::depth_first;
    const Report report = explore(program, {.strategy = strategy,
                                            .schedules = all ? UINT64_MAX : conc_test::scaled(std::uint64_t{20'000}),
                                            .preemptions = preemptions});
    CHECK(report.ok());
    CHECK(report.complete == all);
    std::printf("clean: %s: %s, %llu schedules%s\n", name, strategy_name,
                static_cast<unsigned long long>(report.schedules), all ? ", complete" : "");
  }
}

/// A buffer for one item, with one condition for all that may change.
class Buffer {
 public:
  enum class Look { once, again };
  enum class Tell { one, all };

  Buffer(Look look, Tell tell) : look_{look}, tell_{tell} {}

  void put(int item) {
    const conc::ScopedLock guard{changed_};
    wait_while([this] { return !items_.empty(); });
    check(items_.empty(), "no room for the item");
    items_.push_back(item);
    tell();
  }

  int get() {
    const conc::ScopedLock guard{changed_};
    wait_while([this] { return items_.empty(); });
    check(!items_.empty(), "no item to take");
    const int item = items_.back();
    items_.pop_back();
    tell();
    return item;
  }

 private:
  template <class Predicate>
  void wait_while(Predicate predicate) {
    if (look_ == Look::once) {
      if (predicate()) {
        changed_.wait();
      }
    } else {
      while (predicate()) {
        changed_.wait();
      }
    }
  }

  void tell() { tell_ == Tell::one ? changed_.notify() : changed_.notify_all(); }

  const Look look_;
  const Tell tell_;
  conc::Condition<conc::Lock> changed_;
  std::vector<int> items_;
};

/// An event as one would write it first: what was set and cleared again before the waiter looked has never been.
class ForgetfulEvent {
 public:
  void set() {
    flag_.store(1);
    seam::wake(&flag_, seam::everybody);
  }
  void clear() { flag_.store(0); }
  void wait() {
    while (flag_.load() == 0) {
      seam::wait(flag_, 0U, seam::forever);
    }
  }

 private:
  seam::Atomic<std::uint32_t> flag_{0};
};

/// A waiter says that it is about to wait; then comes a pulse.
template <class Event>
void pulse() {
  Event event;
  conc::Event ready;
  parallel(
      [&] {
        ready.set();
        event.wait();
      },
      [&] {
        ready.wait();
        event.set();
        event.clear();
      });
}

/// The same with a waiter that certainly waits already: the clock moves only then.
template <class Event>
void pulse_for_a_sleeper() {
  Event event;
  conc::Event never_set;
  parallel([&] { event.wait(); },
           [&] {
             never_set.wait(std::chrono::hours{1});
             event.set();
             event.clear();
           });
}

/// Workers wait for work; shutdown() tells them that there will be none.
class Workshop {
 public:
  void work() {
    const conc::ScopedLock guard{changed_};
    while (!over_) {
      changed_.wait();
    }
  }

  void shutdown(bool tell_everybody) {
    const conc::ScopedLock guard{changed_};
    over_ = true;
    tell_everybody ? changed_.notify_all() : changed_.notify();
  }

 private:
  conc::Condition<> changed_;
  bool over_ = false;
};

/// A pool of one worker in little: how a task is submitted, found and waited for. See detail/lobby.hpp.
class LittlePool {
 public:
  enum class Bug { none, sleeps_without_a_last_look, thinks_that_somebody_searches, finishes_without_waking };

  explicit LittlePool(Bug bug) : bug_{bug} {}

  void submit() {
    queued_.fetch_add(1);
    std::uint32_t old = lobby_.load();
    while ((old & (kSearching | kCalled)) == 0 && bug_ != Bug::thinks_that_somebody_searches) {
      if (lobby_.compare_exchange_strong(old, old | kCalled)) {
        seam::wake(&lobby_, 1);
        return;
      }
    }
  }

  /// What the worker does, until it has run so many tasks.
  void work(std::uint32_t tasks) {
    while (tasks > 0) {
      if (queued_.load() > 0) {
        queued_.fetch_sub(1);
        finish();
        --tasks;
        continue;
      }
      lobby_.fetch_and(~kSearching);  // from here on whoever submits calls
      if (bug_ == Bug::sleeps_without_a_last_look || queued_.load() == 0) {
        while ((lobby_.load() & kCalled) == 0) {
          seam::wait(lobby_, 0U, seam::forever);
        }
      }
      lobby_.store(kSearching);
    }
  }

  void wait_for(std::uint32_t tasks) {
    for (std::uint32_t done = done_.load(); done < tasks; done = done_.load()) {
      seam::wait(done_, done, seam::forever);
    }
  }

 private:
  static constexpr std::uint32_t kSearching = 1;
  static constexpr std::uint32_t kCalled = 2;

  void finish() {
    done_.fetch_add(1);
    if (bug_ != Bug::finishes_without_waking) {
      seam::wake(&done_, seam::everybody);
    }
  }

  const Bug bug_;
  seam::Atomic<std::uint32_t> lobby_{kSearching};
  seam::Atomic<std::uint32_t> queued_{0};
  seam::Atomic<std::uint32_t> done_{0};
};

}  // namespace

TEST_CASE("Seeded bug: a wake-up is lost between looking and waiting", "[explorer][seeded]") {
  const auto program = [](bool look_with_the_lock) {
    return [look_with_the_lock] {
      conc::Condition<conc::Lock> changed;
      bool ready = false;
      parallel(
          [&] {
            changed.acquire();
            bool seen = ready;
            if (!look_with_the_lock) {
              changed.release();  // the other thread may notify now, when nobody waits yet
              changed.acquire();
            }
            while (!seen) {
              changed.wait();
              seen = ready;
            }
            changed.release();
          },
          [&] {
            const conc::ScopedLock guard{changed};
            ready = true;
            changed.notify();
          });
    };
  };
  must_be_found("lost wake-up", program(false), "deadlock");
  must_be_clean("lost wake-up", program(true));
}

TEST_CASE("Seeded bug: `if` where a condition needs `while`", "[explorer][seeded]") {
  const auto program = [](Buffer::Look look) {
    return [look] {
      Buffer buffer{look, Buffer::Tell::all};
      int sum = 0;
      conc::Lock lock;
      const auto consume = [&] {
        const int item = buffer.get();
        const conc::ScopedLock guard{lock};
        sum += item;
      };
      parallel(consume, consume, [&] {
        buffer.put(1);
        buffer.put(2);
      });
      check(sum == 3, "an item is missing");
    };
  };
  must_be_found("if instead of while", program(Buffer::Look::once), "no ");
  must_be_clean("if instead of while", program(Buffer::Look::again), 1);
}

TEST_CASE("Seeded bug: notify() on a condition that threads share for different ends", "[explorer][seeded]") {
  const auto program = [](Buffer::Tell tell) {
    return [tell] {
      Buffer buffer{Buffer::Look::again, tell};
      const auto produce = [&] { buffer.put(1); };
      const auto consume = [&] { check(buffer.get() == 1, "another item"); };
      parallel(consume, consume, produce, produce);
    };
  };
  must_be_found("notify_one on a shared condition", program(Buffer::Tell::one), "deadlock");
  must_be_clean("notify_one on a shared condition", program(Buffer::Tell::all), 1);
}

TEST_CASE("Seeded bug: two locks taken in opposite orders", "[explorer][seeded]") {
  must_be_found(
      "AB/BA",
      [] {
        conc::Lock a;
        conc::Lock b;
        conc::Thread left{{.name = "left"}, [&] {
                            const conc::ScopedLock first{a};
                            const conc::ScopedLock second{b};
                          }};
        conc::Thread right{{.name = "right"}, [&] {
                             const conc::ScopedLock first{b};
                             const conc::ScopedLock second{a};
                           }};
        left.start();
        right.start();
        left.join();
        right.join();
      },
      "deadlock");
  must_be_clean("AB/BA", [] {
    conc::Lock a;
    conc::Lock b;
    conc::Thread left{{.name = "left"}, [&] { const conc::ScopedLock both{a, b}; }};
    conc::Thread right{{.name = "right"}, [&] { const conc::ScopedLock both{b, a}; }};
    left.start();
    right.start();
    left.join();
    right.join();
  });
}

TEST_CASE("Seeded bug: an event forgets a pulse", "[explorer][seeded]") {
  must_be_found("lost pulse", &pulse_for_a_sleeper<ForgetfulEvent>, "deadlock");
  must_be_clean("lost pulse", &pulse_for_a_sleeper<conc::Event>);
  // Even the right event knows nothing of who is only about to wait.
  must_be_found("pulse for nobody yet", &pulse<conc::Event>, "deadlock");
}

TEST_CASE("Seeded bug: a shutdown forgets a waiter", "[explorer][seeded]") {
  const auto program = [](bool tell_everybody) {
    return [tell_everybody] {
      Workshop workshop;
      const auto work = [&] { workshop.work(); };
      parallel(work, work, [&] { workshop.shutdown(tell_everybody); });
    };
  };
  must_be_found("shutdown forgets a waiter", program(false), "deadlock");
  must_be_clean("shutdown forgets a waiter", program(true));
}

TEST_CASE("Seeded bug: a pool loses a wake-up", "[explorer][seeded]") {
  using Bug = LittlePool::Bug;
  const auto program = [](Bug bug) {
    return [bug] {
      LittlePool pool{bug};
      parallel([&] { pool.work(2); },
               [&] {
                 pool.submit();
                 pool.wait_for(1);
                 pool.submit();
                 pool.wait_for(2);
               });
    };
  };
  must_be_found("no last look before the sleep", program(Bug::sleeps_without_a_last_look), "deadlock");
  must_be_found("nobody searches, and nobody is called", program(Bug::thinks_that_somebody_searches), "deadlock");
  must_be_found("done without a wake-up", program(Bug::finishes_without_waking), "deadlock");
  must_be_clean("a pool in little", program(Bug::none));
}

TEST_CASE("Seeded bug: the report names the threads and what they wait for", "[explorer][seeded]") {
  const Report report = explore(
      [] {
        conc::Lock a;
        conc::Lock b;
        conc::Thread left{{.name = "left"}, [&] {
                            const conc::ScopedLock first{a};
                            const conc::ScopedLock second{b};
                          }};
        left.start();
        {
          const conc::ScopedLock first{b};
          const conc::ScopedLock second{a};
        }
        left.join();
      },
      {.strategy = Strategy::depth_first, .quiet = true});
  REQUIRE(report.failed);
  INFO(report.message);
  CHECK(report.message.find("thread 0 waits in Lock::acquire for #1") != std::string::npos);
  CHECK(report.message.find("thread 1 \"left\" waits in Lock::acquire for #2") != std::string::npos);
  CHECK(report.message.find("Lock::acquire_contended") != std::string::npos);
}
