// SPDX-License-Identifier: MIT
/// @file
/// Hold: how a lock is held.
#pragma once

#include <conc/detail/sync.hpp>
#include <cstdint>

namespace conc::inline CONC_ABI::detail {

enum class Hold : std::uint8_t { exclusive, shared };

}  // namespace conc::inline CONC_ABI::detail
