// SPDX-License-Identifier: MIT
/// @file
/// BlockList: items first in, first out, in blocks of memory, where an item can be destroyed after it has left the list.
#pragma once

#include <conc/detail/sync.hpp>
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// The order of the items is guarded by a lock of the caller's. What leaves the list is destroyed without it: a user's
/// destructor may do anything, even come back to the queue. So a block lives until all of its items are destroyed, which
/// the threads that took them count among themselves; items without a destructor need no counting.
template <class T>
class BlockList {
  struct Block;

 public:
  /// An item that has left the list and must be destroyed: by destroy(), without the lock.
  struct Popped {
    T* item = nullptr;
    Block* block = nullptr;
  };

  BlockList() noexcept = default;
  BlockList(const BlockList&) = delete;
  BlockList& operator=(const BlockList&) = delete;

  /// Everything `other` has, which is empty then.
  BlockList(BlockList&& other) noexcept
      : size_{std::exchange(other.size_, 0)},
        first_{std::exchange(other.first_, nullptr)},
        last_{std::exchange(other.last_, nullptr)},
        head_{std::exchange(other.head_, 0)},
        tail_{std::exchange(other.tail_, 0)} {}

  ~BlockList() {
    while (size_ > 0) {
      destroy(pop(prepare_pop()));
    }
    if (first_ != nullptr) {
      // The places that were never taken; or all, where the items need no destructor and no counting.
      vacate(first_, std::is_trivially_destructible_v<T> ? kItems : kItems - tail_);
    }
    delete spare_.load(mo::relaxed);  // relaxed: nobody else knows the list any more
  }

  std::size_t size() const noexcept { return size_; }
  T& front() noexcept { return *first_->item(head_); }

  /// Makes a T of `item`, the last one. If that throws, nothing has changed.
  template <class U>
  void push(U&& item) {
    if (last_ == nullptr || tail_ == kItems) {
      append_block();
    }
    ::new (static_cast<void*>(last_->item(tail_))) T(static_cast<T>(std::forward<U>(item)));
    ++tail_;
    ++size_;
  }

  static constexpr std::uint64_t prepare_pop() noexcept { return 0; }

  /// Takes the first item out, as it is.
  Popped pop(std::uint64_t /*prepared*/) noexcept {
    Popped popped{first_->item(head_), first_};
    if constexpr (std::is_trivially_destructible_v<T>) {
      popped.block = head_ + 1 == kItems ? first_ : nullptr;  // of a block, the last one to leave
    }
    --size_;
    if (++head_ == kItems) {
      first_ = first_->next;
      head_ = 0;
      if (first_ == nullptr) {
        last_ = nullptr;
      }
    }
    return popped;
  }

  /// Takes out all items; what is returned destroys them.
  BlockList take_all() noexcept { return std::move(*this); }

  void destroy(Popped popped) noexcept {
    if constexpr (std::is_trivially_destructible_v<T>) {
      if (popped.block != nullptr) {
        vacate(popped.block, kItems);
      }
    } else {
      popped.item->~T();
      vacate(popped.block, 1);
    }
  }

 private:
  static constexpr std::uint32_t kItems = sizeof(T) * 8 < 1000 ? static_cast<std::uint32_t>(1000 / sizeof(T)) : 8;

  struct Block {
    Block* next = nullptr;
    sync::Atomic<std::uint32_t> vacant{0};
    alignas(T) std::byte bytes[kItems * sizeof(T)];

    T* item(std::uint32_t index) noexcept { return std::launder(reinterpret_cast<T*>(bytes) + index); }
  };

  /// Counts places of a block that nobody will use again, and lets go of it with the last one.
  void vacate(Block* block, std::uint32_t places) noexcept {
    // acq_rel: whoever frees the block comes after all who used it.
    if (block->vacant.fetch_add(places, mo::acq_rel) + places == kItems) {
      // One block is kept, so that a queue that fills and empties does not go to the allocator each time.
      // acq_rel: release hands the block on as it was left; acquire takes the one it replaces likewise.
      delete spare_.exchange(block, mo::acq_rel);
    }
  }

  void append_block() {
    Block* block = spare_.exchange(nullptr, mo::acquire);  // acquire: pairs with the release in vacate()
    if (block == nullptr) {
      block = new Block;
    } else {
      block->next = nullptr;
      block->vacant.store(0, mo::relaxed);  // relaxed: handed on under the caller's lock
    }
    (last_ != nullptr ? last_->next : first_) = block;
    last_ = block;
    tail_ = 0;
  }

  std::size_t size_ = 0;
  Block* first_ = nullptr;  // holds the first item, at head_
  Block* last_ = nullptr;   // takes the next item, at tail_
  std::uint32_t head_ = 0;
  std::uint32_t tail_ = 0;
  sync::Atomic<Block*> spare_{nullptr};
};

}  // namespace conc::inline CONC_ABI::detail
