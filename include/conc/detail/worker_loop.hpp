// SPDX-License-Identifier: MIT
/// @file
/// What a worker process does once it has come about.
#pragma once

#include <conc/detail/sync.hpp>

namespace conc::inline CONC_ABI::detail {

/// Runs what comes from `calls` until that ends, and answers to `results`.
[[noreturn]] void serve(int calls, int results) noexcept;

}  // namespace conc::inline CONC_ABI::detail
