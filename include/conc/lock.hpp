// SPDX-License-Identifier: MIT
/// @file
/// Lock, RLock and ScopedLock.
///
/// Lock is a futex mutex after Ulrich Drepper, "Futexes Are Tricky" (2011), with two changes: release() checks that
/// the lock is held, and a waiter that lost too many races reserves the lock, so that nobody starves (the "long wait"
/// bit of Mike Burrows' nsync).
#pragma once

#include <conc/annotations.hpp>
#include <conc/deadline.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/tracker.hpp>
#include <conc/detail/wait_point.hpp>
#include <conc/error.hpp>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace conc::inline CONC_ABI {

/// A mutual exclusion lock: four bytes, no owner. Like threading.Lock, one thread may acquire it and another release it.
///
/// @par Thread safety   every member from any thread at any time, but for the destructor.
/// @par Memory ordering what a thread did before release() is visible to the thread whose acquire() comes next.
/// @par Lifetime        may be destroyed while held, as long as nobody waits; a thread that acquired it may destroy it
///                      even while the release() that let it in is still returning.
/// @par Cost            one compare-and-swap each way while nobody competes; otherwise a short spin, then one system call.
/// @par Python          threading.Lock. Timeouts are durations; releasing an unlocked lock is UsageError.
class CONC_CAPABILITY("lock") Lock {
 public:
  constexpr Lock() noexcept = default;
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  /// Waits until the lock is free and takes it.
  /// @return true, always, so that it reads like the timed form.
  bool acquire() noexcept CONC_ACQUIRE() CONC_NO_THREAD_SAFETY_ANALYSIS {
    tracker_.waits(this, never);
    if (!take_free()) [[unlikely]] {
      acquire_contended(never);
    }
    return tracker_.took(this, true, never);
  }

