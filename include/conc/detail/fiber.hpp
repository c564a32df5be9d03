// SPDX-License-Identifier: MIT
/// @file
/// Fibers for the explorer: a stack with a guard page, and a switch from one to another that takes the state of the
/// C++ runtime along (exceptions in flight) and tells AddressSanitizer and ThreadSanitizer.
///
/// Not taken along: the floating-point control words. A program that changes rounding does so for all its fibers.
#pragma once

#include <cxxabi.h>
#include <sys/mman.h>
#include <unistd.h>

#include <conc/detail/race_detector.hpp>
#include <conc/detail/sync.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define CONC_DETAIL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CONC_DETAIL_ASAN 1
#endif
#endif
#if defined(CONC_DETAIL_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif

#if defined(_LIBCPP_VERSION)
// A part of the ABI that libc++abi has and does not declare.
namespace __cxxabiv1 {
extern "C" void* __cxa_get_globals() noexcept;
}
#endif

namespace conc::inline CONC_ABI::detail {

/// Memory for a stack. What overflows it hits a page without access.
class FiberStack {
 public:
  /// @throws std::bad_alloc when the system has no memory left to map.
  explicit FiberStack(std::size_t size) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    mapped_ = (size + page - 1) / page * page + page;
    void* const memory =
        mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) {
      throw std::bad_alloc{};
    }
    memory_ = static_cast<char*>(memory);
    guard_ = page;
    mprotect(memory_, guard_, PROT_NONE);
  }
  ~FiberStack() {
    clean();
    munmap(memory_, mapped_);
  }
  FiberStack(const FiberStack&) = delete;
  FiberStack& operator=(const FiberStack&) = delete;

  [[nodiscard]] char* bottom() const noexcept { return memory_ + guard_; }
  [[nodiscard]] char* top() const noexcept { return memory_ + mapped_; }
  [[nodiscard]] std::size_t size() const noexcept { return mapped_ - guard_; }

  /// Whether `address` lies in the page without access.
  [[nodiscard]] bool guards(const void* address) const noexcept {
    return address >= memory_ && address < memory_ + guard_;
  }

  /// Forgets what AddressSanitizer knows of frames that were never left.
  void clean() const noexcept {
#if defined(CONC_DETAIL_ASAN)
    __asan_unpoison_memory_region(bottom(), size());
#endif
  }

  /// From now on nobody will unwind this stack: what its frames own is no leak. The stack must stay.
  void abandon() const noexcept {
#if defined(CONC_DETAIL_ASAN)
    __lsan_register_root_region(bottom(), size());
#endif
  }

 private:
  char* memory_;
  std::size_t mapped_;
  std::size_t guard_;
};

#if defined(__x86_64__)
/// Saves the registers that the System V ABI lets a caller rely on, notes the stack in *from, and goes on at `to`.
/// Jumps rather than returns: the processor predicts returns from its own record of calls, and would always be wrong.
[[gnu::naked, gnu::noinline, gnu::no_sanitize_thread]] inline void switch_stack(void** /*from: rdi*/,
                                                                                void* /*to: rsi*/) {
  asm("pushq %rbp\n\t"
      "pushq %rbx\n\t"
      "pushq %r12\n\t"
      "pushq %r13\n\t"
      "pushq %r14\n\t"
      "pushq %r15\n\t"
      "movq %rsp, (%rdi)\n\t"
      "movq %rsi, %rsp\n\t"
      "popq %r15\n\t"
      "popq %r14\n\t"
      "popq %r13\n\t"
      "popq %r12\n\t"
      "popq %rbx\n\t"
      "popq %rbp\n\t"
      "popq %rcx\n\t"
      "jmpq *%rcx");
}
#endif

/// A place where execution can be left and taken up again: a fiber, or the thread that runs them.
class FiberContext {
 public:
  /// Where the caller is.
  FiberContext() noexcept = default;
  /// The first switch to this context calls `entry` on `stack`. `entry` must begin with arrived() and never return.
  FiberContext(const FiberStack& stack, void (*entry)()) noexcept : bottom_{stack.bottom()}, size_{stack.size()} {
#if defined(__x86_64__)
    // As if `entry` had been called: above its address lies a return address, zero, where backtraces end.
    void** frame = reinterpret_cast<void**>(stack.top()) - 8;
    std::memset(frame, 0, 8 * sizeof(void*));
    frame[6] = reinterpret_cast<void*>(entry);
    registers_ = frame;
#else
    getcontext(&registers_);
    registers_.uc_stack.ss_sp = stack.bottom();
    registers_.uc_stack.ss_size = stack.size();
    registers_.uc_link = nullptr;
    makecontext(&registers_, entry, 0);
#endif
#if defined(CONC_DETAIL_TSAN)
    detector_ = own_detector_ = __tsan_create_fiber(0);
#endif
  }
#if defined(CONC_DETAIL_TSAN)
  ~FiberContext() {
    if (own_detector_ != nullptr) {
      __tsan_destroy_fiber(own_detector_);
    }
  }
#endif
  FiberContext(const FiberContext&) = delete;
  FiberContext& operator=(const FiberContext&) = delete;

