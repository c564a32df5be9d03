// SPDX-License-Identifier: MIT
// What shutdown() does to a Queue and to those who wait on it. Both engines.
#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/queue.hpp>
#include <cstddef>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include "background.hpp"
#include "items.hpp"

using namespace std::chrono_literals;
using conc_test::Background;
using conc_test::LockedItem;
using conc_test::outcome;
using conc_test::RingItem;
using conc_test::StartGate;

TEMPLATE_TEST_CASE("Queue: put throws QueueShutDown after shutdown, whether there is room or not", "[queue][Q7]",
                   RingItem, LockedItem) {
  for (const std::size_t maxsize : {0U, 1U, 3U}) {
    conc::Queue<TestType> queue{maxsize};
    queue.put(TestType{1});
    CHECK_FALSE(queue.is_shut_down());
    queue.shutdown();
    CHECK(queue.is_shut_down());
    TestType item{2};
    CHECK(outcome([&] { queue.put(item); }) == "QueueShutDown");
    CHECK(outcome([&] { queue.put(std::move(item)); }) == "QueueShutDown");
    CHECK(outcome([&] { queue.put(item, 0ms); }) == "QueueShutDown");
    CHECK(outcome([&] { queue.put(item, 1h); }) == "QueueShutDown");
    CHECK(outcome([&] { (void)queue.try_put(item); }) == "QueueShutDown");
    CHECK(item == 2);
    CHECK(queue.unfinished_tasks() == 1);
    CHECK(queue.qsize() == 1);
  }
}

TEMPLATE_TEST_CASE("Queue: getters drain every item after shutdown, then get QueueShutDown", "[queue][Q7][Q10]",
                   RingItem, LockedItem) {
  for (const std::size_t maxsize : {0U, 3U}) {
    conc::Queue<TestType> queue{maxsize};
    for (int i = 0; i < 3; ++i) queue.put(TestType{i});
    queue.shutdown();
    CHECK(queue.get() == 0);
    CHECK(queue.get(1ms) == 1);
    CHECK(queue.try_get().value() == 2);
    CHECK(outcome([&] { (void)queue.get(); }) == "QueueShutDown");
    CHECK(outcome([&] { (void)queue.get(0ms); }) == "QueueShutDown");
    CHECK(outcome([&] { (void)queue.get(1h); }) == "QueueShutDown");
    CHECK(outcome([&] { (void)queue.try_get(); }) == "QueueShutDown");
    CHECK(outcome([&] { (void)queue.get_many(3); }) == "QueueShutDown");
    CHECK(queue.unfinished_tasks() == 3);
    queue.task_done(3);
    CHECK(queue.join(0ms));
  }
}

TEMPLATE_TEST_CASE("Queue: shutdown wakes every blocked putter, and none of their items is consumed", "[queue][Q7]",
                   RingItem, LockedItem) {
  for (const bool immediate : {false, true}) {
    conc::Queue<TestType> queue{2};
    queue.put(TestType{0});
    queue.put(TestType{0});
    std::vector<TestType> items;
    for (int i = 1; i <= 4; ++i) items.emplace_back(i);
    std::list<Background> putters;
    for (TestType& item : items) {
      const conc::Deadline deadline = item.value % 2 == 0 ? conc::Deadline{1h} : conc::never;
      putters.emplace_back([&, deadline] { queue.put(std::move(item), deadline); });
      REQUIRE(putters.back().falls_asleep());
    }
    queue.shutdown({.immediate = immediate});
    for (Background& putter : putters) CHECK(putter.join() == "QueueShutDown");
    for (int i = 1; i <= 4; ++i) CHECK(items[static_cast<std::size_t>(i) - 1] == i);
    CHECK(queue.qsize() == (immediate ? 0 : 2));
  }
}

TEMPLATE_TEST_CASE("Queue: shutdown wakes every blocked getter", "[queue][Q7][Q10]", RingItem, LockedItem) {
  for (const bool immediate : {false, true}) {
    for (const std::size_t maxsize : {0U, 2U}) {
      conc::Queue<TestType> queue{maxsize};
      std::list<Background> getters;
      getters.emplace_back([&] { (void)queue.get(); });
      getters.emplace_back([&] { (void)queue.get(1h); });
      getters.emplace_back([&] { (void)queue.get_many(2); });
      for (const Background& getter : getters) REQUIRE(getter.falls_asleep());
      queue.shutdown({.immediate = immediate});
      for (Background& getter : getters) CHECK(getter.join() == "QueueShutDown");
    }
  }
}

