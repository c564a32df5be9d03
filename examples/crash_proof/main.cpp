// SPDX-License-Identifier: MIT
/// @file
/// Runs all programs of a folder, whatever they do: each in a worker process, where it can crash, hang or take all memory
/// without harm to anybody else.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <conc/cpu_count.hpp>
#include <conc/process.hpp>

#include "batch.hpp"
#include "stop.hpp"

namespace fs = std::filesystem;

namespace crash_proof {
namespace {

constexpr const char* kDescription =
    "Runs all programs (*.calc) of a folder and prints what became of each: 'done' with what it has printed, 'wrong',\n"
    "'crashed', 'timed out', 'out of memory', 'failed' if it could not be read. A program runs in a worker process, "
    "which\n"
    "it can take with it; the others go on.\n\n"
    "Exit code: 0 all are done, 1 some are not, 2 wrong use, 128 + n stopped by signal n.\n";

constexpr std::uint64_t kMegabyte = 1024 * 1024;
constexpr std::size_t kLongestReason = 200;  // characters

struct Options {
  fs::path source;
  int workers = 0;  // 0: choose
  int timeout_ms = 2000;
  std::uint64_t memory_mb = 256;
  unsigned retries = 1;
};

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::done:
      return "done";
    case Verdict::wrong:
      return "wrong";
    case Verdict::crashed:
      return "crashed";
    case Verdict::timed_out:
      return "timed out";
    case Verdict::out_of_memory:
      return "out of memory";
    case Verdict::failed:
      return "failed";
    case Verdict::not_run:
      break;
  }
  return "not run";
}

/// The programs in a folder, in the order of their names. Hidden ones (".name") are left out.
std::vector<fs::path> find_programs(const fs::path& source) {
  std::vector<fs::path> programs;
  for (const fs::directory_entry& entry : fs::directory_iterator(source)) {
    const fs::path name = entry.path().filename();
    const bool hidden = name.string().starts_with('.');
    if (!hidden && name.extension() == ".calc" && !entry.is_directory()) programs.push_back(entry.path());
  }
  if (programs.empty()) throw std::runtime_error(source.string() + ": there are no programs (*.calc)");
  std::sort(programs.begin(), programs.end());
  return programs;
}

/// Texts of other people's making: no character of them may command the terminal.
std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, '?');
  return text;
}

void print_lines(std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size() - 1);
    std::printf("    %s\n", printable(std::string(text.substr(0, text[end] == '\n' ? end : end + 1))).c_str());
    text.remove_prefix(end + 1);
  }
}

void print(const fs::path& program, const Outcome& outcome) {
  std::printf("%s: %s", printable(program.filename().string()).c_str(), name_of(outcome.verdict));
  if (outcome.verdict == Verdict::done) {
    std::printf("\n");
    print_lines(outcome.text);
  } else {
    const char* const colon = outcome.text.empty() ? "" : ": ";
    std::printf("%s%s\n", colon, printable(outcome.text.substr(0, kLongestReason)).c_str());
  }
}

/// Prints what became of all programs, and returns the exit code.
int report(const std::vector<fs::path>& programs, const std::vector<Outcome>& outcomes, double seconds) {
  std::map<Verdict, std::size_t> counts;
  for (std::size_t i = 0; i < programs.size(); ++i) {
    print(programs[i], outcomes[i]);
    ++counts[outcomes[i].verdict];
  }
  std::printf("\n");
  for (const auto& [verdict, count] : counts) std::printf("%-14s%zu\n", name_of(verdict), count);
  std::printf("%-14s%.3f\n", "seconds", seconds);
  if (stop_signal() != 0) return 128 + stop_signal();
  return counts[Verdict::done] == programs.size() ? 0 : 1;
}

int run(const Options& options) {
  std::vector<fs::path> programs;
  try {
    programs = find_programs(options.source);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "crash_proof: %s\n", e.what());
    return 2;
  }
  const Limits limits{.workers = options.workers != 0 ? options.workers : static_cast<int>(conc::usable_cpu_count()),
                      .memory = options.memory_mb * kMegabyte,
                      .time = std::chrono::milliseconds{options.timeout_ms},
                      .retries = options.retries};
  try {
    conc::Event& stop = stop_on_signals();
    const auto start = std::chrono::steady_clock::now();
    const std::vector<Outcome> outcomes = run_batch(programs, limits, stop);
    return report(programs, outcomes, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "crash_proof: %s\n", e.what());
    return 1;
  }
}

}  // namespace
}  // namespace crash_proof

int main(int argc, char** argv) {
  conc::process_init(argc, argv);  // first: while there is one thread
  crash_proof::Options options;
  CLI::App app{crash_proof::kDescription};
  app.add_option("--source", options.source, "Folder with the programs")->required()->check(CLI::ExistingDirectory);
  app.add_option("--workers", options.workers, "Worker processes [usable CPUs]")->check(CLI::Range(1, 1'000));
  app.add_option("--timeout-ms", options.timeout_ms, "How long a program may run, in milliseconds")
      ->check(CLI::Range(1, 3'600'000))
      ->capture_default_str();
  app.add_option("--memory-mb", options.memory_mb, "How much memory a worker may have, in MiB; 0: any")
      ->check(CLI::Range(std::uint64_t{0}, std::uint64_t{1'000'000}))
      ->capture_default_str();
  app.add_option("--retry", options.retries, "How often a program is tried again that crashed or timed out")
      ->check(CLI::Range(0, 1'000))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  return crash_proof::run(options);
}
