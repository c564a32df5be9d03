// SPDX-License-Identifier: MIT
// What deadlines, signals and needless wakes do to those who wait on a Queue. Every kind of queue.
#include <pthread.h>

#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/queue.hpp>
#include <csignal>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "background.hpp"
#include "queues.hpp"

using namespace std::chrono_literals;
using conc::Deadline;
using conc_test::Background;
using conc_test::outcome;
using Clock = std::chrono::steady_clock;

namespace {

// What a deadline may be that has passed, or that only allows a look.
std::vector<Deadline> passed_deadlines() {
  using Real = std::chrono::duration<double>;
  using Short = std::chrono::duration<signed char>;
  return {0ms,
          -1s,
          -1ns,
          std::chrono::nanoseconds::min(),
          std::chrono::hours::min(),
          Short::min(),
          Real{-0.0},
          Real{-1e300},
          Real{-std::numeric_limits<double>::infinity()},
          Clock::now(),
          Clock::time_point::min(),
          std::chrono::system_clock::now() - 1s,
          std::chrono::system_clock::time_point::min()};
}

// What a deadline may be that never comes, or not while a test runs.
std::vector<Deadline> endless_deadlines() {
  using Real = std::chrono::duration<double>;
  return {conc::never,
          Deadline{},
          1h,
          std::chrono::nanoseconds::max(),
          std::chrono::seconds::max(),
          std::chrono::hours::max(),
          Real{1e300},
          Real{std::numeric_limits<double>::infinity()},
          Clock::time_point::max(),
          std::chrono::system_clock::time_point::max(),
          std::chrono::system_clock::now() + 1h};
}

/// Queues on which everybody has to wait: put and join on one, get on the other.
template <class Queue>
struct Stuck {
  Queue full{1};
  Queue empty{1};
  Stuck() { full.put(typename Queue::value_type{0}); }
};

}  // namespace

TEMPLATE_TEST_CASE("Queue: a deadline that has passed is a look, whatever it is made of", "[queue][FT1][G2]",
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  Stuck<TestType> stuck;
  for (const Deadline deadline : passed_deadlines()) {
    CHECK(outcome([&] { (void)stuck.empty.get(deadline); }) == "QueueEmpty");
    CHECK(outcome([&] { (void)stuck.empty.get_many(2, deadline); }) == "QueueEmpty");
    CHECK(outcome([&] { stuck.full.put(Item{1}, deadline); }) == "QueueFull");
    CHECK(stuck.full.put_many(std::vector<Item>(2, Item{1}), deadline) == 0);
    CHECK_FALSE(stuck.full.join(deadline));
    // A look finds what there is.
    stuck.empty.put(Item{7}, deadline);
    CHECK(stuck.empty.get(deadline) == 7);
    stuck.empty.task_done();
    CHECK(stuck.empty.join(deadline));
  }
}

TEMPLATE_TEST_CASE("Queue: a deadline too far away to come is never", "[queue][FT1][G2]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const Deadline deadline : endless_deadlines()) {
    Stuck<TestType> stuck;
    Background getter{[&] { (void)stuck.empty.get(deadline); }};
    Background putter{[&] { stuck.full.put(Item{1}, deadline); }};
    Background joiner{[&] { (void)stuck.full.join(deadline); }};
    REQUIRE(getter.falls_asleep());
    REQUIRE(putter.falls_asleep());
    REQUIRE(joiner.falls_asleep());
    stuck.empty.put(Item{1});
    (void)stuck.full.get();
    CHECK(getter.join() == "returned");
    CHECK(putter.join() == "returned");
    stuck.full.task_done(2);
    CHECK(joiner.join() == "returned");
  }
}

TEST_CASE("Queue: a deadline that is not a number is a UsageError, and the queue is as it was", "[queue][FT1]") {
  conc::Queue<int> queue{2};
  queue.put(1);
  const std::chrono::duration<double> nan{std::numeric_limits<double>::quiet_NaN()};
  CHECK(outcome([&] { (void)queue.get(nan); }) == "UsageError");
  CHECK(outcome([&] { queue.put(2, nan); }) == "UsageError");
  CHECK(outcome([&] { (void)queue.join(nan); }) == "UsageError");
  CHECK(queue.qsize() == 1);
}

