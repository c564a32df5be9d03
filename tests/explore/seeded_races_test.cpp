// SPDX-License-Identifier: MIT
// Memory orders that are too weak. Every operation of an exploration sees the last value, so such a program never fails by
// what it computes. Under ThreadSanitizer it does: there the orders that stand in the program say what is a data race.
#include <catch2/catch_test_macros.hpp>
#include <conc/testing.hpp>
#include <conc/thread.hpp>
#include <cstddef>
#include <cstdint>
#include <string>

#include "seeded.hpp"

using conc::testing::check;
using conc::testing::parallel;
using conc_test::must_be_clean;
using conc_test::must_be_found;
namespace mo = conc::detail::mo;
namespace seam = conc::detail::sync;

// Each exploration is to be told of the same race again, and without a program that looks up names.
extern "C" const char conc_test_tsan_options[] =
    "atexit_sleep_ms=0 exitcode=0 symbolize=0 suppress_equal_stacks=0 suppress_equal_addresses=0";

namespace {

/// `program` is wrong, which nothing but ThreadSanitizer can tell.
template <class Program>
void must_be_a_race(const char* name, Program program) {
  if constexpr (conc_test::sanitizer() == conc_test::Sanitizer::thread) {
    must_be_found(name, program, "ThreadSanitizer reports: data-race");
  } else {
    must_be_clean(name, program);
  }
}

/// One thread hands a plain value to another one through a flag.
auto hand_over(std::memory_order publish, std::memory_order look) {
  return [publish, look] {
    seam::Atomic<std::uint32_t> full{0};
    int value = 0;
    parallel(
        [&] {
          value = 42;
          full.store(1, publish);
          seam::wake(&full, 1);
        },
        [&] {
          while (full.load(look) == 0) {
            seam::wait(full, 0U, seam::forever);
          }
          check(value == 42, "another value");
        });
  };
}

/// A lock in little: free, held, or held with sleepers.
class LittleLock {
 public:
  LittleLock(std::memory_order acquire, std::memory_order release) : acquire_{acquire}, release_{release} {}

  void acquire() {
    std::uint32_t seen = kFree;
    if (!word_.compare_exchange_strong(seen, kHeld, acquire_, mo::relaxed)) {
      while (word_.exchange(kHeldWithSleepers, acquire_) != kFree) {
        seam::wait(word_, kHeldWithSleepers, seam::forever);
      }
    }
  }

  void release() {
    if (word_.exchange(kFree, release_) == kHeldWithSleepers) {
      seam::wake(&word_, 1);
    }
  }

 private:
  static constexpr std::uint32_t kFree = 0;
  static constexpr std::uint32_t kHeld = 1;
  static constexpr std::uint32_t kHeldWithSleepers = 2;

  const std::memory_order acquire_;
  const std::memory_order release_;
  seam::Atomic<std::uint32_t> word_{kFree};
};

auto count_under(std::memory_order acquire, std::memory_order release) {
  return [acquire, release] {
    LittleLock lock{acquire, release};
    int counter = 0;
    const auto count = [&] {
      lock.acquire();
      ++counter;
      lock.release();
    };
    parallel(count, count);
    check(counter == 2, "a count was lost");
  };
}

}  // namespace

TEST_CASE("Seeded bug: a release order is missing", "[explorer][seeded]") {
  must_be_a_race("a flag raised without release", hand_over(mo::relaxed, mo::acquire));
  must_be_a_race("a lock that is released without release", count_under(mo::acquire, mo::relaxed));
  must_be_clean("a flag", hand_over(mo::release, mo::acquire));
  must_be_clean("a lock in little", count_under(mo::acquire, mo::release));
}

TEST_CASE("Seeded bug: an acquire order is missing", "[explorer][seeded]") {
  must_be_a_race("a flag seen without acquire", hand_over(mo::release, mo::relaxed));
  must_be_a_race("a lock that is acquired without acquire", count_under(mo::relaxed, mo::release));
}

TEST_CASE("Explorer: ThreadSanitizer's report names the threads as the explorer does", "[explorer]") {
  const auto program = [] {
    int value = 0;
    parallel([&] { value = 1; }, [&] { value = 2; });
  };
  const conc::testing::Report report = conc::testing::explore(program);
  const std::string printed = conc_test::take_stderr();
  if constexpr (conc_test::sanitizer() == conc_test::Sanitizer::thread) {
    CHECK(report.failure == "ThreadSanitizer reports: data-race");
    const std::size_t its_end = printed.find("conc::testing: ");
    CHECK(printed.find("'thread 1'") < its_end);
    CHECK(printed.find("'thread 2'") < its_end);
    CHECK(printed.ends_with("  replay: CONC_REPLAY=" + report.replay + "\n"));
  } else {
    CHECK(report.ok());
    CHECK(printed.empty());
  }
}

TEST_CASE("Explorer: neither a switch nor a wake orders what two threads do", "[explorer]") {
  must_be_a_race("two plain writes", [] {
    int value = 0;
    parallel([&] { value = 1; }, [&] { value = 2; });
  });
  must_be_a_race("a wake between a write and a read", [] {
    seam::Atomic<std::uint32_t> word{0};
    int value = 0;
    parallel(
        [&] {
          seam::wait(word, 0U, seam::now() + std::chrono::hours{1});
          value = 1;
        },
        [&] {
          value = 2;
          seam::wake(&word, 1);
        });
  });
}

TEST_CASE("Explorer: the start of a thread and its join order what it does", "[explorer]") {
  must_be_clean("start and join", [] {
    int value = 0;
    for (int i = 0; i < 2; ++i) {
      conc::Thread thread{[&] { ++value; }};
      ++value;
      thread.start();
      thread.join();
      ++value;
    }
    check(value == 6, "counted");
  });
  static int outlives = 0;  // from one schedule to the next
  must_be_clean("one schedule after another", [] {
    parallel([] { ++outlives; });
    ++outlives;
  });
  ++outlives;
}
