// SPDX-License-Identifier: MIT
/// @file
/// How much memory a piece of work takes: a thread looks every few milliseconds while it runs.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <system_error>

#include "memory.hpp"
#include "plot.hpp"
#include "sampler.hpp"
#include "work.hpp"

namespace memory_sampler {
namespace {

constexpr const char* kDescription =
    "Does a piece of work, and looks every few milliseconds how much memory the process takes (its proportional set\n"
    "size). Prints what the work found and what was seen, and appends the average in bytes to a file as 'name: "
    "value'.\n"
    "  sort    sorts numbers that take so many megabytes\n"
    "  matrix  multiplies two matrices that take so many megabytes together with their product\n"
    "  lines   reads a file and counts its lines, and those that are different\n\n"
    "Exit code: 0 all is done, 1 the work or the measuring failed or a file could not be written, 2 wrong use.\n";

constexpr double kMiB = 1024 * 1024;

struct Options {
  std::string work = "sort";
  std::size_t megabytes = 64;
  std::string input;
  int interval_ms = 5;
  std::string name;  // empty: as the work
  std::string averages = "memory.txt";
  std::string plot;
};

void complain(const std::exception& e) {
  std::fflush(stdout);
  std::fprintf(stderr, "memory_sampler: %s\n", e.what());
}

std::function<std::string()> work_of(const Options& options) {
  const std::size_t bytes = options.megabytes << 20;
  if (options.work == "sort") return [bytes] { return sort_numbers(bytes); };
  if (options.work == "matrix") return [bytes] { return multiply_matrices(bytes); };
  return [&options] { return count_lines(options.input); };
}

/// A file to write, opened before hours of work may be lost.
std::ofstream open(const std::string& name, std::ios::openmode mode) {
  std::ofstream file;
  if (name.empty()) return file;
  errno = 0;
  file.open(name, mode);
  if (!file) throw std::system_error(errno, std::generic_category(), name);
  return file;
}

void close(std::ofstream& file, const std::string& name) {
  errno = 0;
  file.close();
  if (!file) throw std::system_error(errno, std::generic_category(), name);
}

void print(const Samples& samples) {
  std::printf("samples      %zu\nseconds      %.6f\naverage MiB  %.3f\npeak MiB     %.3f\n", samples.all.size(),
              samples.all.empty() ? 0 : samples.all.back().time.count(), samples.average() / kMiB,
              samples.peak() / kMiB);
}

void run(const Options& options) {
  std::ofstream averages = open(options.averages, std::ios::app);
  std::ofstream plot = open(options.plot, std::ios::out);
  Sampler sampler([] { return static_cast<double>(proportional_set_size()); },
                  std::chrono::milliseconds(options.interval_ms));
  // Whatever becomes of the work, what was seen until then is shown.
  const auto show = [&] {
    print(sampler.samples());
    if (!plot.is_open()) return;
    write_plot(plot, options.name, sampler.samples());
    close(plot, options.plot);
  };

  std::string found;
  try {
    found = sampled(work_of(options), sampler);
  } catch (...) {
    try {
      show();
    } catch (const std::exception& e) {
      complain(e);
    }
    throw;
  }
  std::printf("%s\n", found.c_str());
  show();
  if (sampler.samples().error) std::rethrow_exception(sampler.samples().error);
  averages << options.name + ": " + std::to_string(std::llround(sampler.samples().average())) + "\n";
  close(averages, options.averages);
  if (std::fflush(stdout) != 0) throw std::runtime_error("the output cannot be written");
}

/// For a line of its own, and for XML.
std::string is_name(const std::string& text) {
  const bool good = std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~' && c != ':'; });
  return good && !text.empty() ? "" : "must be printable ASCII without colons";
}

}  // namespace
}  // namespace memory_sampler

int main(int argc, char** argv) {
  memory_sampler::Options options;
  CLI::App app{memory_sampler::kDescription};
  app.add_option("--work", options.work, "One of those above")
      ->check(CLI::IsMember({"sort", "matrix", "lines"}))
      ->option_text("WORK")
      ->capture_default_str();
  app.add_option("--megabytes", options.megabytes, "How much sort and matrix work with")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1'000'000}))
      ->capture_default_str();
  CLI::Option* const input = app.add_option("--input", options.input, "What lines reads");
  app.add_option("--interval-ms", options.interval_ms, "Milliseconds between two looks")
      ->check(CLI::Range(1, 3'600'000))
      ->capture_default_str();
  app.add_option("--name", options.name, "What the average is called in the file; else as the work")
      ->check(memory_sampler::is_name);
  app.add_option("--averages", options.averages, "The file to which the average is appended")->capture_default_str();
  app.add_option("--plot", options.plot, "File for a picture of the samples, in SVG");
  try {
    app.parse(argc, argv);
    if (options.work == "lines" && input->count() == 0) throw CLI::RequiredError("--input");
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (options.name.empty()) options.name = options.work;
  try {
    memory_sampler::run(options);
  } catch (const std::exception& e) {
    memory_sampler::complain(e);
    return 1;
  }
  return 0;
}
