// SPDX-License-Identifier: MIT
/// @file
/// RWLock and ScopedSharedLock: many readers or one writer.
///
/// Readers and writers take turns where both want the lock, as in the phase-fair locks of Brandenburg and Anderson
/// ("Spin-Based Reader-Writer Synchronization for Multiprocessor Real-Time Systems", 2010). Changed: waiters sleep and may
/// give up; so readers that wait are counted apart, and the writer that leaves counts them in.
#pragma once

#include <conc/annotations.hpp>
#include <conc/deadline.hpp>
#include <conc/detail/event_count.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/tracker.hpp>
#include <conc/detail/wait_point.hpp>
#include <conc/error.hpp>
#include <conc/lock.hpp>
#include <cstdint>

namespace conc::inline CONC_ABI {

/// A lock that any number of threads may hold shared, to read, or one thread exclusively, to write.
///
/// Nobody starves: while a writer waits no further reader gets in, and a writer that leaves lets all readers in that have
/// waited for it, before the next writer. Not reentrant: a reader that acquires again while a writer waits for it, waits
/// for ever; and none can become a writer.
///
/// @par Thread safety   every member from any thread at any time, but for the destructor.
/// @par Memory ordering what a writer did before release() is visible to all who get in later; what readers did before
///                      release_shared(), to the writers that get in later.
/// @par Lifetime        all calls must have returned when it is destroyed.
/// @par Cost            shared: one compare-and-swap each way while no writer comes, on a word that all readers share.
///                      Exclusive: two each way. Otherwise a short spin, then one system call.
/// @par Python          has nothing like it.
class CONC_CAPABILITY("lock") RWLock {
 public:
  RWLock() noexcept = default;
  RWLock(const RWLock&) = delete;
  RWLock& operator=(const RWLock&) = delete;

  /// Waits until nobody holds the lock, and takes it exclusively.
  /// @return true, always.
  bool acquire() CONC_ACQUIRE() CONC_NO_THREAD_SAFETY_ANALYSIS { return acquire(never); }

  /// As acquire(), but gives up at `deadline`. @return whether the lock was taken.
  [[nodiscard]] bool acquire(Deadline deadline) CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    tracker_.waits(this, deadline);
    return tracker_.took(this, take(deadline), deadline);
  }

  /// Takes the lock exclusively if nobody holds it right now. May fail while another thread is just giving it back.
  [[nodiscard]] bool try_acquire() CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS { return acquire(kPoll); }

  /// Frees the lock that was taken exclusively; any thread may.
  /// @throws UsageError if it is not held exclusively; nothing changes then.
  void release() CONC_RELEASE() CONC_NO_THREAD_SAFETY_ANALYSIS {
    tracker_.releases();
    const detail::Untracked untracked;  // writers_
    let_readers_in(kWriting, "RWLock::release: the lock is not held exclusively");
    writers_.release();
  }

  /// Waits until no writer holds the lock or waits for it, and takes it shared.
  /// @return true, always.
  /// @throws UsageError if max_readers() threads hold it, or wait for it, already.
  bool acquire_shared() CONC_ACQUIRE_SHARED() CONC_NO_THREAD_SAFETY_ANALYSIS { return acquire_shared(never); }

  /// As acquire_shared(), but gives up at `deadline`. @return whether the lock was taken.
  [[nodiscard]] bool acquire_shared(Deadline deadline) CONC_TRY_ACQUIRE_SHARED(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    tracker_.waits(this, deadline, detail::Hold::shared);
    std::uint64_t value = word_.load(detail::mo::relaxed);  // relaxed: a guess; the exchange checks it
    return tracker_.took(this, enter(value) || (!deadline.is_poll() && wait_for_writer(deadline)), deadline,
                         detail::Hold::shared);
  }

  /// Takes the lock shared if no writer holds it or waits for it right now.
  [[nodiscard]] bool try_acquire_shared() CONC_TRY_ACQUIRE_SHARED(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    return acquire_shared(kPoll);
  }

  /// Gives a shared hold back.
  /// @throws UsageError if nobody holds it shared; nothing changes then.
  void release_shared() CONC_RELEASE_SHARED() CONC_NO_THREAD_SAFETY_ANALYSIS {
    tracker_.releases(detail::Hold::shared);
    std::uint64_t old = word_.load(detail::mo::relaxed);  // relaxed: a guess; the exchange checks it
    do {
      if (readers_of(old) == 0) [[unlikely]] {
        detail::throw_usage_error("RWLock::release_shared: nobody holds the lock shared");
      }
      // seq_cst: publishes what this reader did, and comes before the look for a writer that sleeps; see EventCount.
    } while (!word_.compare_exchange_weak(old, old - kReader, detail::mo::seq_cst, detail::mo::relaxed));
    if (readers_of(old) == 1 && (old & kWaiting) != 0) {
      unread_.notify();
    }
  }

