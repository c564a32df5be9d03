// SPDX-License-Identifier: MIT
/// @file
/// How each kind of type becomes bytes, and bytes become it.
///
/// Format<T> of a type T:
///   Parts         what a T is made of. All of them must be picklable for T to be.
///   least         how many bytes a T has at least, and that is never 0: so a length that is larger than what remains is
///                 seen to be wrong before anything is made of it.
///   save(out, x)  appends the bytes of x
///   load(in)      reads them and returns the value
/// Containers are known by their members, so that their headers need not be included.
#pragma once

#include <conc/detail/pickle_members.hpp>
#include <conc/detail/sync.hpp>

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace conc::inline CONC_ABI {

class Pickler;
class Unpickler;

/// To be specialized for a type that shall be picklable and cannot have a member pickle(ar):
/// static void save(Pickler&, const T&); static T load(Unpickler&);
template <class T>
struct pickler;

namespace detail {

/// What cannot become bytes.
struct NoFormat {};

template <class T>
constexpr auto format_of();

template <class T>
using Format = decltype(format_of<T>());

template <class T>
concept HasPickler = requires(const T& value, Pickler& out, Unpickler& in) {
  pickler<T>::save(out, value);
  { pickler<T>::load(in) } -> std::same_as<T>;
};

template <class T>
concept HasPickleMember = std::is_class_v<T> && requires(T& value, Pickler& out, Unpickler& in) {
  value.pickle(out);
  value.pickle(in);
};

/// Whether it is nothing but values: constant only where T has no pointer, reference, pointer to member or union.
template <class T>
concept BitCastable = std::is_trivially_copyable_v<T> && requires {
  typename std::bool_constant<(static_cast<void>(std::bit_cast<T>(std::array<unsigned char, sizeof(T)>{})), true)>;
};

/// Types whose objects are their bytes: no padding, and no bytes that are no value. Many of them travel as one block.
template <class T>
constexpr bool is_solid() {
  if constexpr (requires { Format<T>::solid; }) {
    return Format<T>::solid;
  } else {
    return false;
  }
}

template <class T>
constexpr std::size_t least() {
  return Format<T>::least;
}

/// pickler<T>.
template <class T>
struct CustomFormat {
  using Parts = TypeList<>;
  static constexpr std::size_t least = 1;

  template <class Out>
  static void save(Out& out, const T& value) {
    const auto nesting = out.nest();
    const std::size_t before = out.written();
    pickler<T>::save(out, value);
    if (out.written() == before) {
      out.write("", 1);
    }
  }

  template <class In>
  static T load(In& in) {
    const auto nesting = in.nest();
    const std::uint64_t before = in.remaining();
    T value = pickler<T>::load(in);
    if (in.remaining() == before) {
      in.skip(1);
    }
    return value;
  }
};

/// A member pickle(ar).
template <class T>
struct MemberFormat {
  using Parts = TypeList<>;
  static constexpr std::size_t least = 1;

  template <class Out>
  static void save(Out& out, const T& value) {
    const auto nesting = out.nest();
    const std::size_t before = out.written();
    const_cast<T&>(value).pickle(out);  // the same function loads, so it is not const
    if (out.written() == before) {
      out.write("", 1);
    }
  }

  template <class In>
  static T load(In& in) {
    T value{};
    read(in, value);
    return value;
  }

  template <class In>
  static void read(In& in, T& value) {
    const auto nesting = in.nest();
    const std::uint64_t before = in.remaining();
    value.pickle(in);
    if (in.remaining() == before) {
      in.skip(1);
    }
  }
};

/// Numbers and enums, and what consists of bytes that are values whatever they are.
template <class T>
struct BytesFormat {
  using Parts = TypeList<>;
  static constexpr bool solid = true;
  static constexpr std::size_t least = sizeof(T);

  template <class Out>
  static void save(Out& out, const T& value) {
    out.write(&value, sizeof(T));
  }

  template <class In>
  static T load(In& in) {
    std::array<std::byte, sizeof(T)> bytes;
    in.read(bytes.data(), sizeof(T));
    return std::bit_cast<T>(bytes);
  }
};

struct BoolFormat {
  using Parts = TypeList<>;
  static constexpr std::size_t least = 1;

  template <class Out>
  static void save(Out& out, bool value) {
    const char byte = value ? 1 : 0;
    out.write(&byte, 1);
  }

  template <class In>
  static bool load(In& in) {
    unsigned char byte = 0;
    in.read(&byte, 1);
    if (byte > 1) {
      in.fail("a bool is neither true nor false");
    }
    return byte == 1;
  }
};

template <class T>
concept Growing = requires(T& container, typename T::value_type&& value) {
  container.push_back(std::move(value));
  container.begin();
  container.end();
  container.size();
}
&&std::is_default_constructible_v<T>&& std::is_move_constructible_v<typename T::value_type>;

template <class T>
concept Block = Growing<T> && requires(T& container, std::size_t n) {
  { container.data() } -> std::same_as<typename T::value_type*>;
  container.resize(n);
  container.reserve(n);
};

/// vector, deque, list, basic_string.
template <class T>
struct SequenceFormat {
  using Item = typename T::value_type;
  using Parts = TypeList<Item>;
  static constexpr std::size_t least = sizeof(std::uint64_t);

  template <class Out>
  static void save(Out& out, const T& values) {
    out.write_length(values.size());
    if constexpr (Block<T> && is_solid<Item>()) {
      out.write(values.data(), values.size() * sizeof(Item));
    } else {
      const auto nesting = out.nest();
      for (const auto& value : values) {
        Format<Item>::save(out, value);
      }
    }
  }

  template <class In>
  static T load(In& in) {
    T values;
    const std::size_t n = in.read_length(detail::least<Item>());
    if constexpr (Block<T> && is_solid<Item>()) {
      read_block(in, values, n);
    } else {
      const auto nesting = in.nest();
      if constexpr (Block<T>) {
        values.reserve((std::min)(n, in.room_for(sizeof(Item))));
      }
      for (std::size_t i = 0; i < n; ++i) {
        values.push_back(Format<Item>::load(in));
      }
    }
    return values;
  }

 private:
  static constexpr std::size_t kStep = 65536 / sizeof(Item) > 0 ? 65536 / sizeof(Item) : 1;

  /// In steps: what resize() clears is still in the cache when it is overwritten.
  template <class In>
  static void read_block(In& in, T& values, std::size_t n) {
    values.reserve((std::min)(n, in.room_for(sizeof(Item))));
    for (std::size_t done = 0; done < n;) {
      const std::size_t step = (std::min)(n - done, kStep);
      values.resize(done + step);
      in.read(values.data() + done, step * sizeof(Item));
      done += step;
    }
  }
};

/// Sets and maps.
template <class T>
concept Keyed = requires(T& container) {
  typename T::key_type;
  container.begin();
  container.size();
  container.clear();
}
&&std::is_default_constructible_v<T>;

template <class T>
struct KeyedFormat {
  using Key = typename T::key_type;
  using Parts = TypeList<Key>;
  static constexpr std::size_t least = sizeof(std::uint64_t);

  template <class Out>
  static void save(Out& out, const T& values) {
    const auto nesting = out.nest();
    out.write_length(values.size());
    for (const auto& value : values) {
      Format<Key>::save(out, value);
    }
  }

  template <class In>
  static T load(In& in) {
    T values;
    const auto nesting = in.nest();
    const std::size_t n = in.read_length(detail::least<Key>());
    for (std::size_t i = 0; i < n; ++i) {
      values.emplace_hint(values.end(), Format<Key>::load(in));
    }
    return values;
  }
};

template <class T>
struct MapFormat {
  using Key = typename T::key_type;
  using Mapped = typename T::mapped_type;
  using Parts = TypeList<Key, Mapped>;
  static constexpr std::size_t least = sizeof(std::uint64_t);

  template <class Out>
  static void save(Out& out, const T& values) {
    const auto nesting = out.nest();
    out.write_length(values.size());
    for (const auto& [key, value] : values) {
      Format<Key>::save(out, key);
      Format<Mapped>::save(out, value);
    }
  }

  template <class In>
  static T load(In& in) {
    T values;
    const auto nesting = in.nest();
    const std::size_t n = in.read_length(detail::least<Key>());
    for (std::size_t i = 0; i < n; ++i) {
      Key key = Format<Key>::load(in);
      values.emplace_hint(values.end(), std::move(key), Format<Mapped>::load(in));
    }
    return values;
  }
};

template <class T>
inline constexpr bool is_tuple = false;
template <class... T>
inline constexpr bool is_tuple<std::tuple<T...>> = true;
template <class A, class B>
inline constexpr bool is_tuple<std::pair<A, B>> = true;
template <class T>
struct TupleParts;
template <class... T>
struct TupleParts<std::tuple<T...>> {
  using List = TypeList<T...>;
};
template <class A, class B>
struct TupleParts<std::pair<A, B>> {
  using List = TypeList<A, B>;
};

/// The value of a member.
template <class T, class Out>
void save_value(Out& out, const T& value) {
  if constexpr (std::is_array_v<T>) {
    for (const auto& item : value) {
      save_value(out, item);
    }
  } else {
    Format<T>::save(out, value);
  }
}

/// Replaces a value.
template <class T, class In>
void read_value(In& in, T& value) {
  if constexpr (std::is_array_v<T>) {
    for (auto& item : value) {
      read_value(in, item);
    }
  } else if constexpr (requires { Format<T>::read(in, value); }) {
    Format<T>::read(in, value);
  } else {
    value = Format<T>::load(in);
  }
}

template <class... Part>
constexpr std::size_t least_of(TypeList<Part...>) {
  const std::size_t sum = (std::size_t{0} + ... + detail::least<std::remove_cv_t<std::remove_all_extents_t<Part>>>());
  return sum > 0 ? sum : 1;
}

template <class T>
struct TupleFormat {
  using Parts = typename TupleParts<T>::List;
  static constexpr std::size_t least = detail::least_of(Parts{});

  template <class Out>
  static void save(Out& out, const T& values) {
    std::apply([&out](const auto&... value) { (save_value(out, value), ...); }, values);
    if constexpr (Parts::size == 0) {
      out.write("", 1);
    }
  }

  template <class In>
  static T load(In& in) {
    return load(in, Parts{});
  }

 private:
  template <class In, class... Part>
  static T load(In& in, TypeList<Part...>) {
    if constexpr (Parts::size == 0) {
      in.skip(1);
    }
    return T{Format<std::remove_cv_t<Part>>::load(in)...};
  }
};

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

template <class T>
struct OptionalFormat {
  using Value = typename T::value_type;
  using Parts = TypeList<Value>;
  static constexpr std::size_t least = 1;

  template <class Out>
  static void save(Out& out, const T& value) {
    BoolFormat::save(out, value.has_value());
    if (value.has_value()) {
      Format<std::remove_cv_t<Value>>::save(out, *value);
    }
  }

  template <class In>
  static T load(In& in) {
    if (BoolFormat::load(in)) {
      return T{Format<std::remove_cv_t<Value>>::load(in)};
    }
    return T{};
  }
};

template <class T>
struct AggregateFormat {
  using Parts = MembersOf<T>;
  static constexpr std::size_t least = detail::least_of(Parts{});

  template <class... Part>
  static constexpr bool is_solid_of(TypeList<Part...>) {
    return std::is_trivially_copyable_v<T> && Parts::size > 0 && (std::size_t{0} + ... + sizeof(Part)) == sizeof(T) &&
           (true && ... && detail::is_solid<std::remove_all_extents_t<Part>>());
  }
  static constexpr bool solid = is_solid_of(Parts{});

  template <class Out>
  static void save(Out& out, const T& value) {
    if constexpr (solid) {
      out.write(&value, sizeof(T));
    } else if constexpr (Parts::size == 0) {
      out.write("", 1);
    } else {
      call_with_members(value, [&out](const auto&... member) { (save_value(out, member), ...); });
    }
  }

  template <class In>
  static T load(In& in) {
    if constexpr (Parts::size == 0) {
      in.skip(1);
      return T{};
    } else {
      return load(in, Parts{});
    }
  }

 private:
  template <class In, class... Part>
  static T load(In& in, TypeList<Part...>) {
    if constexpr ((false || ... || std::is_array_v<Part>)) {
      T value{};
      call_with_members(value, [&in](auto&... member) { (read_value(in, member), ...); });
      return value;
    } else {
      return T{Format<Part>::load(in)...};
    }
  }
};

template <class T>
constexpr auto format_of() {
  if constexpr (HasPickler<T>) {
    return CustomFormat<T>{};
  } else if constexpr (HasPickleMember<T>) {
    return MemberFormat<T>{};
  } else if constexpr (std::is_same_v<T, bool>) {
    return BoolFormat{};
  } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
    return BytesFormat<T>{};
  } else if constexpr (is_tuple<T>) {
    return TupleFormat<T>{};
  } else if constexpr (is_optional<T>) {
    return OptionalFormat<T>{};
  } else if constexpr (Growing<T>) {
    return SequenceFormat<T>{};
  } else if constexpr (Keyed<T> && requires { typename T::mapped_type; }) {
    return MapFormat<T>{};
  } else if constexpr (Keyed<T>) {
    return KeyedFormat<T>{};
  } else if constexpr (Decomposable<T>) {
    return AggregateFormat<T>{};
  } else {
    return NoFormat{};
  }
}

template <class T, class... Outer>
constexpr bool can_pickle();

template <class... Outer, class... Part>
constexpr bool can_pickle_all(TypeList<Part...>) {
  return (true && ... && can_pickle<std::remove_cv_t<std::remove_all_extents_t<Part>>, Outer...>());
}

/// `Outer` are the types that T was found in: a type that has members of its own kind, in a vector, say, is picklable if
/// all others are.
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

}  // namespace detail
}  // namespace conc::inline CONC_ABI
