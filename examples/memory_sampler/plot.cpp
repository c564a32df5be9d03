// SPDX-License-Identifier: MIT
#include "plot.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ostream>

namespace memory_sampler {
namespace {

// In pixels.
constexpr double kWidth = 760;
constexpr double kHeight = 360;
constexpr double kLeft = 80;  // of the plot
constexpr double kRight = 640;
constexpr double kTop = 50;
constexpr double kBottom = 310;

constexpr double kMiB = 1024 * 1024;

std::string number(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", decimals, value);
  return text;
}

std::string pixels(double value) { return number(value, 2); }

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

/// An axis from 0 to at least `most`, with four to ten steps of a round number.
struct Axis {
  explicit Axis(double most) {
    // The largest of 1, 2 and 5 times a power of ten that fits in four times.
    const double power = std::pow(10, std::floor(std::log10(most / 4)));
    const double rest = most / 4 / power;
    step = (rest >= 5 ? 5 : rest >= 2 ? 2 : 1) * power;
    steps = static_cast<int>(std::ceil(most / step));
    decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step * 1.000001))));
  }

  std::string label(int i) const { return number(i * step, decimals); }
  double share(double value) const { return value / (step * steps); }

  double step;
  int steps;
  int decimals;
};

void write_text(std::ostream& out, const char* kind, double x, double y, const char* anchor, const std::string& text) {
  out << "  <text class=\"" << kind << "\" x=\"" << pixels(x) << "\" y=\"" << pixels(y) << "\" text-anchor=\"" << anchor
      << "\">" << escaped(text) << "</text>\n";
}

void write_line(std::ostream& out, const char* kind, double x1, double y1, double x2, double y2) {
  out << "  <line class=\"" << kind << "\" x1=\"" << pixels(x1) << "\" y1=\"" << pixels(y1) << "\" x2=\"" << pixels(x2)
      << "\" y2=\"" << pixels(y2) << "\"/>\n";
}

}  // namespace

void write_plot(std::ostream& out, const std::string& title, const Samples& samples) {
  const double seconds = samples.all.empty() ? 0 : samples.all.back().time.count();
  const Axis times(std::max(seconds, 1e-6));
  const Axis sizes(std::max(samples.peak() / kMiB, 1e-3));
  const auto x_of = [&](double time) { return kLeft + (kRight - kLeft) * times.share(time); };
  const auto y_of = [&](double bytes) { return kBottom - (kBottom - kTop) * sizes.share(bytes / kMiB); };

  out << "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << pixels(kWidth) << " " << pixels(kHeight)
      << "\" font-family=\"sans-serif\" font-size=\"13\">\n"
      << "  <title>" << escaped(title) << "</title>\n"
      << "  <style>.grid { stroke: #dddddd } .axis { stroke: #222222 } .tick, .unit { fill: #555555 }"
      << " .head { font-size: 18px } .average { stroke: #d9822b; fill: none } text.average { fill: #d9822b; stroke: "
         "none }"
      << " .samples { stroke: #3b78b5; stroke-width: 2; fill: none; stroke-linejoin: round }</style>\n"
      << "  <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  write_text(out, "head", kLeft, 28, "start", title);
  for (int i = 0; i <= times.steps; ++i) {
    const double x = x_of(i * times.step);
    write_line(out, "grid", x, kTop, x, kBottom + 4);
    write_text(out, "tick", x, kBottom + 20, "middle", times.label(i));
  }
  for (int i = 0; i <= sizes.steps; ++i) {
    const double y = y_of(i * sizes.step * kMiB);
    write_line(out, "grid", kLeft - 4, y, kRight, y);
    write_text(out, "tick", kLeft - 8, y + 5, "end", sizes.label(i));
  }
  write_line(out, "axis", kLeft, kBottom, kRight, kBottom);
  write_line(out, "axis", kLeft, kTop, kLeft, kBottom);
  write_text(out, "unit", kRight + 24, kBottom + 20, "start", "seconds");
  write_text(out, "unit", kLeft - 8, kTop - 12, "end", "MiB");

  out << "  <polyline class=\"samples\" points=\"";
  for (const Sample& sample : samples.all) {
    out << pixels(x_of(sample.time.count())) << "," << pixels(y_of(sample.value)) << " ";
  }
  out << "\"/>\n";
  const double average = y_of(samples.average());
  write_line(out, "average", kLeft, average, kRight, average);
  write_text(out, "average", kRight + 6, average + 5, "start", "average " + number(samples.average() / kMiB, 1));
  out << "</svg>\n";
}

}  // namespace memory_sampler
