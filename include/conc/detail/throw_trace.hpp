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
/// Elsewhere than on x86-64 and AArch64, with -mcmodel=large, and where the assembler is given no .cfi directives, nothing
/// is noted.
#pragma once

#include <unwind.h>

#include <conc/detail/backtrace.hpp>
#include <conc/detail/code_table.hpp>
#include <conc/detail/sync.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

namespace conc::inline CONC_ABI::detail {

/// The calls that led to the last throw that has left a call_traced() of this thread, innermost first.
struct ThrowTrace {
  static constexpr int kDepth = 64;
  void* calls[kDepth];
  int count;
};
[[gnu::visibility("default")]] inline constinit thread_local ThrowTrace throw_trace{};

/// A personality routine: searching, it notes the stack. Hidden, so that its place is known when the program is linked.
[[gnu::visibility("hidden")]] inline _Unwind_Reason_Code note_throw(int /*version*/, _Unwind_Action actions,
                                                                    _Unwind_Exception_Class /*of*/,
                                                                    _Unwind_Exception* /*exception*/,
                                                                    _Unwind_Context* asked) {
  if ((actions & _UA_SEARCH_PHASE) != 0) {
    CallNotes notes{throw_trace.calls, ThrowTrace::kDepth, _Unwind_GetIP(asked)};
    _Unwind_Backtrace(&CallNotes::note, &notes);
    throw_trace.count = notes.count;
  }
  return _URC_CONTINUE_UNWIND;
}

/// Calls fn(argument) in a frame whose personality routine is note_throw. Nothing in it may need the one that it would have
/// had: no destructor, no handler, none of a sanitizer's or profiler's, and nothing of fn itself.
#if defined(__clang__)
[[gnu::noinline, gnu::no_instrument_function, clang::disable_sanitizer_instrumentation]]
#else
[[gnu::noipa, gnu::no_instrument_function, gnu::no_sanitize_thread]]
#endif
inline void
call_with_personality(void (*fn)(void*), void* argument) {
  // Its place is a distance from here, of four bytes (0x1b). For all that the compiler knows `fn` is changed here: a copy of
  // this function for one fn would have that inlined. That note_throw is an operand is what a linker sees of its use.
#if defined(__GCC_HAVE_DWARF2_CFI_ASM) && defined(__x86_64__) && !defined(__code_model_large__)
  asm volatile(".cfi_personality 0x1b, %c1" : "+r"(fn) : "i"(&note_throw), "r"(&note_throw));
#elif defined(__GCC_HAVE_DWARF2_CFI_ASM) && defined(__aarch64__) && !defined(__AARCH64_CMODEL_LARGE__)
  asm volatile(".cfi_personality 0x1b, %c1" : "+r"(fn) : "S"(&note_throw), "r"(&note_throw));
#endif
  fn(argument);
  asm volatile("");  // no jump, which would leave no frame
}

/// Calls call(). What it throws goes out; then take_throw_trace() tells where it was thrown. If another call_traced() is made
/// in it, what comes out of that must be caught in it.
/// Hidden: exported, its instances would have the longest names of all.
template <class F>
[[gnu::visibility("hidden")]] void call_traced(F& call) {
  throw_trace.count = 0;
  call_with_personality([](void* it) { (*static_cast<F*>(it))(); }, &call);
}

/// The same, said so that another process of the program understands it.
struct ThrowPlaces {
  CodePlace calls[ThrowTrace::kDepth];
  std::size_t count = 0;

  std::span<const CodePlace> all() const noexcept { return {calls, count}; }
};

/// The calls that led to the throw; none if nobody has noted them. Told once. Needs no memory.
inline ThrowPlaces take_throw_trace() noexcept {
  ThrowPlaces places;
  for (int i = 0; i < throw_trace.count; ++i) {
    places.calls[places.count++] =
        place_of(reinterpret_cast<std::uintptr_t>(throw_trace.calls[i])).value_or(CodePlace{});
  }
  throw_trace.count = 0;
  return places;
}

/// Whether the function of this line is one by which std::apply and std::invoke get to what they call.
inline bool is_way_of_apply(std::string_view line) noexcept {
  for (const std::string_view name : {"std::apply<", "std::__apply_impl<", "std::__invoke<", "std::__invoke_impl<"}) {
    const std::string_view before = line.substr(0, line.find(name));
    int depth = 0;
    for (const char c : before) {
      depth += (c == '<' || c == '(' ? 1 : 0) - (c == '>' || c == ')' ? 1 : 0);
    }
    if (before.size() != line.size() && depth == 0) {  // its own name, and not in those of its arguments
      return true;
    }
  }
  return false;
}

/// One line per call, as describe_frames() has them. Without those by which std::apply gets to what it calls, which without
/// optimization are more than those of a short task; but for the innermost, which may have the task in it.
/// @throws std::bad_alloc
inline std::string describe_places(std::span<const CodePlace> calls) {
  std::string text;
  for (const CodePlace& call : calls) {
    void* const address = reinterpret_cast<void*>(code_at(call));
    std::string line = address != nullptr ? describe_frames(&address, 1) : "      at [";
    if (line.find("at [") != std::string::npos) {  // in a static program, or in a library that is not loaded here
      char offset[40];
      std::snprintf(offset, sizeof offset, "+%#llx\n", static_cast<unsigned long long>(call.offset));
      line = "      at ";
      line.append(address != nullptr ? "the program" : "a library that is not loaded here").append(offset);
    }
    if (text.empty() || !is_way_of_apply(line)) {
      text += line;
    }
  }
  return text;
}

}  // namespace conc::inline CONC_ABI::detail
