// SPDX-License-Identifier: MIT
#include <conc/atomic_integer.hpp>

#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "support.hpp"

namespace {

constinit conc::AtomicInteger global{-3};  // G9: exists before any code runs

static_assert(std::is_same_v<conc::AtomicInteger::value_type, std::int64_t>);
static_assert(std::is_trivially_destructible_v<conc::AtomicInteger>);
static_assert(!std::is_copy_constructible_v<conc::AtomicInteger> && !std::is_copy_assignable_v<conc::AtomicInteger>);
static_assert(!std::is_move_constructible_v<conc::AtomicInteger> && !std::is_move_assignable_v<conc::AtomicInteger>);
static_assert(!std::is_convertible_v<int, conc::AtomicInteger>, "a counter is made from a number on purpose only");

}  // namespace

TEST_CASE("AtomicInteger: is ready before any code runs, 0 unless told otherwise", "[atomic_integer][G9]") {
  CHECK(global.value() == -3);
  CHECK(conc::AtomicInteger{}.value() == 0);
}

TEST_CASE("AtomicInteger: inc, dec, add, sub and set return the new value", "[atomic_integer][N1]") {
  conc::AtomicInteger n{10};
  CHECK(n.inc() == 11);
  CHECK(n.dec() == 10);
  CHECK(n.add(5) == 15);
  CHECK(n.add(-5) == 10);
  CHECK(n.sub(20) == -10);
  CHECK(n.sub(-1) == -9);
  CHECK(n.set(1'000'000'000'000) == 1'000'000'000'000);
  CHECK(n.value() == 1'000'000'000'000);
}

TEST_CASE("AtomicInteger: the fetch_ functions and exchange return the old value", "[atomic_integer][N1]") {
  conc::AtomicInteger n{12};
  CHECK(n.fetch_add(3) == 12);
  CHECK(n.fetch_sub(5) == 15);
  CHECK(n.fetch_and(6) == 10);
  CHECK(n.fetch_or(5) == 2);
  CHECK(n.fetch_xor(1) == 7);
  CHECK(n.exchange(100) == 6);
  CHECK(n.value() == 100);
}

TEST_CASE("AtomicInteger: compare_exchange stores only over the expected value", "[atomic_integer][N1]") {
  conc::AtomicInteger n{1};
  std::int64_t expected = 2;
  CHECK_FALSE(n.compare_exchange(expected, 3));
  CHECK(expected == 1);
  CHECK(n.value() == 1);
  CHECK(n.compare_exchange(expected, 3));
  CHECK(n.value() == 3);
}

TEST_CASE("AtomicInteger: ++ -- += -= mean what they mean for std::atomic", "[atomic_integer][N1]") {
  conc::AtomicInteger n{7};
  CHECK(++n == 8);
  CHECK(n++ == 8);
  CHECK(--n == 8);
  CHECK(n-- == 8);
  CHECK((n += 3) == 10);
  CHECK((n -= 4) == 6);
  CHECK(n.value() == 6);
}

TEST_CASE("AtomicInteger: update applies its function to the value of the moment it stores", "[atomic_integer][N1]") {
  conc::AtomicInteger n{20};
  int calls = 0;
  const std::int64_t result = n.update([&](std::int64_t value) {
    if (++calls == 1) n.add(100);  // as another thread might, between the look and the store
    return value * 2;
  });
  CHECK(result == 240);
  CHECK(n.value() == 240);
  CHECK(calls == 2);
}

TEST_CASE("AtomicInteger: update leaves the value as it was when its function throws", "[atomic_integer][N1][G4]") {
  conc::AtomicInteger n{5};
  CHECK_THROWS_AS(n.update([](std::int64_t) -> std::int64_t { throw std::runtime_error{"no"}; }), std::runtime_error);
  CHECK(n.value() == 5);
}

TEMPLATE_TEST_CASE("BasicAtomicInteger: counts in any integer type, lock-free, and wraps at its ends",
                   "[atomic_integer][N1][N2]", char, signed char, unsigned char, short, unsigned short, int, unsigned,
                   long, unsigned long, long long, unsigned long long, wchar_t, char8_t, char16_t, char32_t) {
  using Limits = std::numeric_limits<TestType>;
  STATIC_REQUIRE(std::is_same_v<decltype(conc::BasicAtomicInteger<TestType>{}.inc()), TestType>);
  STATIC_REQUIRE(sizeof(conc::BasicAtomicInteger<TestType>) == sizeof(TestType));  // no lock beside the value
  STATIC_REQUIRE(std::is_trivially_destructible_v<conc::BasicAtomicInteger<TestType>>);

  conc::BasicAtomicInteger<TestType> n{Limits::max()};
  CHECK(n.inc() == Limits::min());
  CHECK(n.dec() == Limits::max());
  CHECK(n.add(2) == static_cast<TestType>(Limits::min() + 1));
  CHECK(n.sub(2) == Limits::max());
  CHECK(n.set(0) == 0);
  CHECK(n.sub(Limits::min()) == Limits::min());  // the negative of the smallest signed value is itself
  CHECK(++n == static_cast<TestType>(Limits::min() + 1));
  CHECK(n.value() == static_cast<TestType>(Limits::min() + 1));
}

TEST_CASE("AtomicInteger: no increment is lost and no returned value seen twice when threads count together",
          "[atomic_integer][N2]") {
  constexpr std::size_t kThreads = 4;
  const std::size_t rounds = conc_test::scaled<std::size_t>(20'000);
  conc::AtomicInteger n{0};
  std::vector<std::vector<std::int64_t>> returned(kThreads);
  conc_test::run_threads(kThreads, [&](std::size_t thread) {
    for (std::size_t i = 0; i < rounds; ++i) returned[thread].push_back(n.inc());
  });
  std::vector<std::int64_t> all;
  for (const auto& part : returned) {
    CHECK(std::is_sorted(part.begin(), part.end()));
    all.insert(all.end(), part.begin(), part.end());
  }
  std::sort(all.begin(), all.end());
  std::vector<std::int64_t> expected(kThreads * rounds);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = static_cast<std::int64_t>(i) + 1;
  CHECK(all == expected);
  CHECK(n.value() == static_cast<std::int64_t>(kThreads * rounds));
}
