// SPDX-License-Identifier: MIT
/// @file
/// Draws samples of memory as SVG.
#pragma once

#include <iosfwd>
#include <string>

#include "sampler.hpp"

namespace memory_sampler {

/// Writes an SVG document: a line through the samples, which are bytes, and one at their average.
void write_plot(std::ostream& out, const std::string& title, const Samples& samples);

}  // namespace memory_sampler
