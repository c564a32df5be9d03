// SPDX-License-Identifier: MIT
// Queues whose items or allocations fail, and what they cost in memory.
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/queue.hpp>
#include <conc/thread.hpp>
#include <csignal>
#include <cstddef>
#include <iterator>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "background.hpp"
#include "queues.hpp"

using namespace std::chrono_literals;
using conc_test::Background;
using conc_test::fail_each_allocation;
using conc_test::live_bytes;
using conc_test::LockedItem;
using conc_test::Model;
using conc_test::numbers_in_order_of;
using conc_test::outcome;

namespace {

// Longer than what a string keeps within itself.
std::string long_text(int number) {
  const std::string digits = std::to_string(number);
  return "a text that is too long for small strings, number " + std::string(6 - digits.size(), '0') + digits;
}

#define EVERY_STRING_QUEUE conc::Queue<std::string>, conc::LifoQueue<std::string>, conc::PriorityQueue<std::string>

// The thread ends in the move that comes after `moves_left` others.
struct LastMove {
  explicit LastMove(int n) : number{n} {}
  LastMove(LastMove&& other) noexcept(false) : number{other.number} {
    if (moves_left >= 0 && moves_left-- == 0) ::pthread_exit(nullptr);
  }
  ~LastMove() = default;
  friend bool operator<(const LastMove& one, const LastMove& other) { return one.number < other.number; }
  int number;
  static inline thread_local int moves_left = -1;
};

}  // namespace

TEMPLATE_TEST_CASE("Queue: put leaves the queue as it was when any of its allocations fails", "[queue][Q6][G4][FR2]",
                   EVERY_STRING_QUEUE) {
  for (const std::size_t maxsize : {std::size_t{0}, std::size_t{500}, std::size_t{1} << 40U}) {
    TestType queue{maxsize};
    std::size_t in_queue = 0;
    int failures = 0;
    for (int i = 0; i < 100; ++i) {
      const std::string text = long_text(i);
      std::string moved = text;
      const auto unchanged = [&](bool got_through) {
        ++failures;
        REQUIRE_FALSE(got_through);
        REQUIRE(queue.qsize() == in_queue);
        REQUIRE(queue.unfinished_tasks() == in_queue);
        REQUIRE(moved == text);
      };
      fail_each_allocation([&] { queue.put(text); }, unchanged);
      ++in_queue;
      fail_each_allocation([&] { queue.put(std::move(moved)); }, unchanged);
      ++in_queue;
      moved = text;
      fail_each_allocation([&] { (void)queue.try_put(text); }, unchanged);
      ++in_queue;
    }
    CHECK(failures >= 200);  // each copy of a text at least
    for (const int number : numbers_in_order_of<TestType>(300)) REQUIRE(queue.get() == long_text(number / 3));
    CHECK(queue.empty());
  }
}

TEMPLATE_TEST_CASE("Queue: put_many keeps what it put when an allocation fails, and consumes nothing else",
                   "[queue][Q6][Q15][FR2]", EVERY_STRING_QUEUE) {
  for (const std::size_t maxsize : {std::size_t{0}, std::size_t{100}}) {
    for (int k = 0; k < 20; ++k) {
      TestType queue{maxsize};
      std::vector<std::string> texts;
      for (int i = 0; i < 50; ++i) texts.push_back(long_text(i));
      conc_test::allocations_left.store(k);
      const std::string how = outcome([&] { queue.put_many(texts); });
      conc_test::allocations_left.store(-1);
      CHECK(how == "std::bad_alloc");
      const std::size_t put = queue.qsize();
      CHECK(queue.unfinished_tasks() == put);
      CHECK(put <= static_cast<std::size_t>(k));
      for (const int number : numbers_in_order_of<TestType>(static_cast<int>(put))) {
        REQUIRE(queue.get() == long_text(number));
      }
      for (int i = 0; i < 50; ++i) REQUIRE(texts[static_cast<std::size_t>(i)] == long_text(i));
    }
  }
}

TEMPLATE_TEST_CASE("Queue: get and try_get lose nothing when an allocation fails", "[queue][Q6][G4][FR2]",
                   EVERY_STRING_QUEUE) {
  for (const std::size_t maxsize : {0U, 8U}) {
    TestType queue{maxsize};
    const auto unchanged = [&](bool) { CHECK(queue.qsize() == 0); };
    // Nothing to allocate but the message of the error.
    const auto get_nothing = [&] {
      try {
        (void)queue.get(0ms);
      } catch (const conc::QueueEmpty&) {
        return;
      }
    };
    CHECK(fail_each_allocation(get_nothing, unchanged) > 0);
    CHECK(fail_each_allocation([&] { (void)queue.try_get(); }, unchanged) == 0);
    for (int i = 0; i < 3; ++i) queue.put(long_text(i));
    const std::vector<int> expected = numbers_in_order_of<TestType>(3);
    std::string got;
    CHECK(fail_each_allocation([&] { got = queue.get(); }, unchanged) == 0);
    CHECK(got == long_text(expected[0]));
    CHECK(fail_each_allocation([&] { got = queue.try_get().value(); }, unchanged) == 0);
    CHECK(got == long_text(expected[1]));
  }
}

