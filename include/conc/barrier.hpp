// SPDX-License-Identifier: MIT
/// @file
/// Barrier and Latch: threads that wait for each other.
#pragma once

#include <cassert>
#include <conc/deadline.hpp>
#include <conc/detail/action.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/wait_point.hpp>
#include <conc/error.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace conc::inline CONC_ABI {

/// Lets threads go on together: wait() returns once `parties` threads have called it. Then it can be used again.
///
/// A pass, once complete, is never undone: abort(), reset() and timeouts that come later leave its threads alone.
///
/// @par Thread safety   every member from any thread at any time, but for the destructor.
/// @par Memory ordering what each thread did before its wait() is visible to the action, and to all of them when their
///                      wait() has returned; so is what the action did.
/// @par Lifetime        a thread whose wait() returned may destroy the Barrier: the destructor waits for those that are
///                      still on their way out. Nobody may wait for others to come any more (asserted where NDEBUG is
///                      not defined).
/// @par Cost            two compare-and-swaps for each thread, one system call for each that sleeps, and one that wakes them.
/// @par Python          threading.Barrier. A timeout belongs to each wait(). The action runs without a lock: abort() and
///                      reset() do not wait for it, and take effect when it ends, for the thread that runs it too.
class Barrier {
 public:
  /// @param action  called by one of the threads of each pass, when all have come and before any goes on.
  /// @throws UsageError if parties is less than 1, or more than max_parties().
  Barrier(std::int64_t parties, detail::Action action) : parties_{checked(parties)}, action_{std::move(action)} {}
  explicit Barrier(std::int64_t parties) : parties_{checked(parties)} {}
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;
  ~Barrier() {
    assert(n_waiting() == 0 && "a Barrier was destroyed while a thread waits for others to come");
    const auto everybody_left = [](std::uint32_t value) { return value < kOne; };
    detail::await(word_, kSleepers, never, detail::Spin{}, {"Barrier::~Barrier", this}, everybody_left);
  }

  [[nodiscard]] static constexpr std::int64_t max_parties() noexcept { return kMostParties; }

  /// Waits until as many threads as there are parties have come here.
  /// @return which of them this one was: from 0, the first to come, to parties() - 1, which has run the action.
  /// @throws BrokenBarrierError if the barrier is broken, or breaks or is reset before all have come; also if `deadline`
  ///         passes first, which breaks it for all. (While the action runs no deadline of its pass is heeded.) What the action throws,
  ///         in the thread that ran it: then the others get BrokenBarrierError.
  std::size_t wait(Deadline deadline = never) {
    Arrival me;
    const std::uint32_t parties = parties_;  // read now: others may destroy *this once this thread has given up
    const auto attempt = [this, &me](std::uint32_t& value) {
      return arrive(me, value) || (me.how == Arrival::inside && is_over(value));
    };
    while (detail::await(word_, kSleepers, deadline, detail::Spin{}, {"Barrier::wait", this}, attempt) ==
           detail::Waited::timed_out) {
      if (give_up(me)) {
        throw BrokenBarrierError{"Barrier::wait: not all of the " + std::to_string(parties) +
                                 " parties came before the deadline"};
      }
      deadline = never;  // the action runs, or has just ended
    }
    if (me.how == Arrival::refused || !(me.how == Arrival::last ? complete() : leave())) {
      throw BrokenBarrierError{"Barrier::wait: the barrier is broken, or was reset"};
    }
    return me.index;
  }

  /// Breaks the barrier: whoever waits, and whoever comes until reset(), gets BrokenBarrierError.
  void abort() noexcept {
    change([](std::uint32_t value) { return (interrupted(value) | kBroken) & ~kSleepers; });
  }

  /// Makes it as new: threads that wait get BrokenBarrierError, and the next pass begins once they have left.
  void reset() noexcept {
    change([](std::uint32_t value) { return interrupted(value) & ~(kBroken | kSleepers); });
  }

  [[nodiscard]] std::size_t parties() const noexcept { return parties_; }

  /// How many threads wait for others to come; out of date as soon as it is known.
  [[nodiscard]] std::size_t n_waiting() const noexcept {
    const std::uint32_t value = word_.load(detail::mo::relaxed);  // relaxed: a hint, orders nothing
    return phase_of(value) == kFilling ? value / kOne : 0;
  }

  /// Whether wait() would throw; out of date as soon as it is known.
  [[nodiscard]] bool broken() const noexcept {
    return (word_.load(detail::mo::relaxed) & kBroken) != 0;  // relaxed: a hint, orders nothing
  }

