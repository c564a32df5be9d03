// SPDX-License-Identifier: MIT
/// @file
/// Makes types picklable that say for cereal what there is to save: with `serialize(ar)`, or with `save(ar)` and `load(ar)`,
/// as public members or as functions beside the type. They need a default constructor.
///
/// cereal itself is not needed, and not included. Include this header wherever such a type is pickled: without it the type
/// says nothing. Its archive can `ar(x, y)`, `ar & x`, `ar << x` and `ar >> x`, has is_saving and is_loading, and takes
/// CEREAL_NVP(x), whose name is dropped, and cereal::base_class<Base>(this). A function that takes a version gets the largest
/// there is, as the program reads what it has written itself. What is said through cereal::access, save_minimal() or
/// pointers to bases is not heard.
///
/// A member pickle(ar), and a conc::pickler for the very type, come before what is said for cereal.
#pragma once

#include <conc/detail/pickle_formats.hpp>
#include <conc/detail/sync.hpp>
#include <conc/pickle.hpp>
#include <concepts>
#include <cstdint>
#include <type_traits>

namespace conc::inline CONC_ABI {

namespace detail {

/// How a type says what there is to save, or to load.
enum class CerealWay : std::uint8_t { none, member, versioned_member, function, versioned_function };

inline constexpr std::uint32_t kCerealVersion = ~std::uint32_t{0};

template <class T, class Archive>
constexpr CerealWay way_to_serialize() {
  if constexpr (requires(T & value, Archive & ar) { value.serialize(ar); }) {
    return CerealWay::member;
  } else if constexpr (requires(T & value, Archive & ar) { value.serialize(ar, kCerealVersion); }) {
    return CerealWay::versioned_member;
  } else if constexpr (requires(T & value, Archive & ar) { serialize(ar, value); }) {
    return CerealWay::function;
  } else if constexpr (requires(T & value, Archive & ar) { serialize(ar, value, kCerealVersion); }) {
    return CerealWay::versioned_function;
  } else {
    return CerealWay::none;
  }
}

template <class T, class Archive>
constexpr CerealWay way_to_save() {
  if constexpr (requires(const T& value, Archive& ar) { value.save(ar); }) {
    return CerealWay::member;
  } else if constexpr (requires(const T& value, Archive& ar) { value.save(ar, kCerealVersion); }) {
    return CerealWay::versioned_member;
  } else if constexpr (requires(const T& value, Archive& ar) { save(ar, value); }) {
    return CerealWay::function;
  } else if constexpr (requires(const T& value, Archive& ar) { save(ar, value, kCerealVersion); }) {
    return CerealWay::versioned_function;
  } else {
    return CerealWay::none;
  }
}

template <class T, class Archive>
constexpr CerealWay way_to_load() {
  if constexpr (requires(T & value, Archive & ar) { value.load(ar); }) {
    return CerealWay::member;
  } else if constexpr (requires(T & value, Archive & ar) { value.load(ar, kCerealVersion); }) {
    return CerealWay::versioned_member;
  } else if constexpr (requires(T & value, Archive & ar) { load(ar, value); }) {
    return CerealWay::function;
  } else if constexpr (requires(T & value, Archive & ar) { load(ar, value, kCerealVersion); }) {
    return CerealWay::versioned_function;
  } else {
    return CerealWay::none;
  }
}

template <class T, class Archive>
void call_serialize(T& value, Archive& ar) {
  constexpr CerealWay way = way_to_serialize<T, Archive>();
  if constexpr (way == CerealWay::member) {
    value.serialize(ar);
  } else if constexpr (way == CerealWay::versioned_member) {
    value.serialize(ar, kCerealVersion);
  } else if constexpr (way == CerealWay::function) {
    serialize(ar, value);
  } else {
    serialize(ar, value, kCerealVersion);
  }
}

template <class T, class Archive>
void call_save(const T& value, Archive& ar) {
  constexpr CerealWay way = way_to_save<T, Archive>();
  if constexpr (way == CerealWay::member) {
    value.save(ar);
  } else if constexpr (way == CerealWay::versioned_member) {
    value.save(ar, kCerealVersion);
  } else if constexpr (way == CerealWay::function) {
    save(ar, value);
  } else {
    save(ar, value, kCerealVersion);
  }
}

template <class T, class Archive>
void call_load(T& value, Archive& ar) {
  constexpr CerealWay way = way_to_load<T, Archive>();
  if constexpr (way == CerealWay::member) {
    value.load(ar);
  } else if constexpr (way == CerealWay::versioned_member) {
    value.load(ar, kCerealVersion);
  } else if constexpr (way == CerealWay::function) {
    load(ar, value);
  } else {
    load(ar, value, kCerealVersion);
  }
}

template <class T, class Archive>
concept Serializable = way_to_serialize<T, Archive>()
!= CerealWay::none;

/// CEREAL_NVP(x).
template <class T>
concept CerealNamed = requires(const T& named) {
  { named.name } -> std::convertible_to<const char*>;
  named.value;
};

/// cereal::base_class<Base>(this).
template <class T>
concept CerealBase = requires(const T& base) {
  *base.base_ptr;
};

/// What functions written for cereal take for its archive.
template <class Archive>
class CerealArchive {
 public:
  using is_saving = std::bool_constant<Archive::is_saving>;
  using is_loading = std::bool_constant<!Archive::is_saving>;

