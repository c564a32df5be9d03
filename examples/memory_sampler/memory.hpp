// SPDX-License-Identifier: MIT
/// @file
/// How much memory this process takes.
#pragma once

#include <cstdint>

namespace memory_sampler {

/// In bytes: pages that the process shares with others count by its share of them, so the sum over all processes is
/// what they take together. (The resident set size counts such pages in full in every process.)
/// @throws std::system_error or std::runtime_error if the system does not tell.
std::uint64_t proportional_set_size();

}  // namespace memory_sampler
