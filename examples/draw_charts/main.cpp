// SPDX-License-Identifier: MIT
/// @file
/// Draws line charts with several threads on one canvas, without a lock and with several kinds of it, and says how many
/// lines came out right.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "canvas.hpp"
#include "chart.hpp"
#include "modes.hpp"
#include "series.hpp"

namespace draw_charts {
namespace {

constexpr const char* kDescription =
    "Draws a line chart for each column of CSV files, or six built-in curves, with several threads on one canvas that\n"
    "is not made for threads, and writes a picture MODE.png for each way to do it:\n"
    "  serial        by one thread\n"
    "  unlocked      by threads that come in between each other's lines: the picture is wrong, the same every time\n"
    "  lock          with a conc::Lock\n"
    "  rlock         with a conc::RLock, which functions that call each other may all lock\n"
    "  synchronized  on a conc::Synchronized<Canvas>\n"
    "  own           each on a canvas of its own; in the end they are put together\n\n"
    "A line is right if its chart has the same pixels as that of serial.\n\n"
    "Exit code: 0 all is drawn, and right wherever it must be, 1 something went wrong, 2 wrong use or input.\n";

struct Size {
  int width = 720;
  int height = 480;
};

struct Options {
  std::vector<std::string> files;
  std::string output = ".";
  std::string mode = "all";
  std::size_t threads = 4;
  Size size;
};

std::vector<Chart> charts_of(const Options& options) {
  std::vector<Series> all;
  for (const std::string& file : options.files) {
    for (Series& series : read_series(file)) all.push_back(std::move(series));
  }
  if (options.files.empty()) all = built_in_series();
  return lay_out(all, options.size.width, options.size.height);
}

/// Draws one picture and prints a row of the table. @return whether all is right that must be.
bool draw(const Mode& mode, const Options& options, const std::vector<Chart>& charts, const Canvas& right) {
  Canvas canvas = draw_paper(charts, options.size.width, options.size.height);
  const auto start = std::chrono::steady_clock::now();
  mode.draw_lines(canvas, charts, std::min(options.threads, charts.size()));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;

  const auto lines_right = static_cast<std::size_t>(
      std::count_if(charts.begin(), charts.end(), [&](const Chart& chart) { return canvas.same(right, chart.cell); }));
  const std::string file = (std::filesystem::path(options.output) / mode.name).string() + ".png";
  canvas.save(file);
  std::printf("%-13s %5zu of %-5zu %9.6f  %s\n", mode.name, lines_right, charts.size(), seconds.count(), file.c_str());
  return !mode.guarded || lines_right == charts.size();
}

int draw_all(const Options& options, const std::vector<Chart>& charts) {
  std::filesystem::create_directories(options.output);
  Canvas right = draw_paper(charts, options.size.width, options.size.height);
  for (const Chart& chart : charts) draw_line(right, chart, [] {});

  std::printf("%zu charts, %zu threads, %d x %d pixels\n\n", charts.size(), std::min(options.threads, charts.size()),
              options.size.width, options.size.height);
  std::printf("%-13s %-14s %9s  %s\n", "mode", "lines right", "seconds", "picture");
  bool good = true;
  for (const Mode& mode : kModes) {
    if (options.mode == "all" || options.mode == mode.name) good = draw(mode, options, charts, right) && good;
  }
  if (std::fflush(stdout) != 0) throw std::runtime_error("the output cannot be written");
  if (!good) throw std::runtime_error("lines are damaged where a lock should have guarded them");
  return 0;
}

/// "720x480"
Size parse_size(std::string_view text) {
  Size size;
  const char* const end = text.data() + text.size();
  const auto [x, bad_width] = std::from_chars(text.data(), end, size.width);
  if (bad_width == std::errc{} && x != end && *x == 'x') {
    const auto [stopped_at, bad_height] = std::from_chars(x + 1, end, size.height);
    const auto in_range = [](int pixels) { return pixels >= 100 && pixels <= 10'000; };
    if (bad_height == std::errc{} && stopped_at == end && in_range(size.width) && in_range(size.height)) return size;
  }
  throw CLI::ValidationError("--size", "must be two numbers from 100 to 10000 with an x between them, as 720x480");
}

}  // namespace
}  // namespace draw_charts

int main(int argc, char** argv) {
  draw_charts::Options options;
  std::vector<std::string> modes{"all"};
  for (const draw_charts::Mode& mode : draw_charts::kModes) modes.emplace_back(mode.name);

  CLI::App app{draw_charts::kDescription};
  app.add_option("files", options.files,
                 "CSV files: a line with names, then lines of numbers; the first column is the x of all others");
  app.add_option("--output", options.output, "Folder for the pictures; it is made if need be")->capture_default_str();
  app.add_option("--mode", options.mode, "One of the modes above, or all")
      ->check(CLI::IsMember(modes))
      ->option_text("MODE")
      ->capture_default_str();
  app.add_option("--threads", options.threads, "How many threads draw, but no more than charts")
      ->check(CLI::Range(std::size_t{1}, std::size_t{100}))
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--size", [&](const std::string& text) { options.size = draw_charts::parse_size(text); },
         "Width and height of the pictures in pixels [720x480]")
      ->option_text("WIDTHxHEIGHT");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }

  const auto complain = [](const std::exception& e) {
    std::fflush(stdout);
    std::fprintf(stderr, "draw_charts: %s\n", e.what());
  };
  const draw_charts::Cairo cairo;
  std::vector<draw_charts::Chart> charts;
  try {
    charts = draw_charts::charts_of(options);
  } catch (const std::exception& e) {
    complain(e);
    return 2;
  }
  try {
    return draw_charts::draw_all(options, charts);
  } catch (const std::exception& e) {
    complain(e);
    return 1;
  }
}