 private:
  // word_ = inside << 5 | phase | kBroken | kSleepers
  //   inside     how many threads have arrived and not left.
  //   kBroken    whoever arrives is refused.
  //   kSleepers  somebody may be asleep; see detail::await for who raises and drops it.
  //   phase      what is to come for those inside:
  //     filling    nothing yet: others must arrive. The last one to arrive makes it acting.
  //     acting     the last one runs the action. Nobody arrives, here and below, until all have left.
  //     doomed     likewise, but the pass was aborted or reset meanwhile: it will have failed.
  //     released   all leave with their index. The last one to leave makes it filling.
  //     failed     all leave with BrokenBarrierError; likewise.
  // Illegal: acting or doomed without the thread that runs the action; released or failed with nobody inside.
  static constexpr std::uint32_t kSleepers = 1;
  static constexpr std::uint32_t kBroken = 2;
  static constexpr std::uint32_t kFilling = 0;
  static constexpr std::uint32_t kActing = 4;
  static constexpr std::uint32_t kDoomed = 8;
  static constexpr std::uint32_t kReleased = 12;
  static constexpr std::uint32_t kFailed = 16;
  static constexpr std::uint32_t kPhase = 28;
  static constexpr std::uint32_t kOne = 32;
  static constexpr std::int64_t kMostParties = 0xffffffffU / kOne;

  static constexpr std::uint32_t phase_of(std::uint32_t value) noexcept { return value & kPhase; }
  static constexpr std::uint32_t in_phase(std::uint32_t value, std::uint32_t phase) noexcept {
    return (value & ~kPhase) | phase;
  }
  /// What becomes of a pass when the barrier is aborted or reset.
  static constexpr std::uint32_t interrupted(std::uint32_t value) noexcept {
    return phase_of(value) == kFilling && value >= kOne ? in_phase(value, kFailed)
           : phase_of(value) == kActing                 ? in_phase(value, kDoomed)
                                                        : value;
  }
  static constexpr std::uint32_t without_one(std::uint32_t value) noexcept {
    const std::uint32_t rest = value - kOne;
    return rest >= kOne ? rest : in_phase(rest, kFilling) & ~kSleepers;
  }
  static constexpr bool is_over(std::uint32_t value) noexcept {
    return phase_of(value) == kReleased || phase_of(value) == kFailed;
  }

  struct Arrival {
    enum How : std::uint8_t { outside, inside, last, refused };
    How how = outside;
    std::size_t index = 0;
  };

  static std::uint32_t checked(std::int64_t parties) {
    if (parties < 1 || parties > kMostParties) {
      detail::throw_usage_error("Barrier: " + std::to_string(parties) + " parties; 1 to " +
                                std::to_string(kMostParties) + " are possible");
    }
    return static_cast<std::uint32_t>(parties);
  }

  /// @return whether there is nothing to wait for: it was refused, or it is the last one
  bool arrive(Arrival& me, std::uint32_t& value) noexcept {
    while (me.how == Arrival::outside) {
      if ((value & kBroken) != 0) {
        me.how = Arrival::refused;
      } else if (phase_of(value) != kFilling) {
        return false;
      } else {
        const bool last = value / kOne + 1 == parties_;
        const std::uint32_t next = in_phase(value + kOne, last ? kActing : kFilling);
        // acq_rel: the last one, and all whom it releases, see what was before the wait() of each.
        if (word_.compare_exchange_weak(value, next, detail::mo::acq_rel, detail::mo::acquire)) {
          me.how = last ? Arrival::last : Arrival::inside;
          me.index = std::exchange(value, next) / kOne;
        }
      }
    }
    return me.how != Arrival::inside;
  }

  /// After the deadline: breaks the barrier, unless the caller is inside and the pass is complete.
  /// @return whether it did; then the caller is not inside any more
  bool give_up(const Arrival& me) noexcept {
    bool gave_up = false;
    change([&me, &gave_up](std::uint32_t value) {
      const bool filling = phase_of(value) == kFilling;
      gave_up = filling || me.how != Arrival::inside;
      if (!gave_up) {
        return value;
      }
      const std::uint32_t broken = ((filling ? interrupted(value) : value) | kBroken) & ~kSleepers;
      return me.how == Arrival::inside ? without_one(broken) : broken;
    });
    return gave_up;
  }

  /// By the last one to arrive: runs the action and lets all go. @return whether the pass is complete
  bool complete() {
    const auto end = [this](std::uint32_t failure) {
      return change([failure](std::uint32_t value) {
        const bool completed = phase_of(value) == kActing && failure == 0;
        return without_one(in_phase(value, completed ? kReleased : kFailed) | failure) & ~kSleepers;
      });
    };
    if (action_) {
      try {
        action_();
      } catch (...) {  // pthread_exit() too
        end(kBroken);
        throw;
      }
    }
    return phase_of(end(0)) == kActing;
  }

  /// By any other when the pass is over. @return whether it was completed
  bool leave() noexcept { return phase_of(change(&without_one)) == kReleased; }

