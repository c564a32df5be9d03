// SPDX-License-Identifier: MIT
/// @file
/// What the native backends of the seam share: atomics, POSIX threads, the steady clock, and what a thread knows of itself.
/// Included by sync.hpp only.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace conc::inline CONC_ABI::detail::sync::native {

template <class T>
using Atomic = std::atomic<T>;
static_assert(sizeof(Atomic<std::uint32_t>) == 4 && Atomic<std::uint32_t>::is_always_lock_free,
              "a word to sleep on is the bytes of its atomic");

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

inline TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

inline void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

inline void yield() noexcept { sched_yield(); }

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

/// Starts a joinable thread. Returns 0, or the error number of the step that failed; then nothing is left behind.
inline int start(pthread_t& thread, void* (*entry)(void*), void* argument, std::size_t stack_size) noexcept {
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

inline std::uint64_t process_id() noexcept { return static_cast<std::uint64_t>(getpid()); }

#if defined(__linux__)

inline std::uint64_t native_thread_id() noexcept { return static_cast<std::uint64_t>(gettid()); }

inline bool is_main_thread() noexcept { return native_thread_id() == process_id(); }

/// Names the calling thread for debuggers and /proc; the system keeps 15 bytes (pthread_setname_np(3)).
inline void set_thread_name(const char* name) noexcept {
  char kept[16] = {};
  for (std::size_t i = 0; i + 1 < sizeof kept && name[i] != '\0'; ++i) {
    kept[i] = name[i];
  }
  pthread_setname_np(pthread_self(), kept);
}

#else  // POSIX threads have neither numbers nor names.

/// A pthread_t is an integer here and a pointer there.
inline std::uint64_t native_thread_id() noexcept {
  const pthread_t self = pthread_self();
  std::uint64_t id = 0;
  static_assert(sizeof self <= sizeof id);
  std::memcpy(&id, &self, sizeof self);
  return id;
}

/// The thread that initialized the statics: of the program, or of the module that brought conc along.
[[gnu::visibility("default")]] inline const pthread_t main_thread = pthread_self();

inline bool is_main_thread() noexcept { return pthread_equal(pthread_self(), main_thread) != 0; }

inline void set_thread_name(const char* /*name*/) noexcept {}

#endif

/// Stacks grow downwards wherever conc runs.
[[gnu::noinline]] inline bool stack_is_short() noexcept {
  return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) <
         reinterpret_cast<std::uintptr_t>(this_thread().stack_middle);
}

constexpr bool exploring() noexcept { return false; }

struct Unscheduled {
  Unscheduled() noexcept {}
  ~Unscheduled() {}
  Unscheduled(const Unscheduled&) = delete;
  Unscheduled& operator=(const Unscheduled&) = delete;
};

}  // namespace conc::inline CONC_ABI::detail::sync::native
