// SPDX-License-Identifier: MIT
#include "processes.hpp"

#include <atomic>
#include <exception>
#include <memory>
#include <unordered_map>
#include <utility>

#include <conc/future.hpp>
#include <conc/process_pool.hpp>
#include <conc/wait.hpp>

namespace record_filter {
namespace {

using Shared = std::atomic_ref<std::int64_t>;
static_assert(Shared::is_always_lock_free, "a lock inside would not be shared by processes");

// What a worker process has, from its first call to its end.
Job job;
std::unique_ptr<SharedTally> tally;

/// Called in every worker before its first folder. The group ids travel here once, and not with every folder.
void set_up_worker(GroupIds group_ids, int retries, std::uint64_t records_per_progress,
                   const SharedTally::Memory& memory) {
  tally = std::make_unique<SharedTally>(memory);
  job = {.group_ids = std::move(group_ids),
         .retries = retries,
         .records_per_progress = records_per_progress,
         .stop_wanted = [] { return tally->is_stopped(); }};
}

FolderResult filter_one(const Folder& folder) { return filter_folder(job, folder, *tally); }

}  // namespace

// relaxed: each word is only for itself.

void SharedTally::add(const Step& step) {
  Shared(memory_[kBytes]).fetch_add(step.bytes, std::memory_order_relaxed);
  Shared(memory_[kRecords]).fetch_add(step.records, std::memory_order_relaxed);
  Shared(memory_[kFinished]).fetch_add(step.finished, std::memory_order_relaxed);
  Shared(memory_[kFailed]).fetch_add(step.failed, std::memory_order_relaxed);
}

std::int64_t SharedTally::value(Word word) const { return Shared(memory_[word]).load(std::memory_order_relaxed); }

Step SharedTally::total() const {
  return {.bytes = value(kBytes), .records = value(kRecords), .finished = value(kFinished), .failed = value(kFailed)};
}

void SharedTally::stop() { Shared(memory_[kStop]).store(1, std::memory_order_relaxed); }
bool SharedTally::is_stopped() const { return value(kStop) != 0; }

std::size_t filter_in_processes(std::size_t count, const Job& wanted, const std::vector<Folder>& folders,
                                std::vector<FolderResult>& results, SharedTally& total) {
  conc::ProcessPoolExecutor pool{
      {.max_workers = static_cast<int>(count),
       .initializer = {set_up_worker, wanted.group_ids, wanted.retries, wanted.records_per_progress, total.memory()},
       .on_worker_death = conc::OnWorkerDeath::respawn,
       .retries = static_cast<unsigned>(wanted.retries)}};
  std::vector<conc::Future<FolderResult>> futures;
  std::unordered_map<conc::Future<FolderResult>, std::size_t> position_of;
  for (std::size_t i = 0; i < folders.size(); ++i) {
    futures.push_back(pool.submit(filter_one, folders[i]));
    position_of.emplace(futures.back(), i);
  }
  for (const conc::Future<FolderResult>& future : conc::as_completed(futures)) {
    const std::size_t i = position_of.at(future);
    try {
      results[i] = future.result();
    } catch (const std::exception& e) {  // its worker died
      results[i].error = e.what();
      total.add(step_of_failure(folders[i]));
    }
  }
  return pool.stats().workers;
}

}  // namespace record_filter
