// SPDX-License-Identifier: MIT
/// @file
/// Condition: wait for something to become true under a lock.
///
/// The waiters stand in a list that the lock itself protects, one futex word each, as in Andrew Birrell's
/// "Implementing Condition Variables with Semaphores" (2003): a notify reaches those who wait already, and no others.
#pragma once

#include <cassert>
#include <conc/annotations.hpp>
#include <conc/deadline.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/wait_point.hpp>
#include <conc/error.hpp>
#include <conc/lock.hpp>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI {

/// A condition variable over any lock with lock(), unlock() and try_lock(). It is itself such a lock:
/// `conc::ScopedLock guard{ready};`.
///
/// @par Thread safety   every member from any thread at any time, but for the destructor; wait and notify with the lock
///                      held.
/// @par Memory ordering that of the lock.
/// @par Lifetime        no call may be running when it is destroyed (asserted where NDEBUG is not defined).
/// @par Cost            wait: one system call to sleep. notify: one per thread woken, none if nobody waits.
/// @par Python          threading.Condition. The order in which waiters wake is not promised.
template <class L = RLock>
class CONC_REENTRANT_CAPABILITY("condition") Condition {
 public:
  /// A condition over a lock of its own.
  Condition() noexcept requires std::is_default_constructible_v<L> : lock_{&own_} {}

  /// A condition over `lock`, which others may share and which must outlive it.
  explicit Condition(L& lock) noexcept : lock_{&lock} {}

  Condition(const Condition&) = delete;
  Condition& operator=(const Condition&) = delete;
  ~Condition() { assert(first_ == nullptr && "a Condition was destroyed while a thread waits on it"); }

  void lock() CONC_ACQUIRE() CONC_NO_THREAD_SAFETY_ANALYSIS { lock_->lock(); }
  void unlock() CONC_RELEASE() CONC_NO_THREAD_SAFETY_ANALYSIS { lock_->unlock(); }
  [[nodiscard]] bool try_lock() CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS { return lock_->try_lock(); }
  void acquire() CONC_ACQUIRE() CONC_NO_THREAD_SAFETY_ANALYSIS { lock(); }
  void release() CONC_RELEASE() CONC_NO_THREAD_SAFETY_ANALYSIS { unlock(); }
  [[nodiscard]] bool try_acquire() CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS { return try_lock(); }

  /// Lets go of the lock, all levels of it, waits for a notify, and takes the lock again.
  /// @return true: notified.
  /// @throws UsageError if the lock is not held (where it can tell).
  bool wait() { return wait(never); }

  /// As wait(), but gives up at `deadline`. The lock is held again on return in every case.
  /// @return whether a notify came.
  bool wait(Deadline deadline) {
    check_held("Condition::wait: the lock is not held");
    Waiter me;
    append(me);
    const Released released{*this, me};
    const auto attempt = [](std::uint32_t value) { return (value & Waiter::kNotified) != 0; };
    detail::await(me.word, Waiter::kSleeper, deadline, detail::Spin{}, {"Condition::wait", this}, attempt);
    released.take_back();
    // With the lock held again: a notify may have come between the deadline and here. Then it counts.
    if (attempt(me.word.load(detail::mo::relaxed))) {  // relaxed: the lock orders it
      return true;
    }
    remove(me);
    return false;
  }

  /// Waits until `predicate()` is true: evaluates it with the lock held, first before waiting.
  /// @return true.
  /// @throws UsageError if the lock is not held (where it can tell); whatever predicate throws, with the lock held.
  template <class Predicate>
    requires std::is_invocable_r_v<bool, Predicate&>
  bool wait_for(Predicate predicate) CONC_NO_THREAD_SAFETY_ANALYSIS { return wait_for(std::move(predicate), never); }

