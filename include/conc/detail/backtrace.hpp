// SPDX-License-Identifier: MIT
/// @file
/// Call stacks as text: function names where the executable exports them (link with -rdynamic), else module+offset for
/// addr2line.
#pragma once

#include <cxxabi.h>
#include <execinfo.h>

#include <conc/detail/sync.hpp>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#define CONC_DETAIL_TEXT_OF(name) #name
#define CONC_DETAIL_TEXT(macro) CONC_DETAIL_TEXT_OF(macro)

namespace conc::inline CONC_ABI::detail {

struct Free {
  void operator()(void* memory) const noexcept { std::free(memory); }
};

/// The readable form of a mangled name, without conc's inline namespace, and with std::string by that name; what is none comes
/// back as it is.
inline std::string demangle(const std::string& mangled) {
  int status = 0;
  const std::unique_ptr<char, Free> text{abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status)};
  if (status != 0) {
    return mangled;
  }
  std::string readable{text.get()};
  const auto replace = [&readable](std::string_view part, std::string_view by) {
    for (std::size_t at = 0; (at = readable.find(part, at)) != std::string::npos; at += by.size()) {
      readable.replace(at, part.size(), by);
    }
  };
  replace(CONC_DETAIL_TEXT(CONC_ABI) "::", "");
  replace("std::__1::", "std::");
  replace("std::__cxx11::", "std::");
  replace("std::basic_string<char, std::char_traits<char>, std::allocator<char> >", "std::string");
  replace("std::basic_string<char, std::char_traits<char>, std::allocator<char>>", "std::string");
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

/// One line per call, innermost first. Left out where they have names: calls inside conc's own instruments, those by which the
/// C++ runtime throws, and those by which std::apply and std::invoke get to what they call.
inline std::string describe_frames(void* const* frames, int count) {
  const std::unique_ptr<char*, Free> symbols{backtrace_symbols(frames, count)};
  const auto is_left_out = [](const std::string& function) {
    for (const char* const part :
         {"::detail::Explorer::", "::detail::FiberContext::", "::sync::simulated::", "::testing::internal::",
          "::detail::CallStack::", "::detail::LockGraph::", "::detail::Tracker::", "::detail::WorkerLoop::",
          "::detail::MapCall<", "::detail::call_with<", "call_traced", "_Unwind_RaiseException",
          "_Unwind_Resume_or_Rethrow", "__cxa_throw", "__cxa_rethrow", "std::apply<", "std::__apply",
          "std::__invoke"}) {
      if (function.find(part) != std::string::npos) {
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
