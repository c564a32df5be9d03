// SPDX-License-Identifier: MIT
/// @file
/// Transforms all PNG files of a folder in a pipeline: some threads read, some transform, some write.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <conc/cpu_count.hpp>
#include <conc/event.hpp>

#include "chart.hpp"
#include "pipeline.hpp"
#include "stop.hpp"
#include "transform.hpp"

namespace fs = std::filesystem;

namespace image_pipeline {
namespace {

const std::string kDescription =
    "Reads the PNG files of a folder, transforms them and writes them to another folder. Each of the three has worker\n"
    "threads of its own; bounded queues lie between them. The table shows where their time went.\n\n"
    "TRANSFORM is one of these, or several with commas between them:\n" +
    describe_transforms() +
    "\n"
    "Exit code: 0 all pictures are done, 1 some are not, or the chart could not be written, 2 wrong use,\n"
    "128 + n stopped by signal n.\n";

void complain(const std::string& text) { std::fprintf(stderr, "image_pipeline: %s\n", text.c_str()); }

/// The names of the PNG files in a folder, in order. Hidden ones (".name") are left out.
std::vector<std::string> find_pictures(const fs::path& source) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(source)) {
    const fs::path name = entry.path().filename();
    const bool hidden = name.string().starts_with('.');
    if (!hidden && name.extension() == ".png" && !entry.is_directory()) names.push_back(name.string());
  }
  if (names.empty()) throw std::runtime_error(source.string() + ": there are no pictures (*.png)");
  std::sort(names.begin(), names.end());
  return names;
}

/// Names of other people's making: no character of them may command the terminal.
std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, '?');
  return text;
}

/// Says which pictures failed. Returns true if all are done.
bool report_failures(const std::vector<std::string>& names, const Result& result) {
  std::size_t failed = 0;
  std::size_t left = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Outcome& outcome = result.outcomes[i];
    if (!outcome.error.empty()) {
      complain(printable(names[i] + ": " + outcome.error));
      ++failed;
    } else if (!outcome.done) {
      ++left;
    }
  }
  if (left > 0) complain("stopped: " + std::to_string(left) + " pictures were not done");
  std::printf("%zu of %zu pictures in %.3f seconds\n\n", names.size() - failed - left, names.size(), result.seconds);
  return failed + left == 0;
}

/// The share of its time that a stage worked and did not wait.
double share_of(const Effort& effort) {
  const double time = effort.busy + effort.waited_for_items + effort.waited_for_room;
  return time > 0 ? effort.busy / time : 0;
}

void print_stages(const std::vector<StageReport>& stages) {
  std::printf("%-10s %8s %8s %10s %19s %18s %7s\n", "stage", "workers", "items", "busy s", "waited for items s",
              "waited for room s", "busy %");
  for (const StageReport& stage : stages) {
    const Effort& effort = stage.effort;
    std::printf("%-10s %8zu %8zu %10.3f %19.3f %18.3f %7.1f\n", stage.name.c_str(), stage.workers, effort.items,
                effort.busy, effort.waited_for_items, effort.waited_for_room, 100 * share_of(effort));
  }
  const auto busiest = std::max_element(stages.begin(), stages.end(), [](const auto& a, const auto& b) {
    return share_of(a.effort) < share_of(b.effort);
  });
  std::printf("\nbottleneck: %s\n", busiest->name.c_str());
}

/// The chart's file, opened before the work that a wrong name would waste.
std::ofstream open_chart(const std::string& name) {
  std::ofstream file;
  if (name.empty()) return file;
  errno = 0;
  file.open(name);
  if (!file) throw std::system_error(errno, std::generic_category(), name);
  return file;
}

void draw(std::ofstream& file, const std::string& name, const Settings& settings, const Depths& depths) {
  const auto workers = [](std::size_t n, const char* of) { return std::to_string(n) + " " + of; };
  write_chart(file,
              workers(settings.readers, "read, ") + workers(settings.transformers, "transform, ") +
                  workers(settings.writers, "write: how many pictures wait in the queues"),
              {{"to be transformed", settings.depth, depths.seconds, depths.items[0]},
               {"to be written", settings.depth, depths.seconds, depths.items[1]}});
  errno = 0;
  file.close();
  if (!file) throw std::system_error(errno, std::generic_category(), name);
}

int run(const Settings& settings, const std::string& plot, const std::vector<std::string>& names) {
  conc::Event& stop = stop_on_signals();
  std::ofstream chart = open_chart(plot);
  const Result result = run_pipeline(settings, names, stop);
  const bool good = report_failures(names, result);
  print_stages(result.stages);
  if (std::fflush(stdout) != 0) throw std::system_error(errno, std::generic_category(), "standard output");
  if (chart.is_open()) draw(chart, plot, settings, result.depths);
  if (stop_signal() != 0) return 128 + stop_signal();
  return good ? 0 : 1;
}

/// Finds the pictures and makes the output folder.
std::vector<std::string> prepare(const Settings& settings) {
  std::vector<std::string> names = find_pictures(settings.source);
  fs::create_directories(settings.output);
  if (fs::equivalent(settings.source, settings.output)) {
    throw std::runtime_error(settings.output.string() + ": the output folder must not be the source folder");
  }
  return names;
}

void parse_transforms(const std::vector<std::string>& texts, std::vector<Transform>& transforms) {
  transforms.clear();
  for (const std::string& text : texts) {
    try {
      transforms.push_back(parse_transform(text));
    } catch (const std::invalid_argument& e) {
      throw CLI::ValidationError("--transform", e.what());
    }
  }
}

}  // namespace
}  // namespace image_pipeline

int main(int argc, char** argv) {
  image_pipeline::Settings settings;
  settings.readers = settings.transformers = settings.writers = conc::usable_cpu_count();
  std::string plot;
  CLI::App app{image_pipeline::kDescription};
  const auto add = [&app](const char* name, std::size_t& value, std::size_t most, const char* text) {
    app.add_option(name, value, text)->check(CLI::Range(std::size_t{1}, most))->capture_default_str();
  };
  app.add_option("--source", settings.source, "Folder with PNG files (*.png)")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--output", settings.output, "Folder for the results; made if need be, nothing in it is overwritten")
      ->required();
  const auto store = [&](const std::vector<std::string>& texts) {
    image_pipeline::parse_transforms(texts, settings.transforms);
  };
  app.add_option_function<std::vector<std::string>>("--transform", store, "What to do, in this order")
      ->required()
      ->delimiter(',')
      ->option_text("TRANSFORM REQUIRED");
  add("--readers", settings.readers, 1'000, "Threads that read");
  add("--transformers", settings.transformers, 1'000, "Threads that transform");
  add("--writers", settings.writers, 1'000, "Threads that write");
  add("--depth", settings.depth, 10'000, "How many pictures may wait between two stages");
  add("--max-pixels", settings.max_pixels, 1'000'000'000, "Larger pictures fail, and take no memory");
  app.add_flag("--fail-fast", settings.fail_fast, "Stop when the first picture fails");
  app.add_option("--plot", plot, "SVG file for a chart of the queues over time");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }

  std::vector<std::string> names;
  try {
    names = image_pipeline::prepare(settings);
  } catch (const std::exception& e) {
    image_pipeline::complain(e.what());
    return 2;
  }
  try {
    return image_pipeline::run(settings, plot, names);
  } catch (const std::exception& e) {
    image_pipeline::complain(e.what());
    return 1;
  }
}
