// SPDX-License-Identifier: MIT
// What shutdown() does to a Queue and to those who wait on it. Every kind of queue.
#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/queue.hpp>
#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "background.hpp"
#include "queues.hpp"

using namespace std::chrono_literals;
using conc_test::Background;
using conc_test::numbers_in_order_of;
using conc_test::outcome;
using conc_test::StartGate;

TEMPLATE_TEST_CASE("Queue: put throws QueueShutDown after shutdown, whether there is room or not", "[queue][Q7]",
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const std::size_t maxsize : {0U, 1U, 3U}) {
    TestType queue{maxsize};
    queue.put(Item{1});
    CHECK_FALSE(queue.is_shut_down());
    queue.shutdown();
    CHECK(queue.is_shut_down());
    Item item{2};
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
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const std::size_t maxsize : {0U, 3U}) {
    TestType queue{maxsize};
    for (int i = 0; i < 3; ++i) queue.put(Item{i});
    queue.shutdown();
    const std::vector<int> expected = numbers_in_order_of<TestType>(3);
    CHECK(queue.get() == expected[0]);
    CHECK(queue.get(1ms) == expected[1]);
    CHECK(queue.try_get().value() == expected[2]);
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
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const bool immediate : {false, true}) {
    TestType queue{2};
    queue.put(Item{0});
    queue.put(Item{0});
    std::vector<Item> items;
    for (int i = 1; i <= 4; ++i) items.emplace_back(i);
    std::list<Background> putters;
    for (Item& item : items) {
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

TEMPLATE_TEST_CASE("Queue: shutdown wakes every blocked getter", "[queue][Q7][Q10]", EVERY_QUEUE) {
  for (const bool immediate : {false, true}) {
    for (const std::size_t maxsize : {0U, 2U}) {
      TestType queue{maxsize};
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

TEMPLATE_TEST_CASE("Queue: immediate shutdown drops the items and counts them as done", "[queue][Q8]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const std::size_t maxsize : {0U, 5U}) {
    TestType queue{maxsize};
    for (int i = 0; i < 5; ++i) queue.put(Item{i});
    Background joiner{[&] { queue.join(); }};
    REQUIRE(joiner.falls_asleep());
    queue.shutdown({.immediate = true});
    CHECK(Item::alive == 0);
    CHECK(queue.empty());
    CHECK(queue.unfinished_tasks() == 0);
    CHECK(joiner.join() == "returned");
    CHECK(outcome([&] { (void)queue.get(); }) == "QueueShutDown");
    CHECK(outcome([&] { (void)queue.try_get(); }) == "QueueShutDown");
    CHECK(outcome([&] { queue.task_done(); }) == "UsageError");
  }
}

namespace {

// Waits for a thread that puts, and notes how it ended.
struct Owner {
  ~Owner() { *ended = putter->join(); }
  Background* putter = nullptr;
  std::string* ended = nullptr;
};

}  // namespace

TEMPLATE_TEST_CASE("Queue: immediate shutdown lets waiting putters go before it destroys the items", "[queue][Q7][Q8]",
                   conc::Queue<std::unique_ptr<Owner>>, conc::LifoQueue<std::unique_ptr<Owner>>,
                   conc::PriorityQueue<std::unique_ptr<Owner>>) {
  std::string ended;
  TestType queue{1};
  auto item = std::make_unique<Owner>();
  Owner& owner = *item;
  queue.put(std::move(item));
  Background putter{[&] { queue.put(nullptr); }};
  owner.putter = &putter;
  owner.ended = &ended;
  REQUIRE(putter.falls_asleep());
  queue.shutdown({.immediate = true});
  CHECK(ended == "QueueShutDown");
}

TEMPLATE_TEST_CASE("Queue: join still waits for the items that were taken before an immediate shutdown", "[queue][Q8]",
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{5};
  for (int i = 0; i < 5; ++i) queue.put(Item{i});
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

TEMPLATE_TEST_CASE("Queue: shutdown may be called again, and immediate may follow", "[queue][Q9]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{5};
  for (int i = 0; i < 3; ++i) queue.put(Item{i});
  queue.shutdown();
  queue.shutdown();
  CHECK(queue.qsize() == 3);
  CHECK(queue.get() == numbers_in_order_of<TestType>(3)[0]);
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

struct AllEqual {
  bool operator()(const auto& /*one*/, const auto& /*other*/) const { return false; }
};
template <class T>
using FifoOf = conc::Queue<T>;
template <class T>
using LifoOf = conc::LifoQueue<T>;
template <class T>
using PriorityOf = conc::PriorityQueue<T, AllEqual>;

/// An item whose destructor uses the queue it was in.
template <template <class> class QueueOf>
struct Reentrant {
  using Queue = QueueOf<Reentrant>;
  Queue* queue;
  std::vector<std::string>* notes;

  Reentrant(Queue* home, std::vector<std::string>* book) : queue{home}, notes{book} {}
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

TEMPLATE_TEST_CASE("Queue: the destructor of a dropped item may use the queue", "[queue][G3]", Reentrant<FifoOf>,
                   Reentrant<LifoOf>, Reentrant<PriorityOf>) {
  for (const std::size_t maxsize : {0U, 5U}) {
    std::vector<std::string> notes;
    typename TestType::Queue queue{maxsize};
    for (int i = 0; i < 3; ++i) queue.put(TestType{&queue, &notes});
    queue.shutdown({.immediate = true});
    CHECK(notes == std::vector<std::string>(3, "shut down, put: QueueShutDown"));
  }
}

TEMPLATE_TEST_CASE("Queue: the destructor of an item that was taken may use the queue", "[queue][G3]",
                   Reentrant<FifoOf>, Reentrant<LifoOf>, Reentrant<PriorityOf>) {
  for (const std::size_t maxsize : {0U, 5U}) {
    std::vector<std::string> notes;
    typename TestType::Queue queue{maxsize};
    for (int i = 0; i < 2; ++i) queue.put(TestType{&queue, &notes});
    (void)queue.get();
    (void)queue.get_many(1);
    for (int i = 0; i < 2; ++i) queue.put(TestType{&queue, &notes});
    (void)queue.try_get();
    queue.shutdown();
    int seen = 0;
    for ([[maybe_unused]] const TestType& item : queue) ++seen;
    CHECK(seen == 3);  // two, and one that a destructor has put; another such one was taken before
    CHECK(notes == std::vector<std::string>{"open, put: returned", "open, put: returned",
                                            "shut down, put: QueueShutDown", "shut down, put: QueueShutDown"});
  }
}

namespace {

/// An item that can only be copied: what is left of it in the queue when it was taken is as good as new. Plain enough to
/// be moved about bit by bit, were it not for its destructor.
template <template <class> class QueueOf>
struct OnlyCopied {
  using Queue = QueueOf<OnlyCopied>;
  Queue* queue;
  int* looks;
  OnlyCopied(Queue* home, int* count) noexcept : queue{home}, looks{count} {}
  OnlyCopied(const OnlyCopied&) noexcept = default;
  OnlyCopied& operator=(const OnlyCopied&) = delete;
  ~OnlyCopied() { *looks += queue->is_shut_down() || queue->qsize() > 9 ? 0 : 1; }
};

}  // namespace

TEMPLATE_TEST_CASE("Queue: the destructor of what is left of an item that was taken may use the queue", "[queue][G3]",
                   OnlyCopied<FifoOf>, OnlyCopied<LifoOf>, OnlyCopied<PriorityOf>) {
  for (const std::size_t maxsize : {0U, 5U}) {
    typename TestType::Queue queue{maxsize};
    int looks = 0;
    const TestType item{&queue, &looks};
    for (int i = 0; i < 3; ++i) queue.put(item);
    const int before = looks;
    {
      const TestType got = queue.get();
      CHECK(looks == before + 1);
    }
    CHECK(looks == before + 2);
    (void)queue.try_get();
    (void)queue.get_many(1);
    CHECK(looks >= before + 6);
    CHECK(queue.empty());
  }
}
