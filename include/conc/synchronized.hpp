// SPDX-License-Identifier: MIT
/// @file
/// Synchronized: a value that can only be reached with its lock held.
#pragma once

#include <conc/annotations.hpp>
#include <conc/deadline.hpp>
#include <conc/lock.hpp>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI {

/// A value and its lock. with(fn) calls fn with the value while the lock is held; lock() gives a guard that works like
/// a pointer. With an RWLock, const access holds the lock shared.
///
/// @tparam L            any lock with lock(), unlock() and try_lock(), std::mutex too; default: Lock. For deadlines one that
///                      takes a Deadline.
/// @par Thread safety   every member from any thread at any time, but for constructor and destructor.
/// @par Memory ordering that of the lock.
/// @par Lifetime        a guard must not outlive it. Whoever keeps a pointer to the value beyond with() or the guard has
///                      left its protection.
/// @par Cost            that of the lock.
/// @par Python          has nothing like it.
template <class T, class L = Lock>
class Synchronized {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>,
                "Synchronized<T>: T must be an object type that is not const");

  /// Locks as const access does: shared, where the lock can be.
  struct Shared {
    static constexpr bool possible = requires(L & lock) {
      lock.lock_shared();
      lock.unlock_shared();
    };
    static void lock(L& lock) CONC_NO_THREAD_SAFETY_ANALYSIS {
      if constexpr (possible) {
        lock.lock_shared();
      } else {
        lock.lock();
      }
    }
    static bool try_lock(L& lock) CONC_NO_THREAD_SAFETY_ANALYSIS {
      if constexpr (possible) {
        return lock.try_lock_shared();
      } else {
        return lock.try_lock();
      }
    }
    static bool try_lock(L& lock, Deadline deadline) CONC_NO_THREAD_SAFETY_ANALYSIS {
      if constexpr (possible) {
        return lock.try_lock_shared_until(deadline);
      } else {
        return lock.try_lock_until(deadline);
      }
    }
    static void unlock(L& lock) CONC_NO_THREAD_SAFETY_ANALYSIS {
      if constexpr (possible) {
        lock.unlock_shared();
      } else {
        lock.unlock();
      }
    }
  };
  struct Exclusive {
    static void lock(L& lock) CONC_NO_THREAD_SAFETY_ANALYSIS { lock.lock(); }
    static bool try_lock(L& lock) CONC_NO_THREAD_SAFETY_ANALYSIS { return lock.try_lock(); }
    static bool try_lock(L& lock, Deadline deadline) CONC_NO_THREAD_SAFETY_ANALYSIS {
      return lock.try_lock_until(deadline);
    }
    static void unlock(L& lock) CONC_NO_THREAD_SAFETY_ANALYSIS { lock.unlock(); }
  };

 public:
  using value_type = T;

  /// Makes the value of `args`.
  template <class... Args>
    requires std::is_constructible_v<T, Args...>
  explicit Synchronized(Args&&... args) : value_(std::forward<Args>(args)...) {}
  Synchronized(const Synchronized&) = delete;
  Synchronized& operator=(const Synchronized&) = delete;

  /// Holds the lock as long as it lives, and points to the value. Can be moved; points to nothing then.
  template <class U, class Mode>
  class [[nodiscard]] Guard {
   public:
    Guard(Guard&& other) noexcept : owner_{std::exchange(other.owner_, nullptr)} {}
    Guard& operator=(Guard&& other) noexcept {
      Guard old{std::move(*this)};
      owner_ = std::exchange(other.owner_, nullptr);
      return *this;
    }
    ~Guard() {
      if (owner_ != nullptr) {
        Mode::unlock(owner_->lock_);
      }
    }

    /// Whether it holds the lock: not so after a try_lock() that failed, or a move.
    explicit operator bool() const noexcept { return owner_ != nullptr; }
    U& operator*() const noexcept { return owner_->value_; }
    U* operator->() const noexcept { return __builtin_addressof(owner_->value_); }

   private:
    friend class Synchronized;
    using Owner = std::conditional_t<std::is_const_v<U>, const Synchronized, Synchronized>;
    explicit Guard(Owner* owner) noexcept : owner_{owner} {}
    Owner* owner_;
  };

  /// Calls fn(value) with the lock held. @return what fn returns, as a value: no reference gets out.
  template <class F>
  auto with(F&& fn) {
    static_assert(std::is_invocable_v<F, T&>, "Synchronized::with(fn): fn must be callable with a T&");
    const Guard<T, Exclusive> guard = lock();
    return std::forward<F>(fn)(*guard);
  }
  template <class F>
  auto with(F&& fn) const {
    static_assert(std::is_invocable_v<F, const T&>,
                  "Synchronized::with(fn): on a const object fn must take a const T&");
    const Guard<const T, Shared> guard = lock();
    return std::forward<F>(fn)(*guard);
  }

  /// `auto value = shared.lock(); value->change();`: the lock is held until the guard goes.
  Guard<T, Exclusive> lock() {
    Exclusive::lock(lock_);
    return Guard<T, Exclusive>{this};
  }
  Guard<const T, Shared> lock() const {
    Shared::lock(lock_);
    return Guard<const T, Shared>{this};
  }

  /// As lock(), but only if the lock is free right now, or until `deadline`: else the guard is false.
  Guard<T, Exclusive> try_lock() { return Guard<T, Exclusive>{Exclusive::try_lock(lock_) ? this : nullptr}; }
  Guard<const T, Shared> try_lock() const { return Guard<const T, Shared>{Shared::try_lock(lock_) ? this : nullptr}; }
  Guard<T, Exclusive> try_lock(Deadline deadline) {
    return Guard<T, Exclusive>{Exclusive::try_lock(lock_, deadline) ? this : nullptr};
  }
  Guard<const T, Shared> try_lock(Deadline deadline) const {
    return Guard<const T, Shared>{Shared::try_lock(lock_, deadline) ? this : nullptr};
  }

 private:
  friend struct detail::TrackerOf;

  mutable L lock_;
  T value_;
};

/// From a value: `conc::Synchronized counts{std::vector<int>(10)};`
template <class T>
Synchronized(T) -> Synchronized<T>;

}  // namespace conc::inline CONC_ABI
