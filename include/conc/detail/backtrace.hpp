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

namespace conc::inline CONC_ABI::detail {

struct Free {
  void operator()(void* memory) const noexcept { std::free(memory); }
};

/// The readable form of a mangled name; what is none comes back as it is.
inline std::string demangle(const std::string& mangled) {
  int status = 0;
  const std::unique_ptr<char, Free> text{abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status)};
  return status == 0 ? std::string{text.get()} : mangled;
}

/// One line per call, innermost first; calls inside the explorer itself are left out where they have names.
inline std::string describe_frames(void* const* frames, int count) {
  const std::unique_ptr<char*, Free> symbols{backtrace_symbols(frames, count)};
  std::string text;
  for (int i = 0; symbols != nullptr && i < count; ++i) {
    // "module(function+0x12) [0x55…]"; the function is missing where the module does not export it.
    const std::string_view line{symbols.get()[i]};
    const std::size_t open = line.find('(');
    const std::size_t plus = line.find('+', open == std::string_view::npos ? 0 : open);
    if (open == std::string_view::npos || plus == std::string_view::npos) {
      text.append("      at ").append(line).append("\n");
      continue;
    }
    const std::string function = demangle(std::string{line.substr(open + 1, plus - open - 1)});
    if (function.find("::detail::Explorer::") == std::string::npos &&
        function.find("::detail::FiberContext::") == std::string::npos &&
        function.find("::sync::simulated::") == std::string::npos) {
      const std::string_view module = line.substr(0, open);
      const std::string_view offset = line.substr(plus, line.find(')', plus) - plus);
      text.append("      at ").append(function.empty() ? std::string{module} : function).append(offset).append("\n");
    }
  }
  return text;
}

}  // namespace conc::inline CONC_ABI::detail
