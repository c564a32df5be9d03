// SPDX-License-Identifier: MIT
/// @file
/// Draws how full queues were, as SVG.
#pragma once

#include <cstddef>
#include <iosfwd>
#include <string>
#include <vector>

namespace image_pipeline {

/// One queue over time.
struct Curve {
  std::string title;
  std::size_t bound = 1;
  std::vector<double> seconds;
  std::vector<std::size_t> items;  // as many as `seconds`, none above the bound
};

/// Writes an SVG document: for each queue, one below the other, a panel with its depth as steps and its bound as a
/// line. Titles are written as they are: they must not hold what means something to XML.
void write_chart(std::ostream& out, const std::string& title, const std::vector<Curve>& curves);

}  // namespace image_pipeline
