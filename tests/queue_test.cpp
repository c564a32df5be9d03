// SPDX-License-Identifier: MIT
// What a Queue does with items: bounds, order, accounting, bulk calls, iteration. Every kind of queue.
#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/queue.hpp>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <list>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "background.hpp"
#include "queues.hpp"

using namespace std::chrono_literals;
using conc_test::Background;
using conc_test::in_order_of;
using conc_test::message_of;
using conc_test::Model;
using conc_test::numbers_in_order_of;
using conc_test::outcome;
using conc_test::RingItem;
using conc_test::StartGate;

namespace {

// Every maxsize from 1 to 9, and around a power of two.
constexpr std::array<std::size_t, 12> kSizes{1, 2, 3, 4, 5, 6, 7, 8, 9, 1023, 1024, 1025};

// Small and plain, but for what it does not let others do.
struct Ticket {
  explicit Ticket(int n) : number{n} {}
  Ticket(Ticket&&) = default;
  Ticket& operator=(Ticket&&) = default;
  void operator&() const = delete;
  friend bool operator<(const Ticket& one, const Ticket& other) { return one.number < other.number; }
  int number;
};

template <class Queue>
auto drained(Queue& queue) {
  std::vector<typename Queue::value_type> items;
  while (auto item = queue.try_get()) items.push_back(std::move(*item));
  return items;
}

}  // namespace

TEST_CASE("Queue: SimpleQueue is an alias of Queue", "[queue][Q0]") {
  STATIC_REQUIRE(std::is_same_v<conc::SimpleQueue<int>, conc::Queue<int>>);
  STATIC_REQUIRE(std::is_same_v<conc::Queue<int>::value_type, int>);
}

TEST_CASE("Queue: waits for a fact return bool, waits for a value return it, and try_get an optional", "[queue][G1]") {
  using Queue = conc::Queue<std::string>;
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Queue>().join(1ms)), bool>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Queue>().join()), bool>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Queue>().get(1ms)), std::string>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Queue>().try_get()), std::optional<std::string>>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Queue>().try_put("")), bool>);
}

TEST_CASE("Queue: neither copies nor moves", "[queue]") {
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<conc::Queue<int>>);
  STATIC_REQUIRE_FALSE(std::is_move_constructible_v<conc::Queue<int>>);
  STATIC_REQUIRE_FALSE(std::is_copy_assignable_v<conc::Queue<int>>);
}

TEMPLATE_TEST_CASE("Queue: a bound is exact, also after the slots were used before", "[queue][Q1]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const std::size_t maxsize : kSizes) {
    INFO("maxsize " << maxsize);
    TestType queue{maxsize};
    CHECK(queue.maxsize() == maxsize);
    Model<TestType> model;
    int put = 0;
    int got = 0;
    for (int round = 0; round < 5; ++round) {
      for (; queue.try_put(Item{put}); ++put) model.put(put);
      REQUIRE(put - got == static_cast<int>(maxsize));
      CHECK(queue.full());
      CHECK(queue.qsize() == maxsize);
      CHECK(outcome([&] { queue.put(Item{put}, 0ms); }) == "QueueFull");
      // Shifts the ring by a different number of slots each round.
      const int taken = round % static_cast<int>(maxsize) + 1;
      for (int i = 0; i < taken; ++i, ++got) REQUIRE(queue.get() == model.get());
      CHECK_FALSE(queue.full());
    }
    while (std::optional<Item> item = queue.try_get()) REQUIRE(*item == model.get());
    CHECK(model.empty());
    CHECK(queue.empty());
  }
}