namespace {

enum class Signal { before, during, never };

/// The deadlines that every waiting call is tried with; index 5 is never.
Deadline deadline_number(int index) {
  switch (index) {
    case 0:
      return Clock::now() - 1s;
    case 1:
      return 0ms;
    case 2:
      return 1ns;
    case 3:
      return 1ms;
    case 4:
      return 100ms;
    default:
      return conc::never;
  }
}

/// Waits with every deadline for what `signal` brings before the wait, while it sleeps, or not at all, and checks that
/// `wait` says so. `wait(deadline)` returns whether it got it; `undo(got)` makes the next round like the first and
/// checks that nothing was lost.
template <class Wait, class SendSignal, class Undo>
void try_every_deadline(Wait wait, SendSignal send_signal, Undo undo) {
  for (int index = 0; index <= 5; ++index) {
    for (const Signal when : {Signal::before, Signal::during, Signal::never}) {
      const bool endless = index == 5;
      if (endless && when == Signal::never) continue;
      INFO("deadline " << index << ", signal " << static_cast<int>(when));
      if (when == Signal::before) send_signal();
      const auto start = Clock::now();
      std::atomic<bool> got{false};
      std::atomic<bool> ended{false};
      Background waiter{[&] {
        got.store(wait(deadline_number(index)));
        ended.store(true);
      }};
      if (when == Signal::during) {
        // With a short deadline the wait may be over before it is seen; then the signal comes after it.
        REQUIRE(conc_test::eventually([&] { return ended.load() || conc_test::sleeps(waiter.id()); }));
        send_signal();
      }
      CHECK(waiter.join() == "returned");
      const auto took = Clock::now() - start;
      if (when == Signal::before || endless) CHECK(got);
      if (when == Signal::never) CHECK_FALSE(got);
      if (!got && index == 4) CHECK(took >= 100ms);
      if (!got && index == 3) CHECK(took >= 1ms);
      undo(when != Signal::never, got.load());
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("Queue: get has the right outcome for every deadline and moment of the put", "[queue][FT3][FT4]",
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const std::size_t maxsize : {0U, 2U}) {
    TestType queue{maxsize};
    try_every_deadline([&](Deadline deadline) { return outcome([&] { (void)queue.get(deadline); }) == "returned"; },
                       [&] { queue.put(Item{1}); },
                       [&](bool sent, bool got) { CHECK(queue.try_get().has_value() == (sent && !got)); });
  }
}

TEMPLATE_TEST_CASE("Queue: put has the right outcome for every deadline and moment of the get", "[queue][FT3][FT4]",
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{1};
  queue.put(Item{0});
  try_every_deadline([&](Deadline deadline) { return outcome([&] { queue.put(Item{1}, deadline); }) == "returned"; },
                     [&] { (void)queue.get(); },
                     [&](bool sent, bool got) { CHECK(queue.try_put(Item{0}) == (sent && !got)); });
}

TEMPLATE_TEST_CASE("Queue: join has the right outcome for every deadline and moment of the task_done",
                   "[queue][FT3][FT4]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{1};
  queue.put(Item{0});
  (void)queue.get();
  try_every_deadline([&](Deadline deadline) { return queue.join(deadline); }, [&] { queue.task_done(); },
                     [&](bool sent, bool) {
                       CHECK(queue.unfinished_tasks() == (sent ? 0 : 1));
                       if (!sent) return;
                       queue.put(Item{0});
                       (void)queue.get();
                     });
}

TEMPLATE_TEST_CASE("Queue: no wait ends before its deadline", "[queue][FT4]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  Stuck<TestType> stuck;
  const auto lasts = [](Clock::duration span, auto wait) {
    const auto start = Clock::now();
    wait(span);
    return Clock::now() - start >= span;
  };
  for (const Clock::duration span : {1us, 300us, 1000us, 2500us, 20000us}) {
    CHECK(lasts(span, [&](auto d) { (void)outcome([&] { (void)stuck.empty.get(d); }); }));
    CHECK(lasts(span, [&](auto d) { (void)outcome([&] { (void)stuck.empty.get_many(3, d); }); }));
    CHECK(lasts(span, [&](auto d) { (void)outcome([&] { stuck.full.put(Item{1}, d); }); }));
    CHECK(lasts(span, [&](auto d) { (void)stuck.full.put_many(std::vector<Item>(2, Item{1}), d); }));
    CHECK(lasts(span, [&](auto d) { (void)stuck.full.join(d); }));
    CHECK(lasts(span, [&](auto d) { (void)outcome([&] { (void)stuck.empty.get(Clock::now() + d); }); }));
  }
}

namespace {

std::atomic<int> signals_handled{0};

/// While it lives, SIGUSR1 interrupts what a thread sleeps in.
class InterruptingSignal {
 public:
  InterruptingSignal() {
    struct sigaction action {};
    action.sa_handler = [](int) { signals_handled.fetch_add(1); };
    ::sigaction(SIGUSR1, &action, &previous_);
  }
  InterruptingSignal(const InterruptingSignal&) = delete;
  InterruptingSignal& operator=(const InterruptingSignal&) = delete;
  ~InterruptingSignal() { ::sigaction(SIGUSR1, &previous_, nullptr); }

 private:
  struct sigaction previous_ {};
};

}  // namespace

TEMPLATE_TEST_CASE("Queue: a storm of signals neither ends a wait nor extends its deadline", "[queue][FT5]",
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  const InterruptingSignal signal;
  signals_handled.store(0);
  Stuck<TestType> stuck;
  // Waits with a deadline in a thread that gets signals all the time; says how it ended, and whether not too early.
  const auto in_the_storm = [](auto wait) {
    std::atomic<bool> ended{false};
    bool early = false;
    Background waiter{[&] {
      const auto start = Clock::now();
      const std::string how = outcome([&] { wait(Deadline{50ms}); });
      early = Clock::now() - start < 50ms;
      ended.store(true);
      if (how != "returned") throw std::runtime_error{how};
    }};
    REQUIRE(conc_test::eventually([&] { return waiter.id() != 0; }));
    while (!ended.load()) ::pthread_kill(waiter.handle(), SIGUSR1);
    const std::string how = waiter.join();
    return early ? "ended early: " + how : how;
  };
  CHECK(in_the_storm([&](Deadline deadline) { (void)stuck.empty.get(deadline); }) == "QueueEmpty");
  CHECK(in_the_storm([&](Deadline deadline) { stuck.full.put(Item{1}, deadline); }) == "QueueFull");
  bool joined = true;
  CHECK(in_the_storm([&](Deadline deadline) { joined = stuck.full.join(deadline); }) == "returned");
  CHECK_FALSE(joined);
  CHECK(signals_handled > 0);
}

TEMPLATE_TEST_CASE("Queue: signals and needless wakes do not end a wait without a deadline", "[queue][FT5][FT6]",
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  const InterruptingSignal signal;
  Stuck<TestType> stuck;
  Background getter{[&] { (void)stuck.empty.get(); }};
  Background putter{[&] { stuck.full.put(Item{1}); }};
  Background joiner{[&] { stuck.full.join(); }};
  for (Background* waiter : {&getter, &putter, &joiner}) {
    REQUIRE(waiter->falls_asleep());
    for (int i = 0; i < conc_test::scaled(100); ++i) {
      const long naps = waiter->naps();
      if (i % 2 == 0) {
        conc_test::wake_for_no_reason(waiter->id());
      } else {
        ::pthread_kill(waiter->handle(), SIGUSR1);
      }
      REQUIRE(waiter->falls_asleep_again(naps));
    }
  }
  stuck.empty.put(Item{1});
  CHECK(stuck.full.get() == 0);
  CHECK(getter.join() == "returned");
  CHECK(putter.join() == "returned");
  stuck.full.task_done(2);
  CHECK(joiner.join() == "returned");
}
