// SPDX-License-Identifier: MIT
/// @file
/// Operator new that can count and fail. Included by one source file of a test executable: it replaces the global one.
#pragma once

#include <malloc.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace conc_test {

/// Bytes that operator new gave out and that were not given back.
inline std::atomic<std::size_t> live_bytes{0};

/// The most that operator new was asked for at once. Whoever wants to know sets it to 0 before.
inline std::atomic<std::size_t> largest_allocation{0};

/// How many allocations of this thread will still work before one fails; negative: none fails. Atomic, for compilers
/// take for granted that operator new changes no variables.
inline thread_local constinit std::atomic<int> allocations_left{-1};

inline void* allocate(std::size_t size, std::size_t alignment) {
  if (allocations_left.load() >= 0 && allocations_left.fetch_sub(1) == 0) throw std::bad_alloc{};
  for (std::size_t largest = largest_allocation.load(std::memory_order_relaxed);
       size > largest && !largest_allocation.compare_exchange_weak(largest, size, std::memory_order_relaxed);) {
  }
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  void* const memory = alignment <= alignof(std::max_align_t) ? std::malloc(size == 0 ? 1 : size)
                                                              : std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) throw std::bad_alloc{};
  live_bytes.fetch_add(::malloc_usable_size(memory), std::memory_order_relaxed);
  return memory;
}

inline void deallocate(void* memory) noexcept {
  if (memory != nullptr) live_bytes.fetch_sub(::malloc_usable_size(memory), std::memory_order_relaxed);
  std::free(memory);
}

/// Calls `fn` again and again: first its first allocation fails, then its second, until it needs no more. After each
/// call that met a failure `check(got_through)` is called, with whether `fn` ended without std::bad_alloc.
/// @return how many allocations there were. (Only those of the calling thread fail.)
template <class F, class Check>
int fail_each_allocation(F fn, Check check) {
  for (int k = 0;; ++k) {
    bool got_through = true;
    allocations_left.store(k);
    try {
      fn();
    } catch (const std::bad_alloc&) {
      got_through = false;
    }
    const bool failed = allocations_left.load() < 0;
    allocations_left.store(-1);
    if (!failed) return k;
    check(got_through);
  }
}

}  // namespace conc_test

// All forms that conc and the tests use: those that a sanitizer brings along do not call each other.
void* operator new(std::size_t size) { return conc_test::allocate(size, alignof(std::max_align_t)); }
void* operator new[](std::size_t size) { return conc_test::allocate(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return conc_test::allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return conc_test::allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { conc_test::deallocate(memory); }
void operator delete[](void* memory) noexcept { conc_test::deallocate(memory); }
void operator delete(void* memory, std::size_t) noexcept { conc_test::deallocate(memory); }
void operator delete[](void* memory, std::size_t) noexcept { conc_test::deallocate(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { conc_test::deallocate(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { conc_test::deallocate(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { conc_test::deallocate(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { conc_test::deallocate(memory); }