TEMPLATE_TEST_CASE("Queue: takes any number of items without a bound", "[queue][Q1]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue;
  CHECK(queue.maxsize() == 0);
  for (int i = 0; i < 10'000; ++i) REQUIRE(queue.try_put(Item{i}));
  CHECK(queue.qsize() == 10'000);
  CHECK_FALSE(queue.full());
  for (const int number : numbers_in_order_of<TestType>(10'000)) REQUIRE(queue.get() == number);
  CHECK(queue.empty());
}

TEST_CASE("Queue: the largest possible bound is a bound like any other", "[queue][Q1]") {
  conc::Queue<int> queue{SIZE_MAX};
  CHECK(queue.maxsize() == SIZE_MAX);
  queue.put(1);
  CHECK_FALSE(queue.full());
  CHECK(queue.get() == 1);
}

TEMPLATE_TEST_CASE("Queue: gives items back in its order, first in first out if it has no other", "[queue][Q2]",
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const std::size_t maxsize : {0U, 3U, 8U}) {
    TestType queue{maxsize};
    Model<TestType> model;
    int number = 0;
    const auto put = [&] {
      number = (number * 5 + 3) % 16;  // up and down, and the same again
      queue.put(Item{number});
      model.put(number);
    };
    for (int round = 0; round < 100; ++round) {
      put();
      put();
      REQUIRE(queue.get() == model.get());
      put();
      REQUIRE(queue.get() == model.get());
      REQUIRE(queue.get() == model.get());
    }
  }
}

namespace {

/// Moves without throwing, but may be held up in the middle of it.
struct SlowItem {
  int value;
  StartGate* hold;                    // the next move waits for it
  std::atomic<bool>* held = nullptr;  // raised when it does

  explicit SlowItem(int number, StartGate* gate = nullptr, std::atomic<bool>* reached = nullptr)
      : value{number}, hold{gate}, held{reached} {}
  SlowItem(SlowItem&& other) noexcept : value{other.value}, hold{nullptr} {
    if (other.hold != nullptr) {
      other.held->store(true);
      other.hold->wait();
      other.hold = nullptr;
    }
  }
};

}  // namespace

TEST_CASE("Queue: get waits for an item whose predecessor is still being put, and try_get does not see it",
          "[queue][Q2]") {
  conc::Queue<SlowItem> queue{4};
  StartGate gate;
  std::atomic<bool> first_has_its_ticket{false};
  Background first{[&] { queue.put(SlowItem{1, &gate, &first_has_its_ticket}); }};
  REQUIRE(conc_test::eventually([&] { return first_has_its_ticket.load(); }));
  queue.put(SlowItem{2});
  CHECK_FALSE(queue.try_get().has_value());
  CHECK(outcome([&] { (void)queue.get(1ms); }) == "QueueEmpty");
  int got = 0;
  Background getter{[&] { got = queue.get().value; }};
  CHECK(getter.falls_asleep());
  gate.open();
  CHECK(first.join() == "returned");
  CHECK(getter.join() == "returned");
  CHECK(got == 1);
  CHECK(queue.get().value == 2);
}

TEMPLATE_TEST_CASE("Queue: what cannot be put in time is not consumed", "[queue][Q3]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{1};
  queue.put(Item{1});
  Item item{2};
  CHECK_FALSE(queue.try_put(std::move(item)));
  CHECK(item == 2);
  CHECK(outcome([&] { queue.put(std::move(item), 0ms); }) == "QueueFull");
  CHECK(item == 2);
  CHECK(outcome([&] { queue.put(std::move(item), 5ms); }) == "QueueFull");
  CHECK(item == 2);
  CHECK_FALSE(queue.try_put(std::as_const(item)));
  CHECK(queue.qsize() == 1);
  CHECK(queue.unfinished_tasks() == 1);
  queue.shutdown();
  CHECK(outcome([&] { queue.put(std::move(item)); }) == "QueueShutDown");
  CHECK(outcome([&] { (void)queue.try_put(std::move(item)); }) == "QueueShutDown");
  CHECK(item == 2);
}

TEMPLATE_TEST_CASE("Queue: get throws QueueEmpty when the deadline passes, and try_get returns nothing", "[queue][Q3]",
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const std::size_t maxsize : {0U, 2U}) {
    TestType queue{maxsize};
    CHECK(outcome([&] { (void)queue.get(0ms); }) == "QueueEmpty");
    CHECK(outcome([&] { (void)queue.get(5ms); }) == "QueueEmpty");
    CHECK(outcome([&] { (void)queue.get(std::chrono::steady_clock::now() - 1h); }) == "QueueEmpty");
    CHECK_FALSE(queue.try_get().has_value());
    queue.put(Item{7});
    CHECK(queue.get(0ms) == 7);
    queue.put(Item{8});
    CHECK(queue.try_get().value() == 8);
  }
}

TEMPLATE_TEST_CASE("Queue: errors name the kind of queue, the operation, the reason and the numbers", "[queue][Q3][G5]",
                   conc::Queue<int>, conc::LifoQueue<int>, conc::PriorityQueue<int>) {
  TestType queue{2};
  const std::string name = conc_test::is_fifo<TestType>   ? "Queue"
                           : conc_test::is_lifo<TestType> ? "LifoQueue"
                                                          : "PriorityQueue";
  const auto get = [&] { (void)queue.get(0ms); };
  const auto get_many = [&] { (void)queue.get_many(3, 0ms); };
  const auto put = [&] { queue.put(3, 0ms); };
  CHECK(message_of<conc::QueueEmpty>(get) == name + "::get: the queue is empty, no item came in time");
  CHECK(message_of<conc::QueueEmpty>(get_many) == name + "::get_many: the queue is empty, no item came in time");
  queue.put(1);
  queue.put(2);
  CHECK(message_of<conc::QueueFull>(put) == name + "::put: 2 items are in the queue, no room came in time");
  queue.task_done();
  CHECK(message_of<conc::UsageError>([&] { queue.task_done(2); }) == name + "::task_done: called 3 times for 2 items");
  queue.shutdown();
  CHECK(message_of<conc::QueueShutDown>(put) == name + "::put: the queue is shut down");
  (void)queue.get_many(2);
  CHECK(message_of<conc::QueueShutDown>(get) == name + "::get: the queue is shut down and empty");
}

TEMPLATE_TEST_CASE("Queue: unfinished_tasks counts what was put and is not done", "[queue][Q0][Q4]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const std::size_t maxsize : {0U, 5U}) {
    TestType queue{maxsize};
    CHECK(queue.unfinished_tasks() == 0);
    queue.put(Item{1});
    queue.put(Item{2});
    CHECK(queue.unfinished_tasks() == 2);
    (void)queue.get();
    CHECK(queue.unfinished_tasks() == 2);
    queue.task_done();
    CHECK(queue.unfinished_tasks() == 1);
    (void)queue.get();
    queue.task_done();
    CHECK(queue.unfinished_tasks() == 0);
  }
}

TEMPLATE_TEST_CASE("Queue: task_done throws UsageError when it is called too often, and counts nothing",
                   "[queue][Q4][FM2]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{5};
  CHECK(outcome([&] { queue.task_done(); }) == "UsageError");
  CHECK(queue.unfinished_tasks() == 0);
  queue.put(Item{1});
  queue.put(Item{2});
  CHECK(outcome([&] { queue.task_done(3); }) == "UsageError");
  CHECK(outcome([&] { queue.task_done(UINT64_MAX); }) == "UsageError");
  CHECK(queue.unfinished_tasks() == 2);
  queue.task_done();
  CHECK(outcome([&] { queue.task_done(2); }) == "UsageError");
  CHECK(queue.unfinished_tasks() == 1);
  CHECK_FALSE(queue.join(0ms));
  queue.task_done();
  CHECK(outcome([&] { queue.task_done(); }) == "UsageError");
  CHECK(queue.join());
}

TEST_CASE("Queue: task_done(0) does nothing", "[queue][Q4][Q15]") {
  conc::Queue<int> queue;
  queue.task_done(0);
  queue.put(1);
  queue.task_done(0);
  CHECK(queue.unfinished_tasks() == 1);
}

TEST_CASE("Queue: join returns at once when nothing was put", "[queue][Q4]") {
  conc::Queue<int> queue;
  CHECK(queue.join());
  CHECK(queue.join(0ms));
  CHECK(queue.join(conc::never));
}

TEST_CASE("Queue: join returns false when its deadline passes before all items are done", "[queue][Q4]") {
  conc::Queue<int> queue{3};
  queue.put(1);
  CHECK_FALSE(queue.join(0ms));
  CHECK_FALSE(queue.join(5ms));
  (void)queue.get();
  CHECK_FALSE(queue.join(1ms));  // taken is not done
  queue.task_done();
  CHECK(queue.join(0ms));
}

TEMPLATE_TEST_CASE("Queue: join lets every waiter go on with the last task_done", "[queue][Q4]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{4};
  for (int round = 0; round < 3; ++round) {
    queue.put(Item{1});
    queue.put(Item{2});
    Background first{[&] { queue.join(); }};
    Background second{[&] { queue.join(1h); }};
    REQUIRE(first.falls_asleep());
    REQUIRE(second.falls_asleep());
    (void)queue.get();
    queue.task_done();
    (void)queue.get();
    CHECK(first.falls_asleep());
    CHECK(second.falls_asleep());
    queue.task_done();
    CHECK(first.join() == "returned");
    CHECK(second.join() == "returned");
  }
}

TEST_CASE("Queue: who is let go by join sees what was done before task_done", "[queue][Q4]") {
  for (int round = 0; round < conc_test::scaled(200); ++round) {
    conc::Queue<int> queue{2};
    int written = 0;
    int seen = 0;
    queue.put(1);
    Background joiner{[&] {
      queue.join();
      seen = written;
    }};
    (void)queue.get();
    written = 42;
    queue.task_done();
    joiner.join();
    REQUIRE(seen == 42);
  }
}

TEST_CASE("Queue: who gets an item sees what was done before it was put", "[queue]") {
  for (const std::size_t maxsize : {0U, 1U}) {
    for (int round = 0; round < conc_test::scaled(200); ++round) {
      conc::Queue<int> queue{maxsize};
      int written = 0;
      int seen = 0;
      Background getter{[&] {
        (void)queue.get();
        seen = written;
      }};
      written = 42;
      queue.put(1);
      getter.join();
      REQUIRE(seen == 42);
    }
  }
}

TEMPLATE_TEST_CASE("Queue: a put on a full queue goes on when an item is taken", "[queue][Q3]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{1};
  queue.put(Item{1});
  Background putter{[&] { queue.put(Item{2}); }};
  REQUIRE(putter.falls_asleep());
  CHECK(queue.get() == 1);
  CHECK(putter.join() == "returned");
  CHECK(queue.get() == 2);
}

TEMPLATE_TEST_CASE("Queue: every waiting putter goes on when all items are taken", "[queue][Q3]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{3};
  for (int i = 0; i < 3; ++i) queue.put(Item{i});
  std::list<Background> putters;
  for (int i = 0; i < 3; ++i) putters.emplace_back([&queue, i] { queue.put(Item{10 + i}); });
  for (const Background& putter : putters) REQUIRE(putter.falls_asleep());
  CHECK(queue.get_many(3).size() == 3);
  for (Background& putter : putters) CHECK(putter.join() == "returned");
  CHECK(queue.qsize() == 3);
}

TEMPLATE_TEST_CASE("Queue: every waiting getter gets one of the items that come", "[queue][Q3]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{8};
  std::atomic<int> sum{0};
  std::list<Background> getters;
  for (int i = 0; i < 4; ++i) getters.emplace_back([&] { sum += queue.get().value; });
  for (const Background& getter : getters) REQUIRE(getter.falls_asleep());
  for (const int value : {1, 10, 100, 1000}) queue.put(Item{value});
  for (Background& getter : getters) CHECK(getter.join() == "returned");
  CHECK(sum == 1111);
}

TEMPLATE_TEST_CASE("Queue: qsize, empty and full tell the truth while nobody works", "[queue][Q11]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{2};
  CHECK(queue.empty());
  CHECK(queue.qsize() == 0);
  CHECK_FALSE(queue.full());
  queue.put(Item{1});
  CHECK_FALSE(queue.empty());
  CHECK(queue.qsize() == 1);
  queue.put(Item{2});
  CHECK(queue.full());
  (void)queue.get();
  CHECK_FALSE(queue.full());
  CHECK(queue.qsize() == 1);
}

TEST_CASE("Queue: holds items that can only be moved", "[queue][Q12]") {
  for (const std::size_t maxsize : {0U, 2U}) {
    conc::Queue<std::unique_ptr<int>> queue{maxsize};
    queue.put(std::make_unique<int>(1));
    CHECK(queue.try_put(std::make_unique<int>(2)));
    CHECK(*queue.get() == 1);
    CHECK(**queue.try_get() == 2);
    queue.put(std::make_unique<int>(3));
    CHECK(*queue.get_many(4).at(0) == 3);
  }
}

TEMPLATE_TEST_CASE("Queue: small plain items need neither a copy nor the operator&", "[queue][Q12]",
                   conc::Queue<Ticket>, conc::LifoQueue<Ticket>, conc::PriorityQueue<Ticket>) {
  for (const std::size_t maxsize : {0U, 3U}) {
    TestType queue{maxsize};
    for (const int number : {1, 2, 3}) queue.put(Ticket{number});
    std::vector<int> taken{queue.get().number, queue.try_get()->number};
    queue.shutdown();
    for (auto item = queue.begin(); item != queue.end(); ++item) taken.push_back(item->number);
    CHECK(taken == in_order_of<TestType>({1, 2, 3}));
  }
}

TEMPLATE_TEST_CASE("Queue: keeps nothing of an item after it was taken", "[queue][Q12]",
                   conc::Queue<std::shared_ptr<int>>, conc::LifoQueue<std::shared_ptr<int>>,
                   conc::PriorityQueue<std::shared_ptr<int>>) {
  for (const std::size_t maxsize : {0U, 2U}) {
    TestType queue{maxsize};
    const auto item = std::make_shared<int>(1);
    for (int round = 0; round < 5; ++round) {
      queue.put(item);
      CHECK(item.use_count() == 2);
      (void)queue.get();
      CHECK(item.use_count() == 1);
      queue.put(item);
      (void)queue.try_get();
      CHECK(item.use_count() == 1);
      queue.put(item);
      (void)queue.get_many(3);
      CHECK(item.use_count() == 1);
    }
  }
}

TEMPLATE_TEST_CASE("Queue: destroys the items left in it, and each exactly once", "[queue][Q12]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const std::size_t maxsize : {0U, 3U, 5U}) {
    {
      TestType queue{maxsize};
      for (int i = 0; i < 3; ++i) queue.put(Item{i});
      (void)queue.get();
      queue.put(Item{3});
      CHECK(Item::alive == 3);
    }
    CHECK(Item::alive == 0);
  }
}

