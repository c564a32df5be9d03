// SPDX-License-Identifier: MIT
/// @file
/// call_traced: a call of which, if an exception comes out of it, is known where that was thrown.
///
/// An exception is thrown in two phases (Itanium C++ ABI: Exception Handling, level I). First the runtime asks the frames one
/// after the other, from the throw outwards, whether they have a handler: it calls the personality routine of each. The whole
/// stack still stands then. Only after that it is unwound, as far as the handler that was found. call_traced has a frame with
/// a personality routine of its own, which has no handler and nothing to clean up: when it is asked, it notes the stack.
/// What is caught further in never gets that far, and costs nothing.
///
/// Elsewhere than on x86-64 and AArch64, and where the assembler is given no .cfi directives, nothing is noted.
#pragma once

#include <unwind.h>

#include <conc/detail/backtrace.hpp>
#include <conc/detail/sync.hpp>
#include <cstdint>
#include <string>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// The calls that led to a throw, innermost first.
struct ThrowTrace {
  static constexpr int kDepth = 64;
  void* frames[kDepth];
  int count;
  std::uintptr_t end;  // where the frame that asks was
};

/// Of the last exception that has left a call_traced() of this thread.
[[gnu::visibility("default")]] inline constinit thread_local ThrowTrace throw_trace{};

inline _Unwind_Reason_Code note_frame(_Unwind_Context* frame, void* into) {
  auto& trace = *static_cast<ThrowTrace*>(into);
  int is_next_instruction = 0;
  const std::uintptr_t address = _Unwind_GetIPInfo(frame, &is_next_instruction);
  if (address == trace.end || trace.count == ThrowTrace::kDepth) {
    return _URC_END_OF_STACK;
  }
  // In the call, not behind it: a call that does not return can be the last instruction of its function.
  trace.frames[trace.count++] = reinterpret_cast<void*>(address - (is_next_instruction == 0 ? 1 : 0));
  return _URC_NO_REASON;
}

/// A personality routine: searching, it notes the stack. Hidden, so that its place is known when the program is linked.
[[gnu::visibility("hidden")]] inline _Unwind_Reason_Code note_throw(int /*version*/, _Unwind_Action actions,
                                                                    _Unwind_Exception_Class /*of*/,
                                                                    _Unwind_Exception* /*exception*/,
                                                                    _Unwind_Context* asked) {
  if ((actions & _UA_SEARCH_PHASE) != 0) {
    throw_trace.count = 0;
    throw_trace.end = _Unwind_GetIP(asked);
    _Unwind_Backtrace(&note_frame, &throw_trace);
  }
  return _URC_CONTINUE_UNWIND;
}

/// Calls fn(argument) in a frame whose personality routine is note_throw. Nothing in it may need another one: no destructor,
/// no handler, not those that a sanitizer adds either.
#if defined(__clang__)
[[gnu::noinline, clang::disable_sanitizer_instrumentation]]
#else
[[gnu::noipa, gnu::no_sanitize_thread]]
#endif
inline void
call_with_personality(void (*fn)(void*), void* argument) {
  // 0x1b: its place is a distance from here, of four bytes.
#if defined(__GCC_HAVE_DWARF2_CFI_ASM) && defined(__x86_64__)
  asm volatile(".cfi_personality 0x1b, %c0" : : "i"(&note_throw));
#elif defined(__GCC_HAVE_DWARF2_CFI_ASM) && defined(__aarch64__)
  asm volatile(".cfi_personality 0x1b, %c0" : : "S"(&note_throw));
#endif
  fn(argument);
  asm volatile("");  // no jump, which would leave no frame
}

/// Calls call(). What it throws goes out; then take_throw_trace() tells where it was thrown.
template <class F>
void call_traced(F& call) {
  throw_trace.count = 0;
  call_with_personality([](void* it) { (*static_cast<F*>(it))(); }, &call);
}

/// The calls that led to the throw, innermost first, a line each; empty if nobody has noted them. Told once.
/// @throws std::bad_alloc
inline std::string take_throw_trace() {
  const int count = std::exchange(throw_trace.count, 0);
  return count > 1 ? describe_frames(throw_trace.frames + 1, count - 1) : std::string{};  // without note_throw
}

}  // namespace conc::inline CONC_ABI::detail
