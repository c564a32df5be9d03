// SPDX-License-Identifier: MIT
#include <conc/deadline.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdint>
#include <limits>
#include <ratio>
#include <type_traits>

namespace {

using namespace std::chrono_literals;
using conc::Deadline;
using conc::detail::sync::forever;
using SteadyClock = std::chrono::steady_clock;

/// A clock that a test sets.
struct WallClock {
  using duration = std::chrono::microseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<WallClock>;
  [[maybe_unused]] static constexpr bool is_steady = false;
  static time_point now() { return current; }
  static inline time_point current{std::chrono::hours{24 * 365 * 50}};
};

/// Whether `deadline` resolves to `span` from some moment during the call.
bool is_from_now(const Deadline& deadline, std::chrono::nanoseconds span) {
  const auto before = SteadyClock::now();
  const auto end = deadline.resolve();
  return before + span <= end && end <= SteadyClock::now() + span;
}

/// Whether `deadline` resolves to no later than now.
bool has_passed(const Deadline& deadline) {
  const auto end = deadline.resolve();
  return end <= SteadyClock::now();
}

/// The nanoseconds since the epoch at which `point` lies, as a Deadline sees it.
template <class Duration>
std::int64_t nanoseconds_of(std::chrono::time_point<SteadyClock, Duration> point) {
  return Deadline{point}.resolve().time_since_epoch().count();
}

template <class Rep, class Period = std::ratio<1>>
using Steady = std::chrono::time_point<SteadyClock, std::chrono::duration<Rep, Period>>;

}  // namespace

TEST_CASE("Deadline: is never where nothing is given", "[deadline][G2]") {
  CHECK(Deadline{}.is_never());
  CHECK(conc::never.is_never());
  CHECK_FALSE(conc::never.is_poll());
  CHECK(conc::never.resolve() == forever);
}

TEST_CASE("Deadline: a bare number is none", "[deadline][G2]") {
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Deadline, int>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Deadline, double>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Deadline, bool>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Deadline, char>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Deadline, std::int64_t>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<unsigned, Deadline>);
  STATIC_REQUIRE(std::is_convertible_v<std::chrono::milliseconds, Deadline>);
  STATIC_REQUIRE(std::is_convertible_v<std::chrono::system_clock::time_point, Deadline>);
}

TEMPLATE_TEST_CASE("Deadline: takes every value of every duration", "[deadline][G2][FT1]", std::chrono::nanoseconds,
                   std::chrono::microseconds, std::chrono::milliseconds, std::chrono::seconds, std::chrono::minutes,
                   std::chrono::hours, std::chrono::days, std::chrono::weeks, std::chrono::months, std::chrono::years) {
  CHECK(Deadline{TestType::max()}.is_never());
  CHECK(Deadline{TestType::min()}.is_poll());
  CHECK(Deadline{TestType{-1}}.is_poll());
  CHECK(Deadline{TestType::zero()}.is_poll());
  const Deadline one{TestType{1}};
  CHECK_FALSE(one.is_never());
  CHECK_FALSE(one.is_poll());
  CHECK(is_from_now(one, TestType{1}));
  CHECK(is_from_now(TestType{250}, TestType{250}));
  CHECK(is_from_now(TestType::min(), 0ns));
  CHECK(Deadline{TestType::max()}.resolve() == forever);
}

TEMPLATE_TEST_CASE("Deadline: takes every value of every floating-point duration", "[deadline][G2][FT1]", float, double,
                   long double) {
  using Limits = std::numeric_limits<TestType>;
  using Nanoseconds = std::chrono::duration<TestType, std::nano>;
  using Seconds = std::chrono::duration<TestType>;
  using Hours = std::chrono::duration<TestType, std::ratio<3600>>;
  CHECK(Deadline{Seconds{Limits::infinity()}}.is_never());
  CHECK(Deadline{Hours{Limits::max()}}.is_never());
  CHECK(Deadline{Nanoseconds{Limits::max()}}.is_never());
  CHECK(Deadline{Seconds{-Limits::infinity()}}.is_poll());
  CHECK(Deadline{Seconds{Limits::lowest()}}.is_poll());
  CHECK(Deadline{Seconds{TestType{-0.0}}}.is_poll());
  CHECK_FALSE(Deadline{Seconds{Limits::denorm_min()}}.is_poll());  // a moment is more than no time at all
  CHECK_THROWS_AS(Deadline{Seconds{Limits::quiet_NaN()}}, conc::UsageError);
  CHECK_THROWS_AS(Deadline{Nanoseconds{-Limits::quiet_NaN()}}, conc::UsageError);
  CHECK(is_from_now(Seconds{TestType{1.5}}, 1500ms));
  CHECK(nanoseconds_of(Steady<TestType>{Seconds{TestType{0.5}}}) == 500'000'000);
  CHECK(Deadline{Steady<TestType>{Seconds{Limits::infinity()}}}.is_never());
  CHECK_THROWS_AS(Deadline{Steady<TestType>{Seconds{Limits::quiet_NaN()}}}, conc::UsageError);
}

