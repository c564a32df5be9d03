// SPDX-License-Identifier: MIT
/// @file
/// Functions that take memory.
#pragma once

#include <cstddef>
#include <string>

namespace memory_sampler {

// Each says in words what it found.

/// Fills so many bytes with random numbers and sorts them.
std::string sort_numbers(std::size_t bytes);

/// Multiplies two matrices that take so many bytes, together with their product.
std::string multiply_matrices(std::size_t bytes);

/// Counts the lines of a file, and those that are different. @throws std::system_error if it cannot be read.
std::string count_lines(const std::string& file);

}  // namespace memory_sampler