namespace {

/// What item sizes and alignments may do to a slot.
struct alignas(64) Wide {
  std::array<unsigned char, 200> bytes{};
};

}  // namespace

TEST_CASE("Queue: items of any size and alignment lie where their type wants them", "[queue][Q12]") {
  for (const std::size_t maxsize : {0U, 3U}) {
    conc::Queue<Wide> queue{maxsize};
    conc::Queue<char> small{maxsize};
    for (int i = 0; i < 10; ++i) {
      Wide item;
      item.bytes.fill(static_cast<unsigned char>(i));
      queue.put(item);
      small.put(static_cast<char>(i));
      for (const Wide& got = queue.get(); const unsigned char byte : got.bytes) CHECK(byte == i);
      CHECK(small.get() == i);
    }
  }
}

TEMPLATE_TEST_CASE("Queue: a loop over the queue gets every item and ends on shutdown", "[queue][Q14]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const std::size_t maxsize : {0U, 4U}) {
    TestType queue{maxsize};
    for (int i = 0; i < 4; ++i) queue.put(Item{i});
    queue.shutdown();
    std::vector<int> got;
    for (Item& item : queue) got.push_back(item.value);
    CHECK(got == numbers_in_order_of<TestType>(4));
    for ([[maybe_unused]] Item& item : queue) FAIL("the queue is shut down and empty");
  }
}

