// SPDX-License-Identifier: MIT
/// @file
/// Draws bar charts of times as SVG.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace cpu_or_io {

/// A time that was measured several times, in seconds.
struct Bar {
  std::string label;
  std::string note;  // stands beside the time
  double least = 0;
  double median = 0;
  double most = 0;
};

/// Bars that share an axis.
struct Panel {
  std::string title;
  std::vector<Bar> bars;
};

/// Writes an SVG document: a panel below the other, each with a bar as long as the median, a line from the least to the
/// most, and an axis in seconds. At least one time in each panel must be above 0.
void write_chart(std::ostream& out, const std::string& title, const std::vector<Panel>& panels);

}  // namespace cpu_or_io
