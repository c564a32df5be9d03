// SPDX-License-Identifier: MIT
#include <conc/atomic_integer.hpp>

#include "explore_type.hpp"

using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;

TEST_CASE("AtomicInteger: no increment is lost and each returns its own value, in every schedule", "[atomic][N2]") {
  explore_type("AtomicInteger, three threads", [] {
    conc::AtomicInteger n{0};
    std::int64_t got[3] = {};
    parallel([&] { got[0] = n.inc(); }, [&] { got[1] = n.update([](std::int64_t v) { return v + 1; }); },
             [&] { got[2] = n++ + 1; });
    check(n.value() == 3, "an increment was lost");
    check(got[0] + got[1] + got[2] == 6 && got[0] * got[1] * got[2] == 6, "two increments returned the same value");
  });
  explore_type("AtomicInteger, two threads", [] {
    conc::AtomicInteger n{5};
    std::int64_t expected = 5;
    bool stored = false;
    parallel([&] { stored = n.compare_exchange(expected, 7); }, [&] { n.dec(); });
    check(stored ? n.value() == 6 : n.value() == 4 && expected == 4, "compare_exchange told the truth");
  });
}
