// SPDX-License-Identifier: MIT
#include "timeline.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <ostream>

namespace fanout_query {
namespace {

// In pixels.
constexpr double kWidth = 900;
constexpr double kLeft = 56;  // of the plots; the labels stand before them
constexpr double kRight = 876;
constexpr double kTitleHeight = 44;
constexpr double kPanelTitleHeight = 28;
constexpr double kAxisHeight = 48;
constexpr double kLeastRowHeight = 12;
constexpr double kBarHeight = 1.5;
constexpr double kGap = 2;  // between rows

const char* const kColors[] = {"#8c96a5", "#d9822b", "#3b78b5"};

double height_of(const Row& row) {
  return std::max(kLeastRowHeight, kBarHeight * static_cast<double>(row.parts.size())) + kGap;
}

double height_of(const Panel& panel) {
  double height = kPanelTitleHeight + kAxisHeight;
  for (const Row& row : panel.rows) height += height_of(row);
  return height;
}

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

/// Seconds laid out from left to right, with ticks at round distances.
class Axis {
 public:
  explicit Axis(double longest) : longest_(std::max(longest, 1e-6)) {
    // The largest of 1, 2 and 5 times a power of ten that gives at least four ticks.
    const double power = std::pow(10, std::floor(std::log10(longest_ / 4)));
    const double rest = longest_ / 4 / power;
    step_ = (rest >= 5 ? 5 : rest >= 2 ? 2 : 1) * power;
  }

  double at(double seconds) const { return kLeft + (kRight - kLeft) * seconds / longest_; }

  void write(std::ostream& out, double top, double bottom) const {
    const int ticks = static_cast<int>(longest_ / step_ * 1.000001);
    const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step_ * 1000 * 1.000001))));
    for (int i = 0; i <= ticks; ++i) {
      const double x = at(i * step_);
      write_line(out, "grid", x, top, x, bottom + 4);
      write_text(out, "tick", x, bottom + 18, "middle", number(i * step_ * 1000, decimals));
    }
    write_line(out, "axis", kLeft, bottom, kRight, bottom);
    write_text(out, "unit", kRight, bottom + 34, "end", "milliseconds");
  }

 private:
  double longest_;
  double step_;
};

void write_span(std::ostream& out, const char* kind, const Axis& axis, const Span& span, double top, double height,
                const char* color) {
  out << "  <rect class=\"" << kind << "\" x=\"" << pixels(axis.at(span.begin)) << "\" y=\"" << pixels(top)
      << "\" width=\"" << pixels(axis.at(span.end) - axis.at(span.begin)) << "\" height=\"" << pixels(height)
      << "\" fill=\"" << color << "\"><title>" << span.note << "</title></rect>\n";
}

void write_row(std::ostream& out, const Axis& axis, double top, const Row& row, const char* color) {
  const double height = height_of(row) - kGap;
  write_text(out, "row", kLeft - 6, top + height / 2 + 3, "end", row.label);
  write_span(out, row.failed ? "failed" : "request", axis, row.whole, top, height, row.failed ? "#f0c4bf" : "#e8ecf1");
  for (std::size_t i = 0; i < row.parts.size(); ++i) {
    write_span(out, "query", axis, row.parts[i], top + kBarHeight * static_cast<double>(i), kBarHeight, color);
  }
}

void write_panel(std::ostream& out, const Axis& axis, double top, const Panel& panel, const char* color) {
  write_text(out, "panel", kLeft, top + 18, "start", panel.title);
  axis.write(out, top + kPanelTitleHeight, top + height_of(panel) - kAxisHeight);
  double place = top + kPanelTitleHeight;
  for (const Row& row : panel.rows) {
    write_row(out, axis, place, row, color);
    place += height_of(row);
  }
}

}  // namespace

void write_timeline(std::ostream& out, const std::string& title, const std::vector<Panel>& panels) {
  double height = kTitleHeight;
  double longest = 0;
  for (const Panel& panel : panels) {
    height += height_of(panel);
    for (const Row& row : panel.rows) longest = std::max(longest, row.whole.end);
  }
  const Axis axis(longest);
  out << "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << pixels(kWidth) << " " << pixels(height)
      << "\" font-family=\"sans-serif\" font-size=\"13\">\n"
      << "  <title>" << title << "</title>\n"
      << "  <style>.grid { stroke: #dddddd } .axis { stroke: #222222 } .tick, .unit { fill: #555555 }"
      << " .row { font-size: 10px } .panel { font-weight: bold } .title { font-size: 18px }</style>\n"
      << "  <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  write_text(out, "title", kLeft, 28, "start", title);
  double top = kTitleHeight;
  for (std::size_t i = 0; i < panels.size(); ++i) {
    write_panel(out, axis, top, panels[i], kColors[i % std::size(kColors)]);
    top += height_of(panels[i]);
  }
  out << "</svg>\n";
}

}  // namespace fanout_query
