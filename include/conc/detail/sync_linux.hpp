// SPDX-License-Identifier: MIT
/// @file
/// The native backend of the seam on Linux: futex words. Included by sync.hpp only.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif

#include <bit>
#include <climits>
#include <conc/detail/sync_posix.hpp>
#include <ctime>

namespace conc::inline CONC_ABI::detail::sync::native {

#if defined(SYS_futex_time64)  // 32-bit systems have it, for a time_t that is wider than their long
inline constexpr long kFutex = sizeof(std::time_t) > sizeof(long) ? SYS_futex_time64 : SYS_futex;
#else
inline constexpr long kFutex = SYS_futex;
#endif

/// The four bytes that the kernel compares: all of a 32-bit word, the low half of a 64-bit one.
template <class Word>
const char* futex_bytes(const void* word) noexcept {
  return static_cast<const char*>(word) + (std::endian::native == std::endian::big ? sizeof(Word) - 4 : 0);
}

template <class Word>
bool wait(const Atomic<Word>& word, Word expected, TimePoint end) noexcept {
  static_assert(sizeof(Word) == 4 || sizeof(Word) == 8);
  const KeepErrno keep;
  std::timespec until{};
  if (end != forever) {
    const auto since_epoch = std::chrono::duration_cast<std::chrono::nanoseconds>(end.time_since_epoch()).count();
    const std::int64_t nanoseconds = since_epoch < 0 ? 0 : since_epoch;
    until.tv_sec = static_cast<std::time_t>(nanoseconds / 1'000'000'000);
    until.tv_nsec = static_cast<long>(nanoseconds % 1'000'000'000);
  }
  // FUTEX_WAIT_BITSET takes an absolute time on CLOCK_MONOTONIC (futex(2)), so that an interruption cannot extend it.
  const long failed =
      syscall(kFutex, futex_bytes<Word>(&word), FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG,
              static_cast<std::uint32_t>(expected), end == forever ? nullptr : &until, nullptr, FUTEX_BITSET_MATCH_ANY);
  // EAGAIN (the word had changed) and EINTR (a signal) are reasons to look again.
  return !(failed != 0 && errno == ETIMEDOUT);
}

/// `address` is that of the word; Word tells its size.
template <class Word = std::uint32_t>
void wake(const void* address, std::uint32_t n) noexcept {
  const KeepErrno keep;  // EFAULT: the word is gone, and with it everybody who could have slept on it
  syscall(kFutex, futex_bytes<Word>(address), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, n, nullptr, nullptr, 0);
}

/// The CPU this thread runs on; a hint that may be stale at once, and all ones if the system does not tell.
inline std::uint32_t this_cpu() noexcept {
#if defined(RSEQ_SIG)
  // The kernel keeps it in the thread's rseq area (rseq(2)); glibc says where that is. A tenth of sched_getcpu's price.
  const char* const area = static_cast<const char*>(__builtin_thread_pointer()) + __rseq_offset;
  return reinterpret_cast<const volatile rseq*>(area)->cpu_id;
#else
  return static_cast<std::uint32_t>(sched_getcpu());
#endif
}

using ThreadHandle = pthread_t;

inline void join(ThreadHandle thread) noexcept { pthread_join(thread, nullptr); }

/// Joins the thread if it is gone for good, destructors of its thread_locals included.
inline bool try_join(ThreadHandle thread) noexcept { return pthread_tryjoin_np(thread, nullptr) == 0; }

constexpr bool gone(ThreadHandle /*thread*/) noexcept { return false; }

inline const void* middle_of_stack() noexcept {
  const KeepErrno keep;
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) {
    return nullptr;
  }
  void* lowest = nullptr;
  std::size_t size = 0;
  const int failed = pthread_attr_getstack(&attributes, &lowest, &size);
  pthread_attr_destroy(&attributes);
  return failed == 0 ? static_cast<const char*>(lowest) + size / 2 : nullptr;
}

}  // namespace conc::inline CONC_ABI::detail::sync::native
