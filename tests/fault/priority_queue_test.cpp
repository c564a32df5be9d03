// SPDX-License-Identifier: MIT
// Priority queues whose comparator throws, at every comparison that is made.
#include <algorithm>
#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/queue.hpp>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "background.hpp"
#include "items.hpp"

using namespace std::chrono_literals;
using conc_test::Background;
using conc_test::LockedItem;
using conc_test::outcome;
using conc_test::RingItem;
using conc_test::Tripped;

namespace {

/// Compares numbers by their tens, so that some are equal, and throws when told to.
struct Tens {
  static inline int countdown = -1;  // as Tracked::trip_at: the comparison number k from now on throws, once

  template <class Item>
  bool operator()(const Item& one, const Item& other) const {
    if (countdown >= 0 && countdown-- == 0) throw Tripped{};
    return number(one) / 10 < number(other) / 10;
  }

  static int number(int item) { return item; }
  template <class Item>
  static int number(const Item& item) {
    return item.value;
  }
};

template <class Item>
using TensQueue = conc::PriorityQueue<Item, Tens>;

int alive() { return RingItem::alive + LockedItem::alive; }

/// What is put into every queue here, one after the other; the new one for the test is 45, which has equals.
std::vector<int> numbers(int count) {
  std::vector<int> all;
  for (int i = 0; i < count; ++i) all.push_back(i * 37 % 80);
  return all;
}

/// How it must come out.
std::vector<int> in_order(std::vector<int> all) {
  std::stable_sort(all.begin(), all.end(), [](int one, int other) { return one / 10 < other / 10; });
  return all;
}

template <class Queue>
std::vector<int> drained(Queue& queue) {
  std::vector<int> all;
  while (!queue.empty()) all.push_back(Tens::number(*queue.try_get()));
  return all;
}

/// Makes a queue of `count` items, again and again, and calls `use(queue)` for which first the first comparison throws,
/// then the second, until it gets through. `check(queue, tripped)` looks at each queue, which then must be in order.
/// @return how many comparisons a use takes.
template <class Item, class Use, class Check>
int fail_each_comparison(int count, std::size_t maxsize, Use use, Check check) {
  for (int k = 0;; ++k) {
    TensQueue<Item> queue{maxsize};
    for (const int number : numbers(count)) queue.put(Item{number});
    Tens::countdown = k;
    const std::string how = outcome([&] { use(queue); });
    const bool tripped = Tens::countdown < 0;
    Tens::countdown = -1;
    REQUIRE((how == "returned" || (tripped && how == "Tripped")));
    check(queue, how == "Tripped");
    if (!tripped) return k;
  }
}

}  // namespace

TEMPLATE_TEST_CASE("PriorityQueue: put leaves queue and item as they were when any comparison throws",
                   "[queue][Q6][G4][FM12]", int, RingItem, LockedItem) {
  const auto number = [](const TestType& item) { return Tens::number(item); };
  for (int count = 0; count < 20; ++count) {
    for (const std::size_t maxsize : {0U, 64U}) {
      TestType item{45};
      const auto check = [&](TensQueue<TestType>& queue, bool tripped) {
        std::vector<int> all = numbers(count);
        if (tripped) {
          REQUIRE(number(item) == 45);
        } else {
          all.push_back(45);
        }
        REQUIRE(queue.qsize() == all.size());
        REQUIRE(queue.unfinished_tasks() == all.size());
        if constexpr (!std::is_same_v<TestType, int>) REQUIRE(alive() == static_cast<int>(all.size()) + 1);
        REQUIRE(drained(queue) == in_order(all));
      };
      int comparisons = 0;
      comparisons += fail_each_comparison<TestType>(
          count, maxsize, [&](auto& queue) { queue.put(std::as_const(item)); }, check);
      comparisons += fail_each_comparison<TestType>(
          count, maxsize, [&](auto& queue) { queue.put(std::move(item)); }, check);
      std::optional<TestType> again;  // that one is consumed
      comparisons += fail_each_comparison<TestType>(
          count, maxsize, [&](auto& queue) { (void)queue.try_put(std::as_const(again.emplace(45))); },
          [&](TensQueue<TestType>& queue, bool tripped) {
            REQUIRE(number(*again) == 45);
            again.reset();
            REQUIRE(queue.unfinished_tasks() == static_cast<std::size_t>(count) + (tripped ? 0 : 1));
          });
      CHECK((comparisons > 0) == (count > 0));
    }
  }
}

