// SPDX-License-Identifier: MIT
/// @file
/// Event: a flag that threads wait for.
///
/// The generation count that makes a set-clear pulse visible to every waiter is the classic sequence count; letting a
/// waiter decide between looking and sleeping by the CPU of the last setter is conc's own.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/wait_point.hpp>
#include <cstdint>

namespace conc::inline CONC_ABI {

/// A flag, clear at first. wait() returns once it is set.
///
/// @par Thread safety   every member from any thread at any time, but for the destructor.
/// @par Memory ordering what X did before set() is visible to Y once Y's wait() or is_set() returned true because of it.
/// @par Lifetime        a thread whose wait() returned true may destroy the Event, even while that set() is returning.
/// @par Cost            set(): one compare-and-swap, and one system call if somebody sleeps. wait(): one load if set.
/// @par Python          threading.Event. set() followed at once by clear() releases everybody who was waiting, too.
class Event {
 public:
  constexpr Event() noexcept = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  /// Raises the flag and releases all who wait.
  void set() noexcept {
    const void* const address = &word_;  // taken now: a waiter may destroy *this once the flag shows
    setter_cpu_.set(detail::sync::this_cpu());
    std::uint32_t old = word_.load(detail::mo::relaxed);  // relaxed: a guess; the exchange checks it
    std::uint32_t next = 0;
    do {
      next = ((old & kSet) != 0 ? old : old + kGeneration + kSet) & ~kSleepers;
      // release (1): pairs with the acquire loads of is_set() and wait(). Written even if the flag is up already:
      // what this thread did before must be published by *its* set().
    } while (!word_.compare_exchange_weak(old, next, detail::mo::release, detail::mo::relaxed));
    if ((old & kSleepers) != 0) {
      detail::sync::wake(address, detail::sync::everybody);
    }
  }

  /// Drops the flag. Whoever was waiting when it was last raised is released all the same.
  void clear() noexcept {
    // relaxed: a read-modify-write continues the release sequence of (1), so a waiter that reads the value written
    // here still synchronizes with the set() before it.
    word_.fetch_and(~kSet, detail::mo::relaxed);
  }

  [[nodiscard]] bool is_set() const noexcept {
    return (word_.load(detail::mo::acquire) & kSet) != 0;  // acquire: pairs with release (1)
  }

  /// Waits until the flag is set.
  /// @return true, always.
  bool wait() noexcept { return wait(never); }

  /// Waits until the flag is set or `deadline` passes.
  /// @return true if the flag was up at some moment during the call; false if the deadline passed first.
  bool wait(Deadline deadline) noexcept {
    const std::uint32_t value = word_.load(detail::mo::acquire);  // acquire: pairs with release (1)
    return (value & kSet) != 0 || wait_until_raised(value, deadline);
  }

 private:
  // word_ = generation << 2 | kSleepers | kSet
  //   kSet        the flag. set() raises it, clear() drops it.
  //   kSleepers   somebody may be asleep; see detail::await for who raises and drops it.
  //   generation  counts the raises, so that a waiter sees a set() that a clear() has since undone.
  // Legal: kSleepers with nobody asleep (a waiter timed out, or found the flag up): one needless wake.
  // The generation wraps after 2^30 raises: a waiter must sleep through all of them to be fooled.
  static constexpr std::uint32_t kSet = 1;
  static constexpr std::uint32_t kSleepers = 2;
  static constexpr std::uint32_t kGeneration = 4;

  /// `before`: a value of the word with the flag down.
  [[gnu::noinline]] bool wait_until_raised(std::uint32_t before, Deadline deadline) noexcept {
    const auto attempt = [before](std::uint32_t value) {  // loaded with acquire, which pairs with release (1)
      return (value & kSet) != 0 || ((value ^ before) & ~kSleepers) != 0;
    };
    return detail::await(word_, kSleepers, deadline, detail::Spin{setter_cpu_.get()}, {"Event::wait", this}, attempt) !=
           detail::Waited::timed_out;
  }

  detail::sync::Atomic<std::uint32_t> word_{0};
  detail::sync::Hint setter_cpu_{detail::sync::no_cpu};  // where the last set() ran
};
static_assert(sizeof(Event) == 8);

}  // namespace conc::inline CONC_ABI
