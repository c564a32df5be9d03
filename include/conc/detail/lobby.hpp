// SPDX-License-Identifier: MIT
/// @file
/// Lobby: which workers of a pool are idle, which of them searches for tasks, and who is called.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/wait_point.hpp>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// One word for all workers of a pool. Whoever has queued a task calls call(): that wakes at most one worker, and none
/// while one searches. The rule that no task is overlooked stands in detail/scheduler.hpp.
class Lobby {
 public:
  static constexpr std::size_t kMostWorkers = 16'383;

  /// What the lobby counts of one worker; touched by that worker alone.
  struct Presence {
    bool idle = false;
    bool searching = false;        // it is the one who searches
    sync::Hint cpu{sync::no_cpu};  // where it last became idle; others may look
  };

  enum class Called : std::uint8_t { nobody, somebody, newcomer };

  /// Of `max_workers`; a newcomer searches at once, unless he `initializes` first.
  Lobby(std::size_t max_workers, bool initializes) noexcept
      : max_{static_cast<std::uint32_t>(max_workers)}, newcomer_{kStarted + (initializes ? 0 : kIdle + kSearching)} {}

  // relaxed, thrice: guesses for who can live with them.
  std::uint32_t started() const noexcept { return started_of(word_.load(mo::relaxed)); }
  std::uint32_t idle() const noexcept { return idle_of(word_.load(mo::relaxed)); }
  bool closed() const noexcept { return (word_.load(mo::relaxed) & kClosed) != 0; }
  bool complete() const noexcept { return started() == max_; }

  /// Whether all workers are idle and none of them searches.
  bool quiet() const noexcept {
    const std::uint32_t now = word_.load(mo::seq_cst);  // seq_cst: comes after the caller's look for tasks
    return idle_of(now) == started_of(now) && (now & (kSearching | kCalled)) == 0;
  }

  /// Whether all workers have ended.
  bool empty() const noexcept {
    return started_of(word_.load(mo::seq_cst)) == 0;  // seq_cst: see EventCount; what the workers did comes before
  }

  /// Who may come if nobody is idle.
  enum class Newcomers : std::uint8_t { none, until_closed, always };

  /// Calls an idle worker, unless somebody searches already. If none is idle, there may be more, and `in_sight()`, a newcomer
  /// is counted, whom the caller must start. (Else a worker that was idle a moment ago has taken the task.)
  template <class InSight>
  Called call(Newcomers newcomers, InSight in_sight) noexcept {
    // seq_cst: comes after the publication of the task.
    std::uint32_t old = word_.load(mo::seq_cst);
    while ((old & (kSearching | kCalled)) == 0) {
      // acq_rel, twice: the one who is called finds what the caller has published. relaxed: a failure looks again.
      if (idle_of(old) != 0) {
        if (word_.compare_exchange_weak(old, old | kCalled, mo::acq_rel, mo::relaxed)) {
          wake_one(old);
          return Called::somebody;
        }
      } else if (started_of(old) == max_ || newcomers == Newcomers::none ||
                 (newcomers == Newcomers::until_closed && (old & kClosed) != 0) || !in_sight()) {
        return Called::nobody;
      } else if (word_.compare_exchange_weak(old, old + newcomer_, mo::acq_rel, mo::relaxed)) {
        return Called::newcomer;
      }
    }
    return Called::nobody;
  }

  /// Counts a newcomer if there is no worker. @return whether the caller must start him
  bool call_first() noexcept {
    std::uint32_t old = word_.load(mo::relaxed);  // relaxed: a guess; the exchange checks it
    while (started_of(old) == 0 && (old & (kClosed | kSearching)) == 0) {
      if (word_.compare_exchange_weak(old, old + newcomer_, mo::acq_rel, mo::relaxed)) {  // as in call()
        return true;
      }
    }
    return false;
  }

  void arrive(Presence& me) const noexcept { me.idle = me.searching = newcomer_ != kStarted; }

  /// A newcomer could not be started. @return whether there is no worker now
  bool not_started() noexcept {
    // seq_cst: whoever queued a task and relied on him did so before, and the caller finds it.
    return started_of(word_.fetch_sub(newcomer_, mo::seq_cst)) == 1;
  }

  void close() noexcept {
    // seq_cst: comes after the inbox was closed; a worker that sees this bit finds what was left there before.
    word_.fetch_or(kClosed, mo::seq_cst);
    sync::wake(&word_, sync::everybody);
  }

  // What a worker says of itself.

  void become_idle(Presence& me) noexcept {
    std::uint32_t old = word_.load(mo::relaxed);  // relaxed: a guess; the exchange checks it
    std::uint32_t now = 0;
    do {
      now = (old + kIdle) | ((old & kCalled) == 0 ? kSearching : 0);
      // seq_cst: comes before the last look of a worker that does not search.
    } while (!word_.compare_exchange_weak(old, now, mo::seq_cst, mo::relaxed));
    me.idle = true;
    me.searching = (old & (kSearching | kCalled)) == 0;
  }

