// SPDX-License-Identifier: MIT
/// @file
/// Deadline: the only timeout type. Never, a duration from now, or a time_point.
#pragma once

#include <conc/detail/sync.hpp>
#include <conc/error.hpp>
#include <concepts>
#include <cstdint>
#include <limits>
#include <ratio>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI {

/// When a waiting call gives up.
///
/// Waiting calls take one by value, so that `acquire(100ms)`, `get(until)` and `wait()` all read naturally.
///   * A duration counts from the moment of the waiting call. Zero or less: look once and do not wait ("poll").
///   * A time_point of steady_clock is itself. One of another clock is converted when the Deadline is made; later
///     steps of that clock are not followed.
///   * Nothing, `conc::never`, the largest value of any type, infinity, and whatever overflows: wait for ever.
/// A wait may end late, never early: what is finer than a nanosecond is rounded up.
///
/// To share one deadline among several calls, make it absolute once: `auto until = conc::Deadline::after(5s);`.
///
/// @throws UsageError for a duration that is not a number.
/// @par Cost    two words; the clock is read only once a call really has to wait, or in after().
/// @par Python  timeouts are floats in seconds, and None. A bare number does not compile here: write 1.5s or 1500ms.
class Deadline {
 public:
  /// Never.
  constexpr Deadline() noexcept = default;

  template <class Rep, class Period>
  constexpr Deadline(std::chrono::duration<Rep, Period> from_now)  // NOLINT(google-explicit-constructor): meant
      : kind_{Kind::from_call}, nanoseconds_{saturate(from_now)} {
    if (nanoseconds_ == kEndless) {
      kind_ = Kind::never;
    }
  }

  template <class Clock, class Duration>
  Deadline(std::chrono::time_point<Clock, Duration> point) {  // NOLINT(google-explicit-constructor): meant
    if constexpr (std::is_same_v<Clock, std::chrono::steady_clock>) {
      *this = Deadline{point.time_since_epoch()};
      kind_ = kind_ == Kind::never ? Kind::never : Kind::absolute;
    } else if (point != (point.max)()) {
      // Both sides as floating point: the difference of two time_points may overflow their own type.
      using Real = std::chrono::duration<long double, std::nano>;
      *this = after(Real{point.time_since_epoch()} - Real{Clock::now().time_since_epoch()});
    }
  }

  template <class Number>
    requires std::is_arithmetic_v<Number> Deadline(Number a_number_is_no_timeout_write_1500ms_or_1_5s)
  = delete;

  /// The moment `from_now` after this call, the same for every wait it is given to.
  [[nodiscard]] static Deadline after(Deadline from_now) {
    Deadline fixed;
    const detail::sync::TimePoint end = from_now.resolve();
    if (end != detail::sync::forever) {
      fixed.kind_ = Kind::absolute;
      fixed.nanoseconds_ = std::chrono::duration_cast<std::chrono::nanoseconds>(end.time_since_epoch()).count();
    }
    return fixed;
  }

  [[nodiscard]] constexpr bool is_never() const noexcept { return kind_ == Kind::never; }

  /// True for a duration of zero or less: the caller wants to look, not to wait.
  [[nodiscard]] constexpr bool is_poll() const noexcept { return kind_ == Kind::from_call && nanoseconds_ <= 0; }

  /// The moment to give up, counted from now where this is a duration; detail::sync::forever for never.
  [[nodiscard]] detail::sync::TimePoint resolve() const noexcept {
    using detail::sync::TimePoint;
    if (kind_ == Kind::never) {
      return detail::sync::forever;
    }
    if (kind_ == Kind::absolute) {
      return TimePoint{std::chrono::nanoseconds{nanoseconds_}};
    }
    const TimePoint now = detail::sync::now();
    const std::chrono::nanoseconds span{nanoseconds_ < 0 ? 0 : nanoseconds_};
    return span > detail::sync::forever - now ? detail::sync::forever : now + span;
  }

 private:
  enum class Kind : std::uint8_t { never, from_call, absolute };

  static constexpr std::int64_t kEndless = (std::numeric_limits<std::int64_t>::max)();
  static_assert(std::is_same_v<std::chrono::steady_clock::period, std::nano>, "TimePoint counts nanoseconds");

  /// In nanoseconds, rounded up; kEndless for all that does not fit.
  template <class Rep, class Period>
  static constexpr std::int64_t saturate(std::chrono::duration<Rep, Period> d) {
    using PerTick = std::ratio_divide<Period, std::nano>;
    const Rep ticks = d.count();
    if constexpr (std::is_integral_v<Rep> && PerTick::den == 1 && sizeof(Rep) <= sizeof(std::int64_t)) {
      if (std::cmp_greater_equal(ticks, kEndless / PerTick::num)) {
        return kEndless;
      }
      if (std::cmp_less_equal(ticks, -(kEndless / PerTick::num))) {
        return -kEndless;
      }
      return static_cast<std::int64_t>(ticks) * PerTick::num;
    } else {
      const auto exact = static_cast<long double>(ticks) * PerTick::num / PerTick::den;
      if (__builtin_isnan(exact)) {
        detail::throw_usage_error("Deadline: the duration is not a number");
      }
      if (exact >= static_cast<long double>(kEndless)) {
        return kEndless;
      }
      if (exact <= -static_cast<long double>(kEndless)) {
        return -kEndless;
      }
      const auto whole = static_cast<std::int64_t>(exact);
      return static_cast<long double>(whole) < exact ? whole + 1 : whole;
    }
  }

  /// A tick of such a period has more nanoseconds than can be counted.
  template <class Rep, class Period>
    requires(std::ratio_greater_v<Period, std::giga>)
  static constexpr std::int64_t saturate(std::chrono::duration<Rep, Period> d) {
    return saturate(std::chrono::duration<long double, std::giga>{d});
  }

  Kind kind_ = Kind::never;
  std::int64_t nanoseconds_ = 0;  // from_call: the span; absolute: since the epoch of steady_clock
};

/// Wait as long as it takes.
inline constexpr Deadline never{};

}  // namespace conc::inline CONC_ABI