  /// Takes the lock, or gives up at `deadline`.
  /// @return whether the lock was taken. Its owner gets false too: a Lock is not reentrant.
  [[nodiscard]] bool acquire(Deadline deadline) noexcept CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    tracker_.waits(this, deadline);
    return tracker_.took(this, take_free() || acquire_contended(deadline), deadline);
  }

  /// Takes the lock if it is free right now.
  [[nodiscard]] bool try_acquire() noexcept CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    return tracker_.took(this, take_free() || acquire_contended(kPoll), kPoll);
  }

  /// Frees the lock; any thread may. Exactly one waiter gets in.
  /// @throws UsageError if the lock is not held; it stays free.
  void release() CONC_RELEASE() CONC_NO_THREAD_SAFETY_ANALYSIS {
    tracker_.releases();
    std::uint32_t held = kHeld;
    // release (1): pairs with the acquire (1) of whoever takes the lock next.
    if (!word_.compare_exchange_strong(held, 0, detail::mo::release, detail::mo::relaxed)) [[unlikely]] {
      release_contended(held);
    }
  }

  /// Whether somebody holds the lock; out of date as soon as it is known.
  [[nodiscard]] bool locked() const noexcept {
    return (word_.load(detail::mo::relaxed) & kHeld) != 0;  // relaxed: a hint, orders nothing
  }

  // The names that std::unique_lock, std::scoped_lock and std::lock use.
  void lock() noexcept CONC_ACQUIRE() CONC_NO_THREAD_SAFETY_ANALYSIS { acquire(); }
  void unlock() CONC_RELEASE() CONC_NO_THREAD_SAFETY_ANALYSIS { release(); }
  [[nodiscard]] bool try_lock() noexcept CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS { return try_acquire(); }
  [[nodiscard]] bool try_lock_for(Deadline span) noexcept CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    return acquire(span);
  }
  [[nodiscard]] bool try_lock_until(Deadline point) noexcept CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    return acquire(point);
  }

 private:
  // word_ = kReserved | kSleepers | kHeld
  //   kHeld      somebody holds the lock.
  //   kSleepers  somebody may be asleep; see detail::await for who raises and drops it.
  //   kReserved  one waiter has lost too many races: only it may take the lock next. Raised and dropped by that waiter.
  // Illegal: a sleeper without kSleepers, unless somebody awake is about to raise it (he would never be woken);
  //          kReserved without a waiter that knows it is his (the lock could not be taken any more).
  // Legal:   kSleepers with nobody asleep (a waiter timed out): one needless wake.
  static constexpr std::uint32_t kHeld = 1;
  static constexpr std::uint32_t kSleepers = 2;
  static constexpr std::uint32_t kReserved = 4;
  static constexpr Deadline kPoll{std::chrono::nanoseconds{0}};

  bool take_free() noexcept {
    std::uint32_t free = 0;
    // acquire (1): pairs with release (1).
    return word_.compare_exchange_strong(free, kHeld, detail::mo::acquire, detail::mo::relaxed);
  }

  [[gnu::cold, gnu::noinline]] bool acquire_contended(Deadline deadline) noexcept {
    bool reserved_by_me = false;
    unsigned lost = 0;
    const auto attempt = [&](std::uint32_t& value) {
      const bool patient = (value & kSleepers) == 0 || ++lost <= detail::sync::patience;
      for (;;) {
        if ((value & kHeld) == 0 && ((value & kReserved) == 0 || reserved_by_me)) {
          // acquire (1): pairs with release (1). Drops kReserved, which is ours if it is up.
          if (word_.compare_exchange_weak(value, kHeld | (value & kSleepers), detail::mo::acquire,
                                          detail::mo::relaxed)) {
            return true;
          }
        } else if (patient || (value & kReserved) != 0) {
          return false;
        } else {
          // relaxed: the bit carries no data.
          const std::uint32_t raised = value | kReserved;
          if (word_.compare_exchange_weak(value, raised, detail::mo::relaxed, detail::mo::relaxed)) {
            value = raised;
            reserved_by_me = true;
            return false;
          }
        }
      }
    };
    if (detail::await(word_, kSleepers, deadline, detail::Spin::among_rivals(), {"Lock::acquire", this}, attempt) !=
        detail::Waited::timed_out) {
      return true;
    }
    if (reserved_by_me) {
      withdraw();
    }
    return false;
  }

  /// Gives up a reservation. If the lock is free, those that it kept out must look again.
  void withdraw() noexcept {
    // relaxed: the bit carries no data.
    const std::uint32_t old = word_.fetch_and(~kReserved, detail::mo::relaxed);
    if ((old & kHeld) == 0) {
      detail::sync::wake(&word_, detail::sync::everybody);
    }
  }

  [[gnu::cold, gnu::noinline]] void release_contended(std::uint32_t value) {
    const void* const address = &word_;  // taken now: whoever gets in may destroy *this
    do {
      if ((value & kHeld) == 0) {
        detail::throw_usage_error("Lock::release: the lock is not held");
      }
      // release (1): pairs with the acquire (1) of whoever takes the lock next.
    } while (!word_.compare_exchange_weak(value, value & kReserved, detail::mo::release, detail::mo::relaxed));
    // With a reservation only one of the sleepers may take the lock, and a wake cannot choose him: wake them all.
    if ((value & kSleepers) != 0) {
      detail::sync::wake(address, (value & kReserved) != 0 ? detail::sync::everybody : 1);
    }
  }

  friend struct detail::TrackerOf;

  detail::sync::Atomic<std::uint32_t> word_{0};
  [[no_unique_address]] detail::Tracker tracker_;
};
static_assert(sizeof(Lock) == 4 || detail::debugging);

/// A reentrant lock: its owner may acquire it again, and others get in after as many releases.
///
/// @par Thread safety   every member from any thread at any time, but for the destructor.
/// @par Memory ordering as Lock, at the outermost acquire and release.
/// @par Lifetime        as Lock. A thread that ends while it owns the lock leaves it held for ever: owner identities are
///                      never used again.
/// @par Cost            that of Lock, and a thread-local load; two plain stores for an inner level.
/// @par Python          threading.RLock. Release by another thread is UsageError.
class CONC_REENTRANT_CAPABILITY("lock") RLock {
 public:
  constexpr RLock() noexcept = default;
  RLock(const RLock&) = delete;
  RLock& operator=(const RLock&) = delete;

  /// Takes the lock or goes one level deeper.
  /// @return true, always.
  /// @throws UsageError at 2^32 - 1 levels.
  bool acquire() CONC_ACQUIRE() CONC_NO_THREAD_SAFETY_ANALYSIS {
    const std::uint64_t me = detail::sync::this_thread_id();
    if (owned_by(me)) {
      go_deeper();
    } else {
      lock_.acquire();
      become_owner(me);
    }
    return true;
  }

