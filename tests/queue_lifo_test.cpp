// SPDX-License-Identifier: MIT
// What is particular to a LifoQueue; what holds for every kind of queue stands in the other tests of queues.
#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <conc/queue.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "background.hpp"

using conc_test::Background;

namespace {

/// What items may be like: small and plain, too large to be moved about, with a destructor, wider aligned than usual.
struct Small {
  int value;
};
struct Large {
  int value;
  std::array<char, 100> more;
};
struct Careful {
  int value;
  std::string text;
};
struct alignas(64) Aligned {
  int value;
  std::array<unsigned char, 130> more;
};

template <class Item>
Item make(int value) {
  Item item{};
  item.value = value;
  return item;
}

}  // namespace

TEST_CASE("LifoQueue: is a Queue with another order", "[queue][Q0]") {
  using Queue = conc::LifoQueue<std::string>;
  STATIC_REQUIRE(std::is_same_v<Queue::value_type, std::string>);
  STATIC_REQUIRE_FALSE(std::is_same_v<Queue, conc::Queue<std::string>>);
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<Queue>);
  STATIC_REQUIRE_FALSE(std::is_move_constructible_v<Queue>);
  STATIC_REQUIRE(std::is_constructible_v<Queue, int>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<int, Queue>);
}

TEMPLATE_TEST_CASE("LifoQueue: gives the newest item back first, whatever it is like", "[queue][Q2]", Small, Large,
                   Careful, Aligned) {
  for (const std::size_t maxsize : {0U, 5000U}) {
    conc::LifoQueue<TestType> queue{maxsize};
    std::vector<int> model;
    int number = 0;
    // Grows and shrinks over many blocks, and wavers where one begins.
    for (const int size : {1, 0, 3, 600, 500, 520, 500, 4000, 10, 700, 0}) {
      while (static_cast<int>(model.size()) < size) {
        queue.put(make<TestType>(++number));
        model.push_back(number);
      }
      while (static_cast<int>(model.size()) > size) {
        REQUIRE(queue.get().value == model.back());
        model.pop_back();
      }
      REQUIRE(queue.qsize() == model.size());
    }
    CHECK_FALSE(queue.try_get().has_value());
  }
}

TEST_CASE("LifoQueue: every mixture of eight puts and gets comes out last in, first out", "[queue][Q2]") {
  for (unsigned mixture = 0; mixture < 256; ++mixture) {
    conc::LifoQueue<int> queue;
    std::vector<int> model;
    for (int i = 0; i < 8; ++i) {
      if ((mixture >> i & 1U) != 0) {
        queue.put(i);
        model.push_back(i);
        continue;
      }
      const std::optional<int> got = queue.try_get();
      REQUIRE(got.has_value() == !model.empty());
      if (!got) continue;
      REQUIRE(*got == model.back());
      model.pop_back();
    }
  }
}

TEST_CASE("LifoQueue: items lie where their type wants them", "[queue][Q12]") {
  conc::LifoQueue<Aligned> queue;
  for (int i = 0; i < 100; ++i) queue.put(make<Aligned>(i));
  queue.shutdown();
  bool aligned = true;
  for (const Aligned& item : queue) aligned &= reinterpret_cast<std::uintptr_t>(&item) % alignof(Aligned) == 0;
  CHECK(aligned);
}

TEST_CASE("LifoQueue: holds items that can only be moved", "[queue][Q12]") {
  for (const std::size_t maxsize : {0U, 3U}) {
    conc::LifoQueue<std::unique_ptr<int>> queue{maxsize};
    queue.put(std::make_unique<int>(1));
    CHECK(queue.try_put(std::make_unique<int>(2)));
    queue.put(std::make_unique<int>(3));
    CHECK(*queue.get() == 3);
    CHECK(**queue.try_get() == 2);
    CHECK(*queue.get_many(4).at(0) == 1);
  }
}

TEST_CASE("LifoQueue: a put that waited for room is the newest", "[queue][Q2][Q3]") {
  conc::LifoQueue<int> queue{2};
  queue.put(1);
  queue.put(2);
  Background putter{[&] { queue.put(3); }};
  REQUIRE(putter.falls_asleep());
  CHECK(queue.get() == 2);
  CHECK(putter.join() == "returned");
  CHECK(queue.get_many(9) == std::vector<int>{3, 1});
}
