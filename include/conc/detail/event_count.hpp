// SPDX-License-Identifier: MIT
/// @file
/// EventCount: lets threads sleep until something elsewhere changes, with no lock around that something.
///
/// After Dmitry Vyukov's eventcount (2008). Changed: waiters raise a bit instead of counting themselves, so that one
/// wake is in flight at a time; whoever was woken passes on what is left (see detail::await).
#pragma once

#include <cassert>
#include <conc/deadline.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/wait_point.hpp>
#include <cstdint>

namespace conc::inline CONC_ABI::detail {

/// The waker publishes with a seq_cst read-modify-write (or under a lock that `attempt` takes too) and then calls
/// notify(). The waiter's `attempt` looks with seq_cst loads (or under that lock). Then one of them sees the other.
class EventCount {
 public:
  EventCount() noexcept = default;
  EventCount(const EventCount&) = delete;
  EventCount& operator=(const EventCount&) = delete;
  ~EventCount() { assert(waiting_.load(mo::relaxed) == 0 && "destroyed while a thread waits on it"); }

  /// Waits until `attempt()` is true or `deadline` passes. After Waited::slept, and when `attempt` throws, the caller
  /// must notify() again if others could go on.
  template <class Attempt>
  Waited await(Deadline deadline, Spin spin, sync::Why why, Attempt attempt) {
    // Spinning comes before counting: the counter shares its cache line with the word that every waker reads.
    while (spin.again()) {
      if (attempt()) {
        return Waited::awake;
      }
    }
    struct Counted {
      std::atomic<std::uint32_t>& waiting;
      // relaxed, twice: read by the destructor only, which every waiter happens before.
      explicit Counted(std::atomic<std::uint32_t>& all) noexcept : waiting{all} { waiting.fetch_add(1, mo::relaxed); }
      ~Counted() { waiting.fetch_sub(1, mo::relaxed); }
    };
    const Counted counted{waiting_};  // also where `attempt` throws
    return detail::await(word_, kSleepers, deadline, spin, why,
                         [&attempt](std::uint32_t /*value*/) { return attempt(); });
  }

  /// Wakes up to `n` waiters, unless a wake is in flight already.
  void notify(std::uint32_t n = 1) noexcept {
    // seq_cst: comes after the caller's publication; the waiter raises the bit and then looks.
    const std::uint32_t value = word_.load(mo::seq_cst);
    if ((value & kSleepers) != 0) [[unlikely]] {
      wake(value, n);
    }
  }

  /// Makes every waiter look again, whatever wakes are in flight.
  void notify_all() noexcept {
    word_.fetch_add(kEpoch, mo::seq_cst);  // seq_cst: as in notify()
    sync::wake(&word_, sync::everybody);
  }

 private:
  // word_ = epoch << 1 | kSleepers
  //   kSleepers  somebody may be asleep; see detail::await for who raises and drops it.
  //   epoch      counts the wakes, so that who is about to sleep notices one. It wraps after 2^31; a thread would have to
  //              be held between its last look and its sleep for exactly that many.
  static constexpr std::uint32_t kSleepers = 1;
  static constexpr std::uint32_t kEpoch = 2;

  [[gnu::cold, gnu::noinline]] void wake(std::uint32_t value, std::uint32_t n) noexcept {
    while ((value & kSleepers) != 0) {
      // relaxed: the caller's publication is ordered already; this only hands out the wake.
      if (word_.compare_exchange_weak(value, (value & ~kSleepers) + kEpoch, mo::relaxed, mo::relaxed)) {
        sync::wake(&word_, n);
        return;
      }
    }
  }

  sync::Atomic<std::uint32_t> word_{0};
  std::atomic<std::uint32_t> waiting_{0};  // how many may sleep; for the assertion alone, so no scheduling point
};

}  // namespace conc::inline CONC_ABI::detail
