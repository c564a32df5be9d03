// SPDX-License-Identifier: MIT
#include "chart.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ostream>

namespace cpu_or_io {
namespace {

// In pixels.
constexpr double kWidth = 760;
constexpr double kLeft = 80;    // of the plot; the labels stand before it
constexpr double kRight = 600;  // the figures stand behind it
constexpr double kTitleHeight = 44;
constexpr double kPanelTitleHeight = 28;
constexpr double kRowHeight = 30;
constexpr double kBarHeight = 20;
constexpr double kAxisHeight = 48;

const char* const kColors[] = {"#8c96a5", "#3b78b5", "#d9822b", "#5b9f4a"};

double height_of(const Panel& panel) {
  return kPanelTitleHeight + kRowHeight * static_cast<double>(panel.bars.size()) + kAxisHeight;
}

std::string number(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", decimals, value);
  return text;
}

std::string pixels(double value) { return number(value, 2); }

std::string three_digits(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3g", value);
  return text;
}

/// Characters that mean something to XML, written so that they do not.
std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '&') {
      result += "&amp;";
    } else if (c == '<') {
      result += "&lt;";
    } else {
      result += c;
    }
  }
  return result;
}

void write_text(std::ostream& out, double x, double y, const char* anchor, const std::string& text,
                const char* more = "") {
  out << "  <text x=\"" << pixels(x) << "\" y=\"" << pixels(y) << "\" text-anchor=\"" << anchor << "\"" << more << ">"
      << escaped(text) << "</text>\n";
}

void write_line(std::ostream& out, const char* kind, double x1, double y1, double x2, double y2) {
  out << "  <line class=\"" << kind << "\" x1=\"" << pixels(x1) << "\" y1=\"" << pixels(y1) << "\" x2=\"" << pixels(x2)
      << "\" y2=\"" << pixels(y2) << "\"/>\n";
}

/// Where a time lies on the axis of its panel.
class Axis {
 public:
  explicit Axis(double longest) {
    // The largest of 1, 2 and 5 times a power of ten that gives at least four ticks.
    const double power = std::pow(10, std::floor(std::log10(longest / 4)));
    const double rest = longest / 4 / power;
    step_ = (rest >= 5 ? 5 : rest >= 2 ? 2 : 1) * power;
    ticks_ = static_cast<int>(std::ceil(longest / step_));
    decimals_ = std::max(0, static_cast<int>(-std::floor(std::log10(step_ * 1.000001))));
  }

  double at(double seconds) const { return kLeft + (kRight - kLeft) * seconds / (step_ * ticks_); }

  void write(std::ostream& out, double top, double bottom) const {
    for (int i = 0; i <= ticks_; ++i) {
      write_line(out, "grid", at(i * step_), top, at(i * step_), bottom + 4);
      write_text(out, at(i * step_), bottom + 18, "middle", number(i * step_, decimals_), " class=\"tick\"");
    }
    write_line(out, "axis", kLeft, bottom, kRight, bottom);
    write_text(out, kRight + 44, bottom + 18, "start", "seconds", " class=\"unit\"");
  }

 private:
  double step_;
  int ticks_;
  int decimals_;
};

void write_bar(std::ostream& out, const Axis& axis, double top, const Bar& bar, const char* color) {
  const double middle = top + kRowHeight / 2;
  out << "  <rect class=\"bar\" x=\"" << pixels(kLeft) << "\" y=\"" << pixels(middle - kBarHeight / 2) << "\" width=\""
      << pixels(axis.at(bar.median) - kLeft) << "\" height=\"" << pixels(kBarHeight) << "\" fill=\"" << color
      << "\"/>\n";
  write_line(out, "spread", axis.at(bar.least), middle, axis.at(bar.most), middle);
  for (const double end : {bar.least, bar.most}) {
    write_line(out, "end", axis.at(end), middle - 4, axis.at(end), middle + 4);
  }
  write_text(out, kLeft - 8, middle + 5, "end", bar.label, " class=\"label\"");
  write_text(out, kRight + 8, middle + 5, "start", three_digits(bar.median) + " s, " + bar.note, " class=\"figure\"");
}

void write_panel(std::ostream& out, double top, const Panel& panel) {
  double longest = 0;
  for (const Bar& bar : panel.bars) longest = std::max(longest, bar.most);
  const Axis axis(longest);

  write_text(out, kLeft, top + 18, "start", panel.title, " class=\"panel\"");
  const double first = top + kPanelTitleHeight;
  axis.write(out, first, first + kRowHeight * static_cast<double>(panel.bars.size()));
  for (std::size_t i = 0; i < panel.bars.size(); ++i) {
    write_bar(out, axis, first + kRowHeight * static_cast<double>(i), panel.bars[i], kColors[i % std::size(kColors)]);
  }
}

}  // namespace

void write_chart(std::ostream& out, const std::string& title, const std::vector<Panel>& panels) {
  double height = kTitleHeight;
  for (const Panel& panel : panels) height += height_of(panel);

  out << "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << pixels(kWidth) << " " << pixels(height)
      << "\" font-family=\"sans-serif\" font-size=\"13\">\n"
      << "  <title>" << escaped(title) << "</title>\n"
      << "  <style>.grid { stroke: #dddddd } .axis, .spread, .end { stroke: #222222 } .tick, .unit { fill: #555555 }"
      << " .panel { font-weight: bold }</style>\n"
      << "  <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  write_text(out, kLeft, 28, "start", title, " font-size=\"18\"");
  double top = kTitleHeight;
  for (const Panel& panel : panels) {
    write_panel(out, top, panel);
    top += height_of(panel);
  }
  out << "</svg>\n";
}

}  // namespace cpu_or_io
