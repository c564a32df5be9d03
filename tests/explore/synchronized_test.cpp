// SPDX-License-Identifier: MIT
#include <conc/rw_lock.hpp>
#include <conc/synchronized.hpp>
#include <utility>

#include "explore_type.hpp"

using namespace std::chrono_literals;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;

namespace {

struct Pair {
  int first = 0;
  int second = 0;
};

}  // namespace

TEST_CASE("Synchronized: the value is one thread's at a time, in every schedule", "[synchronized]") {
  explore_type("Synchronized, with() and a guard", [] {
    conc::Synchronized<int> count{0};
    conc::detail::sync::Atomic<int> steps{0};
    const auto add = [&](int& value) {
      const int seen = value;
      steps.fetch_add(1);
      value = seen + 1;
    };
    parallel(
        [&] {
          count.with(add);
          count.with(add);
        },
        [&] {
          const auto guard = count.lock();
          add(*guard);
        });
    check(count.with([](int& value) { return value; }) == 3, "an addition was lost");
  });
}

TEST_CASE("Synchronized: readers see whole values, in every schedule", "[synchronized]") {
  explore_type("Synchronized over RWLock, two readers and a writer", [] {
    conc::Synchronized<Pair, conc::RWLock> pair;
    conc::detail::sync::Atomic<int> steps{0};
    const auto read = [&] {
      std::as_const(pair).with([&](const Pair& value) {
        const int first = value.first;
        steps.fetch_add(1);
        check(first == value.second, "half of a value");
      });
    };
    parallel(read, read, [&] {
      pair.with([&](Pair& value) {
        value.first = 1;
        steps.fetch_add(1);
        value.second = 1;
      });
    });
  });
}