TEMPLATE_TEST_CASE("Queue: get_many hands out all that it took when an allocation fails", "[queue][Q6][Q15][FR2]",
                   EVERY_STRING_QUEUE) {
  for (const std::size_t maxsize : {std::size_t{0}, std::size_t{1000}}) {
    TestType queue{maxsize};
    Model<TestType> model;
    int put = 0;
    const auto refill = [&] {
      for (; queue.qsize() < 1000; ++put) {
        queue.put(long_text(put));
        model.put(put);
      }
    };
    refill();
    std::vector<std::string> items;
    bool partly = false;
    fail_each_allocation([&] { items = queue.get_many(1000); },
                         [&](bool got_through) {
                           if (!got_through) {
                             REQUIRE(queue.qsize() == 1000);
                             return;
                           }
                           partly = true;
                           REQUIRE(queue.qsize() == 1000 - items.size());
                           for (const std::string& item : items) REQUIRE(item == long_text(model.get()));
                           refill();
                         });
    CHECK(partly);
    CHECK(items.size() == 1000);
    CHECK(items[0] == long_text(model.get()));
  }
}

TEST_CASE("Queue: the constructor leaks nothing when an allocation fails", "[queue][FR2]") {
  for (const std::size_t maxsize : {1U, 8U, 1000U}) {  // other queues allocate only when items come
    const std::size_t before = live_bytes;
    int failures = 0;
    fail_each_allocation(
        [&] {
          conc::Queue<std::string> queue{maxsize};
          (void)queue.try_get();
        },
        [&](bool got_through) {
          CHECK_FALSE(got_through);
          CHECK(live_bytes == before);
          ++failures;
        });
    CHECK(failures > 0);
  }
}

TEMPLATE_TEST_CASE("Queue: shutdown and task_done need no memory", "[queue][Q8][G4][FR2]", EVERY_STRING_QUEUE) {
  for (const std::size_t maxsize : {0U, 8U}) {
    TestType queue{maxsize};
    for (int i = 0; i < 5; ++i) queue.put(long_text(i));
    (void)queue.get();
    const auto never_called = [](bool) {};
    CHECK(fail_each_allocation([&] { queue.shutdown(); }, never_called) == 0);
    CHECK(fail_each_allocation([&] { queue.shutdown({.immediate = true}); }, never_called) == 0);
    CHECK(fail_each_allocation([&] { queue.task_done(); }, never_called) == 0);
    CHECK(queue.qsize() == 0);
    CHECK(queue.unfinished_tasks() == 0);
  }
}

TEMPLATE_TEST_CASE("Queue: put leaves queue and item as they were when copying or moving throws",
                   "[queue][Q6][G4][FM12]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const std::size_t maxsize : {0U, 3U, 4U}) {
    TestType queue{maxsize};
    queue.put(Item{1});
    Item item{2};
    const auto unchanged = [&] {
      CHECK(queue.qsize() == 1);
      CHECK(queue.unfinished_tasks() == 1);
      CHECK(item == 2);
    };
    Item::trip_at(0);
    CHECK(outcome([&] { queue.put(std::as_const(item)); }) == "Tripped");
    unchanged();
    Item::trip_at(0);
    CHECK(outcome([&] { (void)queue.try_put(std::as_const(item)); }) == "Tripped");
    unchanged();
    if constexpr (std::is_same_v<Item, LockedItem>) {
      Item::trip_at(0);
      CHECK(outcome([&] { queue.put(std::move(item)); }) == "Tripped");
      unchanged();
      Item::trip_at(0);
      CHECK(outcome([&] { (void)queue.try_put(std::move(item)); }) == "Tripped");
      unchanged();
    }
    queue.put(item);
    for (const int number : conc_test::in_order_of<TestType>({1, 2})) CHECK(queue.get() == number);
  }
}

