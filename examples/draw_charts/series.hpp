// SPDX-License-Identifier: MIT
/// @file
/// What is drawn: series of numbers, from CSV files or built in.
#pragma once

#include <string>
#include <vector>

namespace draw_charts {

struct Series {
  std::string name;
  std::vector<double> x;
  std::vector<double> y;  // as many
};

/// Six curves to look at.
std::vector<Series> built_in_series();

/// The columns of a CSV file. Its first line has their names; the first column is the x of all others.
/// @throws std::runtime_error that names the file and the line if something is wrong with it.
std::vector<Series> read_series(const std::string& file);

}  // namespace draw_charts