namespace {

/// An item of the ring whose move into its slot is held up.
struct Held {
  StartGate* gate;
  std::atomic<bool>* reached;
  Held(StartGate* until, std::atomic<bool>* flag) : gate{until}, reached{flag} {}
  Held(Held&& other) noexcept : gate{nullptr}, reached{nullptr} {
    if (other.gate != nullptr) {
      other.reached->store(true);
      other.gate->wait();
    }
  }
};

}  // namespace

TEST_CASE("Queue: getters that wait for an item still being put learn of the shutdown after it", "[queue][Q7]") {
  conc::Queue<Held> queue{4};
  StartGate gate;
  std::atomic<bool> has_its_ticket{false};
  Background putter{[&] { queue.put(Held{&gate, &has_its_ticket}); }};
  REQUIRE(conc_test::eventually([&] { return has_its_ticket.load(); }));
  std::list<Background> getters;
  for (int i = 0; i < 3; ++i) {
    getters.emplace_back([&] { (void)queue.get(); });
    REQUIRE(getters.back().falls_asleep());
  }
  std::vector<long> naps;
  for (const Background& getter : getters) naps.push_back(getter.naps());
  queue.shutdown();
  // The item was accepted: nobody may be told yet that the queue is empty.
  std::size_t i = 0;
  for (const Background& getter : getters) CHECK(getter.falls_asleep_again(naps[i++]));
  gate.open();
  CHECK(putter.join() == "returned");
  int got = 0;
  for (Background& getter : getters) {
    const std::string how = getter.join();
    got += how == "returned" ? 1 : 0;
    CHECK((how == "returned" || how == "QueueShutDown"));
  }
  CHECK(got == 1);
}

TEST_CASE("Queue: immediate shutdown drops an item that is still being put", "[queue][Q8]") {
  conc::Queue<Held> queue{4};
  StartGate gate;
  std::atomic<bool> has_its_ticket{false};
  Background putter{[&] { queue.put(Held{&gate, &has_its_ticket}); }};
  REQUIRE(conc_test::eventually([&] { return has_its_ticket.load(); }));
  Background getter{[&] { (void)queue.get(); }};
  REQUIRE(getter.falls_asleep());
  Background ender{[&] { queue.shutdown({.immediate = true}); }};
  REQUIRE(conc_test::eventually([&] { return queue.is_shut_down(); }));
  gate.open();
  CHECK(putter.join() == "returned");
  CHECK(ender.join() == "returned");
  const bool taken = getter.join() == "returned";  // it came first, or the item was dropped
  CHECK(queue.unfinished_tasks() == (taken ? 1 : 0));
  CHECK(queue.qsize() == 0);
}

TEMPLATE_TEST_CASE("Queue: immediate shutdown drops the items and counts them as done", "[queue][Q8]", RingItem,
                   LockedItem) {
  for (const std::size_t maxsize : {0U, 5U}) {
    conc::Queue<TestType> queue{maxsize};
    for (int i = 0; i < 5; ++i) queue.put(TestType{i});
    Background joiner{[&] { queue.join(); }};
    REQUIRE(joiner.falls_asleep());
    queue.shutdown({.immediate = true});
    CHECK(TestType::alive == 0);
    CHECK(queue.empty());
    CHECK(queue.unfinished_tasks() == 0);
    CHECK(joiner.join() == "returned");
    CHECK(outcome([&] { (void)queue.get(); }) == "QueueShutDown");
    CHECK(outcome([&] { (void)queue.try_get(); }) == "QueueShutDown");
    CHECK(outcome([&] { queue.task_done(); }) == "UsageError");
  }
}

TEMPLATE_TEST_CASE("Queue: join still waits for the items that were taken before an immediate shutdown", "[queue][Q8]",
                   RingItem, LockedItem) {
  conc::Queue<TestType> queue{5};
  for (int i = 0; i < 5; ++i) queue.put(TestType{i});
  (void)queue.get();
  (void)queue.get();
  Background joiner{[&] { queue.join(); }};
  REQUIRE(joiner.falls_asleep());
  queue.shutdown({.immediate = true});
  CHECK(queue.unfinished_tasks() == 2);
  CHECK_FALSE(queue.join(1ms));
  queue.task_done();
  CHECK(joiner.falls_asleep());
  queue.task_done();
  CHECK(joiner.join() == "returned");
}

