// SPDX-License-Identifier: MIT
/// @file
/// The wait point: the one loop in conc that looks, spins and sleeps. Every blocking operation ends here.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/sync.hpp>
#include <cstdint>
#include <type_traits>

namespace conc::inline CONC_ABI::detail {

/// How long a waiter looks before it sleeps. The thread it waits for may run right now on another CPU: then looking
/// again is worth about the price of a wake-up. If that thread last ran on this very CPU, looking keeps it from running:
/// then the CPU is offered a few times instead.
class Spin {
 public:
  explicit Spin(std::uint32_t partner_cpu = sync::no_cpu) noexcept : partner_cpu_{partner_cpu} {}

  /// For what several threads compete for: each look takes the cache line away from the thread that is about to give it
  /// free, so the pauses are long from the start.
  static Spin among_rivals() noexcept {
    Spin spin;
    spin.round_ = kLongPauses;
    return spin;
  }

  /// For who waits for a thread that may have to wake up first: offers the CPU for about as long as that takes, after it
  /// has looked. So the two wake-ups of a round trip become one.
  Spin patient() const noexcept {
    Spin spin = *this;
    spin.offers_ = sync::spin_limit == 0 ? 0 : kOffers;
    return spin;
  }

  /// For who has looked long enough.
  static Spin spent() noexcept {
    Spin spin;
    spin.round_ = sync::spin_limit;
    return spin;
  }

  /// Spends a moment; false when it is time to sleep.
  bool again() noexcept {
    if (round_ == 0) {
      yields_ = partner_cpu_ != sync::no_cpu && partner_cpu_ == sync::this_cpu();
    }
    const unsigned looks = yields_ ? kYields : sync::spin_limit;
    if (round_ >= looks + (yields_ ? 0 : offers_)) {
      return false;
    }
    if (yields_ || round_ >= looks) {
      sync::yield();
    } else {
      for (unsigned i = 0; i < 1U << round_ / 2; ++i) {  // twice as long every other round
        sync::pause();
      }
    }
    ++round_;
    return true;
  }

 private:
  static constexpr unsigned kLongPauses = 8;
  static constexpr unsigned kYields = sync::spin_limit < 3 ? sync::spin_limit : 3;
  static constexpr unsigned kOffers = 40;
  std::uint32_t partner_cpu_;
  unsigned offers_ = 0;
  unsigned round_ = 0;
  bool yields_ = false;
};

enum class Waited : std::uint8_t { timed_out, awake, slept };

/// Waits until `attempt` succeeds or `deadline` passes.
///
/// `word` is the word to sleep on and `sleepers` the bit of it that says "somebody may be asleep"; all of the rest
/// belongs to the caller. `attempt(value)` gets the word's value, loaded with acquire, tries to get what the caller waits
/// for, and says whether it did. It must leave the sleepers bit of the word as it is, and where it finds that the word
/// has another value by now, put that into `value`: a thread may only sleep on a value it has seen to be in its way.
///
/// The rule that keeps every sleeper reachable: a thread raises the bit before its last attempt and before it sleeps,
/// and leaves it raised when it goes. A waker drops the bit, changes the word or finds it changed, and wakes. So while
/// the bit is down, somebody is awake who will raise it again; one wake is in flight at a time. A waker that gives
/// out more than it wakes threads for leaves the rest to the woken one: after `slept` the caller passes on what is left.
///
/// Where `attempt` looks at other words than `word`, those loads and the waker's stores must be seq_cst: the waiter
/// raises the bit and then looks, the waker publishes and then reads the bit, and one of them must see the other.
///
/// @return timed_out, or whether the attempt succeeded without sleeping (awake) or after it (slept).
template <class Word, class Attempt>
Waited await(sync::Atomic<Word>& word, std::type_identity_t<Word> sleepers, Deadline deadline, Spin spin, sync::Why why,
             Attempt attempt) {
  for (;;) {
    Word seen = word.load(mo::acquire);  // acquire: pairs with the release of whoever makes the wait end
    if (attempt(seen)) {
      return Waited::awake;
    }
    if (deadline.is_poll()) {
      return Waited::timed_out;
    }
    if (spin.again()) {
      continue;
    }
    const sync::TimePoint end = deadline.resolve();
    sync::ThreadRecord& record = sync::this_thread();
    bool slept = false;
    for (;;) {
      Word value = word.load(mo::seq_cst);  // seq_cst: comes before the loads of `attempt`, see above
      if ((value & sleepers) == 0) {
        word.compare_exchange_weak(value, value | sleepers, mo::seq_cst,
                                   mo::relaxed);  // likewise; a failure looks again
        continue;
      }
      if (attempt(value)) {
        return slept ? Waited::slept : Waited::awake;
      }
      if ((value & sleepers) == 0) {
        continue;
      }
      // relaxed, four times: only reports read these, and they print what they find.
      record.waits_in.store(why.operation, mo::relaxed);
      record.waits_for.store(why.object, mo::relaxed);
      const bool woken = sync::wait(word, value, end);
      record.waits_in.store(nullptr, mo::relaxed);
      record.waits_for.store(nullptr, mo::relaxed);
      if (!woken) {
        return Waited::timed_out;
      }
      slept = true;
    }
  }
}

}  // namespace conc::inline CONC_ABI::detail