TEMPLATE_TEST_CASE("Queue: a loop that waits for the next item ends on shutdown", "[queue][Q14]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{4};
  std::atomic<int> seen{0};
  Background loop{[&] {
    for (Item& item : queue) seen += item.value;
  }};
  REQUIRE(loop.falls_asleep());
  queue.put(Item{5});
  REQUIRE(conc_test::eventually([&] { return seen.load() == 5; }));
  REQUIRE(loop.falls_asleep());
  queue.shutdown();
  CHECK(loop.join() == "returned");
}

TEMPLATE_TEST_CASE("Queue: the item of a loop lives until the loop asks for the next", "[queue][Q14]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{4};
  for (int i = 0; i < 3; ++i) queue.put(Item{i});
  queue.shutdown();
  std::vector<int> got;
  for (Item& item : queue) {
    CHECK(Item::alive == 3 - static_cast<int>(got.size()));  // this one and those still in the queue
    got.push_back(item.value);
  }
  CHECK(got == numbers_in_order_of<TestType>(3));
  CHECK(Item::alive == 0);
}

TEST_CASE("Queue: the body of a loop may move the item away", "[queue][Q14]") {
  conc::Queue<std::unique_ptr<int>> queue;
  queue.put(std::make_unique<int>(1));
  queue.put(std::make_unique<int>(2));
  queue.shutdown();
  std::vector<std::unique_ptr<int>> kept;
  for (std::unique_ptr<int>& item : queue) kept.push_back(std::move(item));
  REQUIRE(kept.size() == 2);
  CHECK(*kept[0] == 1);
  CHECK(*kept[1] == 2);
}

