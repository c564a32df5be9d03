// SPDX-License-Identifier: MIT
/// @file
/// Ref and RefCounted: shared ownership with the count inside the object.
#pragma once

#include <conc/detail/sync.hpp>
#include <cstdint>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// Base of what several handles own together. Born with one reference, which the first Ref takes over.
class RefCounted {
 public:
  RefCounted() noexcept = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;
  virtual ~RefCounted() = default;

  void add_reference() noexcept {
    references_.fetch_add(1, mo::relaxed);  // relaxed: whoever copies a reference holds one already
  }

  void drop_reference() noexcept {
    // release (1) and acquire (1): all uses of the object through other references come before its destruction.
    if (references_.fetch_sub(1, mo::acq_rel) == 1) {
      delete this;
    }
  }

 private:
  sync::Atomic<std::uint32_t> references_{1};
};

/// One reference to a RefCounted, never null: moving from a Ref copies it.
template <class T>
class Ref {
 public:
  /// Takes over a reference that the caller owns.
  static Ref adopt(T* object) noexcept { return Ref{object}; }
  /// Adds a reference.
  static Ref share(T* object) noexcept {
    object->add_reference();
    return Ref{object};
  }

  Ref(const Ref& other) noexcept : object_{other.object_} { object_->add_reference(); }
  Ref& operator=(const Ref& other) noexcept {
    Ref copy{other};
    std::swap(object_, copy.object_);
    return *this;
  }
  ~Ref() { object_->drop_reference(); }

  T* get() const noexcept { return object_; }
  T* operator->() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }

 private:
  explicit Ref(T* object) noexcept : object_{object} {}
  T* object_;
};

}  // namespace conc::inline CONC_ABI::detail
