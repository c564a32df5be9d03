// SPDX-License-Identifier: MIT
/// @file
/// What takes long.
#pragma once

#include <cstdint>

#include <conc/stop_token.hpp>

namespace chat {

/// How many primes are less than `limit`; found slowly. Ends early, with less, once it is asked to stop.
std::uint32_t count_primes(const conc::StopToken& stop, std::uint32_t limit);

}  // namespace chat
