// SPDX-License-Identifier: MIT
/// @file
/// Worker threads filter folders of record files. A queue hands out the folders, and the main thread waits until the
/// queue has seen them all done; or else every folder is a task of a pool, of threads or of processes, and its result comes
/// in a future.
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
#include <unordered_map>
#include <vector>

#include <conc/atomic_integer.hpp>
#include <conc/cpu_count.hpp>
#include <conc/executor.hpp>
#include <conc/future.hpp>
#include <conc/process.hpp>
#include <conc/queue.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>

#include "file.hpp"
#include "filter.hpp"
#include "group_ids.hpp"
#include "processes.hpp"
#include "progress.hpp"

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace record_filter {
namespace {

constexpr const char* kDescription =
    "Copies the records whose group id is in a CSV file, from every record file in every folder below SOURCE to a\n"
    "file of the same name below OUTPUT. Worker threads, or processes, take the folders; a folder appears in OUTPUT\n"
    "whole or not at all.\n\n"
    "Exit code: 0 all folders are done, 1 some folder failed, 2 wrong use, 128 + n stopped by signal n.\n";

struct Options {
  fs::path source;
  fs::path output;
  fs::path csv;
  std::string column = "group_id";
  std::size_t threads = 0;  // 0: choose
  bool pool = false;
  bool processes = false;
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

/// What threads have done.
class ThreadTally final : public Tally {
 public:
  void add(const Step& step) override {
    bytes_.add(step.bytes);
    records_.add(step.records);
    finished_.add(step.finished);
    failed_.add(step.failed);
  }

  Step total() const {
    return {
        .bytes = bytes_.value(), .records = records_.value(), .finished = finished_.value(), .failed = failed_.value()};
  }

 private:
  conc::AtomicInteger bytes_;
  conc::AtomicInteger records_;
  conc::AtomicInteger finished_;
  conc::AtomicInteger failed_;
};

/// What the main thread and the workers share.
struct Work {
  const Job& job;
  const std::vector<Folder>& folders;
  std::vector<FolderResult> results;  // one for each folder
  ThreadTally tally{};
};

constexpr auto kTimeBetweenLooks = 100ms;  // at the progress

Progress::Figures figures_of(const Step& total) {
  return {.bytes = static_cast<std::uint64_t>(total.bytes),
          .records = static_cast<std::uint64_t>(total.records),
          .finished = static_cast<std::size_t>(total.finished),
          .failed = static_cast<std::size_t>(total.failed)};
}

// The first way: threads that take positions in `folders` from a queue.

using Positions = conc::Queue<std::size_t>;

void filter_folders(Work& work, Positions& queue) {
  for (const std::size_t i : queue) {
    conc::TaskDone done{queue};
    work.results[i] = filter_folder(work.job, work.folders[i], work.tally);
  }
}

/// Starts up to `count` workers. Fewer are enough, if the system gives no more.
std::vector<conc::Thread> start_workers(std::size_t count, Work& work, Positions& queue) {
  std::vector<conc::Thread> workers;
  try {
    for (std::size_t i = 0; i < count; ++i) {
      conc::Thread worker{{.name = "worker-" + std::to_string(i)}, filter_folders, std::ref(work), std::ref(queue)};
      worker.start();
      workers.push_back(worker);
    }
  } catch (const std::system_error& e) {
    if (workers.empty()) throw;
    complain("only " + std::to_string(workers.size()) + " threads: " + e.what());
  }
  return workers;
}

/// Works on all folders, shows the progress meanwhile, and returns the number of threads that did it.
std::size_t run_with_queue(std::size_t threads, Work& work, Progress& progress) {
  Positions queue;
  for (std::size_t i = 0; i < work.folders.size(); ++i) queue.put(i);
  queue.shutdown();  // nothing more will come: a worker's loop ends when the queue is empty

  const std::vector<conc::Thread> workers = start_workers(threads, work, queue);
  while (!queue.join(kTimeBetweenLooks)) progress.show(figures_of(work.tally.total()));
  for (conc::Thread worker : workers) worker.join();
  return workers.size();
}

// The second way: each folder is a task of a thread pool.

/// Works on all folders, and returns the number of threads that did it.
std::size_t filter_in_pool(std::size_t threads, Work& work) {
  conc::ThreadPoolExecutor pool{{.max_workers = static_cast<int>(threads), .thread_name_prefix = "worker"}};
  std::vector<conc::Future<FolderResult>> futures;
  std::unordered_map<conc::Future<FolderResult>, std::size_t> position_of;
  for (std::size_t i = 0; i < work.folders.size(); ++i) {
    futures.push_back(
        pool.submit(filter_folder, std::cref(work.job), std::cref(work.folders[i]), std::ref(work.tally)));
    position_of.emplace(futures.back(), i);
  }
  for (const conc::Future<FolderResult>& future : conc::as_completed(futures)) {
    work.results[position_of.at(future)] = future.result();
  }
  return pool.stats().workers;
}

/// As run_with_queue(). The results are collected by a thread of its own, since this one shows the progress.
std::size_t run_with_pool(std::size_t threads, Work& work, Progress& progress) {
  const conc::Future<std::size_t> workers = conc::spawn({.name = "collector"}, filter_in_pool, threads, std::ref(work));
  while (!workers.wait(kTimeBetweenLooks)) progress.show(figures_of(work.tally.total()));
  return workers.result();
}

// The third way: each folder is a task of a process pool.

/// As run_with_pool(). A signal reaches only this process: the others learn of it through the tally.
std::size_t run_with_processes(std::size_t processes, Work& work, Progress& progress) {
  SharedTally tally;
  const conc::Future<std::size_t> workers =
      conc::spawn({.name = "collector"}, filter_in_processes, processes, std::cref(work.job), std::cref(work.folders),
                  std::ref(work.results), std::ref(tally));
  while (!workers.wait(kTimeBetweenLooks)) {
    if (stop_wanted) tally.stop();
    progress.show(figures_of(tally.total()));
  }
  return workers.result();
}

struct Run {
  std::size_t workers;
  double seconds;
};

Run run(const Options& options, Work& work) {
  std::uint64_t bytes = 0;
  for (const Folder& folder : work.folders) bytes += folder.bytes;
  const std::size_t wanted = options.threads != 0 ? options.threads : conc::usable_cpu_count();
  const std::size_t workers = std::min(wanted, work.folders.size());

  Progress progress(bytes, work.folders.size(), options.records_per_progress);
  const auto way = options.processes ? run_with_processes : options.pool ? run_with_pool : run_with_queue;
  const std::size_t started = way(workers, work, progress);
  return {started, progress.seconds()};
}

/// Prints what became of the folders, and returns the exit code.
int report(const Options& options, const Work& work, const Run& run) {
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
  print(options.processes ? "processes" : "threads", run.workers);
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
          .stop_wanted = [] { return stop_wanted.load(std::memory_order_relaxed); }};
  std::vector<Folder> folders;
  try {
    job.group_ids = read_group_ids(options.csv, options.column);
    folders = prepare_folders(options);
  } catch (const std::exception& e) {
    complain(e.what());
    return 2;
  }

  stop_on_signals();
  try {
    Work work{.job = job, .folders = folders, .results = std::vector<FolderResult>(folders.size())};
    return report(options, work, run(options, work));
  } catch (const std::exception& e) {
    complain(e.what());
    return 1;
  }
}

}  // namespace
}  // namespace record_filter

int main(int argc, char** argv) {
  conc::process_init(argc, argv);  // first: while there is one thread
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
  app.add_option("--threads", options.threads, "Worker threads, or processes [usable CPUs, but no more than folders]")
      ->check(CLI::Range(1, 10'000));
  CLI::Option* const pool =
      app.add_flag("--pool", options.pool, "Have a thread pool do it, instead of threads and a queue");
  app.add_flag("--processes", options.processes, "Have a process pool do it")->excludes(pool);
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
