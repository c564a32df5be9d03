// SPDX-License-Identifier: MIT
/// @file
/// Which types can be pickled, how, and why not.
#pragma once

#include <conc/detail/pickle_containers.hpp>
#include <conc/detail/pickle_members.hpp>
#include <conc/detail/pickle_values.hpp>
#include <conc/detail/pickle_vocabulary.hpp>
#include <conc/detail/sync.hpp>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// What its author says comes first, then what the standard says, then what can be seen.
template <class T>
constexpr auto format_of() {
  if constexpr (!std::is_object_v<T> || std::is_array_v<T> || !requires { sizeof(T); }) {
    return NoFormat{};
  } else if constexpr (HasPickler<T>) {
    return CustomFormat<T>{};
  } else if constexpr (HasPickleMember<T>) {
    return std::conditional_t < std::is_default_constructible_v<T> && !inherits_pickle<T>(), MemberFormat<T>,
           NoFormat > {};
  } else if constexpr (std::is_same_v<T, long double>) {
    return LongDoubleFormat{};
  } else if constexpr (std::is_same_v<T, bool>) {
    return BoolFormat<T>{};
  } else if constexpr (std::is_enum_v<T>) {
    using Number = std::underlying_type_t<T>;
    return std::conditional_t<std::is_same_v<Number, bool>, BoolFormat<T>, NumberFormat<T>>{};
  } else if constexpr (std::is_arithmetic_v<T>) {
    return NumberFormat<T>{};
  } else if constexpr (is_bit_vector<T>) {
    return BitVectorFormat<T>{};
  } else if constexpr (is_bitset<T>) {
    return BitsetFormat<T>{};
  } else if constexpr (Sequence<T>) {
    return SequenceFormat<T>{};
  } else if constexpr (ForwardList<T>) {
    return ForwardListFormat<T>{};
  } else if constexpr (Map<T>) {
    return MapFormat<T>{};
  } else if constexpr (Keyed<T>) {
    return KeyedFormat<T>{};
  } else if constexpr (Adaptor<T>) {
    return AdaptorFormat<T>{};
  } else if constexpr (Valarray<T>) {
    return ValarrayFormat<T>{};
  } else if constexpr (is_array<T>) {
    return ArrayFormat<T>{};
  } else if constexpr (requires { typename TupleParts<T>::List; }) {
    return TupleFormat<T>{};
  } else if constexpr (is_optional<T>) {
    return OptionalFormat<T>{};
  } else if constexpr (is_owner<T>) {
    return OwnerFormat<T>{};
  } else if constexpr (is_variant<T>) {
    return VariantFormat<T>{};
  } else if constexpr (Expected<T>) {
    return ExpectedFormat<T>{};
  } else if constexpr (requires { typename DurationParts<T>::Inner; }) {
    return DurationFormat<T>{};
  } else if constexpr (Complex<T>) {
    return ComplexFormat<T>{};
  } else if constexpr (Path<T>) {
    return PathFormat<T>{};
  } else if constexpr (Decomposable<T>) {
    constexpr bool can_be_made = !AggregateFormat<T>::has_array || std::is_default_constructible_v<T>;
    return std::conditional_t<can_be_made, AggregateFormat<T>, NoFormat>{};
  } else if constexpr (BitCastable<T>) {
    return OpaqueFormat<T>{};
  } else {
    return NoFormat{};
  }
}

template <class T, class... Outer>
constexpr bool can_pickle();

template <class... Outer, class... Part>
constexpr bool can_pickle_all(TypeList<Part...>) {
  return (true && ... && can_pickle<Plain<Part>, Outer...>());
}

/// `Outer` are the types that T was found in: one that has members of its own kind, in a vector, say, is picklable if all
/// others are.
template <class T, class... Outer>
constexpr bool can_pickle() {
  if constexpr ((false || ... || std::is_same_v<T, Outer>)) {
    return true;
  } else if constexpr (std::is_same_v<Format<T>, NoFormat>) {
    return false;
  } else {
    return can_pickle_all<T, Outer...>(typename Format<T>::Parts{});
  }
}

