// SPDX-License-Identifier: MIT
/// @file
/// Tracker: what a lock tells the LockGraph. Without CONC_DEBUG it is empty, and its members do nothing.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/hold.hpp>
#include <conc/detail/sync.hpp>

#if defined(CONC_DEBUG)
#include <conc/detail/lock_graph.hpp>
#endif

namespace conc::inline CONC_ABI::detail {

#if defined(CONC_DEBUG)
inline constexpr bool debugging = true;
#else
inline constexpr bool debugging = false;
#endif

/// Finds the tracker of a lock, or of the lock that something is made of.
struct TrackerOf {
  template <class L>
  static constexpr bool exists = requires(L& lock) {
    lock.tracker_;
  }
  || requires(L& lock) { lock.lock_; };

  /// Calls fn(Tracker&, address of the lock), if there is one. Locks that are not conc's may have members of that name.
  template <class L, class F>
  static void visit(L& lock, F fn) {
    if constexpr (requires { fn(lock.tracker_, &lock); }) {
      fn(lock.tracker_, &lock);
    } else if constexpr (requires { *lock.lock_; }) {
      visit(*lock.lock_, fn);
    } else if constexpr (requires { lock.lock_; }) {
      visit(lock.lock_, fn);
    }
  }
};

#if !defined(CONC_DEBUG)

/// What a lock tells the LockGraph. `lock` is the lock's address, for reports.
struct Tracker {
  /// The calling thread is about to wait for the lock.
  constexpr void waits(const void* /*lock*/, Deadline /*deadline*/, Hold /*hold*/ = Hold::exclusive) const noexcept {}
  /// It may have to wait for the lock, unless it holds it already.
  constexpr void may_wait(const void* /*lock*/) const noexcept {}
  /// It has the lock now, if `taken`. @return `taken`
  constexpr bool took(const void* /*lock*/, bool taken, Deadline /*deadline*/,
                      Hold /*hold*/ = Hold::exclusive) const noexcept {
    return taken;
  }
  /// It is about to release the lock.
  constexpr void releases(Hold /*hold*/ = Hold::exclusive) const noexcept {}
  constexpr void name(const void* /*lock*/, const char* /*name*/) const noexcept {}
};

/// From now on, locks that the calling thread holds at its end are reported. Each thread is watched from its first lock on;
/// one that is watched earlier may have thread_locals whose destructors release what it holds.
constexpr void watch_end_of_thread() noexcept {}

/// While it lives, what the thread does with locks is not looked at.
struct Untracked {
  Untracked() noexcept {}
  ~Untracked() {}
  Untracked(const Untracked&) = delete;
  Untracked& operator=(const Untracked&) = delete;
};

#else

using Untracked = UntrackedThread;

class Tracker {
 public:
  constexpr Tracker() noexcept = default;
  Tracker(const Tracker&) = delete;
  Tracker& operator=(const Tracker&) = delete;
  ~Tracker() {
    if (slot_.node != nullptr) {
      lock_graph.forget(slot_);
    }
  }

  void waits(const void* lock, Deadline deadline, Hold hold = Hold::exclusive) noexcept {
    if (deadline.is_never() && !sync::this_thread().untracked) {
      lock_graph.waits(slot_, lock, hold, true);
    }
  }
  void may_wait(const void* lock) noexcept {
    if (!sync::this_thread().untracked) {
      lock_graph.waits(slot_, lock, Hold::exclusive, false);
    }
  }
  bool took(const void* lock, bool taken, Deadline deadline, Hold hold = Hold::exclusive) noexcept {
    if (taken && !sync::this_thread().untracked) {
      lock_graph.took(slot_, lock, hold, deadline.is_never());
    }
    return taken;
  }
  void releases(Hold hold = Hold::exclusive) noexcept {
    if (!sync::this_thread().untracked) {
      lock_graph.releases(slot_, hold);
    }
  }
  void name(const void* lock, const char* name) noexcept { lock_graph.name(slot_, lock, name); }

 private:
  LockSlot slot_;
};

inline void watch_end_of_thread() noexcept { lock_graph.watch_end_of_thread(); }

#endif

}  // namespace conc::inline CONC_ABI::detail
