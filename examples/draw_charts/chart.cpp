// SPDX-License-Identifier: MIT
#include "chart.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>

namespace draw_charts {
namespace {

// In pixels.
constexpr int kLeast = 100;  // the least width and height of a chart
constexpr int kLeft = 46;    // what lies between the plot and the edge of its chart
constexpr int kRight = 12;
constexpr int kTop = 24;
constexpr int kBottom = 24;

constexpr Color kDark{0.25, 0.25, 0.25};
constexpr Color kPale{0.88, 0.88, 0.88};

constexpr Color rgb(int red, int green, int blue) { return {red / 255.0, green / 255.0, blue / 255.0}; }

constexpr Color kColors[] = {rgb(0x3b, 0x78, 0xb5), rgb(0xd9, 0x82, 0x2b), rgb(0x2e, 0x8b, 0x57),
                             rgb(0xb5, 0x40, 0x3b), rgb(0x7b, 0x5f, 0xb0), rgb(0x8c, 0x6d, 0x46),
                             rgb(0xd0, 0x67, 0x9d), rgb(0x3a, 0xa6, 0xa6)};

/// An axis that has all values, with two to six steps of a round number.
Axis axis_of(const std::vector<double>& values) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  double first = *least;
  double last = *most;
  const double smallest = std::max(std::abs(first), std::abs(last)) * 1e-9;  // or numbers could not be told apart
  if (last - first <= smallest) {
    const double margin = first == 0 ? 1 : std::abs(first) / 2;
    first -= margin;
    last += margin;
  }
  // The largest of 1, 2 and 5 times a power of ten that fits in twice.
  const double power = std::pow(10, std::floor(std::log10((last - first) / 2)));
  const double rest = (last - first) / 2 / power;
  const double step = (rest >= 5 ? 5 : rest >= 2 ? 2 : 1) * power;
  return {.first = std::floor(first / step) * step, .last = std::ceil(last / step) * step, .step = step};
}

/// The number at a step of an axis, with the digits that tell it from the next one.
std::string label_of(const Axis& axis, int i) {
  const double value = axis.first + i * axis.step;
  if (std::abs(value) < axis.step / 2) return "0";
  const double largest = std::max(std::abs(axis.first), std::abs(axis.last));
  const int digits = std::max(6, static_cast<int>(std::log10(largest / axis.step)) + 2);
  char text[40];
  std::snprintf(text, sizeof(text), "%.*g", digits, value);
  return text;
}

Point place_of(const Chart& chart, double x, double y) {
  return {chart.plot.left + chart.plot.width * chart.x.at(x), chart.plot.top + chart.plot.height * (1 - chart.y.at(y))};
}

void draw_grid_line(Canvas& canvas, const Point& from, const Point& to) {
  // A thin line is sharp if it goes through the middle of pixels.
  const auto sharp = [](const Point& point) { return Point{std::floor(point.x) + 0.5, std::floor(point.y) + 0.5}; };
  canvas.set_color(kPale);
  canvas.move_to(sharp(from));
  canvas.line_to(sharp(to));
  canvas.stroke(1);
  canvas.set_color(kDark);
}

void draw_axes(Canvas& canvas, const Chart& chart) {
  using Align = Canvas::Align;
  canvas.clip(chart.cell);
  const double left = chart.plot.left;
  const double bottom = chart.plot.top + chart.plot.height;
  for (int i = 0; i <= chart.x.steps(); ++i) {
    const double x = place_of(chart, chart.x.first + i * chart.x.step, chart.y.first).x;
    draw_grid_line(canvas, {x, static_cast<double>(chart.plot.top)}, {x, bottom});
    canvas.write({x, bottom + 15}, label_of(chart.x, i), Align::center);
  }
  for (int i = 0; i <= chart.y.steps(); ++i) {
    const double y = place_of(chart, chart.x.first, chart.y.first + i * chart.y.step).y;
    draw_grid_line(canvas, {left, y}, {left + chart.plot.width, y});
    canvas.write({left - 6, y + 4}, label_of(chart.y, i), Align::right);
  }
  canvas.write({left, chart.plot.top - 8.0}, chart.name, Align::left);
  canvas.unclip();
}

}  // namespace

int Axis::steps() const { return static_cast<int>(std::lround((last - first) / step)); }

std::vector<Chart> lay_out(const std::vector<Series>& all, int width, int height) {
  const auto number = static_cast<int>(all.size());
  const int columns = static_cast<int>(std::ceil(std::sqrt(number)));
  const int rows = (number + columns - 1) / columns;
  if (width / columns < kLeast || height / rows < kLeast) {
    throw std::runtime_error("the picture is too small: " + std::to_string(number) + " charts need " +
                             std::to_string(columns * kLeast) + "x" + std::to_string(rows * kLeast) + " pixels");
  }
  std::vector<Chart> charts;
  for (int i = 0; i < number; ++i) {
    const Series& series = all[static_cast<std::size_t>(i)];
    const Area cell{.left = i % columns * (width / columns),
                    .top = i / columns * (height / rows),
                    .width = width / columns,
                    .height = height / rows};
    Chart chart{.name = series.name,
                .color = kColors[static_cast<std::size_t>(i) % std::size(kColors)],
                .cell = cell,
                .plot = {.left = cell.left + kLeft,
                         .top = cell.top + kTop,
                         .width = cell.width - kLeft - kRight,
                         .height = cell.height - kTop - kBottom},
                .x = axis_of(series.x),
                .y = axis_of(series.y),
                .line = {}};
    for (std::size_t k = 0; k < series.x.size(); ++k) {
      chart.line.push_back(place_of(chart, series.x[k], series.y[k]));
    }
    charts.push_back(chart);
  }
  return charts;
}

Canvas draw_paper(const std::vector<Chart>& charts, int width, int height) {
  Canvas canvas({.left = 0, .top = 0, .width = width, .height = height});
  for (const Chart& chart : charts) draw_axes(canvas, chart);
  return canvas;
}

}  // namespace draw_charts
