// SPDX-License-Identifier: MIT
// What is particular to a PriorityQueue; what holds for every kind of queue stands in the other tests of queues.
#include <algorithm>
#include <array>
#include <bit>
#include <catch2/catch_get_random_seed.hpp>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <conc/queue.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "background.hpp"

using conc_test::Background;

namespace {

/// Ordered by key alone; the serial number tells equal ones apart. Small and plain, or with a destructor, or large.
template <class More>
struct Keyed {
  int key;
  int serial;
  More more{};
  friend bool operator<(const Keyed& one, const Keyed& other) { return one.key < other.key; }
  friend bool operator==(const Keyed& one, const Keyed& other) {
    return one.key == other.key && one.serial == other.serial;
  }
};
struct Nothing {};
using Small = Keyed<Nothing>;
using Careful = Keyed<std::string>;
using Large = Keyed<std::array<char, 100>>;

/// Takes everything.
template <class Queue>
auto drained(Queue& queue) {
  std::vector<typename Queue::value_type> items;
  while (auto item = queue.try_get()) items.push_back(std::move(*item));
  return items;
}

bool smaller_by_tens(int one, int other) { return one / 10 < other / 10; }

}  // namespace

TEST_CASE("PriorityQueue: is a Queue with another order, and compares by std::less if nothing is said", "[queue][Q0]") {
  using Queue = conc::PriorityQueue<std::string>;
  STATIC_REQUIRE(std::is_same_v<Queue, conc::PriorityQueue<std::string, std::less<std::string>>>);
  STATIC_REQUIRE(std::is_same_v<Queue::value_type, std::string>);
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<Queue>);
  STATIC_REQUIRE_FALSE(std::is_move_constructible_v<Queue>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<int, Queue>);
  // Only where there is something to give.
  STATIC_REQUIRE(std::is_constructible_v<Queue, int, std::less<std::string>>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<conc::Queue<int>, int, std::less<int>>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<conc::LifoQueue<int>, int, std::less<int>>);
  // A pointer to nothing compares nothing.
  STATIC_REQUIRE_FALSE(std::is_constructible_v<conc::PriorityQueue<int, bool (*)(int, int)>, int>);
  STATIC_REQUIRE_FALSE(std::is_default_constructible_v<conc::PriorityQueue<int, bool (*)(int, int)>>);
}

TEMPLATE_TEST_CASE("PriorityQueue: gives the smallest item back first, and equal ones in the order of the puts",
                   "[queue][Q2]", Small, Careful, Large) {
  // Every sequence of seven keys out of three.
  for (int sequence = 0; sequence < 3 * 3 * 3 * 3 * 3 * 3 * 3; ++sequence) {
    conc::PriorityQueue<TestType> queue;
    std::vector<TestType> expected;
    for (int serial = 0, keys = sequence; serial < 7; ++serial, keys /= 3) {
      const TestType item{keys % 3, serial};
      queue.put(item);
      expected.push_back(item);
    }
    std::stable_sort(expected.begin(), expected.end());
    REQUIRE(drained(queue) == expected);
  }
}

TEMPLATE_TEST_CASE("PriorityQueue: keeps its order while it grows and shrinks", "[queue][Q2]", Small, Careful, Large) {
  std::mt19937 random{Catch::getSeed()};
  for (const int keys : {1, 2, 10, 1'000'000}) {
    for (const std::size_t maxsize : {0U, 5000U}) {
      conc::PriorityQueue<TestType> queue{maxsize};
      std::vector<TestType> model;  // sorted, the first to come out last
      int serial = 0;
      for (const std::size_t size : {1U, 0U, 40U, 3U, 700U, 500U, 520U, 90U, 1000U, 0U}) {
        while (model.size() != size) {
          // Mostly in the one direction, now and then in the other.
          if ((random() % 4 != 0) == (model.size() < size) || model.empty()) {
            const TestType item{static_cast<int>(random() % static_cast<unsigned>(keys)), ++serial};
            queue.put(item);
            const auto comes_later = [](const TestType& one, const TestType& other) { return other < one; };
            model.insert(std::lower_bound(model.begin(), model.end(), item, comes_later), item);
          } else {
            REQUIRE(queue.get() == model.back());
            model.pop_back();
          }
        }
        REQUIRE(queue.qsize() == model.size());
      }
      CHECK(queue.empty());
    }
  }
}

TEST_CASE("PriorityQueue: equal items keep their order also where others come and go between them", "[queue][Q2]") {
  conc::PriorityQueue<Small> queue;
  int next = 0;
  for (int serial = 0; serial < 1000; ++serial) {
    queue.put({5, serial});
    queue.put({9, serial});
    queue.put({1, serial});
    REQUIRE(queue.get() == Small{1, serial});
    if (serial % 3 == 0) REQUIRE(queue.get() == Small{5, next++});
  }
  for (; next < 1000; ++next) REQUIRE(queue.get() == Small{5, next});
  for (int serial = 0; serial < 1000; ++serial) REQUIRE(queue.get() == Small{9, serial});
}

