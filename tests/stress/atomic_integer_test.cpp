// SPDX-License-Identifier: MIT
#include <conc/atomic_integer.hpp>

#include <algorithm>
#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "support.hpp"

namespace {

using conc_test::run_threads;
using conc_test::scaled;

constexpr std::size_t kThreads = 4;

}  // namespace

TEMPLATE_TEST_CASE("BasicAtomicInteger: the sum is exact whichever operations threads mix", "[atomic_integer][N1][N2]",
                   std::int8_t, std::uint16_t, std::int32_t, std::int64_t) {
  const int rounds = scaled(100'000);
  conc::BasicAtomicInteger<TestType> n{0};
  run_threads(kThreads, [&](std::size_t) {
    for (int i = 0; i < rounds; ++i) {  // together + 7
      n.inc();
      n.add(10);
      n.sub(6);
      n.dec();
      ++n;
      n++;
      --n;
      n--;
      n += 4;
      n -= 3;
      n.fetch_add(2);
      n.fetch_sub(1);
      n.update([](TestType value) { return static_cast<TestType>(static_cast<unsigned>(value) + 3); });
      TestType old = n.value();
      while (!n.compare_exchange(old, static_cast<TestType>(static_cast<unsigned>(old) - 2))) {
      }
    }
  });
  CHECK(n.value() == static_cast<TestType>(7LL * rounds * static_cast<long long>(kThreads)));
}

TEST_CASE("AtomicInteger: hands out each number once, from inc, dec and update", "[atomic_integer][N2]") {
  const std::size_t rounds = scaled<std::size_t>(50'000);
  const auto check_distinct = [rounds](conc::AtomicInteger& n, auto operation) {
    std::vector<std::vector<std::int64_t>> returned(kThreads);
    run_threads(kThreads, [&](std::size_t thread) {
      returned[thread].reserve(rounds);
      for (std::size_t i = 0; i < rounds; ++i) returned[thread].push_back(operation());
    });
    std::vector<std::int64_t> all;
    for (const auto& part : returned) all.insert(all.end(), part.begin(), part.end());
    std::sort(all.begin(), all.end());
    CHECK(std::adjacent_find(all.begin(), all.end()) == all.end());
    CHECK(all.back() - all.front() + 1 == static_cast<std::int64_t>(kThreads * rounds));
    CHECK((n.value() == all.back() || n.value() == all.front()));
  };
  conc::AtomicInteger n{0};
  check_distinct(n, [&n] { return n.inc(); });
  check_distinct(n, [&n] { return n.dec(); });
  check_distinct(n, [&n] { return n.update([](std::int64_t value) { return value + 1; }); });
}

TEST_CASE("AtomicInteger: orders what was done before it for who sees its value", "[atomic_integer][G7]") {
  const int rounds = scaled(50'000);
  conc::AtomicInteger turn{0};
  long ball = 0;  // no atomic: ThreadSanitizer sees whether the counter orders it
  run_threads(2, [&](std::size_t thread) {
    for (int round = 0; round < rounds; ++round) {
      while (turn.value() % 2 != static_cast<std::int64_t>(thread)) std::this_thread::yield();
      ++ball;
      turn.inc();
    }
  });
  CHECK(ball == 2L * rounds);
}
