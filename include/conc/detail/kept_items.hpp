// SPDX-License-Identifier: MIT
/// @file
/// KeptItems: an array of items that are moved about without running any code of theirs.
#pragma once

#include <conc/detail/sync.hpp>
#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI::detail {

/// One item, as a queue keeps it that is not first in, first out: such that it can change its place under the lock, and be
/// destroyed later, without it. Small plain items are kept as they are, all others in a node of their own. Copies are
/// bitwise; one of them must destroy() the item.
template <class T>
class Kept {
 public:
  static constexpr bool in_place = std::is_trivially_copyable_v<T> && std::is_trivially_copy_constructible_v<T> &&
                                   std::is_trivially_move_constructible_v<T> &&
                                   std::is_trivially_copy_assignable_v<T> && std::is_trivially_move_assignable_v<T> &&
                                   sizeof(T) <= 4 * sizeof(void*);

  /// Makes a T of `item`.
  template <class U>
  static Kept make(U&& item) {
    if constexpr (in_place) {
      return Kept{static_cast<T>(std::forward<U>(item))};
    } else {
      return Kept{new Node{static_cast<T>(std::forward<U>(item))}};
    }
  }

  T& operator*() noexcept {
    if constexpr (in_place) {
      return held_;
    } else {
      return held_->item;
    }
  }

  void destroy() noexcept {
    if constexpr (!in_place) {
      delete held_;
    }
  }

 private:
  struct Node {  // so that an operator new of T's is not asked
    T item;
  };
  using Held = std::conditional_t<in_place, T, Node*>;

  explicit Kept(Held held) noexcept : held_(held) {}

  Held held_;
};

/// An array of Kept<T>, or of what is derived from it. It grows and shrinks at its end, in blocks, so that its memory
/// follows what is in it and no growth copies more than pointers to blocks.
template <class T, class Entry = Kept<T>>
class KeptItems {
  static_assert(std::is_trivially_copyable_v<Entry>);

 public:
  KeptItems() noexcept = default;
  KeptItems& operator=(const KeptItems&) = delete;

  /// Everything `other` has, which is empty then.
  KeptItems(KeptItems&& other) noexcept
      : size_{std::exchange(other.size_, 0)}, blocks_{std::exchange(other.blocks_, {})} {}

  /// Destroys all items.
  ~KeptItems() {
    if constexpr (!Kept<T>::in_place) {
      for (std::size_t i = 0; i < size_; ++i) {
        (*this)[i].destroy();
      }
    }
    for (Block* const block : blocks_) {
      delete block;
    }
  }

  std::size_t size() const noexcept { return size_; }
  Entry& operator[](std::size_t index) noexcept { return *place(index); }
  Entry& back() noexcept { return (*this)[size_ - 1]; }

  /// Makes room for one more. If that throws, nothing has changed.
  void make_room() {
    if (size_ == blocks_.size() * kEntries) {
      blocks_.push_back(nullptr);
      try {
        blocks_.back() = new Block;
      } catch (...) {
        blocks_.pop_back();
        throw;
      }
    }
  }

  /// Adds an entry at the end. make_room() has been called.
  void push_back(const Entry& entry) noexcept {
    ::new (static_cast<void*>(place(size_))) Entry(entry);
    ++size_;
  }

  /// Forgets the last entry.
  void pop_back() noexcept {
    --size_;
    if (size_ + 2 * kEntries <= blocks_.size() * kEntries) {  // an empty block is kept, for the next ones to come
      delete blocks_.back();
      blocks_.pop_back();
    }
  }

 private:
  static constexpr std::size_t entries_per_block() noexcept {
    std::size_t entries = 8;
    while (entries * 2 * sizeof(Entry) <= 2048) {
      entries *= 2;
    }
    return entries;
  }
  static constexpr std::size_t kEntries = entries_per_block();  // a power of two

  struct Block {
    alignas(Entry) std::byte bytes[kEntries * sizeof(Entry)];
  };

  Entry* place(std::size_t index) noexcept {
    return std::launder(reinterpret_cast<Entry*>(blocks_[index / kEntries]->bytes) + index % kEntries);
  }

  std::size_t size_ = 0;
  std::vector<Block*> blocks_;
};

}  // namespace conc::inline CONC_ABI::detail
