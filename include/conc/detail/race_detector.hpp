// SPDX-License-Identifier: MIT
/// @file
/// What the explorer tells ThreadSanitizer, so that it judges the explored program by the memory orders that stand in it.
///
/// Each simulated thread is a thread for the detector too. A switch from one to another orders nothing; what the explorer
/// does itself is not looked at. So all that orders two threads is what would order them on a real machine: their
/// atomic operations, and their start and join, which the explorer announces. Without ThreadSanitizer nothing of this is
/// there.
#pragma once

#include <conc/detail/sync.hpp>

#if defined(__SANITIZE_THREAD__)
#define CONC_DETAIL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CONC_DETAIL_TSAN 1
#endif
#endif

#if defined(CONC_DETAIL_TSAN)
#include <sanitizer/tsan_interface.h>

extern "C" {
void __tsan_ignore_thread_begin();
void __tsan_ignore_thread_end();
int __tsan_get_report_data(void* report, const char** description, int* count, int* stacks, int* accesses,
                           int* locations, int* mutexes, int* threads, int* unique_threads, void** sleep_trace,
                           unsigned long trace_size);
}
#endif

namespace conc::inline CONC_ABI::detail::race_detector {

#if defined(CONC_DETAIL_TSAN)

/// What the caller has done is known to whoever acquires `key` afterwards.
inline void release(void* key) noexcept { __tsan_release(key); }
inline void acquire(void* key) noexcept { __tsan_acquire(key); }

/// While one is alive, what its thread reads and writes is not looked at.
class Unseen {
 public:
  Unseen() noexcept { __tsan_ignore_thread_begin(); }
  ~Unseen() { __tsan_ignore_thread_end(); }
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
};

/// Within an Unseen: looks again.
class Seen {
 public:
  Seen() noexcept { __tsan_ignore_thread_end(); }
  ~Seen() { __tsan_ignore_thread_begin(); }
  Seen(const Seen&) = delete;
  Seen& operator=(const Seen&) = delete;
};

/// What kind of bug ThreadSanitizer reports.
inline const char* kind_of(void* report) noexcept {
  const char* kind = "";
  int counts[7];
  void* trace[1];
  __tsan_get_report_data(report, &kind, &counts[0], &counts[1], &counts[2], &counts[3], &counts[4], &counts[5],
                         &counts[6], trace, 1);
  return kind;
}

#else

inline void release(void* /*key*/) noexcept {}
inline void acquire(void* /*key*/) noexcept {}

struct Unseen {
  Unseen() noexcept {}
  ~Unseen() {}
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
};
using Seen = Unseen;

#endif

}  // namespace conc::inline CONC_ABI::detail::race_detector
