// SPDX-License-Identifier: MIT
/// @file
/// A chart for each series: where it lies in the picture, and how it is drawn.
#pragma once

#include <string>
#include <vector>

#include "canvas.hpp"
#include "series.hpp"

namespace draw_charts {

/// The values from one end of an axis to the other.
struct Axis {
  double first = 0;
  double last = 0;
  double step = 0;  // from one number at the axis to the next

  int steps() const;
  /// Where a value lies: 0 is the first end, 1 the last.
  double at(double value) const { return (value - first) / (last - first); }
};

struct Chart {
  std::string name;
  Color color;
  Area cell;  // all of it
  Area plot;  // what the axes enclose
  Axis x;
  Axis y;
  std::vector<Point> line;
};

/// Charts side by side, in rows, that fill a picture. Lines stay within their plots.
/// @throws std::runtime_error if the picture is too small.
std::vector<Chart> lay_out(const std::vector<Series>& all, int width, int height);

/// Everything but the lines: names, axes and numbers.
Canvas draw_paper(const std::vector<Chart>& charts, int width, int height);

constexpr double kLineWidth = 2.5;  // pixels: wide enough for one of the very color in each column

/// Draws the line of a chart, and calls between() after each of its points.
/// @tparam Pen  a Canvas, or what has the same functions.
template <class Pen, class Between>
void draw_line(Pen& pen, const Chart& chart, Between between) {
  pen.set_color(chart.color);
  pen.move_to(chart.line.front());
  for (const Point& point : chart.line) {
    pen.line_to(point);
    between();
  }
  pen.stroke(kLineWidth);
}

}  // namespace draw_charts