TEST_CASE("Queue: leaving a loop early leaves the rest in the queue", "[queue][Q14]") {
  conc::Queue<int> queue{4};
  for (int i = 0; i < 3; ++i) queue.put(i);
  for (const int& item : queue) {
    if (item == 0) break;
  }
  CHECK(queue.get() == 1);
}

TEST_CASE("Queue: TaskDone calls task_done at the end of the scope, also when the body throws", "[queue][Q14]") {
  conc::Queue<int> queue{4};
  for (int i = 0; i < 3; ++i) queue.put(i);
  queue.shutdown();
  std::vector<std::uint64_t> unfinished;
  const auto loop = [&] {
    for (const int& item : queue) {
      unfinished.push_back(queue.unfinished_tasks());
      conc::TaskDone done{queue};
      if (item == 1) throw std::runtime_error{"thrown by the body"};
    }
  };
  CHECK(outcome(loop) == "thrown by the body");
  CHECK(queue.unfinished_tasks() == 1);
  CHECK(outcome(loop) == "returned");
  CHECK(unfinished == std::vector<std::uint64_t>{3, 2, 1});
  CHECK(queue.join(0ms));
}

TEST_CASE("Queue: an item is copied once on its way in, and moved out", "[queue]") {
  for (const std::size_t maxsize : {0U, 2U}) {
    conc::Queue<RingItem> queue{maxsize};
    const RingItem item{1};
    RingItem::trip_at(1);
    queue.put(item);
    CHECK(queue.get() == 1);
    CHECK(outcome([&] { queue.put(item); }) == "Tripped");  // the second copy is only made now
  }
}

