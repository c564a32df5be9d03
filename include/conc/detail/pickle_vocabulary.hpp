// SPDX-License-Identifier: MIT
/// @file
/// How the vocabulary types of the standard library become bytes, and bytes become them: pair, tuple, optional, the owners of
/// one object, variant, expected, times, complex numbers, paths.
///
/// Those with expensive headers are known by their members.
#pragma once

#include <conc/detail/pickle_containers.hpp>
#include <conc/detail/pickle_members.hpp>
#include <conc/detail/pickle_values.hpp>
#include <conc/detail/sync.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace conc::inline CONC_ABI::detail {

template <class T>
struct TupleParts {};
template <class... T>
struct TupleParts<std::tuple<T...>> {
  using List = TypeList<T...>;
};
template <class A, class B>
struct TupleParts<std::pair<A, B>> {
  using List = TypeList<A, B>;
};

/// pair and tuple.
template <class T>
struct TupleFormat {
  using Parts = typename TupleParts<T>::List;
  static constexpr std::size_t least = least_of(Parts{});

  template <class Out>
  static void save(Out& out, const T& values) {
    if constexpr (Parts::size == 0) {
      save_nothing(out);
    } else {
      std::apply([&out](const auto&... value) { (save_value(out, value), ...); }, values);
    }
  }

  template <class In>
  static T load(In& in) {
    if constexpr (Parts::size == 0) {
      load_nothing(in);
    }
    return load(in, Parts{});
  }

 private:
  template <class In, class... Part>
  static T load([[maybe_unused]] In& in, TypeList<Part...>) {
    return T{Format<std::remove_cv_t<Part>>::load(in)...};  // in this order
  }
};

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

template <class T>
struct OptionalFormat {
  using Value = std::remove_cv_t<typename T::value_type>;
  using Parts = TypeList<Value>;
  static constexpr std::size_t least = 1;

  template <class Out>
  static void save(Out& out, const T& value) {
    BoolFormat<bool>::save(out, value.has_value());
    if (value.has_value()) {
      Format<Value>::save(out, *value);
    }
  }

  template <class In>
  static T load(In& in) {
    if (BoolFormat<bool>::load(in)) {
      return T{std::in_place, Format<Value>::load(in)};
    }
    return T{};
  }
};

/// Whether a pointer to T may point to an object of another class.
template <class T>
constexpr bool may_be_derived() {
  if constexpr (requires { sizeof(T); }) {
    return std::is_polymorphic_v<T> && !std::is_final_v<T>;
  } else {
    return false;
  }
}

/// unique_ptr and shared_ptr to one object, which is of this very type: what was derived from it would be cut off.
template <class T>
inline constexpr bool is_owner = false;
template <class T>
inline constexpr bool is_owner<std::unique_ptr<T>> = !std::is_array_v<T> && !may_be_derived<T>();
template <class T>
inline constexpr bool is_owner<std::shared_ptr<T>> = !std::is_array_v<T> && !may_be_derived<T>();

template <class T>
struct OwnerFormat {
  using Value = std::remove_cv_t<typename T::element_type>;
  using Parts = TypeList<Value>;
  static constexpr std::size_t least = 1;

  template <class Out>
  static void save(Out& out, const T& owner) {
    const auto nested = out.nest();
    BoolFormat<bool>::save(out, owner != nullptr);
    if (owner != nullptr) {
      Format<Value>::save(out, *owner);
    }
  }

  template <class In>
  static T load(In& in) {
    const auto nested = in.nest();
    if (BoolFormat<bool>::load(in)) {
      return T{new Value(Format<Value>::load(in))};
    }
    return T{};
  }
};

template <class T>
inline constexpr bool is_variant = false;
template <class... T>
inline constexpr bool is_variant<std::variant<T...>> = sizeof...(T) < 256;

template <class T>
struct VariantFormat;
template <class... T>
struct VariantFormat<std::variant<T...>> {
  using Variant = std::variant<T...>;
  using Parts = TypeList<T...>;
  static constexpr std::size_t least = 1;

  template <class Out>
  static void save(Out& out, const Variant& value) {
    if (value.valueless_by_exception()) {
      out.fail("a variant without a value");
    }
    const auto index = static_cast<unsigned char>(value.index());
    out.write(&index, 1);
    std::visit([&out](const auto& alternative) { save_value(out, alternative); }, value);
  }

  template <class In>
  static Variant load(In& in) {
    unsigned char index = 0;
    in.read(&index, 1);
    if (index >= sizeof...(T)) {
      in.fail("alternative " + std::to_string(index) + " of a variant that has " + std::to_string(sizeof...(T)));
    }
    return load(in, index, std::index_sequence_for<T...>{});
  }