  /// As above, but gives up at `deadline`, which bounds the whole call.
  /// @return the last value of the predicate.
  template <class Predicate>
    requires std::is_invocable_r_v<bool, Predicate&>
  bool wait_for(Predicate predicate, Deadline deadline) CONC_NO_THREAD_SAFETY_ANALYSIS {
    check_held("Condition::wait_for: the lock is not held");
    if (predicate()) {
      return true;
    }
    const Deadline until = deadline.is_poll() ? deadline : Deadline::after(deadline);
    for (;;) {
      const bool notified = wait(until);
      if (predicate()) {
        return true;
      }
      if (!notified) {
        return false;
      }
    }
  }

  /// Wakes at most `n` of the threads that wait already. They go on once they get the lock.
  /// @throws UsageError if the lock is not held (where it can tell).
  void notify(std::size_t n = 1) {
    check_held("Condition::notify: the lock is not held");
    for (; n > 0 && first_ != nullptr; --n) {
      Waiter& next = *first_;
      remove(next);
      const void* const address = &next.word;  // taken now: the waiter may leave once the bit shows
      // release: pairs with the acquire in detail::await. What it says is ordered by the lock already.
      if ((next.word.fetch_or(Waiter::kNotified, detail::mo::release) & Waiter::kSleeper) != 0) {
        detail::sync::wake(address, 1);
      }
    }
  }

  /// Wakes all threads that wait already.
  /// @throws UsageError if the lock is not held (where it can tell).
  void notify_all() { notify(static_cast<std::size_t>(-1)); }

 private:
  friend struct detail::TrackerOf;

  /// One waiting thread, on its own stack. The list is touched with the lock held only.
  struct Waiter {
    static constexpr std::uint32_t kNotified = 1;
    static constexpr std::uint32_t kSleeper = 2;
    detail::sync::Atomic<std::uint32_t> word{0};
    Waiter* previous = nullptr;
    Waiter* next = nullptr;
  };

  /// The lock let go, all levels of it, until take_back().
  class Released {
   public:
    Released(Condition& condition, Waiter& waiter) CONC_NO_THREAD_SAFETY_ANALYSIS : lock_{*condition.lock_} {
      try {
        if constexpr (kReentrant) {
          levels_ = lock_.release_levels();
        } else {
          lock_.unlock();
        }
      } catch (...) {  // the lock is as it was
        condition.remove(waiter);
        throw;
      }
    }
    /// A lock that fails here leaves nothing sensible to do: std::terminate.
    void take_back() const noexcept CONC_NO_THREAD_SAFETY_ANALYSIS {
      if constexpr (kReentrant) {
        lock_.acquire_levels(levels_);
      } else {
        lock_.lock();
      }
    }

   private:
    L& lock_;
    std::uint32_t levels_ = 0;
  };

  static constexpr bool kReentrant = requires(L & lock) { lock.acquire_levels(lock.release_levels()); };

  void check_held(const char* message) const {
    if constexpr (requires(const L& lock) { lock.owned(); }) {
      if (!lock_->owned()) [[unlikely]] {
        detail::throw_usage_error(message);
      }
    } else if constexpr (requires(const L& lock) { lock.locked(); }) {
      if (!lock_->locked()) [[unlikely]] {
        detail::throw_usage_error(message);
      }
    }
  }

  void append(Waiter& waiter) noexcept {
    waiter.previous = last_;
    (last_ != nullptr ? last_->next : first_) = &waiter;
    last_ = &waiter;
  }

  void remove(Waiter& waiter) noexcept {
    (waiter.previous != nullptr ? waiter.previous->next : first_) = waiter.next;
    (waiter.next != nullptr ? waiter.next->previous : last_) = waiter.previous;
  }

  struct Nothing {};
  [[no_unique_address]] std::conditional_t<std::is_default_constructible_v<L>, L, Nothing> own_;
  L* lock_;
  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
};

Condition()->Condition<RLock>;
template <class L>
Condition(L&) -> Condition<L>;

}  // namespace conc::inline CONC_ABI
