// SPDX-License-Identifier: MIT
/// @file
/// The work of record_filter, done by processes: a crash, of a library that reads the files say, costs one folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <conc/shared_array.hpp>

#include "filter.hpp"

namespace record_filter {

/// A tally in memory that processes share, with a word that tells them to stop.
class SharedTally final : public Tally {
 public:
  using Memory = conc::shared_array<std::int64_t>;

  SharedTally() : memory_{kWords} {}
  /// The same tally, in another process.
  explicit SharedTally(const Memory& memory) : memory_{memory} {}

  void add(const Step& step) override;
  Step total() const;

  void stop();
  bool is_stopped() const;

  const Memory& memory() const { return memory_; }

 private:
  enum Word : std::size_t { kBytes, kRecords, kFinished, kFailed, kStop, kWords };

  std::int64_t value(Word word) const;

  Memory memory_;
};

/// Has `count` worker processes filter the folders, as filter_folder() does, and puts what became of each into its place in
/// `results`. A folder whose worker dies is started anew, `job.retries` times at most.
/// @return how many processes there were at the end
std::size_t filter_in_processes(std::size_t count, const Job& job, const std::vector<Folder>& folders,
                                std::vector<FolderResult>& results, SharedTally& tally);

}  // namespace record_filter