TEST_CASE("PriorityQueue: a comparator chooses another order", "[queue][Q0][Q2]") {
  conc::PriorityQueue<int, std::greater<int>> largest;
  largest.put_many(std::vector{3, 1, 2});
  CHECK(drained(largest) == std::vector{3, 2, 1});

  conc::PriorityQueue<std::string, std::greater<>> strings{7};
  strings.put_many(std::vector<std::string>{"b", "c", "a"});
  CHECK(drained(strings) == std::vector<std::string>{"c", "b", "a"});

  const auto by_size = [](const std::string& one, const std::string& other) { return one.size() < other.size(); };
  conc::PriorityQueue<std::string, decltype(by_size)> shortest;
  shortest.put_many(std::vector<std::string>{"three", "on", "tw", "f"});
  CHECK(drained(shortest) == std::vector<std::string>{"f", "on", "tw", "three"});
}

TEST_CASE("PriorityQueue: a comparator with state, a function and a std::function are given to the constructor",
          "[queue][Q0][Q2]") {
  int comparisons = 0;
  const auto distance = [&comparisons, center = 50](int one, int other) {
    ++comparisons;
    return std::abs(one - center) < std::abs(other - center);
  };
  conc::PriorityQueue<int, std::remove_const_t<decltype(distance)>> nearest{0, distance};
  nearest.put_many(std::vector{1, 99, 50, 40, 61});
  CHECK(drained(nearest) == std::vector{50, 40, 61, 1, 99});
  CHECK(comparisons > 0);

  conc::PriorityQueue<int, bool (*)(int, int)> tens{3, smaller_by_tens};
  tens.put_many(std::vector{25, 11, 20});
  CHECK(tens.full());
  CHECK(drained(tens) == std::vector{11, 25, 20});

  conc::PriorityQueue<int, std::function<bool(int, int)>> any{0, [](int one, int other) { return one > other; }};
  any.put_many(std::vector{1, 3, 2});
  CHECK(drained(any) == std::vector{3, 2, 1});

  conc::PriorityQueue<int, std::function<bool(int, int)>> none;
  none.put(1);
  CHECK(conc_test::outcome([&] { none.put(2); }) == "bad_function_call");
  CHECK(none.get() == 1);

  // One that changes when it is called.
  conc::PriorityQueue<int, std::function<bool(int, int)>> counting{
      0, [calls = 0](int one, int other) mutable { return ++calls > 0 && one < other; }};
  counting.put_many(std::vector{2, 1});
  CHECK(counting.get() == 1);
}

TEST_CASE("PriorityQueue: a comparator that can only be moved lives as long as the queue", "[queue][Q0]") {
  struct ByTable {
    std::shared_ptr<std::vector<int>> ranks;
    explicit ByTable(std::shared_ptr<std::vector<int>> table) : ranks{std::move(table)} {}
    ByTable(ByTable&&) = default;
    bool operator()(unsigned one, unsigned other) const { return (*ranks)[one] < (*ranks)[other]; }
  };
  const auto table = std::make_shared<std::vector<int>>(std::vector{30, 10, 20});
  {
    conc::PriorityQueue<unsigned, ByTable> queue{0, ByTable{table}};
    CHECK(table.use_count() == 2);
    queue.put_many(std::vector{0U, 1U, 2U});
    CHECK(queue.get() == 1);
    queue.shutdown({.immediate = true});
    CHECK(table.use_count() == 2);
  }
  CHECK(table.use_count() == 1);
}

namespace {

struct Job {
  int priority;
  std::string name;
  auto operator<=>(const Job&) const = default;
};

}  // namespace

TEST_CASE("PriorityQueue: holds pairs, tuples, pointers and whatever has an order of its own", "[queue][Q2][Q12]") {
  conc::PriorityQueue<std::pair<int, std::string>> pairs;
  pairs.put({2, "b"});
  pairs.put({2, "a"});
  pairs.put({1, "z"});
  CHECK(pairs.get() == std::pair<int, std::string>{1, "z"});
  CHECK(pairs.get() == std::pair<int, std::string>{2, "a"});

  conc::PriorityQueue<std::tuple<int, double>> tuples;
  tuples.put({2, 0.5});
  tuples.put({1, 1.5});
  CHECK(std::get<1>(tuples.get()) == 1.5);

  conc::PriorityQueue<Job> jobs;
  jobs.put({2, "write"});
  jobs.put({1, "read"});
  CHECK(jobs.get().name == "read");

  const std::array<int, 3> numbers{};
  conc::PriorityQueue<const int*> pointers;
  for (const std::size_t i : {2U, 0U, 1U}) pointers.put(&numbers[i]);
  for (const int& number : numbers) CHECK(pointers.get() == &number);
}

