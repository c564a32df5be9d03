// SPDX-License-Identifier: MIT
/// @file
/// Items for the tests of queues. One kind per engine: a bounded Queue of items that move without throwing is a ring,
/// every other queue is the locked core.
#pragma once

#include <atomic>
#include <compare>
#include <exception>

namespace conc_test {

/// What a Tracked item throws.
struct Tripped : std::exception {
  const char* what() const noexcept override { return "Tripped"; }
};

/// A number that counts its living copies, and whose copies (and moves, if they may throw) throw when told to.
template <bool move_may_throw>
struct Tracked {
  static constexpr int moved_from = -1;

  int value = 0;

  explicit Tracked(int number) noexcept : value{number} { ++alive; }
  Tracked(const Tracked& other) : value{other.value} {
    trip();
    ++alive;
  }
  Tracked(Tracked&& other) noexcept(!move_may_throw) : value{other.value} {
    if constexpr (move_may_throw) trip();
    other.value = moved_from;
    ++alive;
  }
  Tracked& operator=(const Tracked&) = delete;
  ~Tracked() { --alive; }

  friend bool operator==(const Tracked& item, int number) { return item.value == number; }
  friend bool operator<(const Tracked& one, const Tracked& other) { return one.value < other.value; }

  static inline std::atomic<int> alive{0};

  /// The copy or throwing move number `k` from now on throws, once; 0 is the next one. Negative: none does.
  static void trip_at(int k) { countdown.store(k); }

 private:
  static void trip() {
    if (countdown.load() >= 0 && countdown.fetch_sub(1) == 0) throw Tripped{};
  }
  static inline std::atomic<int> countdown{-1};
};

using RingItem = Tracked<false>;
using LockedItem = Tracked<true>;

}  // namespace conc_test
