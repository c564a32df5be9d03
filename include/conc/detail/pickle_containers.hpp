// SPDX-License-Identifier: MIT
/// @file
/// How the containers of the standard library become bytes, and bytes become them.
///
/// Those with expensive headers are known by their members. What is taken for a container is a class template with the
/// type of the items, or of the keys, as its first argument: not a class that was derived from one, and has more to it.
#pragma once

#include <conc/detail/pickle_members.hpp>
#include <conc/detail/pickle_values.hpp>
#include <conc/detail/sync.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI::detail {

inline constexpr std::size_t kLength = sizeof(std::uint64_t);  // how many bytes a length has

template <class T>
struct FirstArgument {
  using Type = void;
};
template <template <class...> class Template, class First, class... Rest>
struct FirstArgument<Template<First, Rest...>> {
  using Type = First;
};

template <class T>
concept Container = std::is_default_constructible_v<T> && !std::is_aggregate_v<T> && requires(const T& container) {
  typename T::value_type;
  container.begin();
  container.end();
};

template <class T, class Item>
concept ContainerOf =
    Container<T> && std::same_as<typename FirstArgument<T>::Type, Item> && std::move_constructible<Item>;

template <class T>
concept Sequence = ContainerOf<T, typename T::value_type> && requires(T& container, typename T::value_type (*make)()) {
  container.push_back(make());
  container.size();
};

template <class T>
concept ForwardList = ContainerOf<T, typename T::value_type> &&
    requires(T& container, typename T::value_type (*make)()) {
  container.insert_after(container.before_begin(), make());
};

/// What orders or hashes is not pickled, so there must be nothing to it.
template <class T>
constexpr bool is_stateless() {
  if constexpr (requires { typename T::key_compare; }) {
    return std::is_empty_v<typename T::key_compare>;
  } else if constexpr (requires { typename T::hasher; }) {
    return std::is_empty_v<typename T::hasher> && std::is_empty_v<typename T::key_equal>;
  } else if constexpr (requires { typename T::value_compare; }) {
    return std::is_empty_v<typename T::value_compare>;
  } else {
    return true;
  }
}

/// Sets and maps.
template <class T>
concept Keyed = ContainerOf<T, typename T::key_type> && is_stateless<T>() && requires(T& container) {
  container.size();
  container.clear();
};

template <class T>
concept Map = Keyed<T> && requires {
  typename T::mapped_type;
} && std::move_constructible<typename T::mapped_type>;

/// Sequences whose items are one block of memory, if they are solid.
template <class T>
concept Contiguous = Sequence<T> && requires(T& container, std::size_t n) {
  { container.data() } -> std::same_as<typename T::value_type*>;
  container.resize(n);
};

template <class T, class In>
void make_room(In& in, T& container, std::size_t items) {
  if constexpr (requires { container.reserve(items); }) {
    const std::size_t room = in.room_for(sizeof(typename T::value_type));
    container.reserve(items < room ? items : room);
  }
}

/// vector, deque, list, the strings.
template <class T>
struct SequenceFormat {
  static constexpr std::size_t kHere = 16384;       // half of a first-level cache
  static constexpr std::size_t kArriving = 262144;  // one call of the source: more costs nothing to speak of
  using Item = typename T::value_type;
  using Parts = TypeList<Item>;
  static constexpr std::size_t least = kLength;
  static constexpr bool is_block() { return Contiguous<T> && is_solid<Item>(); }

  template <class Out>
  static void save(Out& out, const T& values) {
    out.write_length(values.size());
    if constexpr (is_block()) {
      out.write(values.data(), values.size() * sizeof(Item));
    } else {
      const auto nested = out.nest();
      for (const Item& value : values) {
        Format<Item>::save(out, value);
      }
    }
  }

  template <class In>
  static T load(In& in) {
    const std::size_t n = in.read_length(least_of_type<Item>());
    if constexpr (is_block()) {
      return load_block(in, n);
    } else {
      T values;
      const auto nested = in.nest();
      make_room(in, values, n);
      for (std::size_t i = 0; i < n; ++i) {
        values.push_back(Format<Item>::load(in));
      }
      return values;
    }
  }

 private:
  template <class In>
  static T load_block(In& in, std::size_t n) {
    if constexpr (std::is_same_v<Item, char>) {
      if (const std::byte* const here = in.take(n)) {
        return T(reinterpret_cast<const char*>(here), reinterpret_cast<const char*>(here) + n);
      }
    }
    T values;
    make_room(in, values, n);
    // In steps: what resize() clears is still in the cache when it is overwritten, and memory grows as bytes arrive.
    const std::size_t bytes = in.is_streaming() ? kArriving : kHere;
    const std::size_t most = sizeof(Item) < bytes ? bytes / sizeof(Item) : 1;
    for (std::size_t done = 0; done < n;) {
      const std::size_t step = n - done < most ? n - done : most;
      values.resize(done + step);
      in.read(values.data() + done, step * sizeof(Item));
      done += step;
    }
    return values;
  }
};

