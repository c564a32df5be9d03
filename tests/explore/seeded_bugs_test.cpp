// SPDX-License-Identifier: MIT
// Thirteen classic bugs, each with the program it should have been. The explorer must find every bug with every strategy,
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
#include <string>
#include <vector>

#include "seeded.hpp"

using conc::testing::check;
using conc::testing::explore;
using conc::testing::parallel;
using conc::testing::Report;
using conc::testing::Strategy;
using conc_test::must_be_clean;
using conc_test::must_be_found;
namespace seam = conc::detail::sync;

namespace {

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

/// A barrier as one would write it first: the last one to arrive lets the others go, and then begins to count anew. Who
/// is back before that is not counted.
class HastyBarrier {
 public:
  enum class Order { lets_go_first, begins_anew_first };

  HastyBarrier(std::uint32_t parties, Order order) : parties_{parties}, order_{order} {}

  void wait() {
    const std::uint32_t pass = pass_.load();
    if (arrived_.fetch_add(1) + 1 < parties_) {
      while (pass_.load() == pass) {
        seam::wait(pass_, pass, seam::forever);
      }
    } else if (order_ == Order::lets_go_first) {
      let_go();
      arrived_.store(0);
    } else {
      arrived_.store(0);
      let_go();
    }
  }

 private:
  void let_go() {
    pass_.fetch_add(1);
    seam::wake(&pass_, seam::everybody);
  }

  const std::uint32_t parties_;
  const Order order_;
  seam::Atomic<std::uint32_t> arrived_{0};
  seam::Atomic<std::uint32_t> pass_{0};
};

/// A stack of numbered nodes that come and go (Treiber's). While pop() looks, its node may be popped, and come back with
/// another one below it: then the exchange finds the head as it was, though nothing else is. A head that counts its
/// changes tells.
class NodeStack {
 public:
  explicit NodeStack(bool counts) : step_{counts ? kStep : 0} {}

  void push(std::uint32_t node) {
    std::uint32_t head = head_.load();
    do {
      below_[node].store(head % kStep);
    } while (!head_.compare_exchange_strong(head, (head / kStep * kStep + step_) | node));
  }

  /// The node on top; 0 if there is none.
  std::uint32_t pop() {
    std::uint32_t head = head_.load();
    std::uint32_t below = 0;
    do {
      if (head % kStep == 0) {
        return 0;
      }
      below = below_[head % kStep].load();
    } while (!head_.compare_exchange_strong(head, (head / kStep * kStep + step_) | below));
    return head % kStep;
  }

 private:
  static constexpr std::uint32_t kStep = 4;  // nodes 1 … 3

  const std::uint32_t step_;
  seam::Atomic<std::uint32_t> head_{0};  // the node on top + kStep * how often that changed, if it counts
  seam::Atomic<std::uint32_t> below_[kStep]{};
};

/// A flag that wakes its waiter only if there is one.
class ThriftyFlag {
 public:
  explicit ThriftyFlag(bool looks_again) : looks_again_{looks_again} {}

  void set() {
    if ((word_.fetch_or(kSet) & kSleeper) != 0) {
      seam::wake(&word_, 1);
    }
  }

  void wait() {
    while ((word_.load() & kSet) == 0) {
      const std::uint32_t seen = word_.fetch_or(kSleeper) | kSleeper;
      if (!looks_again_ ||
          (seen & kSet) == 0) {  // it may have been set a moment ago, when there was no sleeper to wake
        seam::wait(word_, seen, seam::forever);
      }
    }
  }

 private:
  static constexpr std::uint32_t kSet = 1;
  static constexpr std::uint32_t kSleeper = 2;

  const bool looks_again_;
  seam::Atomic<std::uint32_t> word_{0};
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

TEST_CASE("Seeded bug: a lock is released once too often", "[explorer][seeded]") {
  const auto program = [](bool twice) {
    return [twice] {
      conc::Lock lock;
      parallel(
          [&] {
            lock.acquire();
            lock.release();
            if (twice && lock.locked()) {  // "to be on the safe side": but now it is the other thread's
              lock.release();
            }
          },
          [&] {
            lock.acquire();
            lock.release();
          });
    };
  };
  must_be_found("double unlock", program(true), "Lock::release");
  must_be_clean("double unlock", program(false));
}

TEST_CASE("Seeded bug: a barrier begins anew when its threads have gone already", "[explorer][seeded]") {
  const auto program = [](HastyBarrier::Order order) {
    return [order] {
      HastyBarrier barrier{2, order};
      const auto pass_twice = [&] {
        barrier.wait();
        barrier.wait();
      };
      parallel(pass_twice, pass_twice);
    };
  };
  must_be_found("barrier reset race", program(HastyBarrier::Order::lets_go_first), "deadlock");
  must_be_clean("barrier reset race", program(HastyBarrier::Order::begins_anew_first));
}

TEST_CASE("Seeded bug: a node that went comes back, and the exchange does not see it", "[explorer][seeded]") {
  const auto program = [](bool counts) {
    return [counts] {
      NodeStack stack{counts};
      stack.push(1);
      stack.push(2);
      std::uint32_t mine = 0;
      std::uint32_t kept = 0;
      parallel([&] { mine = stack.pop(); },
               [&] {
                 const std::uint32_t borrowed = stack.pop();
                 kept = stack.pop();
                 if (borrowed != 0) {
                   stack.push(borrowed);
                 }
               });
      std::uint32_t owners[4] = {};
      ++owners[mine];
      ++owners[kept];
      for (std::uint32_t node = stack.pop(); node != 0; node = stack.pop()) {
        check(++owners[node] == 1, "a node is in two places");
      }
      check(owners[1] == 1 && owners[2] == 1, "a node is in two places or in none");
    };
  };
  must_be_found("ABA", program(false), "a node is in two places");
  must_be_clean("ABA", program(true));
}

TEST_CASE("Seeded bug: no second look before the sleep", "[explorer][seeded]") {
  const auto program = [](bool looks_again) {
    return [looks_again] {
      ThriftyFlag flag{looks_again};
      parallel([&] { flag.wait(); }, [&] { flag.set(); });
    };
  };
  must_be_found("no second look", program(false), "deadlock");
  must_be_clean("no second look", program(true));
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
