// SPDX-License-Identifier: MIT
/// @file
/// Recycler: memory for what comes and goes with every task. Blocks go back to where they are wanted next in batches.
///
/// The two lists of each thread, the current one and a full one, are the magazines of Bonwick and Adams ("Magazines and
/// Vmem", 2001).
#pragma once

#include <conc/detail/sync.hpp>
#include <conc/lock.hpp>
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#if defined(__SANITIZE_ADDRESS__) || (defined(__SANITIZE_THREAD__) && defined(CONC_EXPLORE))
#define CONC_DETAIL_RECYCLE 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || (__has_feature(thread_sanitizer) && defined(CONC_EXPLORE))
#define CONC_DETAIL_RECYCLE 0
#endif
#endif
#if !defined(CONC_DETAIL_RECYCLE)
#define CONC_DETAIL_RECYCLE 1
#endif

namespace conc::inline CONC_ABI::detail {

/// A block that nobody uses.
struct FreeBlock {
  FreeBlock* next;        // in its batch
  FreeBlock* further;     // some places behind it, to be fetched ahead; it may have gone
  FreeBlock* next_batch;  // of the first block of a batch: in the depot
};

/// Batches of blocks of one size that no thread holds. Never destroyed.
class Depot {
 public:
  static constexpr std::uint32_t kBatch = 64;                   // blocks: one lock for so many
  static constexpr std::size_t kMost = std::size_t{16} << 20U;  // bytes kept; what is more goes back to the system

  constexpr Depot() noexcept = default;

  /// A batch, or null.
  FreeBlock* take() {
    const sync::Unscheduled unscheduled;
    const ScopedLock guard{lock_};
    FreeBlock* const batch = batches_;
    if (batch != nullptr) {
      batches_ = batch->next_batch;
      --count_;
    }
    return batch;
  }

  /// @return false if there are enough
  bool give(FreeBlock* batch, std::size_t block_size) {
    const sync::Unscheduled unscheduled;
    const ScopedLock guard{lock_};
    if (count_ * kBatch * block_size >= kMost) {
      return false;
    }
    batch->next_batch = std::exchange(batches_, batch);
    ++count_;
    return true;
  }

 private:
  Lock lock_;
  FreeBlock* batches_ = nullptr;
  std::size_t count_ = 0;
};

/// The blocks of one size that one thread holds. `room` tells that the thread's end will be noticed: 0 before that.
struct Shelf {
  FreeBlock* first;  // the current batch, of up to `room` blocks
  FreeBlock* full;   // another whole batch, or null
  std::uint32_t count;
  std::uint32_t room;
  static constexpr std::uint32_t kAhead = 4;
  FreeBlock* recent[kAhead];  // that came last; never looked at
};

inline constexpr std::size_t kBlockSizes[] = {64, 128, 256};
inline constexpr std::size_t kBlockAlignment = 64;  // a cache line, so that two tasks never share one

[[gnu::visibility("default")]] inline thread_local constinit Shelf shelves[std::size(kBlockSizes)]{};
[[gnu::visibility("default")]] inline thread_local constinit bool shelves_ended = false;
[[gnu::visibility("default")]] inline constinit Depot depots[std::size(kBlockSizes)]{};

/// The blocks of a few sizes that a thread holds.
class Recycler {
 public:
  /// At least `size` bytes. @throws std::bad_alloc
  static void* take(std::size_t size) {
    const std::size_t which = which_size(size);
    if (which == kNone) {
      return ::operator new (size, std::align_val_t{kBlockAlignment});
    }
    Shelf& shelf = shelves[which];
    FreeBlock* const block = shelf.first;
    if (block == nullptr) [[unlikely]] {
      return refill(shelf, which);
    }
    __builtin_prefetch(block->further, 1);  // mostly it is in another CPU's cache
    shelf.first = block->next;
    --shelf.count;
    return block;
  }