  /// What ThreadSanitizer calls it.
  void set_name([[maybe_unused]] const char* name) noexcept {
#if defined(CONC_DETAIL_TSAN)
    __tsan_set_fiber_name(detector_, name);
#endif
  }

  /// Leaves the running context `*this` and goes on at `to`. With `for_ever` nobody comes back to this one. The caller
  /// holds one Unseen, or more if it comes back.
  void leave_for(FiberContext& to, bool for_ever = false) noexcept {
    void* const now = abi::__cxa_get_globals();
    std::memcpy(&runtime_, now, sizeof runtime_);
    std::memcpy(now, &to.runtime_, sizeof runtime_);
    depart(to, for_ever);
#if defined(CONC_DETAIL_TSAN)
    // Here, since what is called between this and the switch would return as another thread than it was called by.
    void* const next = to.detector_;
    if (for_ever) {
      __tsan_ignore_thread_end();
    }
    __tsan_switch_to_fiber(next, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__x86_64__)
    switch_stack(&registers_, to.registers_);
#else
    swapcontext(&registers_, &to.registers_);
#endif
    arrived();
  }

  /// The first thing a new fiber does.
  void arrived() noexcept {
#if defined(CONC_DETAIL_ASAN)
    const void* bottom = nullptr;
    std::size_t size = 0;
    __sanitizer_finish_switch_fiber(fake_stack_, &bottom, &size);
    came_from->bottom_ = bottom;
    came_from->size_ = size;
#endif
  }

 private:
  void depart([[maybe_unused]] FiberContext& to, [[maybe_unused]] bool for_ever) noexcept {
#if defined(CONC_DETAIL_ASAN)
    came_from = this;
    __sanitizer_start_switch_fiber(for_ever ? nullptr : &fake_stack_, to.bottom_, to.size_);
#endif
  }

  // The first two words of the runtime's per-thread state (Itanium C++ ABI, 2.2.2): what is caught, what is in flight.
  struct Runtime {
    void* caught = nullptr;
    unsigned uncaught = 0;
  };

#if defined(__x86_64__)
  void* registers_ = nullptr;
#else
  ucontext_t registers_{};
#endif
  Runtime runtime_;
  const void* bottom_ = nullptr;  // of the stack; learned at the first arrival for the thread that runs the fibers
  std::size_t size_ = 0;
#if defined(CONC_DETAIL_ASAN)
  void* fake_stack_ = nullptr;
  static inline thread_local FiberContext* came_from = nullptr;
#endif
#if defined(CONC_DETAIL_TSAN)
  void* detector_ = __tsan_get_current_fiber();
  void* own_detector_ = nullptr;
#endif
};

/// A thread of an explored program, as the explorer sees it.
struct Fiber : sync::simulated::Task {
  Fiber(std::size_t stack_size, void (*enter)()) : stack{stack_size}, context{stack, enter} {}

  enum class State : std::uint8_t { fresh, ready, asleep, joining, ended };
  static constexpr int kFrames = 32;

  FiberStack stack;
  FiberContext context;
  void* (*entry)(void*) = nullptr;  // null: the fiber is not wanted any more
  void* argument = nullptr;
  State state = State::fresh;
  bool yielded = false;             // gave way, and the others have not all had their chance yet
  std::uint64_t yielded_at = 0;     // how many operations had been made then
  bool woken = false;               // asleep: by a wake, not by the clock
  const char* next = nullptr;       // ready: the operation it is about to make, if it got so far
  const void* sleeps_on = nullptr;  // asleep
  sync::TimePoint until{};          // asleep
  Fiber* joins = nullptr;           // joining
  Fiber* joiner = nullptr;          // who waits for this one to end
  void* frames[kFrames] = {};       // where it stands, for the report of a failure
  int frame_count = 0;
};

}  // namespace conc::inline CONC_ABI::detail