template <class T>
concept View = requires(T& view, std::size_t n) {
  view.remove_prefix(n);
}
|| requires(T& view) { view.subspan(0); };

template <class T>
concept Callable = requires {
  &T::operator();
}
|| requires(T& function) { function.target_type(); };

template <class T>
inline constexpr bool is_cutting = false;
template <class T>
inline constexpr bool is_cutting<std::unique_ptr<T>> = may_be_derived<T>();
template <class T>
inline constexpr bool is_cutting<std::shared_ptr<T>> = may_be_derived<T>();

/// Says in words why T is not picklable; the compiler names the type.
template <class T, class... Outer>
constexpr void require_picklable();

template <class... Outer, class... Part>
constexpr void require_all_picklable(TypeList<Part...>) {
  (require_picklable<Plain<Part>, Outer...>(), ...);
}

template <class T>
constexpr bool say_why_not() {
  constexpr bool is_pointer = std::is_pointer_v<T> || std::is_member_pointer_v<T> || std::is_null_pointer_v<T>;
  constexpr bool is_function = std::is_function_v<std::remove_pointer_t<T>>;
  static_assert(!std::is_reference_v<T>,
                "pickle: a reference cannot be pickled, it would refer to nothing in another process; use the value");
  static_assert(!is_function, "pickle: a function cannot be pickled; use a value that says which one is meant");
  static_assert(!is_pointer || is_function,
                "pickle: a pointer cannot be pickled, it would point to nothing in another process; use the value, "
                "std::optional or std::unique_ptr");
  if constexpr (!is_pointer && !is_function && !std::is_reference_v<T>) {
    constexpr bool is_complete = requires { sizeof(T); };
    static_assert(is_complete && !std::is_void_v<T>, "pickle: this type is void, or declared and not defined");
    if constexpr (is_complete) {
      constexpr bool is_view = View<T>;
      constexpr bool is_callable = Callable<T>;
      constexpr bool has_pickle = HasPickleMember<T>;
      constexpr bool has_pickler = requires { sizeof(pickler<T>); };
      static_assert(!std::is_array_v<T>, "pickle: an array cannot be pickled by itself; use std::array");
      static_assert(!std::is_union_v<T>, "pickle: a union cannot be pickled; use std::variant");
      static_assert(!is_view,
                    "pickle: a view cannot be pickled, what it looks at stays in this process; use std::string or "
                    "std::vector");
      static_assert(
          !is_cutting<T>,
          "pickle: a pointer to a class with virtual functions cannot be pickled, the object may be of a class "
          "derived from it; specialize conc::pickler for the pointer");
      static_assert(!is_callable || has_pickle,
                    "pickle: a callable that captures pointers, references or what has a destructor, or one like "
                    "std::function, cannot be pickled; use a class with the values as members");
      static_assert(!has_pickler,
                    "pickle: conc::pickler<T> needs static void save(Pickler&, const T&) and "
                    "static T load(Unpickler&)");
      static_assert(!has_pickle || std::is_default_constructible_v<T>,
                    "pickle: a class with pickle(ar) needs a default constructor, or conc::pickler instead");
      static_assert(!has_pickle || !std::is_default_constructible_v<T>,
                    "pickle: pickle(ar) is inherited, and says nothing of the members of this class; give it one that "
                    "calls that of the base");
      static_assert(
          has_pickle || is_callable || is_view || has_pickler || is_cutting<T> || std::is_array_v<T> ||
              std::is_union_v<T>,
          "pickle: this class cannot be pickled; give it a member "
          "`template <class Ar> void pickle(Ar& ar) { ar(a, b, c); }`, or specialize conc::pickler for it. Only "
          "aggregates need neither: up to 32 public members, no bases, no const members and references");
    }
  }
  return false;
}

template <class T, class... Outer>
constexpr void require_picklable() {
  if constexpr ((false || ... || std::is_same_v<T, Outer>)) {
  } else if constexpr (std::is_same_v<Format<T>, NoFormat>) {
    say_why_not<T>();
  } else {
    require_all_picklable<T, Outer...>(typename Format<T>::Parts{});
  }
}

}  // namespace conc::inline CONC_ABI::detail
