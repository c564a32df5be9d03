// SPDX-License-Identifier: MIT
/// @file
/// How values become bytes, and bytes become values: numbers, classes, aggregates.
///
/// Format<T> of a type T:
///   Parts         what a T consists of. All of it must be picklable for T to be.
///   least         how many bytes a T has at least, and that is never 0: so a length that is larger than what remains is
///                 seen to be wrong before room is made for it.
///   solid         if there, and true: a T is its bytes, without padding, and no bytes are wrong. Many of them travel as
///                 one block.
///   save(out, x)  appends the bytes of x
///   load(in)      reads them and returns the value
///   read(in, x)   if there: reads them into a value
/// Archives are parameters, for they are defined above this header.
#pragma once

#include <conc/detail/pickle_members.hpp>
#include <conc/detail/sync.hpp>

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI {

class Pickler;
class Unpickler;

template <class T>
struct pickler;

namespace detail {

template <class T>
constexpr auto format_of();

template <class T>
using Format = decltype(format_of<T>());

/// Of what cannot be pickled.
struct NoFormat {};

/// The type of the elements of an array, the type itself of what is none.
template <class T>
using Plain = std::remove_cv_t<std::remove_all_extents_t<T>>;

template <class T>
constexpr std::size_t least_of_type() {
  return Format<T>::least;
}

template <class... Part>
constexpr std::size_t least_of(TypeList<Part...>) {
  constexpr std::size_t sum = (std::size_t{0} + ... + least_of_type<Plain<Part>>());
  return sum > 0 ? sum : 1;
}

template <class T>
constexpr bool is_solid() {
  if constexpr (requires { Format<T>::solid; }) {
    return Format<T>::solid;
  } else {
    return false;
  }
}

/// Saves a value or an array of values.
template <class T, class Out>
void save_value(Out& out, const T& value) {
  if constexpr (!std::is_array_v<T>) {
    Format<T>::save(out, value);
  } else if constexpr (is_solid<Plain<T>>()) {
    out.write(&value, sizeof value);
  } else {
    for (const auto& item : value) {
      save_value(out, item);
    }
  }
}

/// Loads a value or an array of values into what is there already.
template <class T, class In>
void read_value(In& in, T& value) {
  if constexpr (std::is_array_v<T>) {
    if constexpr (is_solid<Plain<T>>()) {
      in.read(&value, sizeof value);
    } else {
      for (auto& item : value) {
        read_value(in, item);
      }
    }
  } else if constexpr (requires { Format<T>::read(in, value); }) {
    Format<T>::read(in, value);
  } else {
    value = Format<T>::load(in);
  }
}

/// Reads as many bytes as an object has, and makes the object of them. It is trivially copyable; std::bit_cast would ask
/// once more, and g++ 12 says no of a closure for which somebody has asked whether it can be assigned.
template <class T, class In>
T load_bytes(In& in) {
  alignas(T) std::byte bytes[sizeof(T)];
  in.read(bytes, sizeof(T));
  return *std::launder(reinterpret_cast<const T*>(bytes));
}

/// A byte for what has none of its own.
template <class Out>
void save_nothing(Out& out) {
  out.write("", 1);
}
template <class In>
void load_nothing(In& in) {
  in.skip(1);
}

template <class T>
concept HasPickler = requires(const T& value, Pickler& out, Unpickler& in) {
  pickler<T>::save(out, value);
  { pickler<T>::load(in) } -> std::same_as<T>;
};

/// pickler<T>.
template <class T>
struct CustomFormat {
  using Parts = TypeList<>;
  static constexpr std::size_t least = 1;

  template <class Out>
  static void save(Out& out, const T& value) {
    const auto nested = out.nest();
    const std::size_t before = out.written();
    pickler<T>::save(out, value);
    if (out.written() == before) {
      save_nothing(out);
    }
  }

  template <class In>
  static T load(In& in) {
    const auto nested = in.nest();
    const std::uint64_t before = in.remaining();
    T value = pickler<T>::load(in);
    if (in.remaining() == before) {
      load_nothing(in);
    }
    return value;
  }
};

template <class T>
concept HasPickleMember = std::is_class_v<T> && requires(T& value, Pickler& out, Unpickler& in) {
  value.pickle(out);
  value.pickle(in);
};

template <class C, class R, class Archive>
C class_of_member(R (C::*)(Archive&));

/// Whether T got its pickle() from a base with data, and so has members that it says nothing of. A base without data can
/// only have it for T's sake.
template <class T>
constexpr bool inherits_pickle() {
  if constexpr (requires { class_of_member(&T::template pickle<Pickler>); }) {
    using Of = decltype(class_of_member(&T::template pickle<Pickler>));
    return !std::is_same_v<Of, T> && !std::is_empty_v<Of>;
  } else {
    return false;
  }
}

/// A member pickle(ar).
template <class T>
struct MemberFormat {
  using Parts = TypeList<>;
  static constexpr std::size_t least = 1;

  template <class Out>
  static void save(Out& out, const T& value) {
    const auto nested = out.nest();
    const std::size_t before = out.written();
    const_cast<T&>(value).pickle(out);  // the function that loads, too; so it is not const
    if (out.written() == before) {
      save_nothing(out);
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
    const auto nested = in.nest();
    const std::uint64_t before = in.remaining();
    value.pickle(in);
    if (in.remaining() == before) {
      load_nothing(in);
    }
  }
};

/// Numbers. An enum whose underlying type is not fixed is taken for one whose is.
template <class T>
struct NumberFormat {
  using Parts = TypeList<>;
  static constexpr bool solid = true;
  static constexpr std::size_t least = sizeof(T);

  template <class Out>
  static void save(Out& out, const T& value) {
    out.write(&value, sizeof(T));
  }

  template <class In>
  static T load(In& in) {
    return load_bytes<T>(in);
  }
};

/// bool, and enums that are one.
template <class T>
struct BoolFormat {
  using Parts = TypeList<>;
  static constexpr std::size_t least = 1;

  template <class Out>
  static void save(Out& out, const T& value) {
    const char byte = static_cast<bool>(value) ? 1 : 0;
    out.write(&byte, 1);
  }

  template <class In>
  static T load(In& in) {
    unsigned char byte = 0;
    in.read(&byte, 1);
    if (byte > 1) {
      in.fail("a bool that is neither true nor false");
    }
    return static_cast<T>(byte == 1);
  }
};

struct LongDoubleFormat {
  using Parts = TypeList<>;
  // Of the 16 bytes of x86's some are padding.
  static constexpr std::size_t least = std::numeric_limits<long double>::digits == 64 ? 10 : sizeof(long double);

  template <class Out>
  static void save(Out& out, const long double& value) {
    out.write(&value, least);
  }

  template <class In>
  static long double load(In& in) {
    long double value = 0;
    in.read(&value, least);
    return value;
  }
};

/// Whether it is nothing but values: constant only where T has no pointer, reference, pointer to member or union.
template <class T>
concept BitCastable =
    std::is_trivially_copyable_v<T> && std::is_copy_constructible_v<T> && !std::is_null_pointer_v<T> && requires {
  typename std::bool_constant<(static_cast<void>(std::bit_cast<T>(std::array<unsigned char, sizeof(T)>{})), true)>;
};

/// What is known to be plain values, and no more: a closure, a class with private members.
template <class T>
struct OpaqueFormat {
  using Parts = TypeList<>;
  static constexpr bool solid = std::has_unique_object_representations_v<T>;
  static constexpr std::size_t least = sizeof(T);

  template <class Out>
  static void save(Out& out, const T& value) {
    if constexpr (std::is_empty_v<T>) {
      save_nothing(out);
    } else {
#if defined(__has_builtin) && __has_builtin(__builtin_clear_padding)
      if constexpr (!solid) {
        T copy(value);
        __builtin_clear_padding(&copy);
        out.write(&copy, sizeof(T));
        return;
      }
#endif
      out.write(&value, sizeof(T));
    }
  }

  template <class In>
  static T load(In& in) {
    return load_bytes<T>(in);
  }
};

/// A class whose members are known.
template <class T>
struct AggregateFormat {
  using Parts = MembersOf<T>;
  static constexpr std::size_t least = least_of(Parts{});

  template <class... Part>
  static constexpr bool has_array_of(TypeList<Part...>) {
    return (false || ... || std::is_array_v<Part>);
  }
  static constexpr bool has_array = has_array_of(Parts{});

  template <class... Part>
  static constexpr bool is_solid_of(TypeList<Part...>) {
    return std::is_trivially_copyable_v<T> && (std::size_t{0} + ... + sizeof(Part)) == sizeof(T) &&
           (true && ... && is_solid<Plain<Part>>());
  }
  static constexpr bool solid = is_solid_of(Parts{});

  template <class Out>
  static void save(Out& out, const T& value) {
    if constexpr (solid) {
      out.write(&value, sizeof(T));
    } else if constexpr (Parts::size == 0) {
      save_nothing(out);
    } else {
      call_with_members(value, [&out](const auto&... member) { (save_value(out, member), ...); });
    }
  }

  template <class In>
  static T load(In& in) {
    if constexpr (solid) {
      return load_bytes<T>(in);
    } else if constexpr (Parts::size == 0) {
      load_nothing(in);
      return T{};
    } else if constexpr (has_array) {
      T value{};
      call_with_members(value, [&in](auto&... member) { (read_value(in, member), ...); });
      return value;
    } else {
      return load(in, Parts{});
    }
  }

 private:
  template <class In, class... Part>
  static T load(In& in, TypeList<Part...>) {
    return T{Format<Part>::load(in)...};  // in this order
  }
};

}  // namespace detail
}  // namespace conc::inline CONC_ABI
