// SPDX-License-Identifier: MIT
#include <conc/condition.hpp>
#include <conc/rw_lock.hpp>
#include <conc/synchronized.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "background.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using conc::Synchronized;

static_assert(!std::is_copy_constructible_v<Synchronized<int>> && !std::is_move_constructible_v<Synchronized<int>>);
static_assert(std::is_same_v<decltype(Synchronized{5}), Synchronized<int>>);
static_assert(std::is_same_v<decltype(*std::declval<const Synchronized<int>&>().lock()), const int&>,
              "const access gives a const value");

TEST_CASE("Synchronized: with() calls the function with the value and returns what it returns", "[synchronized]") {
  Synchronized<std::vector<int>> numbers{3U, 7};
  CHECK(numbers.with([](std::vector<int>& all) {
    all.push_back(8);
    return all.size();
  }) == 4);
  const auto& looked_at = numbers;
  CHECK(looked_at.with([](const std::vector<int>& all) { return all.back(); }) == 8);
  numbers.with([](auto& all) { all.clear(); });
  CHECK(numbers.lock()->empty());
}

TEST_CASE("Synchronized: with() lets no reference to the value out", "[synchronized]") {
  Synchronized<std::string> word{"abc"};
  const auto by_reference = [](std::string& value) -> std::string& { return value; };
  STATIC_REQUIRE(std::is_same_v<decltype(word.with(by_reference)), std::string>);
  CHECK(word.with(by_reference) == "abc");
}

TEST_CASE("Synchronized: holds values that can neither be copied nor moved", "[synchronized]") {
  struct Fixed {
    explicit Fixed(int number) : value{number} {}
    Fixed(const Fixed&) = delete;
    Fixed& operator=(const Fixed&) = delete;
    ~Fixed() = default;
    int value;
  };
  Synchronized<Fixed> fixed{5};
  CHECK(fixed.lock()->value == 5);
  Synchronized<std::unique_ptr<int>> owner{std::make_unique<int>(6)};
  CHECK(owner.with([](std::unique_ptr<int>& pointer) { return std::move(pointer); }) != nullptr);
  CHECK(*owner.lock() == nullptr);
}

TEMPLATE_TEST_CASE("Synchronized: the lock is held in with() and as long as a guard lives, also when it throws",
                   "[synchronized][G7]", conc::Lock, conc::RLock, conc::RWLock, std::mutex) {
  Synchronized<int, TestType> number{1};
  const auto held_elsewhere = [&number] {
    conc_test::Background other{[&number] {
      if (!number.try_lock()) throw std::runtime_error{"held"};
    }};
    return other.join() == "held";
  };
  CHECK_FALSE(held_elsewhere());
  CHECK(number.with([&](int&) { return held_elsewhere(); }));
  {
    const auto guard = number.lock();
    CHECK(held_elsewhere());
  }
  CHECK(conc_test::outcome(
            [&] { number.with([](int& value) -> int { throw std::runtime_error{std::to_string(value)}; }); }) == "1");
  CHECK_FALSE(held_elsewhere());
}

TEST_CASE("Synchronized: a guard can be moved, and then holds nothing", "[synchronized]") {
  Synchronized<int> number{1};
  Synchronized<int> other{3};
  auto first = number.lock();
  auto second = std::move(first);
  CHECK_FALSE(first);  // NOLINT(bugprone-use-after-move): that is what is looked at
  CHECK(second);
  *second = 2;
  second = other.lock();  // lets go of the first one
  CHECK(number.try_lock());
  CHECK_FALSE(other.try_lock());
  CHECK(*second == 3);
}

TEST_CASE("Synchronized: try_lock gives up at the deadline", "[synchronized][G2]") {
  Synchronized<int> number{1};
  const auto guard = number.lock();
  const auto begin = std::chrono::steady_clock::now();
  CHECK_FALSE(number.try_lock(10ms));
  CHECK(std::chrono::steady_clock::now() - begin >= 10ms);
  CHECK_FALSE(std::as_const(number).try_lock(0s));
}

TEST_CASE("Synchronized: over an RWLock const access is shared, and other access is not", "[synchronized]") {
  Synchronized<int, conc::RWLock> number{1};
  const auto& looked_at = number;
  const auto first = looked_at.lock();
  conc_test::Background other{[&looked_at] {
    if (looked_at.with([](int value) { return value; }) != 1) throw std::runtime_error{"another value"};
  }};
  CHECK(other.join() == "returned");
  CHECK(looked_at.try_lock());
  CHECK_FALSE(number.try_lock());
}

TEST_CASE("Synchronized: threads that change the value see what the others did", "[synchronized]") {
  Synchronized<std::vector<std::size_t>> numbers;
  constexpr std::size_t threads = 4;
  const std::size_t each = conc_test::scaled(std::size_t{2000});
  conc_test::run_threads(threads, [&](std::size_t thread) {
    for (std::size_t i = 0; i < each; ++i) {
      if (i % 2 == 0) {
        numbers.with([thread](std::vector<std::size_t>& all) { all.push_back(thread); });
      } else {
        numbers.lock()->push_back(thread);
      }
    }
  });
  std::vector<std::size_t> count(threads);
  for (const std::size_t thread : *numbers.lock()) ++count[thread];
  CHECK(count == std::vector<std::size_t>(threads, each));
}