TEMPLATE_TEST_CASE("Queue: get keeps the item, in its place, when moving it throws", "[queue][Q6][G4][FM12][FM13]",
                   THROWING_QUEUES) {
  for (const std::size_t maxsize : {0U, 3U}) {
    TestType queue{maxsize};
    for (int i = 0; i < 3; ++i) queue.put(LockedItem{i});
    const auto unchanged = [&] {
      CHECK(queue.qsize() == 3);
      CHECK(queue.unfinished_tasks() == 3);
      CHECK(LockedItem::alive == 3);
    };
    LockedItem::trip_at(0);
    CHECK(outcome([&] { (void)queue.get(); }) == "Tripped");
    unchanged();
    LockedItem::trip_at(0);
    CHECK(outcome([&] { (void)queue.try_get(); }) == "Tripped");
    unchanged();
    LockedItem::trip_at(0);
    CHECK(outcome([&] { (void)queue.get_many(3); }) == "Tripped");
    unchanged();
    LockedItem::trip_at(0);
    CHECK(outcome([&] {
            for ([[maybe_unused]] const LockedItem& item : queue) break;
          }) == "Tripped");
    unchanged();
    for (const int number : numbers_in_order_of<TestType>(3)) CHECK(queue.get() == number);
  }
}

TEMPLATE_TEST_CASE("Queue: a loop goes on where it was after moving an item has thrown", "[queue][Q14][FM13]",
                   THROWING_QUEUES) {
  TestType queue{3};
  for (int i = 0; i < 3; ++i) queue.put(LockedItem{i});
  queue.shutdown();
  std::vector<int> seen;
  const auto loop = [&] {
    for (const LockedItem& item : queue) {
      seen.push_back(item.value);
      if (seen.size() == 1) LockedItem::trip_at(0);
    }
  };
  CHECK(outcome(loop) == "Tripped");
  CHECK(outcome(loop) == "returned");
  CHECK(seen == numbers_in_order_of<TestType>(3));
}

TEMPLATE_TEST_CASE("Queue: get_many hands out what it took before moving an item has thrown",
                   "[queue][Q15][FM12][FM13]", THROWING_QUEUES) {
  TestType queue{5};
  for (int i = 0; i < 5; ++i) queue.put(LockedItem{i});
  LockedItem::trip_at(2);
  const std::vector<LockedItem> items = queue.get_many(5);
  REQUIRE(items.size() == 2);
  const std::vector<int> expected = numbers_in_order_of<TestType>(5);
  CHECK(items[0] == expected[0]);
  CHECK(items[1] == expected[1]);
  CHECK(queue.qsize() == 3);
  CHECK(queue.get() == expected[2]);
}

TEMPLATE_TEST_CASE("Queue: put_many keeps what it put before moving an item has thrown", "[queue][Q15][FM12]",
                   THROWING_QUEUES) {
  TestType queue{5};
  std::vector<LockedItem> items;
  items.reserve(4);
  for (int i = 0; i < 4; ++i) items.emplace_back(i);
  LockedItem::trip_at(2);
  CHECK(outcome([&] { queue.put_many(std::move_iterator{items.begin()}, std::move_iterator{items.end()}); }) ==
        "Tripped");
  CHECK(queue.unfinished_tasks() == 2);
  CHECK(items[2] == 2);
  CHECK(items[3] == 3);
  for (const int number : numbers_in_order_of<TestType>(2)) CHECK(queue.get() == number);
  CHECK(queue.empty());
}

TEMPLATE_TEST_CASE("Queue: a waiting put whose copy throws leaves the room to the next one", "[queue][Q6][FM12]",
                   THROWING_QUEUES) {
  TestType queue{1};
  queue.put(LockedItem{0});
  const LockedItem item{1};
  Background first{[&] { queue.put(item); }};
  REQUIRE(first.falls_asleep());
  Background second{[&] { queue.put(item); }};
  REQUIRE(second.falls_asleep());
  LockedItem::trip_at(1);  // the item that is taken is number 0
  (void)queue.get();
  const std::string one = first.join();
  const std::string other = second.join();
  CHECK(((one == "Tripped" && other == "returned") || (one == "returned" && other == "Tripped")));
  CHECK(queue.qsize() == 1);
}

TEMPLATE_TEST_CASE("Queue: a waiting get whose move throws leaves the item to the next one", "[queue][Q6][FM13]",
                   THROWING_QUEUES) {
  TestType queue{1};
  Background first{[&] { (void)queue.get(); }};
  REQUIRE(first.falls_asleep());
  Background second{[&] { (void)queue.get(); }};
  REQUIRE(second.falls_asleep());
  LockedItem::trip_at(1);  // the move into the queue is number 0
  queue.put(LockedItem{1});
  const std::string one = first.join();
  const std::string other = second.join();
  CHECK(((one == "Tripped" && other == "returned") || (one == "returned" && other == "Tripped")));
  CHECK(queue.qsize() == 0);
}

