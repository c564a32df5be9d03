// SPDX-License-Identifier: MIT
/// @file
/// AtomicInteger: a counter that any number of threads may change.
#pragma once

#include <conc/detail/sync.hpp>
#include <concepts>
#include <cstdint>
#include <type_traits>

namespace conc::inline CONC_ABI {

/// An integer whose every operation is atomic. inc, dec, add, sub and set return the **new** value; the fetch_
/// functions and the operators mean what they mean for std::atomic. Arithmetic wraps in two's complement.
///
/// @par Thread safety   every member from any thread at any time.
/// @par Memory ordering every operation is sequentially consistent: all threads see all of them in one order.
/// @par Cost            that of std::atomic<T>; lock-free for every standard integer type.
/// @par Python          the lock-protected counter class that programs write by hand; integers there do not wrap.
template <class T>
class BasicAtomicInteger {
  static_assert(std::is_integral_v<T> && !std::is_same_v<T, bool>, "BasicAtomicInteger<T>: T must be an integer type");

 public:
  using value_type = T;

  constexpr BasicAtomicInteger() noexcept = default;
  constexpr explicit BasicAtomicInteger(T value) noexcept : value_{value} {}
  BasicAtomicInteger(const BasicAtomicInteger&) = delete;
  BasicAtomicInteger& operator=(const BasicAtomicInteger&) = delete;

  [[nodiscard]] T value() const noexcept { return value_.load(); }

  T inc() noexcept { return add(1); }
  T dec() noexcept { return sub(1); }
  T add(T n) noexcept { return wrap(value_.fetch_add(n), n); }
  T sub(T n) noexcept { return wrap(value_.fetch_sub(n), static_cast<T>(Unsigned{0} - static_cast<Unsigned>(n))); }
  T set(T value) noexcept {
    value_.store(value);
    return value;
  }

  /// Replaces the value v by fn(v).
  /// `fn` may be called several times, when other threads change the value meanwhile: it must have no side effects.
  /// @return the new value.
  /// @throws what fn throws; the value is unchanged then.
  template <class F>
    requires std::is_invocable_r_v<T, F&, T> T update(F fn) {
      T old = value_.load();
      for (;;) {
        const T next = fn(old);
        if (value_.compare_exchange_weak(old, next)) {
          return next;
        }
      }
    }

  T fetch_add(T n) noexcept { return value_.fetch_add(n); }
  T fetch_sub(T n) noexcept { return value_.fetch_sub(n); }
  T fetch_and(T bits) noexcept { return value_.fetch_and(bits); }
  T fetch_or(T bits) noexcept { return value_.fetch_or(bits); }
  T fetch_xor(T bits) noexcept { return value_.fetch_xor(bits); }
  T exchange(T value) noexcept { return value_.exchange(value); }

  /// Stores `desired` if the value is `expected`; otherwise puts the value into `expected`.
  /// @return whether it stored.
  bool compare_exchange(T& expected, T desired) noexcept { return value_.compare_exchange_strong(expected, desired); }

  T operator++() noexcept { return inc(); }
  T operator--() noexcept { return dec(); }
  T operator++(int) noexcept { return fetch_add(1); }
  T operator--(int) noexcept { return fetch_sub(1); }
  T operator+=(T n) noexcept { return add(n); }
  T operator-=(T n) noexcept { return sub(n); }

 private:
  using Unsigned = std::make_unsigned_t<T>;

  /// old + n without the overflow that would be undefined for a signed T.
  static T wrap(T old, T n) noexcept {
    return static_cast<T>(static_cast<Unsigned>(static_cast<Unsigned>(old) + static_cast<Unsigned>(n)));
  }

  static_assert(detail::sync::Atomic<T>::is_always_lock_free);
  detail::sync::Atomic<T> value_{0};
};

/// The counter most programs want: 64 bits, signed.
using AtomicInteger = BasicAtomicInteger<std::int64_t>;

}  // namespace conc::inline CONC_ABI