TEST_CASE("PriorityQueue: holds items that can only be moved, ordered by what they point to", "[queue][Q12]") {
  const auto by_value = [](const auto& one, const auto& other) { return *one < *other; };
  for (const std::size_t maxsize : {0U, 3U}) {
    conc::PriorityQueue<std::unique_ptr<int>, decltype(by_value)> queue{maxsize};
    for (const int number : {3, 1, 2}) queue.put(std::make_unique<int>(number));
    CHECK(*queue.get() == 1);
    CHECK(**queue.try_get() == 2);
    CHECK(*queue.get_many(4).at(0) == 3);
  }
}

TEST_CASE("PriorityQueue: put_many converts items, and consumes none for which there is no room", "[queue][Q15]") {
  const auto by_value = [](const std::shared_ptr<const int>& one, const std::shared_ptr<const int>& other) {
    return *one < *other;
  };
  conc::PriorityQueue<std::shared_ptr<const int>, decltype(by_value)> queue{2};
  std::vector<std::shared_ptr<int>> items{std::make_shared<int>(2), std::make_shared<int>(1), std::make_shared<int>(0)};
  CHECK(queue.put_many(std::move_iterator{items.begin()}, std::move_iterator{items.end()},
                       std::chrono::milliseconds{0}) == 2);
  CHECK(items[1] == nullptr);
  CHECK(items[2] != nullptr);
  CHECK(*queue.get() == 1);
  CHECK(*queue.get() == 2);
}

TEST_CASE("PriorityQueue: get_many and a loop go on from the smallest to the largest", "[queue][Q14][Q15]") {
  conc::PriorityQueue<int> queue;
  for (int i = 0; i < 100; ++i) queue.put(i * 37 % 100);
  CHECK(queue.get_many(3) == std::vector{0, 1, 2});
  queue.shutdown();
  int expected = 3;
  for (const int& item : queue) CHECK(item == expected++);
  CHECK(expected == 100);
}

TEST_CASE("PriorityQueue: a put that waited for room comes in its turn", "[queue][Q2][Q3]") {
  conc::PriorityQueue<int> queue{2};
  queue.put(2);
  queue.put(3);
  Background putter{[&] { queue.put(1); }};
  REQUIRE(putter.falls_asleep());
  CHECK(queue.get() == 2);  // the smallest of those that are in
  CHECK(putter.join() == "returned");
  CHECK(queue.get_many(9) == std::vector{1, 3});
}

TEST_CASE("PriorityQueue: put compares once for each level at most, get less than twice", "[queue][Q2]") {
  std::size_t comparisons = 0;
  const auto counting = [&comparisons](int one, int other) {
    ++comparisons;
    return one < other;
  };
  conc::PriorityQueue<int, std::remove_const_t<decltype(counting)>> queue{0, counting};
  std::mt19937 random{Catch::getSeed()};
  const auto levels = [&] { return static_cast<std::size_t>(std::bit_width(queue.qsize())); };
  for (int i = 0; i < 1000; ++i) {
    comparisons = 0;
    queue.put(i % 3 == 0 ? -i : static_cast<int>(random() % 1000));
    REQUIRE(comparisons < levels());
  }
  std::size_t all = 0;
  for (int i = 0; i < 1000; ++i) {
    comparisons = 0;
    const std::size_t most = 2 * levels();
    (void)queue.get();
    REQUIRE(comparisons <= most);
    all += comparisons;
  }
  CHECK(all < 13'000);  // nearer once than twice: log2(1000!) is 8,530
}

TEST_CASE("PriorityQueue: a comparator that contradicts itself costs the order and nothing else", "[queue][G4]") {
  std::mt19937 random{Catch::getSeed()};
  const auto any = [&random](int, int) { return random() % 2 == 0; };
  conc::PriorityQueue<int, std::remove_const_t<decltype(any)>> queue{0, any};
  for (int i = 0; i < 500; ++i) queue.put(i);
  std::vector<int> got = drained(queue);
  std::sort(got.begin(), got.end());
  REQUIRE(got.size() == 500);
  for (int i = 0; i < 500; ++i) CHECK(got[static_cast<std::size_t>(i)] == i);

  conc::PriorityQueue<double> numbers;
  for (const double number : {2.0, std::numeric_limits<double>::quiet_NaN(), 1.0}) numbers.put(number);
  CHECK(drained(numbers).size() == 3);
}