TEMPLATE_TEST_CASE("Queue: an item stays if the thread that takes it ends while it is moved", "[queue][Q6][G4]",
                   conc::Queue<LastMove>, conc::LifoQueue<LastMove>, conc::PriorityQueue<LastMove>) {
  TestType queue;
  for (const int number : {1, 2, 3}) queue.put(LastMove{number});
  conc::Thread one{[&queue] {
    LastMove::moves_left = 0;
    (void)queue.get();
  }};
  conc::Thread many{[&queue] {
    LastMove::moves_left = 1;  // takes one, and loses it with itself
    (void)queue.get_many(3);
  }};
  one.start();
  one.join();
  CHECK(queue.qsize() == 3);
  many.start();
  many.join();
  CHECK(queue.qsize() == 2);
  CHECK(queue.get().number == 2);
}

TEST_CASE("Queue: a large bound costs nothing until items come", "[queue][Q1][FR5]") {
  struct Big {
    std::array<char, 4096> bytes{};
  };
  const std::size_t before = live_bytes;
  {
    const conc::Queue<int> many{1'000'000'000};
    CHECK(live_bytes - before < 4096);
  }
  {
    const conc::Queue<Big> large{10'000};
    CHECK(live_bytes - before < 16384);
  }
  CHECK(live_bytes == before);
}

TEMPLATE_TEST_CASE("Queue: memory follows what is in the queue", "[queue][Q1][FR5]", conc::Queue<int>,
                   conc::LifoQueue<int>, conc::PriorityQueue<int>) {
  // The long form without a sanitizer: 10^8.
  const std::size_t count = conc_test::scaled<std::size_t>(1'000'000) *
                            (conc_test::long_form() && conc_test::sanitizer() == conc_test::Sanitizer::none ? 10 : 1);
  for (const std::size_t maxsize : {std::size_t{0}, count}) {
    TestType queue{maxsize};
    const std::size_t before = live_bytes;
    for (std::size_t i = 0; i < count; ++i) queue.put(static_cast<int>(i));
    CHECK(live_bytes - before <= count * (sizeof(int) + 16));
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t expected = conc_test::is_lifo<TestType> ? count - 1 - i : i;
      wrong += queue.get() == static_cast<int>(expected) ? 0U : 1U;
    }
    CHECK(wrong == 0);
    CHECK(live_bytes - before <= count * sizeof(int) / 20);
  }
}

TEMPLATE_TEST_CASE("Queue: a queue that stays short needs no more memory the longer it is used", "[queue][Q1][FR5]",
                   conc::Queue<int>, conc::LifoQueue<int>, conc::PriorityQueue<int>) {
  for (const std::size_t maxsize : {0U, 1000U}) {
    TestType queue{maxsize};
    for (int i = 0; i < 10; ++i) queue.put(i);
    const std::size_t before = live_bytes;
    std::size_t most = 0;
    for (int i = 0; i < conc_test::scaled(200'000); ++i) {
      queue.put(i);
      (void)queue.get();
      most = std::max(most, live_bytes.load());
    }
    CHECK(most <= before + 4096);
  }
}

TEMPLATE_TEST_CASE("Queue: a thousand waiting getters all learn of the shutdown", "[queue][Q7][FR3]", conc::Queue<int>,
                   conc_test::LockedQueue) {
  const std::size_t count = conc_test::scaled<std::size_t>(1000);
  TestType queue{10};
  std::atomic<std::size_t> shut_down{0};
  std::vector<conc::Thread> getters;
  for (std::size_t i = 0; i < count; ++i) {
    getters.emplace_back(conc::ThreadOptions{.stack_size = std::size_t{256} << 10U}, [&] {
      if (outcome([&] { (void)queue.get(); }) == "QueueShutDown") ++shut_down;
    });
    getters.back().start();
  }
  for (const conc::Thread& getter : getters) {
    REQUIRE(conc_test::eventually([&] { return conc_test::sleeps(static_cast<pid_t>(getter.native_id())); }));
  }
  queue.shutdown();
  for (conc::Thread& getter : getters) getter.join();
  CHECK(shut_down == count);
}

#if !defined(NDEBUG)
TEMPLATE_TEST_CASE("Queue: to destroy it while a thread waits on it is caught by an assertion", "[queue][FR8]",
                   conc::Queue<int>, conc::LifoQueue<int>, conc::PriorityQueue<int>) {
  if (conc_test::sanitizer() == conc_test::Sanitizer::thread) SKIP("ThreadSanitizer allows no threads after a fork");
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::signal(SIGABRT, SIG_DFL);
    auto* const queue = new TestType;
    const Background getter{[queue] { (void)queue->get(); }};
    if (getter.falls_asleep()) delete queue;
    ::_exit(0);
  }
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  CHECK(conc_test::take_stderr().find("destroyed while a thread waits on it") != std::string::npos);
}
#endif