template <class T>
struct ForwardListFormat {
  using Item = typename T::value_type;
  using Parts = TypeList<Item>;
  static constexpr std::size_t least = kLength;

  template <class Out>
  static void save(Out& out, const T& values) {
    const auto nested = out.nest();
    std::size_t n = 0;
    for (auto at = values.begin(); at != values.end(); ++at) {
      ++n;
    }
    out.write_length(n);
    for (const Item& value : values) {
      Format<Item>::save(out, value);
    }
  }

  template <class In>
  static T load(In& in) {
    T values;
    const auto nested = in.nest();
    std::size_t left = in.read_length(least_of_type<Item>());
    for (auto last = values.before_begin(); left > 0; --left) {
      last = values.insert_after(last, Format<Item>::load(in));
    }
    return values;
  }
};

/// Sets and maps, in their own order, so that each item belongs at the end of those before it.
template <class T>
struct KeyedFormat {
  using Key = typename T::key_type;
  using Parts = TypeList<Key>;
  static constexpr std::size_t least = kLength;

  template <class Out>
  static void save(Out& out, const T& values) {
    const auto nested = out.nest();
    out.write_length(values.size());
    for (const Key& key : values) {
      Format<Key>::save(out, key);
    }
  }

  template <class In>
  static T load(In& in) {
    T values;
    const auto nested = in.nest();
    const std::size_t n = in.read_length(least_of_type<Key>());
    make_room(in, values, n);
    for (std::size_t i = 0; i < n; ++i) {
      values.emplace_hint(values.end(), Format<Key>::load(in));
    }
    if (values.size() != n) {
      in.fail("equal keys");
    }
    return values;
  }
};

template <class T>
struct MapFormat {
  using Key = typename T::key_type;
  using Mapped = typename T::mapped_type;
  using Parts = TypeList<Key, Mapped>;
  static constexpr std::size_t least = kLength;

  template <class Out>
  static void save(Out& out, const T& values) {
    const auto nested = out.nest();
    out.write_length(values.size());
    for (const auto& item : values) {
      Format<Key>::save(out, item.first);
      Format<Mapped>::save(out, item.second);
    }
  }

  template <class In>
  static T load(In& in) {
    T values;
    const auto nested = in.nest();
    const std::size_t n = in.read_length(least_of(Parts{}));
    make_room(in, values, n);
    for (std::size_t i = 0; i < n; ++i) {
      std::pair<Key, Mapped> item{Format<Key>::load(in), Format<Mapped>::load(in)};
      values.emplace_hint(values.end(), std::move(item));
    }
    if (values.size() != n) {
      in.fail("equal keys");
    }
    return values;
  }
};

/// stack, queue, priority_queue.
template <class T>
concept Adaptor = std::is_default_constructible_v<T> &&
    is_stateless<T>() && ContainerOf<typename T::container_type, typename T::value_type> &&
    requires(T& adaptor, typename T::value_type (*make)()) {
  adaptor.push(make());
  adaptor.pop();
};

template <class T>
struct AdaptorFormat {
  using Items = typename T::container_type;
  using Parts = TypeList<Items>;
  static constexpr std::size_t least = kLength;

  template <class Out>
  static void save(Out& out, const T& values) {
    Format<Items>::save(out, values.*Inside::items());
  }

  template <class In>
  static T load(In& in) {
    Items items = Format<Items>::load(in);
    if constexpr (requires { typename T::value_compare; }) {
      return T(typename T::value_compare(), std::move(items));  // which puts them in order, whatever order they are in
    } else {
      T values;
      values.*Inside::items() = std::move(items);
      return values;
    }
  }

 private:
  struct Inside : T {
    static constexpr Items T::*items() noexcept { return &Inside::c; }  // protected, under a name of the standard's
  };
};

/// Bits as they come out of bit(i), eight in a byte.
template <class Out, class Bit>
void save_bits(Out& out, std::size_t n, Bit bit) {
  for (std::size_t i = 0; i < n; i += 8) {
    unsigned byte = 0;
    for (std::size_t k = 0; k < 8 && i + k < n; ++k) {
      byte |= (bit(i + k) ? 1U : 0U) << k;
    }
    const auto whole = static_cast<unsigned char>(byte);
    out.write(&whole, 1);
  }
}

template <class In, class SetBit>
void load_bits(In& in, std::size_t n, SetBit set_bit) {
  for (std::size_t i = 0; i < n; i += 8) {
    unsigned char byte = 0;
    in.read(&byte, 1);
    if (n - i < 8 && (byte >> (n - i)) != 0) {
      in.fail("more bits than there are");
    }
    for (std::size_t k = 0; k < 8 && i + k < n; ++k) {
      set_bit(i + k, ((byte >> k) & 1) != 0);
    }
  }
}

