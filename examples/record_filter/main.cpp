// SPDX-License-Identifier: MIT
/// @file
/// Worker threads filter folders of record files: a queue hands out the folders, and the main thread waits until the
/// queue has seen them all done.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <conc/cpu_count.hpp>
#include <conc/queue.hpp>
#include <conc/thread.hpp>

#include "file.hpp"
#include "filter.hpp"
#include "group_ids.hpp"
#include "progress.hpp"

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace record_filter {
namespace {

constexpr const char* kDescription =
    "Copies the records whose group id is in a CSV file, from every record file in every folder below SOURCE to a\n"
    "file of the same name below OUTPUT. Worker threads take the folders; a folder appears in OUTPUT whole or not at\n"
    "all.\n\n"
    "Exit code: 0 all folders are done, 1 some folder failed, 2 wrong use, 128 + n stopped by signal n.\n";

struct Options {
  fs::path source;
  fs::path output;
  fs::path csv;
  std::string column = "group_id";
  std::size_t threads = 0;  // 0: choose
  int retries = 2;
  std::uint64_t records_per_progress = 10'000;
};

std::atomic<bool> stop_wanted{false};
std::atomic<int> stop_signal{0};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free,
              "a signal handler may touch only lock-free atomics");

/// Lets the workers give up in good order at the first signal; the second one ends the program as usual.
void stop_on_signals() {
  struct sigaction action {};
  action.sa_handler = [](int signal) {
    stop_signal = signal;
    stop_wanted = true;
  };
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  for (const int signal : {SIGINT, SIGTERM}) ::sigaction(signal, &action, nullptr);
}

void complain(const std::string& text) { std::cerr << "record_filter: " << text << '\n'; }

/// What the main thread and the workers share.
struct Work {
  const Job& job;
  const std::vector<Folder>& folders;
  std::vector<FolderResult> results;  // one for each folder, written by the worker that took it
  conc::Queue<std::size_t> queue{};   // positions in `folders`
  Tally tally{};
};

void filter_folders(Work& work) {
  for (const std::size_t i : work.queue) {
    conc::TaskDone done{work.queue};
    work.results[i] = filter_folder(work.job, work.folders[i], work.tally);
  }
}

/// Starts up to `count` workers. Fewer are enough, if the system gives no more.
std::vector<conc::Thread> start_workers(std::size_t count, Work& work) {
  std::vector<conc::Thread> workers;
  try {
    for (std::size_t i = 0; i < count; ++i) {
      conc::Thread worker{{.name = "worker-" + std::to_string(i)}, filter_folders, std::ref(work)};
      worker.start();
      workers.push_back(worker);
    }
  } catch (const std::system_error& e) {
    if (workers.empty()) throw;
    complain("only " + std::to_string(workers.size()) + " threads: " + e.what());
  }
  return workers;
}

Progress::Figures figures_of(const Tally& tally) {
  return {.bytes = static_cast<std::uint64_t>(tally.bytes.value()),
          .records = static_cast<std::uint64_t>(tally.records.value()),
          .finished = static_cast<std::size_t>(tally.finished.value()),
          .failed = static_cast<std::size_t>(tally.failed.value())};
}

struct Run {
  std::size_t threads;
  double seconds;
};

/// Works on all folders, and shows the progress meanwhile.
Run run(std::size_t threads, Work& work) {
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < work.folders.size(); ++i) {
    work.queue.put(i);
    bytes += work.folders[i].bytes;
  }
  work.queue.shutdown();  // nothing more will come: a worker's loop ends when the queue is empty

  Progress progress(bytes, work.folders.size(), work.job.records_per_progress);
  const std::vector<conc::Thread> workers = start_workers(threads, work);
  while (!work.queue.join(100ms)) progress.show(figures_of(work.tally));
  for (conc::Thread worker : workers) worker.join();
  return {workers.size(), progress.seconds()};
}

/// Prints what became of the folders, and returns the exit code.
int report(const Work& work, const Run& run) {
  FolderResult total;
  std::size_t failed = 0;
  for (std::size_t i = 0; i < work.folders.size(); ++i) {
    const FolderResult& result = work.results[i];
    if (!result.error.empty()) {
      complain(work.folders[i].name + " failed: " + result.error);
      ++failed;
      continue;
    }
    total.files += result.files;
    total.records += result.records;
    total.kept += result.kept;
  }
  const auto print = [](const char* name, auto number) {
    std::cout << std::left << std::setw(11) << name << number << '\n';
  };
  std::cout << std::fixed << std::setprecision(3);
  print("threads", run.threads);
  print("folders", work.folders.size() - failed);
  print("failed", failed);
  print("files", total.files);
  print("records", total.records);
  print("kept", total.kept);
  print("seconds", run.seconds);
  print("records/s", static_cast<std::uint64_t>(static_cast<double>(total.records) / run.seconds));
  if (stop_signal != 0) return 128 + stop_signal;
  return failed == 0 ? 0 : 1;
}

bool lies_in(const fs::path& inner, const fs::path& outer) {
  const fs::path a = fs::weakly_canonical(inner);
  const fs::path b = fs::weakly_canonical(outer);
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).second == b.end();
}

std::vector<Folder> prepare_folders(const Options& options) {
  if (lies_in(options.output, options.source)) {
    throw std::runtime_error(options.output.string() + ": the output folder must not be the source folder, or in it");
  }
  std::vector<Folder> folders = find_folders(options.source, options.output);
  if (folders.empty()) throw std::runtime_error(options.source.string() + ": there are no folders in it");
  require_empty_folder(options.output);
  return folders;
}

int filter(const Options& options) {
  Job job{.group_ids = {},
          .retries = options.retries,
          .records_per_progress = options.records_per_progress,
          .stop = &stop_wanted};
  std::vector<Folder> folders;
  try {
    job.group_ids = read_group_ids(options.csv, options.column);
    folders = prepare_folders(options);
  } catch (const std::exception& e) {
    complain(e.what());
    return 2;
  }

  const std::size_t wanted = options.threads != 0 ? options.threads : conc::usable_cpu_count();
  const std::size_t threads = std::min(wanted, folders.size());
  stop_on_signals();
  try {
    Work work{.job = job, .folders = folders, .results = std::vector<FolderResult>(folders.size())};
    return report(work, run(threads, work));
  } catch (const std::exception& e) {
    complain(e.what());
    return 1;
  }
}

}  // namespace
}  // namespace record_filter

int main(int argc, char** argv) {
  record_filter::Options options;
  CLI::App app{record_filter::kDescription};
  app.add_option("--source", options.source, "Folder that holds the folders of record files (*.sz)")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--output", options.output, "Folder for the result; absent or empty")->required();
  app.add_option("--csv", options.csv, "CSV file with a header line and the group ids to keep")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--column", options.column, "Its column with the group ids")->capture_default_str();
  app.add_option("--threads", options.threads, "Worker threads [usable CPUs, but no more than folders]")
      ->check(CLI::Range(1, 10'000));
  app.add_option("--retry", options.retries, "How often to start a failed folder again")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option("--records-per-progress", options.records_per_progress,
                 "A worker reports its progress after so many records")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1'000'000'000}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  return record_filter::filter(options);
}
