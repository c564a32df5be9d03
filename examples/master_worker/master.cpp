// SPDX-License-Identifier: MIT
#include "master.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <vector>

#include <conc/future.hpp>
#include <conc/process_pool.hpp>
#include <conc/queue.hpp>
#include <conc/subprocess.hpp>
#include <conc/thread.hpp>
#include <conc/wait.hpp>

#include "worker.hpp"

namespace master_worker {
namespace {

/// What a thread tells of the subprocess it has run.
struct Result {
  std::string worker;
  std::uint64_t count = 0;
  std::string error;  // empty: there was none
};

using Results = conc::Queue<Result>;

std::uint64_t number_in(const std::string& text) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size() - 1;
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (text.back() != '\n' || error != std::errc{} || rest != end) throw std::runtime_error("is no number: " + text);
  return number;
}

/// What a worker of the pool has returned.
Result result_of(const std::string& name, const conc::Future<std::uint64_t>& future) {
  Result result{.worker = name, .count = 0, .error = {}};
  try {
    result.count = future.result();
  } catch (const std::exception& error) {
    result.error = error.what();
  }
  return result;
}

/// Runs a subprocess to its end.
Result result_of(const Work& work) {
  Result result{.worker = work.name, .count = 0, .error = {}};
  try {
    const std::string out = conc::subprocess::check_output(command_for(work), {.input = ""});
    if (work.append.empty()) result.count = number_in(out);
  } catch (const std::exception& error) {
    result.error = error.what();
  }
  return result;
}

class Master {
 public:
  explicit Master(const Plan& plan) : plan_{plan} {}

  bool run() {
    if (!plan_.exit_early.empty()) {
      exit_early();
      return ok_;
    }
    plan_.pool ? run_in_pool() : run_in_threads();
    if (ok_) {
      std::printf("%llu primes below %llu\n", static_cast<unsigned long long>(total_),
                  static_cast<unsigned long long>(plan_.limit));
    }
    return ok_;
  }

 private:
  void run_in_threads() {
    for (int round = 1; round <= plan_.rounds; ++round) {
      std::vector<conc::Thread> threads = start(round);
      if (plan_.wait) {
        wait_for(round);
      } else {
        watch<conc::Thread>(round, threads, [](const conc::Thread& thread) { return !thread.is_alive(); });
        while (const auto result = results_->try_get()) take(*result);
      }
      for (conc::Thread& thread : threads) thread.join();
    }
  }

  /// The same workers in every round. They end with the master, whatever becomes of it, and need not ask for that.
  void run_in_pool() {
    using Future = conc::Future<std::uint64_t>;
    conc::ProcessPoolExecutor pool{{.max_workers = plan_.workers, .on_worker_death = conc::OnWorkerDeath::respawn}};
    std::uint64_t (*const count)(const Work&) = count_primes;
    for (int round = 1; round <= plan_.rounds; ++round) {
      std::vector<Future> futures;
      std::unordered_map<Future, std::string> name_of;
      for (int i = 1; i <= plan_.workers; ++i) {
        const Work work = work_of(round, i);
        futures.push_back(pool.submit(count, work));
        name_of.emplace(futures.back(), work.name);
      }
      if (!plan_.wait) watch<Future>(round, futures, [](const Future& future) { return future.done(); });
      int done = 0;
      for (const Future& future : conc::as_completed(futures)) {
        const Result result = result_of(name_of.at(future), future);
        take(result);
        if (plan_.wait) print_done(round, ++done, result);
      }
    }
  }

  /// Starts the threads of a round. They are daemons: a master that exits does not wait for them. They may outlive this
  /// object, and share nothing with it but the queue, which lives as long as the last of them.
  std::vector<conc::Thread> start(int round) {
    std::vector<conc::Thread> threads;
    for (int i = 1; i <= plan_.workers; ++i) {
      const Work work = work_of(round, i);
      conc::Thread thread{{.name = work.name, .daemon = true},
                          [work, results = results_] { results->put(result_of(work)); }};
      thread.start();
      threads.push_back(thread);
    }
    return threads;
  }

  Work work_of(int round, int worker) const {
    const auto parts = static_cast<std::uint64_t>(plan_.rounds) * static_cast<std::uint64_t>(plan_.workers);
    const auto part = static_cast<std::uint64_t>((round - 1) * plan_.workers + worker - 1);
    return {.name = "worker-" + std::to_string(round) + "-" + std::to_string(worker),
            .from = plan_.limit * part / parts,
            .to = plan_.limit * (part + 1) / parts,
            .least = plan_.least,
            .append = plan_.exit_early,
            .die_with = plan_.die_together ? ::getpid() : 0};
  }

  /// Looks every so often how many are done.
  template <class Worker>
  void watch(int round, const std::vector<Worker>& workers, bool (*is_done)(const Worker&)) {
    for (;;) {
      const auto done = std::count_if(workers.begin(), workers.end(), is_done);
      std::printf("round %d: %d of %d done\n", round, static_cast<int>(done), plan_.workers);
      if (done == plan_.workers) break;
      std::this_thread::sleep_for(plan_.poll);
    }
  }

  /// Sleeps until the next one is done, which no interval delays.
  void wait_for(int round) {
    for (int done = 1; done <= plan_.workers; ++done) {
      const Result result = results_->get();
      take(result);
      print_done(round, done, result);
    }
  }

  void print_done(int round, int done, const Result& result) {
    std::printf("round %d: %d of %d done, %s\n", round, done, plan_.workers, result.worker.c_str());
  }

  /// Leaves as soon as the subprocesses of a round run.
  void exit_early() {
    if (std::filesystem::exists(plan_.exit_early) && !std::filesystem::is_regular_file(plan_.exit_early)) {
      throw std::runtime_error(plan_.exit_early + ": not a regular file");  // others cannot be looked into
    }
    errno = 0;
    if (!std::ofstream(plan_.exit_early)) throw std::system_error(errno, std::generic_category(), plan_.exit_early);
    start(1);
    std::set<std::string> known;  // to have started, or to have failed
    while (known.size() < static_cast<std::size_t>(plan_.workers)) {
      std::this_thread::sleep_for(plan_.poll);
      std::ifstream file(plan_.exit_early);
      std::string name;
      for (std::string line; std::getline(file, line);) {
        if (says_started(line, name)) known.insert(name);
      }
      while (const auto result = results_->try_get()) {
        take(*result);
        known.insert(result->worker);
      }
    }
    std::printf("the master exits; %s\n",
                plan_.die_together ? "its subprocesses end with it" : "its subprocesses go on");
  }

  void take(const Result& result) {
    total_ += result.count;
    if (!result.error.empty()) {
      ok_ = false;
      std::fprintf(stderr, "master_worker: %s: %s\n", result.worker.c_str(), result.error.c_str());
    }
  }

  Plan plan_;
  std::shared_ptr<Results> results_ = std::make_shared<Results>();
  std::uint64_t total_ = 0;
  bool ok_ = true;
};

}  // namespace

bool run_master(const Plan& plan) { return Master{plan}.run(); }

}  // namespace master_worker