  /// `size` as it was asked for.
  static void give(void* memory, std::size_t size) noexcept {
    const std::size_t which = which_size(size);
    if (which == kNone) {
      ::operator delete (memory, std::align_val_t{kBlockAlignment});
      return;
    }
    Shelf& shelf = shelves[which];
    if (shelf.count == shelf.room) [[unlikely]] {
      if (!make_room(shelf, which)) {
        ::operator delete (memory, std::align_val_t{kBlockAlignment});
        return;
      }
    }
    FreeBlock*& recent = shelf.recent[shelf.count % Shelf::kAhead];
    shelf.first = ::new (memory) FreeBlock{shelf.first, recent, nullptr};
    recent = shelf.first;
    ++shelf.count;
  }

 private:
  static constexpr std::size_t kNone = std::size(kBlockSizes);

  /// Gives everything back when its thread ends.
  struct AtThreadEnd {
    AtThreadEnd() noexcept = default;
    AtThreadEnd(const AtThreadEnd&) = delete;
    AtThreadEnd& operator=(const AtThreadEnd&) = delete;
    ~AtThreadEnd() {
      shelves_ended = true;
      for (std::size_t which = 0; which < kNone; ++which) {
        Shelf& shelf = shelves[which];
        shelf.room = 0;
        put_away(std::exchange(shelf.full, nullptr), which);
        if (shelf.count == Depot::kBatch) {
          put_away(shelf.first, which);
        } else {
          release(shelf.first);
        }
        shelf.first = nullptr;
        shelf.count = 0;
      }
    }
  };

  static constexpr std::size_t which_size(std::size_t size) noexcept {
    if (CONC_DETAIL_RECYCLE == 0) {
      return kNone;  // AddressSanitizer wants to see every block come and go; explored threads share thread_locals
    }
    return size <= kBlockSizes[0] ? 0 : size <= kBlockSizes[1] ? 1 : size <= kBlockSizes[2] ? 2 : kNone;
  }

  [[gnu::cold, gnu::noinline]] static void* refill(Shelf& shelf, std::size_t which) {
    FreeBlock* batch = std::exchange(shelf.full, nullptr);
    if (batch == nullptr && !shelves_ended && notice_thread_end(shelf)) {
      batch = depots[which].take();
    }
    if (batch == nullptr) {
      return ::operator new (kBlockSizes[which], std::align_val_t{kBlockAlignment});
    }
    shelf.first = batch->next;
    shelf.count = Depot::kBatch - 1;
    return batch;
  }

  /// @return false where nothing can be kept: the thread is ending
  [[gnu::cold, gnu::noinline]] static bool make_room(Shelf& shelf, std::size_t which) noexcept {
    if (shelf.room == 0) {
      return !shelves_ended && notice_thread_end(shelf);
    }
    put_away(shelf.full, which);
    shelf.full = std::exchange(shelf.first, nullptr);
    shelf.count = 0;
    return true;
  }

  static bool notice_thread_end(Shelf& shelf) noexcept {
    thread_local const AtThreadEnd at_thread_end;
    (void)at_thread_end;
    shelf.room = Depot::kBatch;
    return true;
  }

  static void put_away(FreeBlock* batch, std::size_t which) noexcept {
    if (batch != nullptr && !depots[which].give(batch, kBlockSizes[which])) {
      release(batch);
    }
  }

  static void release(FreeBlock* block) noexcept {
    while (block != nullptr) {
      ::operator delete (std::exchange(block, block->next), std::align_val_t{kBlockAlignment});
    }
  }
};

/// Base of what is made and destroyed with every task: its memory is recycled. Deleted through a virtual destructor, or
/// as what it is.
struct Recycled {
  static void* operator new(std::size_t size) { return Recycler::take(size); }
  static void operator delete(void* memory, std::size_t size) noexcept { Recycler::give(memory, size); }
  static void* operator new(std::size_t size, std::align_val_t alignment) { return ::operator new(size, alignment); }
  static void operator delete(void* memory, std::size_t /*size*/, std::align_val_t alignment) noexcept {
    ::operator delete(memory, alignment);
  }
};

}  // namespace conc::inline CONC_ABI::detail
