// SPDX-License-Identifier: MIT
/// @file
/// Stack: items last in, first out, where an item can be destroyed after it has left the stack.
#pragma once

#include <conc/detail/kept_items.hpp>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// Has the members of BlockList. All but destroy() are guarded by a lock of the caller's.
template <class T>
class Stack {
 public:
  using Popped = Kept<T>;

  std::size_t size() const noexcept { return items_.size(); }

  /// Makes a T of `item`, the first one to leave. If that throws, nothing has changed.
  template <class U>
  void push(U&& item) {
    items_.make_room();
    items_.push_back(Kept<T>::make(std::forward<U>(item)));
  }

  static constexpr std::uint64_t prepare_pop() noexcept { return 0; }
  T& front() noexcept { return *items_.back(); }

  /// Takes the first item out, as it is.
  Popped pop(std::uint64_t /*prepared*/) noexcept {
    const Popped popped = items_.back();
    items_.pop_back();
    return popped;
  }

  static void destroy(Popped popped) noexcept { popped.destroy(); }

  /// Takes out all items; what is returned destroys them.
  KeptItems<T> take_all() noexcept { return std::move(items_); }

 private:
  KeptItems<T> items_;
};

}  // namespace conc::inline CONC_ABI::detail