  /// As acquire(), but gives up at `deadline`. Its owner never waits.
  /// @return whether this thread owns the lock now.
  [[nodiscard]] bool acquire(Deadline deadline) CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    const std::uint64_t me = detail::sync::this_thread_id();
    if (owned_by(me)) {
      go_deeper();
      return true;
    }
    if (!lock_.acquire(deadline)) {
      return false;
    }
    become_owner(me);
    return true;
  }

  /// Takes the lock, or goes one level deeper, if that is possible right now.
  [[nodiscard]] bool try_acquire() CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    return acquire(Deadline{std::chrono::nanoseconds{0}});
  }

  /// Goes one level up; the last level frees the lock.
  /// @throws UsageError unless the calling thread owns the lock; nothing changes then.
  void release() CONC_RELEASE() CONC_NO_THREAD_SAFETY_ANALYSIS {
    if (!owned()) [[unlikely]] {
      detail::throw_usage_error(locked() ? "RLock::release: another thread owns the lock"
                                         : "RLock::release: the lock is not held");
    }
    if (depth_ == 1) {
      owner_.store(0, detail::mo::relaxed);  // relaxed: see owned_by
      lock_.release();
    } else {
      --depth_;
    }
  }

  /// Whether somebody holds the lock; out of date as soon as it is known.
  [[nodiscard]] bool locked() const noexcept { return lock_.locked(); }

  /// Whether the calling thread holds the lock.
  [[nodiscard]] bool owned() const noexcept { return owned_by(detail::sync::this_thread_id()); }

  /// Frees all levels at once, for a Condition that must let others in.
  /// @return the number of levels, for acquire_levels().
  /// @throws UsageError unless the calling thread owns the lock.
  [[nodiscard]] std::uint32_t release_levels() CONC_RELEASE() CONC_NO_THREAD_SAFETY_ANALYSIS {
    const std::uint32_t levels = owned() ? std::exchange(depth_, 1) : 0;
    release();  // reports a caller that is not the owner
    return levels;
  }

  /// Takes the lock and goes back to `levels` levels. The calling thread must not own it.
  void acquire_levels(std::uint32_t levels) CONC_ACQUIRE() CONC_NO_THREAD_SAFETY_ANALYSIS {
    acquire();
    depth_ = levels;
  }

  // The names that std::unique_lock, std::scoped_lock and std::lock use.
  void lock() CONC_ACQUIRE() CONC_NO_THREAD_SAFETY_ANALYSIS { acquire(); }
  void unlock() CONC_RELEASE() CONC_NO_THREAD_SAFETY_ANALYSIS { release(); }
  [[nodiscard]] bool try_lock() CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS { return try_acquire(); }
  [[nodiscard]] bool try_lock_for(Deadline span) CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    return acquire(span);
  }
  [[nodiscard]] bool try_lock_until(Deadline point) CONC_TRY_ACQUIRE(true) CONC_NO_THREAD_SAFETY_ANALYSIS {
    return acquire(point);
  }

 private:
  friend struct detail::TestAccess;
  friend struct detail::TrackerOf;

  // relaxed: only this thread ever stores its own identity here, so it reads it back in program order; any other value
  // means "not mine" whichever it is.
  bool owned_by(std::uint64_t me) const noexcept { return owner_.load(detail::mo::relaxed) == me; }

  void become_owner(std::uint64_t me) noexcept {
    owner_.store(me, detail::mo::relaxed);  // relaxed: see owned_by
  }

  void go_deeper() {
    if (depth_ == 0xffffffffU) [[unlikely]] {
      detail::throw_usage_error("RLock::acquire: 4294967295 levels are held already");
    }
    ++depth_;
  }

  Lock lock_;
  std::uint32_t depth_ = 1;                       // levels held, 1 if free; only the owner touches it
  detail::sync::Atomic<std::uint64_t> owner_{0};  // identity of the owner, 0 if free
};

namespace debug {

/// Gives a lock a name for the reports of a build with CONC_DEBUG; the first 39 bytes of it are kept. Without
/// CONC_DEBUG it does nothing.
/// @param lock  a Lock, RLock or RWLock, or a Condition or Synchronized, which passes the name on to its lock.
template <class L>
void name(L& lock, const char* name) noexcept {
  static_assert(detail::TrackerOf::exists<L>, "debug::name(lock, name): the lock must be one of conc's");
  detail::TrackerOf::visit(lock,
                           [name](detail::Tracker& tracker, const void* address) { tracker.name(address, name); });
}

}  // namespace debug

namespace detail {

/// One lock of several, its type forgotten.
struct AnyLock {
  void* object;
  void (*lock)(void*);
  bool (*try_lock)(void*);
  void (*unlock)(void*);