TEMPLATE_TEST_CASE("PriorityQueue: get leaves the queue as it was when any comparison throws",
                   "[queue][Q6][Q14][G4][FM12]", int, RingItem, LockedItem) {
  for (int count = 1; count < 20; ++count) {
    const std::vector<int> expected = in_order(numbers(count));
    std::vector<int> got;
    const auto check = [&](TensQueue<TestType>& queue, bool tripped) {
      REQUIRE(got.size() == (tripped ? 0 : 1));
      REQUIRE(queue.qsize() == expected.size() - got.size());
      REQUIRE(queue.unfinished_tasks() == expected.size());
      if constexpr (!std::is_same_v<TestType, int>) REQUIRE(alive() == static_cast<int>(queue.qsize()));
      for (const int number : drained(queue)) got.push_back(number);
      REQUIRE(got == expected);
      queue.task_done(expected.size());
      REQUIRE(queue.join(0ms));
      got.clear();
    };
    const auto note = [&](const TestType& item) { got.push_back(Tens::number(item)); };
    int comparisons = 0;
    comparisons += fail_each_comparison<TestType>(
        count, 0, [&](auto& queue) { note(queue.get()); }, check);
    comparisons += fail_each_comparison<TestType>(
        count, 32, [&](auto& queue) { note(queue.get(1ms)); }, check);
    comparisons += fail_each_comparison<TestType>(
        count, 0, [&](auto& queue) { note(*queue.try_get()); }, check);
    comparisons += fail_each_comparison<TestType>(
        count, 0,
        [&](auto& queue) {
          for (const TestType& item : queue) {
            note(item);
            break;
          }
        },
        check);
    comparisons += fail_each_comparison<TestType>(
        count, 32, [&](auto& queue) { note(std::as_const(queue.get_many(1)[0])); }, check);
    CHECK((comparisons > 0) == (count > 2));
  }
}

TEMPLATE_TEST_CASE("PriorityQueue: get_many hands out what it took before a comparison has thrown",
                   "[queue][Q15][G4][FM12]", int, RingItem, LockedItem) {
  const std::vector<int> expected = in_order(numbers(12));
  std::vector<int> got;
  const int comparisons = fail_each_comparison<TestType>(
      12, 0,
      [&](auto& queue) {
        for (const TestType& item : queue.get_many(12)) got.push_back(Tens::number(item));
      },
      [&](TensQueue<TestType>& queue, bool tripped) {
        REQUIRE(tripped == got.empty());  // only what the first item throws is thrown
        REQUIRE(queue.qsize() == expected.size() - got.size());
        for (const int number : drained(queue)) got.push_back(number);
        REQUIRE(got == expected);
        got.clear();
      });
  CHECK(comparisons > 12);
}

TEMPLATE_TEST_CASE(
    "PriorityQueue: put_many keeps what it put before a comparison has thrown, and consumes nothing else",
    "[queue][Q15][G4][FM12]", RingItem, LockedItem) {
  std::vector<TestType> items;
  const auto renew = [&] {
    items.clear();
    for (const int number : numbers(12)) items.emplace_back(number);
  };
  renew();
  const int comparisons = fail_each_comparison<TestType>(
      0, 0, [&](auto& queue) { queue.put_many(std::move_iterator{items.begin()}, std::move_iterator{items.end()}); },
      [&](TensQueue<TestType>& queue, bool tripped) {
        const std::size_t put = queue.unfinished_tasks();
        REQUIRE((put == 12) == !tripped);
        for (std::size_t i = put; i < 12; ++i) REQUIRE(items[i] == numbers(12)[i]);
        REQUIRE(drained(queue) == in_order(numbers(static_cast<int>(put))));
        renew();
      });
  CHECK(comparisons >= 11);
}

TEST_CASE("PriorityQueue: an item that was converted is destroyed when a comparison throws", "[queue][Q15][FM12]") {
  struct ByValue {
    bool operator()(const std::shared_ptr<const int>& one, const std::shared_ptr<const int>& other) const {
      return Tens{}(*one, *other);
    }
  };
  conc::PriorityQueue<std::shared_ptr<const int>, ByValue> queue;
  std::array<std::shared_ptr<int>, 2> items{std::make_shared<int>(20), std::make_shared<int>(10)};
  const std::weak_ptr<int> second = items[1];
  Tens::countdown = 0;
  CHECK(outcome([&] { queue.put_many(std::move_iterator{items.begin()}, std::move_iterator{items.end()}); }) ==
        "Tripped");
  CHECK(queue.unfinished_tasks() == 1);
  CHECK(second.expired());
  CHECK(*queue.get() == 20);
}

TEST_CASE("PriorityQueue: a waiting put whose comparison throws leaves the room to the next one", "[queue][Q6][FM12]") {
  TensQueue<RingItem> queue{2};
  queue.put(RingItem{10});
  queue.put(RingItem{20});
  Background first{[&] { queue.put(RingItem{30}); }};
  REQUIRE(first.falls_asleep());
  Background second{[&] { queue.put(RingItem{30}); }};
  REQUIRE(second.falls_asleep());
  Tens::countdown = 0;  // getting one of two items takes no comparison
  CHECK(queue.get() == 10);
  const std::string one = first.join();
  const std::string other = second.join();
  CHECK(((one == "Tripped" && other == "returned") || (one == "returned" && other == "Tripped")));
  CHECK(drained(queue) == std::vector{20, 30});
}

TEST_CASE("PriorityQueue: what a comparison throws leaves other threads their way in and out", "[queue][Q6][FM12]") {
  TensQueue<RingItem> queue{8};
  for (const int number : numbers(8)) queue.put(RingItem{number});
  Tens::countdown = 0;
  CHECK(outcome([&] { (void)queue.get(); }) == "Tripped");
  Background putter{[&] { queue.put(RingItem{79}); }};
  REQUIRE(putter.falls_asleep());  // there is no more room than before
  Background getter{[&] { (void)queue.get(); }};
  CHECK(getter.join() == "returned");
  CHECK(putter.join() == "returned");
  CHECK(queue.full());
  Tens::countdown = 0;
  CHECK(outcome([&] { (void)queue.get(); }) == "Tripped");
  queue.shutdown();
  CHECK(drained(queue).size() == 8);
}
