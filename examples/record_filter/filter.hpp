// SPDX-License-Identifier: MIT
/// @file
/// Filters folders of record files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "group_ids.hpp"

namespace record_filter {

/// One folder of record files.
struct Folder {
  std::string name;
  std::filesystem::path source;
  std::filesystem::path output;
  std::uint64_t bytes = 0;  // of its record files
};

/// What came of it.
struct FolderResult {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;    // read
  std::uint64_t records = 0;  // looked at
  std::uint64_t kept = 0;
  std::string error = "was not worked on";  // empty once the folder is done
};

/// What a worker has done, for the progress display. What it takes back is negative.
struct Step {
  std::int64_t bytes = 0;
  std::int64_t records = 0;
  std::int64_t finished = 0;  // folders, with those that failed
  std::int64_t failed = 0;    // folders
};

/// Adds up what the workers have done. They call it at the same time, from threads or from processes.
class Tally {
 public:
  Tally() = default;
  Tally(const Tally&) = delete;
  Tally& operator=(const Tally&) = delete;
  virtual ~Tally() = default;

  virtual void add(const Step& step) = 0;
};

/// What all folders have in common. Many threads read it at once; each process has one of its own.
struct Job {
  GroupIds group_ids;
  int retries = 0;
  std::uint64_t records_per_progress = 1;
  bool (*stop_wanted)() = nullptr;  // true: give up soon
};

/// The folders directly below `source`, in the order of their names. Hidden ones (".name") are left out.
/// @throws std::filesystem::filesystem_error if `source` cannot be read.
std::vector<Folder> find_folders(const std::filesystem::path& source, const std::filesystem::path& output);

/// What is done when a folder has failed: nothing of it is left to do.
Step step_of_failure(const Folder& folder);

/// Copies the records whose group id is wanted from each record file of `folder` to a file of the same name in its
/// output folder, which appears whole or not at all.
///
/// A folder that fails is started anew, `job.retries` times at most. What is wrong with it is not thrown: the result
/// says it.
FolderResult filter_folder(const Job& job, const Folder& folder, Tally& tally);

}  // namespace record_filter