TEMPLATE_TEST_CASE("Queue: shutdown may be called again, and immediate may follow", "[queue][Q9]", RingItem,
                   LockedItem) {
  conc::Queue<TestType> queue{5};
  for (int i = 0; i < 3; ++i) queue.put(TestType{i});
  queue.shutdown();
  queue.shutdown();
  CHECK(queue.qsize() == 3);
  CHECK(queue.get() == 0);
  queue.shutdown({.immediate = true});
  CHECK(queue.qsize() == 0);
  CHECK(queue.unfinished_tasks() == 1);
  queue.shutdown({.immediate = true});
  queue.shutdown();
  CHECK(queue.is_shut_down());
  CHECK(queue.unfinished_tasks() == 1);
  queue.task_done();
  CHECK(queue.join(0ms));
}

TEST_CASE("Queue: join, task_done and the looks at the queue go on after shutdown", "[queue][Q7]") {
  conc::Queue<int> queue{2};
  queue.put(1);
  queue.shutdown();
  CHECK_FALSE(queue.join(0ms));
  CHECK(queue.qsize() == 1);
  CHECK_FALSE(queue.empty());
  CHECK_FALSE(queue.full());
  CHECK(queue.maxsize() == 2);
  CHECK(queue.get() == 1);
  queue.task_done();
  CHECK(queue.join());
}

namespace {

/// An item whose destructor uses the queue it was in.
struct Reentrant {
  conc::Queue<Reentrant>* queue;
  std::vector<std::string>* notes;

  Reentrant(conc::Queue<Reentrant>* home, std::vector<std::string>* book) : queue{home}, notes{book} {}
  Reentrant(Reentrant&& other) noexcept : queue{std::exchange(other.queue, nullptr)}, notes{other.notes} {}
  ~Reentrant() {
    if (queue == nullptr) return;  // moved from
    (void)queue->qsize();
    notes->push_back((queue->is_shut_down() ? "shut down" : "open") + std::string{", put: "} + outcome([this] {
                       (void)queue->try_put(Reentrant{nullptr, notes});
                     }));
  }
};

}  // namespace

TEST_CASE("Queue: the destructor of a dropped item may use the queue", "[queue][G3]") {
  for (const std::size_t maxsize : {0U, 5U}) {
    std::vector<std::string> notes;
    conc::Queue<Reentrant> queue{maxsize};
    for (int i = 0; i < 3; ++i) queue.put(Reentrant{&queue, &notes});
    queue.shutdown({.immediate = true});
    CHECK(notes == std::vector<std::string>(3, "shut down, put: QueueShutDown"));
  }
}

TEST_CASE("Queue: the destructor of an item that was taken may use the queue", "[queue][G3]") {
  for (const std::size_t maxsize : {0U, 5U}) {
    std::vector<std::string> notes;
    conc::Queue<Reentrant> queue{maxsize};
    for (int i = 0; i < 4; ++i) queue.put(Reentrant{&queue, &notes});
    (void)queue.get();
    (void)queue.try_get();
    queue.shutdown();
    for ([[maybe_unused]] const Reentrant& item : queue) continue;
    CHECK(notes == std::vector<std::string>{"open, put: returned", "open, put: returned",
                                            "shut down, put: QueueShutDown", "shut down, put: QueueShutDown"});
  }
}

namespace {

/// An item that can only be copied: what is left of it in the queue when it was taken is as good as new.
struct OnlyCopied {
  conc::Queue<OnlyCopied>* queue;
  int* looks;
  OnlyCopied(conc::Queue<OnlyCopied>* home, int* count) noexcept : queue{home}, looks{count} {}
  OnlyCopied(const OnlyCopied&) noexcept = default;
  OnlyCopied& operator=(const OnlyCopied&) = delete;
  ~OnlyCopied() { *looks += queue->is_shut_down() || queue->qsize() > 9 ? 0 : 1; }
};

}  // namespace

TEST_CASE("Queue: the destructor of what is left of an item that was taken may use the queue", "[queue][G3]") {
  for (const std::size_t maxsize : {0U, 5U}) {
    conc::Queue<OnlyCopied> queue{maxsize};
    int looks = 0;
    const OnlyCopied item{&queue, &looks};
    for (int i = 0; i < 3; ++i) queue.put(item);
    const int before = looks;
    {
      const OnlyCopied got = queue.get();
      CHECK(looks == before + 1);
    }
    CHECK(looks == before + 2);
    (void)queue.try_get();
    (void)queue.get_many(1);
    CHECK(looks >= before + 6);
    CHECK(queue.empty());
  }
}