  /// @param next_of  what the word becomes; where that drops kSleepers, all are woken
  /// @return what it was
  template <class Next>
  std::uint32_t change(Next next_of) noexcept {
    const void* const address = &word_;                   // taken now: others may go on and destroy *this
    std::uint32_t old = word_.load(detail::mo::relaxed);  // relaxed: a guess; the exchange checks it
    std::uint32_t next = 0;
    do {
      next = next_of(old);
      // release: pairs with the acquire of those who wait, for the end of a pass, until all have left, or in ~Barrier.
      // acquire: continues what those before had published.
    } while (!word_.compare_exchange_weak(old, next, detail::mo::acq_rel, detail::mo::relaxed));
    if ((old & ~next & kSleepers) != 0) {
      detail::sync::wake(address, detail::sync::everybody);
    }
    return old;
  }

  detail::sync::Atomic<std::uint32_t> word_{0};
  const std::uint32_t parties_;
  const detail::Action action_;
};

/// A count that goes down once: wait() returns when it is zero, and from then on at once.
///
/// @par Thread safety   every member from any thread at any time, but for the destructor.
/// @par Memory ordering what a thread did before count_down() is visible to whoever wait() lets go on.
/// @par Lifetime        a thread whose wait() returned true may destroy the Latch, even while the last count_down() is
///                      still returning.
/// @par Cost            count_down(): one compare-and-swap, and one system call if it is the last and somebody sleeps.
/// @par Python          has nothing like it.
class Latch {
 public:
  /// @param count  how often count_down() opens it; 0: it is open.
  /// @throws UsageError if negative or over max_count().
  constexpr explicit Latch(std::int64_t count) : word_{checked(count) * kOne} {}
  Latch(const Latch&) = delete;
  Latch& operator=(const Latch&) = delete;

  [[nodiscard]] static constexpr std::int64_t max_count() noexcept { return 0x7fffffff; }

  /// Lowers the count by n.
  /// @throws UsageError if n is negative or more than is left; the count is unchanged then.
  void count_down(std::int64_t n = 1) { (void)lower(n); }

  /// Waits until the count is zero.
  /// @return true; false if `deadline` passed first.
  bool wait(Deadline deadline = never) noexcept {
    const auto is_open = [](std::uint32_t value) {
      return value < kOne;
    };  // loaded with acquire: pairs with release (1)
    return detail::await(word_, kSleepers, deadline, detail::Spin{}, {"Latch::wait", this}, is_open) !=
           detail::Waited::timed_out;
  }

  /// Lowers the count by one, and waits until it is zero.
  /// @return as wait(). The count stays lowered where the deadline passed.
  /// @throws UsageError if the count is zero already.
  bool arrive_and_wait(Deadline deadline = never) {
    return lower(1) || wait(deadline);  // the last one looks at nothing more: others may destroy *this
  }

  /// How much is left; out of date as soon as it is known, but for 0, which is for ever.
  [[nodiscard]] std::int64_t count() const noexcept {
    return word_.load(detail::mo::acquire) / kOne;  // acquire: pairs with release (1), for who sees 0
  }

 private:
  // word_ = count << 1 | kSleepers; see detail::await for who raises and drops the bit.
  static constexpr std::uint32_t kSleepers = 1;
  static constexpr std::uint32_t kOne = 2;

  /// @return whether it is zero now
  bool lower(std::int64_t n) {
    const void* const address = &word_;                   // taken now: who waits may destroy *this once it is open
    std::uint32_t old = word_.load(detail::mo::relaxed);  // relaxed: a guess; the exchange checks it
    std::uint32_t next = 0;
    do {
      const std::int64_t left = old / kOne;
      if (n < 0 || n > left) [[unlikely]] {
        detail::throw_usage_error("Latch::count_down(" + std::to_string(n) + "): " + std::to_string(left) +
                                  " are left");
      }
      next = static_cast<std::uint32_t>(left - n) * kOne;
      next |= next == 0 ? 0 : old & kSleepers;
      // release (1): pairs with the acquire of those who wait. acq_rel: the last one passes on what the others published.
    } while (!word_.compare_exchange_weak(old, next, detail::mo::acq_rel, detail::mo::relaxed));
    if ((old & ~next & kSleepers) != 0) {
      detail::sync::wake(address, detail::sync::everybody);
    }
    return next == 0;
  }

  static constexpr std::uint32_t checked(std::int64_t count) {
    if (count < 0 || count > max_count()) {
      detail::throw_usage_error("Latch: a count of " + std::to_string(count) + "; 0 to 2147483647 are possible");
    }
    return static_cast<std::uint32_t>(count);
  }

  detail::sync::Atomic<std::uint32_t> word_;
};
static_assert(sizeof(Latch) == 4);

}  // namespace conc::inline CONC_ABI