TEMPLATE_TEST_CASE("Queue: put_many puts all items in order, and get_many takes up to its limit", "[queue][Q15]",
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const std::size_t maxsize : {0U, 5U, 300U}) {
    TestType queue{maxsize};
    std::vector<Item> items;
    for (int i = 0; i < 5; ++i) items.emplace_back(i);
    CHECK(queue.put_many(items) == 5);
    CHECK(items[4] == 4);  // copied
    CHECK(queue.unfinished_tasks() == 5);
    const std::vector<int> expected = numbers_in_order_of<TestType>(5);
    std::vector<Item> got = queue.get_many(2);
    REQUIRE(got.size() == 2);
    CHECK(got[0] == expected[0]);
    CHECK(got[1] == expected[1]);
    got = drained(queue);
    REQUIRE(got.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) CHECK(got[i] == expected[i + 2]);
    queue.task_done(5);
    CHECK(queue.join(0ms));
  }
}

TEST_CASE("Queue: get_many takes what is there, however large its limit", "[queue][Q15]") {
  conc::Queue<int> queue;
  for (int i = 0; i < 1000; ++i) queue.put(i);
  const std::vector<int> got = queue.get_many(SIZE_MAX);
  REQUIRE(got.size() == 1000);
  for (int i = 0; i < 1000; ++i) CHECK(got[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("Queue: get_many of none takes none and does not wait", "[queue][Q15]") {
  conc::Queue<int> queue;
  CHECK(queue.get_many(0).empty());
  queue.put(1);
  CHECK(queue.get_many(0).empty());
  CHECK(queue.qsize() == 1);
}

TEMPLATE_TEST_CASE("Queue: get_many waits for the first item only", "[queue][Q15]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{8};
  CHECK(outcome([&] { (void)queue.get_many(3, 0ms); }) == "QueueEmpty");
  CHECK(outcome([&] { (void)queue.get_many(3, 5ms); }) == "QueueEmpty");
  std::size_t count = 0;
  Background getter{[&] { count = queue.get_many(3).size(); }};
  REQUIRE(getter.falls_asleep());
  queue.put(Item{1});
  CHECK(getter.join() == "returned");
  CHECK(count == 1);
}

TEMPLATE_TEST_CASE("Queue: put_many returns how many it put when the deadline passes, and consumes no other",
                   "[queue][Q15]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const conc::Deadline deadline : {conc::Deadline{0ms}, conc::Deadline{5ms}}) {
    TestType queue{3};
    queue.put(Item{0});
    std::vector<Item> items;
    for (int i = 1; i < 6; ++i) items.emplace_back(i);
    CHECK(queue.put_many(std::move_iterator{items.begin()}, std::move_iterator{items.end()}, deadline) == 2);
    CHECK(items[0] == Item::moved_from);
    CHECK(items[1] == Item::moved_from);
    CHECK(items[2] == 3);
    CHECK(items[3] == 4);
    CHECK(items[4] == 5);
    CHECK(queue.put_many(items.begin() + 2, items.end(), deadline) == 0);
    CHECK(queue.unfinished_tasks() == 3);
    for (const int number : numbers_in_order_of<TestType>(3)) CHECK(queue.get() == number);
  }
}

TEST_CASE("Queue: put_many converts items, and consumes none that it does not put", "[queue][Q15]") {
  struct Base {
    virtual ~Base() = default;
  };
  struct Derived : Base {};
  for (const std::size_t maxsize : {std::size_t{2}, std::size_t{1} << 40U}) {
    conc::Queue<std::unique_ptr<Base>> queue{maxsize};
    std::vector<std::unique_ptr<Derived>> items;
    for (int i = 0; i < 3; ++i) items.push_back(std::make_unique<Derived>());
    const std::size_t put = queue.put_many(std::move_iterator{items.begin()}, std::move_iterator{items.end()}, 0ms);
    CHECK(put == (maxsize == 2 ? 2 : 3));
    for (std::size_t i = 0; i < items.size(); ++i) CHECK((items[i] == nullptr) == (i < put));
  }
}

TEST_CASE("Queue: put_many takes any range and any pair of input iterators", "[queue][Q15]") {
  conc::Queue<std::string> queue;
  const std::list<std::string> list{"a", "b"};
  const char* const array[] = {"c", "d"};
  std::istringstream stream{"e f"};
  CHECK(queue.put_many(list) == 2);
  CHECK(queue.put_many(array) == 2);
  CHECK(queue.put_many(std::istream_iterator<std::string>{stream}, std::istream_iterator<std::string>{}) == 2);
  CHECK(queue.put_many(std::vector<std::string>{}) == 0);
  std::string all;
  for (const std::string& item : drained(queue)) all += item;
  CHECK(all == "abcdef");
}

TEMPLATE_TEST_CASE("Queue: put_many waits for room and goes on", "[queue][Q15]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{2};
  std::vector<Item> items;
  for (int i = 0; i < 20; ++i) items.emplace_back(i);
  std::size_t count = 0;
  Background putter{[&] { count = queue.put_many(items); }};
  REQUIRE(putter.falls_asleep());
  std::vector<int> got;
  for (int i = 0; i < 20; ++i) got.push_back(queue.get().value);
  CHECK(putter.join() == "returned");
  CHECK(count == 20);
  // Of two at a time the newest one comes first, or they came in this order.
  if (conc_test::is_lifo<TestType>) std::sort(got.begin(), got.end());
  for (int i = 0; i < 20; ++i) CHECK(got[static_cast<std::size_t>(i)] == i);
}

TEMPLATE_TEST_CASE("Queue: put_many returns how many it put when the queue is shut down meanwhile", "[queue][Q15]",
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  TestType queue{2};
  std::vector<Item> items;
  for (int i = 0; i < 4; ++i) items.emplace_back(i);
  std::size_t count = 0;
  Background putter{
      [&] { count = queue.put_many(std::move_iterator{items.begin()}, std::move_iterator{items.end()}); }};
  REQUIRE(putter.falls_asleep());
  queue.shutdown();
  CHECK(putter.join() == "returned");
  CHECK(count == 2);
  CHECK(items[2] == 2);
  CHECK(items[3] == 3);
  CHECK(outcome([&] { queue.put_many(items); }) == "QueueShutDown");
  CHECK(queue.put_many(std::vector<Item>{}) == 0);
  CHECK(queue.get_many(9).size() == 2);
  CHECK(outcome([&] { (void)queue.get_many(1); }) == "QueueShutDown");
}

namespace {

/// 0, 1, 2 and so on, without end.
struct Numbers {
  using value_type = int;
  using difference_type = std::ptrdiff_t;
  int value = 0;
  int operator*() const { return value; }
  Numbers& operator++() {
    ++value;
    return *this;
  }
  void operator++(int) { ++value; }
};

}  // namespace

TEST_CASE("Queue: the deadline of put_many counts from the call, not from each item", "[queue][Q15]") {
  conc::Queue<int> queue{1};
  std::atomic<bool> returned{false};
  std::size_t count = 0;
  Background putter{[&] {
    count = queue.put_many(Numbers{}, std::unreachable_sentinel, 20ms);
    returned.store(true);
  }};
  int got = 0;
  while (!returned.load()) {
    if (conc_test::sleeps(putter.id()) && queue.try_get()) ++got;  // no single wait lasts 20 ms
  }
  putter.join();
  CHECK(static_cast<std::size_t>(got) + queue.qsize() == count);
}
