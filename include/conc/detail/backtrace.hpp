// SPDX-License-Identifier: MIT
/// @file
/// Call stacks: noted, and as text, which has function names where the executable exports them (link with -rdynamic), else
/// module+offset for addr2line.
#pragma once

#include <cxxabi.h>
#include <execinfo.h>
#include <unwind.h>

#include <conc/detail/sync.hpp>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#define CONC_DETAIL_TEXT_OF(name) #name
#define CONC_DETAIL_TEXT(macro) CONC_DETAIL_TEXT_OF(macro)

namespace conc::inline CONC_ABI::detail {

/// Takes down the calls on a stack, innermost first, while there is room and they are not yet at `end`.
struct CallNotes {
  void** frames;
  int most;
  std::uintptr_t end = 0;
  int count = -1;  // the first one is the function that asks

  static _Unwind_Reason_Code note(_Unwind_Context* frame, void* notes) {
    auto& [frames, most, end, count] = *static_cast<CallNotes*>(notes);
    int is_next_instruction = 0;
    const std::uintptr_t address = _Unwind_GetIPInfo(frame, &is_next_instruction);
    if (address == end || count == most) {
      return _URC_END_OF_STACK;
    }
    if (count >= 0) {
      // In the call, not behind it: a call that does not return can be the last instruction of its function.
      frames[count] = reinterpret_cast<void*>(address - (is_next_instruction == 0 ? 1 : 0));
    }
    ++count;
    return _URC_NO_REASON;
  }
};

/// Notes the calls that have led to the calling function, itself first. As backtrace(3), but it takes no memory, ever, and is
/// not one of a sanitizer's functions, which a child that was forked from several threads must not call.
/// @return how many
[[gnu::noinline]] inline int note_calls(void** frames, int most) noexcept {
  CallNotes notes{frames, most};
  _Unwind_Backtrace(&CallNotes::note, &notes);
  return notes.count > 0 ? notes.count : 0;
}

struct Free {
  void operator()(void* memory) const noexcept { std::free(memory); }
};

/// The text, with every `part` in it replaced.
inline std::string replaced(const std::string& text, std::string_view part, std::string_view by) {
  std::string result;
  std::size_t from = 0;
  for (std::size_t at = 0; (at = text.find(part, from)) != std::string::npos; from = at + part.size()) {
    result.append(text, from, at - from).append(by);
  }
  return result.append(text, from);
}

/// The readable form of a mangled name, without conc's inline namespace, and with std::string by that name; what is none comes
/// back as it is.
inline std::string demangle(const std::string& mangled) {
  int status = 0;
  const std::unique_ptr<char, Free> text{abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status)};
  if (status != 0) {
    return mangled;
  }
  std::string readable = replaced(text.get(), CONC_DETAIL_TEXT(CONC_ABI) "::", "");
  for (const char* const inline_namespace : {"std::__1::", "std::__cxx11::"}) {
    readable = replaced(readable, inline_namespace, "std::");
  }
  for (const char* const string : {"std::basic_string<char, std::char_traits<char>, std::allocator<char> >",
                                   "std::basic_string<char, std::char_traits<char>, std::allocator<char>>"}) {
    readable = replaced(readable, string, "std::string");
  }
  return readable;
}

/// The function at that address, or where it lies: "program(+0x1234)", for addr2line.
inline std::string name_of_function(const void* address) {
  void* frame = const_cast<void*>(address);
  const std::unique_ptr<char*, Free> symbols{backtrace_symbols(&frame, 1)};
  if (symbols == nullptr) {
    return "a function";
  }
  // "module(function+0x0) [0x55...]"
  const std::string_view line{symbols.get()[0]};
  const std::string_view place = line.substr(0, line.find(" ["));
  const std::size_t open = place.find('(');
  const std::size_t plus = place.find('+', open == std::string_view::npos ? 0 : open);
  if (open == std::string_view::npos || plus == std::string_view::npos || plus == open + 1) {
    return std::string{place};
  }
  return demangle(std::string{place.substr(open + 1, plus - open - 1)});
}

/// One line per call, innermost first. Left out where they have names: calls inside conc's own instruments, and those by which
/// the C++ runtime throws.
inline std::string describe_frames(void* const* frames, int count) {
  const std::unique_ptr<char*, Free> symbols{backtrace_symbols(frames, count)};
  const auto is_left_out = [](const std::string& function) {
    for (const char* const runtime :
         {"_Unwind_RaiseException", "_Unwind_Resume_or_Rethrow", "__cxa_throw", "__cxa_rethrow"}) {
      if (function == runtime) {
        return true;
      }
    }
    if (function.starts_with("std::rethrow_exception(")) {
      return true;
    }
    for (const char* const scope :
         {"::detail::Explorer::", "::detail::FiberContext::", "::sync::simulated::", "::testing::internal::",
          "::detail::CallStack::", "::detail::LockGraph::", "::detail::Tracker::"}) {
      if (function.find(scope) != std::string::npos) {
        return true;
      }
    }
    return false;
  };
  std::string text;
  for (int i = 0; symbols != nullptr && i < count; ++i) {
    // "module(function+0x12) [0x55...]"; the function is missing where the module does not export it.
    const std::string_view line{symbols.get()[i]};
    const std::size_t open = line.find('(');
    const std::size_t plus = line.find('+', open == std::string_view::npos ? 0 : open);
    if (open == std::string_view::npos || plus == std::string_view::npos) {
      text.append("      at ").append(line).append("\n");
      continue;
    }
    const std::string function = demangle(std::string{line.substr(open + 1, plus - open - 1)});
    if (!is_left_out(function)) {
      const std::string_view offset = line.substr(plus, line.find(')', plus) - plus);
      text.append("      at ").append(function.empty() ? std::string{line.substr(0, open)} : function);
      text.append(offset).append("\n");
    }
  }
  return text;
}

}  // namespace conc::inline CONC_ABI::detail

#undef CONC_DETAIL_TEXT
#undef CONC_DETAIL_TEXT_OF