  explicit CerealArchive(Archive& archive) noexcept : archive_{archive} {}

  template <class... T>
  CerealArchive& operator()(T&&... values) {
    (pass(values), ...);
    return *this;
  }
  template <class T>
  CerealArchive& operator&(T&& value) {
    return (*this)(value);
  }
  template <class T>
    requires(is_saving::value)
  CerealArchive& operator<<(T&& value) { return (*this)(value); }
  template <class T>
    requires(is_loading::value)
  CerealArchive& operator>>(T&& value) { return (*this)(value); }

 private:
  template <class T>
  void pass(T& value) {
    if constexpr (CerealNamed<T>) {
      pass(value.value);
    } else if constexpr (CerealBase<T>) {
      pass_base(*value.base_ptr);
    } else {
      archive_(value);
    }
  }

  /// A base is where it is, and may be of an abstract class.
  template <class Base>
  void pass_base(Base& base) {
    if constexpr (Serializable<Base, CerealArchive>) {
      call_serialize(base, *this);
    } else if constexpr (is_saving::value && way_to_save<Base, CerealArchive>() != CerealWay::none) {
      call_save(base, *this);
    } else if constexpr (is_loading::value && way_to_load<Base, CerealArchive>() != CerealWay::none) {
      call_load(base, *this);
    } else {
      archive_(base);
    }
  }

  Archive& archive_;
};

using CerealSaver = CerealArchive<Pickler>;
using CerealLoader = CerealArchive<Unpickler>;

template <class T>
concept SerializableBothWays = Serializable<T, CerealSaver> && Serializable<T, CerealLoader>;

template <class T>
concept SavableAndLoadable = way_to_save<T, CerealSaver>()
!= CerealWay::none&& way_to_load<T, CerealLoader>() != CerealWay::none;

template <class T>
concept ForCereal = std::is_class_v<T> && std::is_default_constructible_v<T> && !HasPickleMember<T> &&
                    (SerializableBothWays<T> || SavableAndLoadable<T>);

}  // namespace detail

/// For whatever cereal could save and load.
template <detail::ForCereal T>
struct pickler<T> {
  static void save(Pickler& ar, const T& value) {
    detail::CerealSaver saver{ar};
    if constexpr (detail::SerializableBothWays<T>) {
      detail::call_serialize(const_cast<T&>(value), saver);  // the function that loads, too; so it takes no const
    } else {
      detail::call_save(value, saver);
    }
  }

  static T load(Unpickler& ar) {
    detail::CerealLoader loader{ar};
    T value{};
    if constexpr (detail::SerializableBothWays<T>) {
      detail::call_serialize(value, loader);
    } else {
      detail::call_load(value, loader);
    }
    return value;
  }
};

}  // namespace conc::inline CONC_ABI