TEST_CASE("Deadline: rounds up what is finer than a nanosecond", "[deadline][G2]") {
  CHECK(nanoseconds_of(Steady<double, std::nano>{std::chrono::duration<double, std::nano>{1.25}}) == 2);
  CHECK(nanoseconds_of(Steady<double, std::nano>{std::chrono::duration<double, std::nano>{-1.25}}) == -1);
  CHECK(nanoseconds_of(Steady<std::int64_t, std::pico>{std::chrono::duration<std::int64_t, std::pico>{1}}) == 1);
  CHECK(nanoseconds_of(Steady<std::int64_t, std::pico>{std::chrono::duration<std::int64_t, std::pico>{2000}}) == 2);
  CHECK(nanoseconds_of(Steady<std::int64_t, std::pico>{std::chrono::duration<std::int64_t, std::pico>{2001}}) == 3);
  CHECK(nanoseconds_of(Steady<int, std::ratio<1, 3>>{std::chrono::duration<int, std::ratio<1, 3>>{1}}) == 333'333'334);
  CHECK(Deadline{std::chrono::duration<double, std::nano>{-0.5}}.is_poll());
  CHECK_FALSE(Deadline{std::chrono::duration<std::int64_t, std::atto>{1}}.is_poll());
}

TEST_CASE("Deadline: overflow means never", "[deadline][G2][FT1]") {
  CHECK(Deadline{std::chrono::hours{3'000'000}}.is_never());  // 342 years; 292 fit
  CHECK(Deadline{-std::chrono::hours{3'000'000}}.is_poll());
  CHECK(Deadline{std::chrono::duration<std::uint64_t>{std::numeric_limits<std::uint64_t>::max()}}.is_never());
  CHECK(Deadline{std::chrono::duration<std::int64_t, std::pico>::max()}.resolve() < forever);  // 106 days
  CHECK(Deadline{std::chrono::duration<int, std::exa>{1}}.is_never());
  CHECK(Deadline{std::chrono::duration<int, std::exa>{-1}}.is_poll());
  CHECK(is_from_now(std::chrono::duration<double, std::tera>{1e-12}, 1s));
  // Fits as a span, but not when counted from now.
  const Deadline nearly{std::chrono::nanoseconds::max() - 1ns};
  CHECK_FALSE(nearly.is_never());
  CHECK(nearly.resolve() == forever);
  CHECK(Deadline::after(nearly).is_never());
}

TEST_CASE("Deadline: a duration counts from each call it is given to, after() from now", "[deadline][G2]") {
  const Deadline span{1h};
  CHECK(is_from_now(span, 1h));
  CHECK(is_from_now(span, 1h));
  const auto before = SteadyClock::now();
  const Deadline fixed = Deadline::after(1h);
  const auto end = fixed.resolve();
  CHECK(before + 1h <= end);
  CHECK(end <= SteadyClock::now() + 1h);
  CHECK(fixed.resolve() == end);
  CHECK(Deadline::after(fixed).resolve() == end);
  CHECK(Deadline::after(conc::never).is_never());
  CHECK(has_passed(Deadline::after(-1h)));
}

TEST_CASE("Deadline: a time_point of the steady clock is itself", "[deadline][G2][FT1]") {
  const auto point = SteadyClock::now() + 1h;
  CHECK(Deadline{point}.resolve() == point);
  CHECK_FALSE(Deadline{point}.is_poll());
  CHECK(nanoseconds_of(Steady<int>{std::chrono::seconds{7}}) == 7'000'000'000);
  CHECK(nanoseconds_of(Steady<int>{std::chrono::seconds{-7}}) == -7'000'000'000);
  CHECK(Deadline{SteadyClock::time_point::max()}.is_never());
  CHECK(Deadline{Steady<int, std::ratio<86400>>::max()}.is_never());
  CHECK(has_passed(Deadline{SteadyClock::time_point::min()}));
  CHECK(has_passed(Deadline{Steady<int, std::ratio<86400>>::min()}));
}

TEST_CASE("Deadline: a time_point of another clock is converted where the Deadline is made", "[deadline][G2][FT2]") {
  const auto start = WallClock::now();
  const auto before = SteadyClock::now();
  const Deadline hour{start + 1h};
  const auto end = hour.resolve();
  CHECK(before + 1h <= end);
  CHECK(end <= SteadyClock::now() + 1h);
  for (const auto step : {24h, -48h}) {  // the clock is set a day ahead, then a day back
    WallClock::current += step;
    CHECK(hour.resolve() == end);
  }
  WallClock::current = start;
}

TEMPLATE_TEST_CASE("Deadline: takes every time_point of other clocks", "[deadline][G2][FT1]", WallClock,
                   std::chrono::system_clock) {
  using Hours = std::chrono::time_point<TestType, std::chrono::hours>;
  using Seconds = std::chrono::time_point<TestType, std::chrono::duration<double>>;
  CHECK(Deadline{TestType::time_point::max()}.is_never());
  CHECK(Deadline{Hours::max()}.is_never());
  CHECK(Deadline{Hours::max() - 1h}.is_never());
  CHECK(Deadline{Seconds{std::chrono::duration<double>{std::numeric_limits<double>::infinity()}}}.is_never());
  CHECK_THROWS_AS(Deadline{Seconds{std::chrono::duration<double>{std::numeric_limits<double>::quiet_NaN()}}},
                  conc::UsageError);
  CHECK(has_passed(Deadline{TestType::time_point::min()}));
  CHECK(has_passed(Deadline{Hours::min()}));
  CHECK(has_passed(Deadline{TestType::now()}));
  CHECK_FALSE(has_passed(TestType::now() + 24h));
}

TEST_CASE("Deadline: can be made at compile time", "[deadline]") {
  constexpr Deadline second{1s};
  STATIC_REQUIRE_FALSE(second.is_never());
  STATIC_REQUIRE(Deadline{0ms}.is_poll());
  STATIC_REQUIRE(Deadline{std::chrono::hours::max()}.is_never());
}
