// SPDX-License-Identifier: MIT
#include "chart.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ostream>

namespace image_pipeline {
namespace {

// In pixels.
constexpr double kWidth = 800;
constexpr double kLeft = 56;  // of the plots; the numbers of items stand before them
constexpr double kRight = 776;
constexpr double kTitleHeight = 44;
constexpr double kPanelHeight = 200;
constexpr double kPlotTop = 34;  // within its panel
constexpr double kPlotBottom = 154;

const char* const kColors[] = {"#3b78b5", "#d9822b"};

std::string number(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", decimals, value);
  return text;
}

std::string pixels(double value) { return number(value, 2); }

void write_text(std::ostream& out, const char* kind, double x, double y, const char* anchor, const std::string& text) {
  out << "  <text class=\"" << kind << "\" x=\"" << pixels(x) << "\" y=\"" << pixels(y) << "\" text-anchor=\"" << anchor
      << "\">" << text << "</text>\n";
}

void write_line(std::ostream& out, const char* kind, double x1, double y1, double x2, double y2) {
  out << "  <line class=\"" << kind << "\" x1=\"" << pixels(x1) << "\" y1=\"" << pixels(y1) << "\" x2=\"" << pixels(x2)
      << "\" y2=\"" << pixels(y2) << "\"/>\n";
}

/// Values from 0 to `last` laid out between two places, with ticks at round distances.
class Axis {
 public:
  Axis(double last, double from, double to, double least_step) : last_(last), from_(from), to_(to) {
    // The largest of 1, 2 and 5 times a power of ten that gives at least four ticks.
    const double power = std::pow(10, std::floor(std::log10(last / 4)));
    const double rest = last / 4 / power;
    step_ = std::max(least_step, (rest >= 5 ? 5 : rest >= 2 ? 2 : 1) * power);
  }

  double at(double value) const { return from_ + (to_ - from_) * value / last_; }
  double tick(int i) const { return i * step_; }
  int ticks() const { return static_cast<int>(last_ / step_ * 1.000001); }
  int decimals() const { return std::max(0, static_cast<int>(-std::floor(std::log10(step_ * 1.000001)))); }

 private:
  double last_;
  double from_;
  double to_;
  double step_;
};

/// A queue keeps its depth until the next look, so the curve goes in steps.
void write_steps(std::ostream& out, const Axis& time, const Axis& depth, const Curve& curve, const char* color) {
  out << "  <polyline class=\"depth\" fill=\"none\" stroke=\"" << color << "\" points=\"";
  double before = 0;
  for (std::size_t i = 0; i < curve.seconds.size(); ++i) {
    const double x = time.at(curve.seconds[i]);
    const double y = depth.at(static_cast<double>(curve.items[i]));
    if (i > 0 && y != before) out << pixels(x) << "," << pixels(before) << " ";
    out << pixels(x) << "," << pixels(y) << " ";
    before = y;
  }
  out << "\"/>\n";
}

void write_panel(std::ostream& out, double top, const Curve& curve, const char* color) {
  const double bottom = top + kPlotBottom;
  const double longest = std::max(curve.seconds.empty() ? 0 : curve.seconds.back(), 1e-6);
  const Axis time(longest, kLeft, kRight, 0);
  const Axis depth(static_cast<double>(curve.bound), bottom, top + kPlotTop, 1);

  write_text(out, "panel", kLeft, top + 20, "start", curve.title);
  for (int i = 0; i <= time.ticks(); ++i) {
    const double x = time.at(time.tick(i));
    write_line(out, "grid", x, top + kPlotTop, x, bottom + 4);
    write_text(out, "second", x, bottom + 18, "middle", number(time.tick(i), time.decimals()));
  }
  for (int i = 0; i <= depth.ticks(); ++i) {
    const double y = depth.at(depth.tick(i));
    write_line(out, "grid", kLeft - 4, y, kRight, y);
    write_text(out, "item", kLeft - 8, y + 4, "end", number(depth.tick(i), 0));
  }
  write_text(out, "unit", kRight, bottom + 34, "end", "seconds");
  write_line(out, "axis", kLeft, bottom, kRight, bottom);
  write_line(out, "bound", kLeft, depth.at(static_cast<double>(curve.bound)), kRight,
             depth.at(static_cast<double>(curve.bound)));
  write_steps(out, time, depth, curve, color);
}

}  // namespace

void write_chart(std::ostream& out, const std::string& title, const std::vector<Curve>& curves) {
  const double height = kTitleHeight + kPanelHeight * static_cast<double>(curves.size());
  out << "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << pixels(kWidth) << " " << pixels(height)
      << "\" font-family=\"sans-serif\" font-size=\"13\">\n"
      << "  <title>" << title << "</title>\n"
      << "  <style>.grid { stroke: #dddddd } .axis { stroke: #222222 } .second, .item, .unit { fill: #555555 }"
      << " .bound { stroke: #c0392b; stroke-dasharray: 6 4 } .panel { font-weight: bold }"
      << " .title { font-size: 18px }</style>\n"
      << "  <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  write_text(out, "title", kLeft, 28, "start", title);
  for (std::size_t i = 0; i < curves.size(); ++i) {
    write_panel(out, kTitleHeight + kPanelHeight * static_cast<double>(i), curves[i], kColors[i % std::size(kColors)]);
  }
  out << "</svg>\n";
}

}  // namespace image_pipeline