  template <class L>
  static AnyLock of(L& lock) noexcept {
    return {&lock, [](void* any) CONC_NO_THREAD_SAFETY_ANALYSIS { static_cast<L*>(any)->lock(); },
            [](void* any) CONC_NO_THREAD_SAFETY_ANALYSIS { return static_cast<L*>(any)->try_lock(); },
            [](void* any) CONC_NO_THREAD_SAFETY_ANALYSIS { static_cast<L*>(any)->unlock(); }};
  }
};

/// Locks all of them, in whatever order avoids deadlock: waits for one, tries the others, and where one is taken lets
/// go of everything and waits for that one next. If a lock throws, none is held.
inline void lock_all(const AnyLock* locks, std::size_t count) {
  struct Held {
    const AnyLock* locks;
    std::size_t count;
    std::size_t first;
    std::size_t held = 0;
    Held(const AnyLock* all, std::size_t n, std::size_t start) noexcept : locks{all}, count{n}, first{start} {}
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    const AnyLock& at(std::size_t i) const noexcept { return locks[(first + i) % count]; }
    ~Held() {
      while (held > 0) {
        const AnyLock& last = at(--held);
        last.unlock(last.object);
      }
    }
  };
  for (std::size_t first = 0;;) {
    Held all{locks, count, first};
    all.at(0).lock(all.at(0).object);
    for (all.held = 1; all.held < count && all.at(all.held).try_lock(all.at(all.held).object); ++all.held) {
    }
    if (all.held == count) {
      all.held = 0;  // they stay locked
      return;
    }
    first = (first + all.held) % count;
  }
}

/// Holds several locks for a scope.
template <std::size_t Count>
class HeldLocks {
 public:
  template <class... Locks>
  explicit HeldLocks(Locks&... locks) : locks_{AnyLock::of(locks)...} {
    (TrackerOf::visit(locks, [](Tracker& tracker, const void* lock) { tracker.may_wait(lock); }), ...);
    lock_all(locks_, Count);
  }
  HeldLocks(const HeldLocks&) = delete;
  HeldLocks& operator=(const HeldLocks&) = delete;
  ~HeldLocks() {
    for (const AnyLock& held : locks_) {
      held.unlock(held.object);
    }
  }

 private:
  const AnyLock locks_[Count];
};

}  // namespace detail

/// Holds one or more locks for a scope: `conc::ScopedLock guard{a, b};`. Several are taken without risk of deadlock,
/// in whatever order others name them. Works with every lock that has lock(), try_lock() and unlock(), Condition and
/// std::mutex included.
///
/// @throws what the locks throw; then none is held.
/// @par Python  `with lock:`, and `with a, b:` without its deadlock.
template <class... Locks>
class [[nodiscard]] ScopedLock {
  static_assert(sizeof...(Locks) > 0, "ScopedLock guard{lock}: name at least one lock");

 public:
  [[nodiscard]] explicit ScopedLock(Locks&... locks) : held_{locks...} {}
  ScopedLock(const ScopedLock&) = delete;
  ScopedLock& operator=(const ScopedLock&) = delete;
  ~ScopedLock() = default;

 private:
  detail::HeldLocks<sizeof...(Locks)> held_;
};

/// One lock: nothing to choose, nothing to store but where it is.
template <class L>
class [[nodiscard]] CONC_SCOPED_CAPABILITY ScopedLock<L> {
 public:
  [[nodiscard]] explicit ScopedLock(L& lock) CONC_ACQUIRE(lock) : lock_{lock} { lock_.lock(); }
  ScopedLock(const ScopedLock&) = delete;
  ScopedLock& operator=(const ScopedLock&) = delete;
  ~ScopedLock() CONC_RELEASE() { lock_.unlock(); }

 private:
  L& lock_;
};

/// Two locks: clang's analysis cannot follow any number of them.
template <class A, class B>
class [[nodiscard]] CONC_SCOPED_CAPABILITY ScopedLock<A, B> {
 public:
  [[nodiscard]] explicit ScopedLock(A& first, B& second) CONC_ACQUIRE(first, second) : held_{first, second} {}
  ScopedLock(const ScopedLock&) = delete;
  ScopedLock& operator=(const ScopedLock&) = delete;
  ~ScopedLock() CONC_RELEASE() {}

 private:
  detail::HeldLocks<2> held_;
};

template <class... Locks>
ScopedLock(Locks&...) -> ScopedLock<Locks...>;

}  // namespace conc::inline CONC_ABI