template <class T>
inline constexpr bool is_bit_vector = false;
template <class Allocator>
inline constexpr bool is_bit_vector<std::vector<bool, Allocator>> = true;

template <class T>
struct BitVectorFormat {
  using Parts = TypeList<>;
  static constexpr std::size_t least = kLength;

  template <class Out>
  static void save(Out& out, const T& bits) {
    out.write_length(bits.size());
    save_bits(out, bits.size(), [&bits](std::size_t i) { return static_cast<bool>(bits[i]); });
  }

  template <class In>
  static T load(In& in) {
    std::uint64_t n = 0;
    in.read(&n, sizeof n);
    if (n / 8 > in.remaining()) {
      in.fail("a length of " + std::to_string(n) + " bits where " + std::to_string(in.remaining()) + " bytes remain");
    }
    T bits;
    load_bits(in, static_cast<std::size_t>(n), [&bits](std::size_t, bool bit) { bits.push_back(bit); });
    return bits;
  }
};

/// bitset, which has a number for an argument.
template <class T>
inline constexpr bool is_bitset = false;
template <template <std::size_t> class Template, std::size_t N>
inline constexpr bool is_bitset<Template<N>> = requires(Template<N>& bits) {
  bits.set(N, true);
  bits.test(N);
  bits.to_ullong();
};

template <class T>
struct BitsetFormat;
template <template <std::size_t> class Template, std::size_t N>
struct BitsetFormat<Template<N>> {
  using Parts = TypeList<>;
  static constexpr std::size_t least = N == 0 ? 1 : (N + 7) / 8;

  template <class Out>
  static void save(Out& out, const Template<N>& bits) {
    if constexpr (N == 0) {
      save_nothing(out);
    }
    save_bits(out, N, [&bits](std::size_t i) { return bits.test(i); });
  }

  template <class In>
  static Template<N> load(In& in) {
    if constexpr (N == 0) {
      load_nothing(in);
    }
    Template<N> bits;
    load_bits(in, N, [&bits](std::size_t i, bool bit) { bits.set(i, bit); });
    return bits;
  }
};

/// array. Up to so many items are made where they stay; more must have a default first.
template <class T>
inline constexpr bool is_array = false;
template <class Item, std::size_t N>
inline constexpr bool is_array<std::array<Item, N>> = N <= kMostValues || std::is_default_constructible_v<Item>;

template <class T>
struct ArrayFormat;
template <class Item, std::size_t N>
struct ArrayFormat<std::array<Item, N>> {
  using Parts = TypeList<Item>;
  static constexpr bool solid = N > 0 && is_solid<Item>();
  static constexpr std::size_t least = N == 0 ? 1 : N * least_of_type<Item>();

  template <class Out>
  static void save(Out& out, const std::array<Item, N>& values) {
    if constexpr (solid) {
      out.write(&values, sizeof values);
    } else if constexpr (N == 0) {
      save_nothing(out);
    } else {
      for (const Item& value : values) {
        Format<Item>::save(out, value);
      }
    }
  }

  template <class In>
  static std::array<Item, N> load(In& in) {
    if constexpr (N == 0) {
      load_nothing(in);
      return {};
    } else if constexpr (N <= kMostValues && !solid) {
      return load_each(in, std::make_index_sequence<N>{});
    } else if constexpr (!std::is_default_constructible_v<Item>) {
      return load_bytes<std::array<Item, N>>(in);
    } else {
      std::array<Item, N> values;
      if constexpr (solid) {
        in.read(&values, sizeof values);
      } else {
        for (Item& value : values) {
          value = Format<Item>::load(in);
        }
      }
      return values;
    }
  }

 private:
  template <class In, std::size_t... I>
  static std::array<Item, N> load_each(In& in, std::index_sequence<I...>) {
    return {{(static_cast<void>(I), Format<Item>::load(in))...}};
  }
};

/// valarray.
template <class T>
concept Valarray = std::same_as < typename FirstArgument<T>::Type,
typename T::value_type > &&!std::same_as<typename T::value_type, bool> &&
    requires(const T& values, const typename T::value_type* items) {
  { values.cshift(1) } -> std::same_as<T>;
  T(items, values.size());
};

template <class T>
struct ValarrayFormat {
  using Item = typename T::value_type;
  using Items = std::vector<Item>;
  using Parts = TypeList<Item>;
  static constexpr std::size_t least = kLength;

  template <class Out>
  static void save(Out& out, const T& values) {
    out.write_length(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      Format<Item>::save(out, values[i]);
    }
  }

  template <class In>
  static T load(In& in) {
    const Items items = Format<Items>::load(in);
    return T(items.data(), items.size());
  }
};

}  // namespace conc::inline CONC_ABI::detail
