// SPDX-License-Identifier: MIT
/// @file
/// The native backend of the seam: futex words, POSIX threads, the steady clock. Included by sync.hpp only.
#pragma once

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif

#include <bit>
#include <cerrno>
#include <climits>
#include <ctime>

namespace conc::inline CONC_ABI::detail::sync::native {

template <class T>
using Atomic = std::atomic<T>;
static_assert(sizeof(Atomic<std::uint32_t>) == 4 && Atomic<std::uint32_t>::is_always_lock_free,
              "a futex word is the four bytes of its atomic");

inline constexpr unsigned spin_limit = 14;  // rounds of growing pauses: together about the price of a wake-up
inline constexpr unsigned patience = 16;    // lost races before a sleeper reserves a lock
inline constexpr unsigned deepest = 1'000;  // tasks that wait for each other on one stack

[[gnu::visibility("default")]] inline thread_local constinit ThreadRecord record{};

inline ThreadRecord& this_thread() noexcept { return record; }

/// Restores errno: a lock must not change what the code around it is about to report.
class KeepErrno {
 public:
  KeepErrno() noexcept = default;
  KeepErrno(const KeepErrno&) = delete;
  KeepErrno& operator=(const KeepErrno&) = delete;
  ~KeepErrno() { errno = kept_; }

 private:
  int kept_ = errno;
};

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
      syscall(SYS_futex, futex_bytes<Word>(&word), FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG,
              static_cast<std::uint32_t>(expected), end == forever ? nullptr : &until, nullptr, FUTEX_BITSET_MATCH_ANY);
  // EAGAIN (the word had changed) and EINTR (a signal) are reasons to look again.
  return !(failed != 0 && errno == ETIMEDOUT);
}

/// `address` is that of the word; Word tells its size.
template <class Word = std::uint32_t>
void wake(const void* address, std::uint32_t n) noexcept {
  const KeepErrno keep;  // EFAULT: the word is gone, and with it everybody who could have slept on it
  syscall(SYS_futex, futex_bytes<Word>(address), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, n, nullptr, nullptr, 0);
}

inline TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

inline void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

inline void yield() noexcept { sched_yield(); }

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

[[gnu::visibility("default")]] inline thread_local constinit std::uint32_t random_state = 0;

/// Marsaglia's xorshift32 ("Xorshift RNGs", 2003), seeded from the address of the thread's own state.
inline std::uint32_t random() noexcept {
  std::uint32_t x = random_state;
  if (x == 0) {
    x = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(&random_state) >> 6U) | 1U;
  }
  x ^= x << 13U;
  x ^= x >> 17U;
  x ^= x << 5U;
  return random_state = x;
}

using ThreadHandle = pthread_t;

/// Starts a joinable thread. Returns 0, or the error number of the step that failed; then nothing is left behind.
inline int start(ThreadHandle& thread, void* (*entry)(void*), void* argument, std::size_t stack_size) noexcept {
  pthread_attr_t attributes;
  if (const int error = pthread_attr_init(&attributes); error != 0) {
    return error;
  }
  int error = 0;
  if (stack_size != 0) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const auto least = static_cast<std::size_t>(sysconf(_SC_THREAD_STACK_MIN));
    const std::size_t wanted = stack_size < least ? least : stack_size;
    error = pthread_attr_setstacksize(&attributes, (wanted + page - 1) / page * page);
  }
  if (error == 0) {
    error = pthread_create(&thread, &attributes, entry, argument);
  }
  pthread_attr_destroy(&attributes);
  return error;
}

inline void join(ThreadHandle thread) noexcept { pthread_join(thread, nullptr); }

/// Joins the thread if it is gone for good, destructors of its thread_locals included.
inline bool try_join(ThreadHandle thread) noexcept { return pthread_tryjoin_np(thread, nullptr) == 0; }

constexpr bool gone(ThreadHandle /*thread*/) noexcept { return false; }

/// Names the calling thread for debuggers and /proc; the system keeps 15 bytes (pthread_setname_np(3)).
inline void set_thread_name(const char* name) noexcept {
  char kept[16] = {};
  for (std::size_t i = 0; i + 1 < sizeof kept && name[i] != '\0'; ++i) {
    kept[i] = name[i];
  }
  pthread_setname_np(pthread_self(), kept);
}

inline std::uint64_t native_thread_id() noexcept { return static_cast<std::uint64_t>(syscall(SYS_gettid)); }

inline std::uint64_t process_id() noexcept { return static_cast<std::uint64_t>(getpid()); }

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

/// Stacks grow downwards wherever Linux runs threads.
[[gnu::noinline]] inline bool stack_is_short() noexcept {
  return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) <
         reinterpret_cast<std::uintptr_t>(this_thread().stack_middle);
}

constexpr bool exploring() noexcept { return false; }

inline bool is_main_thread() noexcept { return native_thread_id() == process_id(); }

struct Unscheduled {
  Unscheduled() noexcept {}
  ~Unscheduled() {}
  Unscheduled(const Unscheduled&) = delete;
  Unscheduled& operator=(const Unscheduled&) = delete;
};

}  // namespace conc::inline CONC_ABI::detail::sync::native