 private:
  template <class In, std::size_t... I>
  static Variant load(In& in, std::size_t index, std::index_sequence<I...>) {
    constexpr Variant (*loads[])(In&) = {load_alternative<In, I>...};
    return loads[index](in);
  }

  template <class In, std::size_t I>
  static Variant load_alternative(In& in) {
    return Variant{std::in_place_index<I>, Format<std::remove_cv_t<std::variant_alternative_t<I, Variant>>>::load(in)};
  }
};

/// expected, of C++23.
template <class T>
concept Expected = std::same_as < typename FirstArgument<T>::Type,
typename T::value_type > &&requires(const T& expected) {
  typename T::unexpected_type;
  { expected.error() } -> std::same_as<const typename T::error_type&>;
  expected.has_value();
};

template <class T>
struct ExpectedFormat {
  using Value = std::remove_cv_t<typename T::value_type>;
  using Error = typename T::error_type;
  using Parts = std::conditional_t<std::is_void_v<Value>, TypeList<Error>, TypeList<Value, Error>>;
  static constexpr std::size_t least = 1;

  template <class Out>
  static void save(Out& out, const T& expected) {
    BoolFormat<bool>::save(out, expected.has_value());
    if (!expected.has_value()) {
      Format<Error>::save(out, expected.error());
    } else if constexpr (!std::is_void_v<Value>) {
      Format<Value>::save(out, *expected);
    }
  }

  template <class In>
  static T load(In& in) {
    if (!BoolFormat<bool>::load(in)) {
      return T{typename T::unexpected_type{Format<Error>::load(in)}};
    }
    if constexpr (std::is_void_v<Value>) {
      return T{};
    } else {
      return T{std::in_place, Format<Value>::load(in)};
    }
  }
};

template <class T>
struct DurationParts {};
template <class Count, class Period>
struct DurationParts<std::chrono::duration<Count, Period>> {
  using Inner = Count;
  static Count inner(const std::chrono::duration<Count, Period>& span) { return span.count(); }
};
template <class Clock, class Span>
struct DurationParts<std::chrono::time_point<Clock, Span>> {
  using Inner = Span;
  static Span inner(const std::chrono::time_point<Clock, Span>& point) { return point.time_since_epoch(); }
};

/// duration and time_point, each of which wraps one value.
template <class T>
struct DurationFormat {
  using Inner = typename DurationParts<T>::Inner;
  using Parts = TypeList<Inner>;
  static constexpr bool solid = is_solid<Inner>() && sizeof(T) == sizeof(Inner);
  static constexpr std::size_t least = least_of_type<Inner>();

  template <class Out>
  static void save(Out& out, const T& value) {
    Format<Inner>::save(out, DurationParts<T>::inner(value));
  }

  template <class In>
  static T load(In& in) {
    return T{Format<Inner>::load(in)};
  }
};

template <class T>
concept Complex = std::same_as < typename FirstArgument<T>::Type,
typename T::value_type > &&requires(const T& number) {
  { number.real() } -> std::same_as<typename T::value_type>;
  { number.imag() } -> std::same_as<typename T::value_type>;
  T(number.real(), number.imag());
};

template <class T>
struct ComplexFormat {
  using Real = typename T::value_type;
  using Parts = TypeList<Real>;
  static constexpr bool solid = is_solid<Real>() && sizeof(T) == 2 * sizeof(Real) && std::is_trivially_copyable_v<T>;
  static constexpr std::size_t least = 2 * least_of_type<Real>();

  template <class Out>
  static void save(Out& out, const T& number) {
    Format<Real>::save(out, number.real());
    Format<Real>::save(out, number.imag());
  }

  template <class In>
  static T load(In& in) {
    const Real real = Format<Real>::load(in);
    return T(real, Format<Real>::load(in));
  }
};

/// filesystem::path.
template <class T>
concept Path = requires(const T& path) {
  { path.native() } -> std::same_as<const typename T::string_type&>;
  { path.root_directory() } -> std::same_as<T>;
};

template <class T>
struct PathFormat {
  using Text = typename T::string_type;
  using Parts = TypeList<Text>;
  static constexpr std::size_t least = kLength;

  template <class Out>
  static void save(Out& out, const T& path) {
    Format<Text>::save(out, path.native());
  }

  template <class In>
  static T load(In& in) {
    return T{Format<Text>::load(in)};
  }
};

}  // namespace conc::inline CONC_ABI::detail