  /// @return whether others may count on it: it searched, or nobody is left to take a call. Then it must look for more and
  ///         call.
  bool come_out(Presence& me) noexcept {
    std::uint32_t old = word_.load(mo::relaxed);  // relaxed: a guess; the exchange checks it
    std::uint32_t now = 0;
    do {
      now = (old - kIdle) & ~(me.searching ? kSearching : 0);
      now &= ~(idle_of(now) == 0 ? kSleepers | kCalled : 0);
      // seq_cst: comes before the look for more.
    } while (!word_.compare_exchange_weak(old, now, mo::seq_cst, mo::relaxed));
    me.idle = false;
    return std::exchange(me.searching, false) || (old & ~now & kCalled) != 0;
  }

  bool try_to_search(Presence& me) noexcept {
    std::uint32_t old = word_.load(mo::relaxed);  // relaxed: a guess; the exchange checks it
    while ((old & (kSearching | kCalled)) == 0) {
      if (word_.compare_exchange_weak(old, old | kSearching, mo::seq_cst,
                                      mo::relaxed)) {  // seq_cst: as in become_idle()
        return me.searching = true;
      }
    }
    return false;
  }

  /// From here on whoever queues a task calls somebody.
  void stop_searching(Presence& me) noexcept {
    me.searching = false;
    word_.fetch_and(~kSearching, mo::seq_cst);  // seq_cst: comes before the last look
  }

  /// Has another worker search, and gives it a moment to take the call.
  void hand_over_search(Presence& me) noexcept {
    std::uint32_t old = word_.load(mo::relaxed);  // relaxed: a guess; the exchange checks it
    do {
      // acq_rel: as in call(). Only this worker searches, so nobody is called yet.
    } while (!word_.compare_exchange_weak(old, (old & ~kSearching) | kCalled, mo::acq_rel, mo::relaxed));
    me.searching = false;
    wake_one(old);
    Spin spin{sync::this_cpu()};                                        // the one who submits may want it
    while ((word_.load(mo::relaxed) & kCalled) != 0 && spin.again()) {  // relaxed: a guess, wait_for_call() looks again
    }
  }

  /// Sleeps until the worker is called; then it searches. @return false if the pool is closed instead
  bool wait_for_call(Presence& me) noexcept {
    const auto attempt = [this, &me](std::uint32_t& value) {
      while ((value & kCalled) != 0) {
        // acq_rel: pairs with the one who calls. acquire: as detail::await wants it.
        if (word_.compare_exchange_weak(value, (value & ~kCalled) | kSearching, mo::acq_rel, mo::acquire)) {
          return me.searching = true;
        }
      }
      return (value & kClosed) != 0;
    };
    await(word_, kSleepers, never, Spin::spent(), {"ThreadPoolExecutor: idle", this}, attempt);
    return me.searching;
  }

  /// @param idle       whether it is counted as idle
  /// @param searching  whether it is counted as the one that searches
  /// @return whether it was the last worker
  bool leave(bool idle, bool searching) noexcept {
    const std::uint32_t counted = kStarted + (idle ? kIdle : 0) + (searching ? kSearching : 0);
    // seq_cst: see EventCount. What this worker did happens before the end of shutdown(wait).
    return started_of(word_.fetch_sub(counted, mo::seq_cst)) == 1;
  }

 private:
  // word_ = started << 18 | idle << 4 | kCalled | kSearching | kClosed | kSleepers
  //   kSleepers   an idle worker may be asleep; see detail::await. Dropped when the last one comes out.
  //   kClosed     nobody submits any more: idle workers end. Never dropped.
  //   kSearching  one idle worker looks for tasks and will find those that are queued now.
  //   kCalled     one idle worker, whoever takes it, is to search.
  //   idle        workers that have no task, or will have none once they have finished the last one.
  //   started     workers that have been started and have not ended.
  // Illegal: kSearching together with kCalled; a queued task while all the other workers sleep, nobody searches or is
  //          called, and nobody is busy who will look.
  static constexpr std::uint32_t kSleepers = 1;
  static constexpr std::uint32_t kClosed = 2;
  static constexpr std::uint32_t kSearching = 4;
  static constexpr std::uint32_t kCalled = 8;
  static constexpr std::uint32_t kIdle = 16;
  static constexpr std::uint32_t kStarted = std::uint32_t{1} << 18U;
  static constexpr std::uint32_t idle_of(std::uint32_t word) noexcept { return (word & (kStarted - 1)) / kIdle; }
  static constexpr std::uint32_t started_of(std::uint32_t word) noexcept { return word / kStarted; }
  static_assert(kMostWorkers == (kStarted - kIdle) / kIdle && kMostWorkers == 0xffffffffU / kStarted);

  void wake_one(std::uint32_t old) noexcept {
    if ((old & kSleepers) != 0) {  // left raised: others may be asleep besides
      sync::wake(&word_, 1);
    }
  }

  sync::Atomic<std::uint32_t> word_{0};
  const std::uint32_t max_;
  const std::uint32_t newcomer_;  // what is added for each
};

}  // namespace conc::inline CONC_ABI::detail
