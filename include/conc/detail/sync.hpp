// SPDX-License-Identifier: MIT
/// @file
/// The seam: all that conc wants from the machine and the operating system, and nothing else in conc asks for it.
///
/// One contract, several backends, chosen here. The same headers then run natively, under ThreadSanitizer, and
/// inside the deterministic scheduler of conc/testing.hpp.
///
///   Atomic<T>                          std::atomic<T>, or a class with the same members
///   bool wait(word, expected, end)     sleeps while word == expected, until woken or until `end`; a word has 32 or 64 bits
///   void wake(address, n)              wakes at most n sleepers of the word at `address`
///   now(), pause(), yield(), this_cpu(), random()
///   start(thread, entry, argument, stack_size), join(thread), try_join(thread), set_thread_name(name)
///                                      a ThreadHandle stays where it is from start() until it has been joined
///   gone(thread)                       it will not run again nor needs to be joined: its exploration is over. Else false
///   native_thread_id(), is_main_thread(), process_id()
///   middle_of_stack()                  of the calling thread; null if the system does not tell. stack_is_short(): whether a
///                                      thread that has noted it has come so far
///   exploring()                        whether the calling thread belongs to an exploration
///   this_thread()                      the calling thread's ThreadRecord
///   Unscheduled                        a guard: what it encloses is bookkeeping, no scheduling point
///   spin_limit, patience, deepest      how often a waiter looks before it sleeps; how often it may lose a race; how many
///                                      tasks may wait for each other on one stack
///
/// wait() returns false only if `end` passed and no wake was consumed; it may return true for no reason at all, so
/// callers look again. It orders nothing: the callers' own loads and stores do. Of a 64-bit word it may compare the low
/// half only. wake() takes an address that may be dead by then; it is a key and never dereferenced.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

// Durations and clocks. libstdc++ keeps them in a header of their own, which <thread> and <mutex> include too; <chrono>
// adds calendars and <sstream>, and would nearly double what it costs to include conc.
#if __has_include(<bits/chrono.h>)
#include <bits/chrono.h>
#else
#include <chrono>
#endif

// Where there are no futexes the portable backend does without.
#if !defined(__linux__) && !defined(CONC_PORTABLE)
#define CONC_PORTABLE
#endif
#if !defined(__cpp_exceptions) || !defined(__cpp_rtti)
#error "conc needs exceptions and RTTI."
#endif

// The namespace tells builds apart that must not be linked together: their types differ in size or in behaviour.
#if defined(CONC_PORTABLE) && defined(CONC_EXPLORE) && defined(CONC_DEBUG)
#define CONC_ABI v0_portable_explore_debug
#elif defined(CONC_PORTABLE) && defined(CONC_EXPLORE)
#define CONC_ABI v0_portable_explore
#elif defined(CONC_PORTABLE) && defined(CONC_DEBUG)
#define CONC_ABI v0_portable_debug
#elif defined(CONC_PORTABLE)
#define CONC_ABI v0_portable
#elif defined(CONC_EXPLORE) && defined(CONC_DEBUG)
#define CONC_ABI v0_explore_debug
#elif defined(CONC_EXPLORE)
#define CONC_ABI v0_explore
#elif defined(CONC_DEBUG)
#define CONC_ABI v0_debug
#else
#define CONC_ABI v0
#endif

namespace conc::inline CONC_ABI::detail {

namespace mo {
using enum std::memory_order;
}  // namespace mo

/// Befriended by types whose counters a test must preset to reach their limits; only tests define it.
struct TestAccess;

}  // namespace conc::inline CONC_ABI::detail

namespace conc::inline CONC_ABI::detail::sync {

using TimePoint = std::chrono::steady_clock::time_point;

/// The end of a wait that has none.
inline constexpr TimePoint forever = (TimePoint::max)();

/// No CPU: where the partner of a wait runs is not known.
inline constexpr std::uint32_t no_cpu = 0xffffffff;

/// What conc knows of one thread, kept by the thread itself. Everybody may read it; thread.hpp fills in `thread`.
struct ThreadRecord {
  std::uint64_t id = 0;                         // unique in this process and never used again; 0 = not asked for yet
  void* thread = nullptr;                       // thread.hpp's state of this thread
  void* worker = nullptr;                       // the WorkerFace of the executor whose worker it is
  void* frame = nullptr;                        // the TaskFrame of the task that it runs
  const void* stack_middle = nullptr;           // of a thread that conc has started; else null
  std::uint32_t partner_cpu = no_cpu;           // where the future was made done that it waited for last
  bool untracked = false;                       // what it does with locks is not to be looked at; see LockGraph
  std::atomic<const char*> waits_in{nullptr};   // the operation it sleeps in ("Queue::get"), or null
  std::atomic<const void*> waits_for{nullptr};  // the object of that operation
};

/// Why a thread waits: what the deadlock report of the explorer and the dump of a watchdog print.
struct Why {
  const char* operation;
  const void* object;
};

}  // namespace conc::inline CONC_ABI::detail::sync

#if defined(CONC_PORTABLE)
#include <conc/detail/sync_portable.hpp>
#else
#include <conc/detail/sync_linux.hpp>
#endif

#if defined(CONC_EXPLORE)
#include <conc/detail/sync_sim.hpp>
#endif

namespace conc::inline CONC_ABI::detail::sync {

#if defined(CONC_EXPLORE)
namespace backend = simulated;
#else
namespace backend = native;
#endif

using backend::Atomic;
using backend::deepest;
using backend::exploring;
using backend::gone;
using backend::is_main_thread;
using backend::join;
using backend::middle_of_stack;
using backend::native_thread_id;
using backend::now;
using backend::patience;
using backend::pause;
using backend::process_id;
using backend::random;
using backend::set_thread_name;
using backend::spin_limit;
using backend::stack_is_short;
using backend::start;
using backend::this_cpu;
using backend::this_thread;
using backend::ThreadHandle;
using backend::try_join;
using backend::Unscheduled;
using backend::wait;
using backend::wake;
using backend::yield;

inline constexpr std::uint32_t everybody = 0x7fffffff;

/// A number that only makes things faster: any value is right, so it is relaxed everywhere and no scheduling point.
class Hint {
 public:
  constexpr explicit Hint(std::uint32_t value) noexcept : value_{value} {}
  std::uint32_t get() const noexcept { return value_.load(mo::relaxed); }
  void set(std::uint32_t value) noexcept { value_.store(value, mo::relaxed); }

 private:
  std::atomic<std::uint32_t> value_;
};

inline constexpr std::uint64_t main_thread_id = 1;

[[gnu::visibility("default")]] inline constinit std::atomic<std::uint64_t> last_thread_id{main_thread_id};

/// A fresh thread identity. Identities are never used twice, so that a dead owner cannot be mistaken for a new thread.
inline std::uint64_t new_thread_id() noexcept {
  return last_thread_id.fetch_add(1, mo::relaxed) + 1;  // relaxed: only distinctness matters
}

/// The identity of the calling thread.
inline std::uint64_t this_thread_id() noexcept {
  ThreadRecord& record = this_thread();
  if (record.id == 0) [[unlikely]] {
    record.id = is_main_thread() ? main_thread_id : new_thread_id();
  }
  return record.id;
}

}  // namespace conc::inline CONC_ABI::detail::sync