  /// The largest number of threads that may hold the lock shared, or wait for that.
  [[nodiscard]] static constexpr std::uint32_t max_readers() noexcept { return kMostReaders; }

  // The names that std::unique_lock, std::scoped_lock, std::lock and std::shared_lock use.
  void lock() CONC_ACQUIRE() CONC_NO_THREAD_SAFETY_ANALYSIS { acquire(); }
  void unlock() CONC_RELEASE() CONC_NO_THREAD_SAFETY_ANALYSIS { release(); }
  [[nodiscard]] bool try_lock() CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS { return try_acquire(); }
  [[nodiscard]] bool try_lock_for(Deadline span) CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    return acquire(span);
  }
  [[nodiscard]] bool try_lock_until(Deadline point) CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    return acquire(point);
  }
  void lock_shared() CONC_ACQUIRE_SHARED() CONC_NO_THREAD_SAFETY_ANALYSIS { acquire_shared(); }
  void unlock_shared() CONC_RELEASE_SHARED() CONC_NO_THREAD_SAFETY_ANALYSIS { release_shared(); }
  [[nodiscard]] bool try_lock_shared() CONC_TRY_ACQUIRE_SHARED(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    return try_acquire_shared();
  }
  [[nodiscard]] bool try_lock_shared_for(Deadline span) CONC_TRY_ACQUIRE_SHARED(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    return acquire_shared(span);
  }
  [[nodiscard]] bool try_lock_shared_until(Deadline point)
      CONC_TRY_ACQUIRE_SHARED(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    return acquire_shared(point);
  }

 private:
  friend struct detail::TrackerOf;

  // word_ = held back << 48 | readers << 32 | turn << 3 | kWriting | kWaiting | kSleepers
  //   kSleepers  readers may be asleep; see detail::await for who raises and drops it.
  //   kWaiting   a writer, who has writers_, waits until there are no readers: others are held back.
  //   kWriting   a writer, who has writers_, holds the lock.
  //   turn       counts how often readers that were held back were let in. They are readers from that moment on.
  //   readers    how many hold the lock shared.
  //   held back  how many wait to be let in.
  // Illegal: kWaiting together with kWriting; kWriting together with readers.
  // Who sleeps looks at the lower half only: at the turn. It wraps after 2^29: a reader that was let in must sleep through
  // as many writers that give up to be fooled; none that gets in, for that one waits for the reader.
  static constexpr std::uint64_t kSleepers = 1;
  static constexpr std::uint64_t kWaiting = 2;
  static constexpr std::uint64_t kWriting = 4;
  static constexpr std::uint64_t kTurn = 8;
  static constexpr std::uint64_t kReader = std::uint64_t{1} << 32U;
  static constexpr std::uint64_t kHeldBack = std::uint64_t{1} << 48U;
  static constexpr std::uint32_t kMostReaders = 0xffff;  // together with those held back
  static constexpr Deadline kPoll{std::chrono::nanoseconds{0}};

  static constexpr std::uint64_t turn_of(std::uint64_t value) noexcept { return value % kReader / kTurn; }
  static constexpr std::uint64_t readers_of(std::uint64_t value) noexcept { return value % kHeldBack / kReader; }
  static constexpr std::uint64_t held_back_of(std::uint64_t value) noexcept { return value / kHeldBack; }

  static void check_room(std::uint64_t value) {
    if (readers_of(value) + held_back_of(value) == kMostReaders) [[unlikely]] {
      detail::throw_usage_error("RWLock::acquire_shared: 65535 threads hold the lock, or wait for it, already");
    }
  }

  bool take(Deadline deadline) CONC_NO_THREAD_SAFETY_ANALYSIS {
    const detail::Untracked untracked;  // writers_
    if (!writers_.try_acquire()) {
      deadline = deadline.is_poll() ? deadline : Deadline::after(deadline);  // for both waits
      if (!writers_.acquire(deadline)) {
        return false;
      }
    }
    if (take_unread() || wait_for_readers(deadline)) {
      return true;
    }
    writers_.release();
    return false;
  }

  /// Becomes a reader if no writer is in the way.
  bool enter(std::uint64_t& value) {
    while ((value & (kWriting | kWaiting)) == 0) {
      check_room(value);
      // acquire (1): pairs with release (1).
      if (word_.compare_exchange_weak(value, value + kReader, detail::mo::acquire, detail::mo::relaxed)) {
        return true;
      }
    }
    return false;
  }

  [[gnu::cold, gnu::noinline]] bool wait_for_writer(Deadline deadline) {
    bool held_back = false;
    std::uint64_t turn = 0;
    const auto attempt = [&](std::uint64_t& value) {
      while (!held_back) {
        if (enter(value)) {
          return true;
        }
        check_room(value);
        // relaxed: the number carries no data.
        if (word_.compare_exchange_weak(value, value + kHeldBack, detail::mo::relaxed, detail::mo::relaxed)) {
          held_back = true;
          turn = turn_of(value);
          value += kHeldBack;
        }
      }
      return turn_of(value) != turn;  // loaded with acquire: pairs with release (1)
    };
    if (detail::await(word_, kSleepers, deadline, detail::Spin{}, {"RWLock::acquire_shared", this}, attempt) !=
        detail::Waited::timed_out) {
      return true;
    }
    std::uint64_t value = word_.load(detail::mo::acquire);  // acquire: pairs with release (1), where it was let in
    while (turn_of(value) == turn) {
      // acquire: as above, for the value of a failure.
      if (word_.compare_exchange_weak(value, value - kHeldBack, detail::mo::acquire, detail::mo::acquire)) {
        return false;
      }
    }
    return true;
  }

  /// By the one who has writers_: becomes the writer if there are no readers.
  bool take_unread() noexcept {
    // seq_cst: as EventCount wants it. acquire: pairs with the releases in release_shared().
    std::uint64_t value = word_.load(detail::mo::seq_cst);
    while (readers_of(value) == 0) {
      if (word_.compare_exchange_weak(value, (value & ~kWaiting) | kWriting, detail::mo::seq_cst,
                                      detail::mo::seq_cst)) {
        return true;
      }
    }
    return false;
  }

  /// By the one who has writers_.
  [[gnu::cold, gnu::noinline]] bool wait_for_readers(Deadline deadline) {
    if (deadline.is_poll()) {
      return false;
    }
    // seq_cst: comes before the looks for readers; those that leave look for this bit afterwards. If they leave before,
    // the first look finds them gone.
    word_.fetch_or(kWaiting, detail::mo::seq_cst);
    if (unread_.await(deadline, detail::Spin{}, {"RWLock::acquire", this}, [this] { return take_unread(); }) !=
        detail::Waited::timed_out) {
      return true;
    }
    let_readers_in(kWaiting, nullptr);
    return false;
  }

  /// By the writer, who drops his bit. Those that were held back are readers now.
  void let_readers_in(std::uint64_t mine, const char* complaint) {
    std::uint64_t old = word_.load(detail::mo::relaxed);  // relaxed: a guess; the exchange checks it
    std::uint64_t next = 0;
    do {
      if ((old & mine) == 0) [[unlikely]] {
        detail::throw_usage_error(complaint);
      }
      const std::uint64_t held_back = held_back_of(old);
      const std::uint64_t readers = readers_of(old) + held_back;
      const std::uint64_t rest = old & ~(mine | kSleepers);
      next = readers * kReader | (rest + (held_back == 0 ? 0 : kTurn)) % kReader;
      // release (1): pairs with the acquire (1) of readers, and with the acquire of the next writer.
    } while (!word_.compare_exchange_weak(old, next, detail::mo::release, detail::mo::relaxed));
    if ((old & kSleepers) != 0) {
      detail::sync::wake<std::uint64_t>(&word_, detail::sync::everybody);
    }
  }

  detail::sync::Atomic<std::uint64_t> word_{0};
  Lock writers_;               // held by the writer, from before it waits for readers
  detail::EventCount unread_;  // notified when the last reader leaves while a writer waits
  [[no_unique_address]] detail::Tracker tracker_;
};

/// Holds a lock shared for a scope: `conc::ScopedSharedLock guard{table_lock};`. (ScopedLock holds it exclusively.)
///
/// @throws what the lock throws; then it is not held.
template <class L>
class [[nodiscard]] CONC_SCOPED_CAPABILITY ScopedSharedLock {
 public:
  [[nodiscard]] explicit ScopedSharedLock(L& lock) CONC_ACQUIRE_SHARED(lock) : lock_{lock} { lock_.lock_shared(); }
  ScopedSharedLock(const ScopedSharedLock&) = delete;
  ScopedSharedLock& operator=(const ScopedSharedLock&) = delete;
  ~ScopedSharedLock() CONC_RELEASE_GENERIC() { lock_.unlock_shared(); }

 private:
  L& lock_;
};

template <class L>
ScopedSharedLock(L&) -> ScopedSharedLock<L>;

}  // namespace conc::inline CONC_ABI
