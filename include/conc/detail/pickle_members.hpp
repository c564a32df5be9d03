// SPDX-License-Identifier: MIT
/// @file
/// The members of an aggregate: how many there are, and a call with all of them.
#pragma once

#include <conc/detail/sync.hpp>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI::detail {

template <class... T>
struct TypeList {
  static constexpr std::size_t size = sizeof...(T);
};

/// Becomes whatever a member is made of, in expressions that are never evaluated.
struct AnyMember {
  constexpr explicit AnyMember(std::size_t) noexcept {}
  template <class T>
  operator T() const noexcept;  // NOLINT(google-explicit-constructor)
};

/// Becomes a base of T, and nothing else.
template <class T>
struct AnyBaseOf {
  template <class Base>
    requires(std::is_base_of_v<Base, T> && !std::is_same_v<Base, T>)
  operator Base() const noexcept;  // NOLINT(google-explicit-constructor)
};

inline constexpr std::size_t kMostMembers = 32;
inline constexpr std::size_t kMostValues = 64;  // the elements of arrays counted one by one

template <class T, std::size_t... I>
constexpr bool takes_values(std::index_sequence<I...>) {
  return requires { T{AnyMember{I}...}; };
}

/// Whether an aggregate can be initialized by values, then by some in braces, then by more values.
template <class T, std::size_t... Before, std::size_t... Inside, std::size_t... After>
constexpr bool takes_braces(std::index_sequence<Before...>, std::index_sequence<Inside...>,
                            std::index_sequence<After...>) {
  return requires { T{AnyMember{Before}..., {AnyMember{Inside}...}, AnyMember{After}...}; };
}
template <class T, std::size_t Before, std::size_t Inside, std::size_t After>
inline constexpr bool takes = takes_braces<T>(std::make_index_sequence<Before>{}, std::make_index_sequence<Inside>{},
                                              std::make_index_sequence<After>{});

/// How many values initialize an aggregate, the elements of its arrays counted one by one. Some may be needed, and fewer
/// will not do; so the first number that is too large comes after one that is not.
/// @return more than kMostValues if there are more, or if it cannot be told
template <class T, std::size_t N = 0, bool Enough = false>
constexpr std::size_t count_values() {
  if constexpr (N > kMostValues) {
    return N;
  } else if constexpr (takes_values<T>(std::make_index_sequence<N>{})) {
    return count_values<T, N + 1, true>();
  } else if constexpr (Enough) {
    return N - 1;
  } else {
    return count_values<T, N + 1, false>();
  }
}

/// How many of the values that initialize T belong to the member that begins after `Before` of them: more than one if it
/// is an array. Instead of the values of one member there can be braces: so many values fit below them as belong to others.
template <class T, std::size_t Values, std::size_t Before, std::size_t Taken = 1>
constexpr std::size_t values_of_member() {
  if constexpr (Before + Taken > Values) {
    return 1;  // a class that is made of nothing in braces
  } else if constexpr (takes<T, Before, 0, Values - Before - Taken>) {
    return Taken;
  } else if constexpr (Taken > 1 && takes<T, Before, Taken, Values - Before - Taken> &&
                       !takes<T, Before, Taken, Values - Before - Taken + 1>) {
    return Taken;  // an array of those
  } else {
    return values_of_member<T, Values, Before, Taken + 1>();
  }
}

template <class T, std::size_t Values, std::size_t Before = 0>
constexpr std::size_t count_from() {
  if constexpr (Before >= Values) {
    return 0;
  } else {
    return 1 + count_from<T, Values, Before + values_of_member<T, Values, Before>()>();
  }
}

/// How many members an aggregate has; more than kMostMembers if it is not known.
template <class T>
constexpr std::size_t count_members() {
  if constexpr (std::is_empty_v<T>) {
    return 0;
  } else if constexpr (requires { T{AnyBaseOf<T>{}}; }) {
    return kMostMembers + 1;  // members of bases cannot be named together with others
  } else if constexpr (constexpr std::size_t values = count_values<T>(); values > kMostValues || values == 0) {
    return kMostMembers + 1;
  } else {
    return count_from<T, values>();
  }
}

/// An aggregate whose members can be named by a structured binding. One that cannot be assigned may have references;
/// one that is like a tuple has get<0>() taken for its members.
template <class T>
concept Decomposable = std::is_class_v<T> && std::is_aggregate_v<T> && std::is_move_assignable_v<T> && !requires {
  std::tuple_size<T>::value;
}
&&(count_members<T>() <= kMostMembers);

/// Calls fn(member…) with all members of an aggregate.
template <class T, class F>
constexpr decltype(auto) call_with_members(T& value, F&& fn) {
#define CONC_MEMBERS(n, ...)     \
  if constexpr (count == n) {    \
    auto& [__VA_ARGS__] = value; \
    return fn(__VA_ARGS__);      \
  } else
  constexpr std::size_t count = count_members<std::remove_const_t<T>>();
  // clang-format off
  CONC_MEMBERS(1, a)
  CONC_MEMBERS(2, a, b)
  CONC_MEMBERS(3, a, b, c)
  CONC_MEMBERS(4, a, b, c, d)
  CONC_MEMBERS(5, a, b, c, d, e)
  CONC_MEMBERS(6, a, b, c, d, e, f)
  CONC_MEMBERS(7, a, b, c, d, e, f, g)
  CONC_MEMBERS(8, a, b, c, d, e, f, g, h)
  CONC_MEMBERS(9, a, b, c, d, e, f, g, h, i)
  CONC_MEMBERS(10, a, b, c, d, e, f, g, h, i, j)
  CONC_MEMBERS(11, a, b, c, d, e, f, g, h, i, j, k)
  CONC_MEMBERS(12, a, b, c, d, e, f, g, h, i, j, k, l)
  CONC_MEMBERS(13, a, b, c, d, e, f, g, h, i, j, k, l, m)
  CONC_MEMBERS(14, a, b, c, d, e, f, g, h, i, j, k, l, m, n)
  CONC_MEMBERS(15, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o)
  CONC_MEMBERS(16, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
  CONC_MEMBERS(17, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q)
  CONC_MEMBERS(18, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r)
  CONC_MEMBERS(19, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s)
  CONC_MEMBERS(20, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t)
  CONC_MEMBERS(21, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u)
  CONC_MEMBERS(22, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v)
  CONC_MEMBERS(23, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w)
  CONC_MEMBERS(24, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x)
  CONC_MEMBERS(25, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y)
  CONC_MEMBERS(26, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z)
  CONC_MEMBERS(27, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A)
  CONC_MEMBERS(28, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A, B)
  CONC_MEMBERS(29, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A, B, C)
  CONC_MEMBERS(30, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A, B, C, D)
  CONC_MEMBERS(31, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A, B, C, D, E)
  CONC_MEMBERS(32, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A, B, C, D, E, F_)
  return fn();
  // clang-format on
#undef CONC_MEMBERS
}

/// Makes a list of the types it is called with. Bit-fields do not compile: no reference can be bound to one.
struct ListTypes {
  template <class... Member>
  constexpr auto operator()(Member&...) const noexcept {
    return TypeList<std::remove_const_t<Member>...>{};
  }
};

template <class T>
using MembersOf = decltype(call_with_members(std::declval<T&>(), ListTypes{}));

}  // namespace conc::inline CONC_ABI::detail
