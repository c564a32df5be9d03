// SPDX-License-Identifier: MIT
#include "filter.hpp"

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <system_error>

#include "file.hpp"
#include "record.pb.h"
#include "record_file.hpp"

namespace record_filter {
namespace fs = std::filesystem;

namespace {

/// The user wants to stop. No failure of the folder, so there is no point in trying again.
struct Interrupted {};

void stop_if_wanted(const Job& job) {
  if (job.stop_wanted()) throw Interrupted{};
}

/// What one attempt has added to the tally. An attempt that fails takes it back, so nothing is counted twice.
class Contribution {
 public:
  explicit Contribution(Tally& tally) : tally_(tally) {}

  ~Contribution() {
    if (!final_) update({});
  }

  Contribution(const Contribution&) = delete;
  Contribution& operator=(const Contribution&) = delete;

  void update(const FolderResult& now) {
    tally_.add({.bytes = static_cast<std::int64_t>(now.bytes) - bytes_,
                .records = static_cast<std::int64_t>(now.records) - records_});
    bytes_ = static_cast<std::int64_t>(now.bytes);
    records_ = static_cast<std::int64_t>(now.records);
  }

  void finish(const FolderResult& result) {
    update(result);
    final_ = true;
  }

 private:
  Tally& tally_;
  std::int64_t bytes_ = 0;
  std::int64_t records_ = 0;
  bool final_ = false;
};

bool is_record_file(const fs::directory_entry& entry) {
  return entry.path().extension() == ".sz" && !entry.is_directory();
}

/// The names of the record files in a folder, in order.
std::vector<fs::path> find_record_files(const fs::path& folder) {
  std::vector<fs::path> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (is_record_file(entry)) names.push_back(entry.path().filename());
  }
  if (names.empty()) throw std::runtime_error(folder.string() + ": there are no record files (*.sz)");
  std::sort(names.begin(), names.end());
  return names;
}

/// The bytes to read, as far as they are known: a folder that cannot be looked into fails later, with its reason.
std::uint64_t total_size(const fs::path& folder) {
  std::uint64_t total = 0;
  std::error_code ignored;
  for (fs::directory_iterator i(folder, ignored), end; i != end; i.increment(ignored)) {
    if (i->path().extension() == ".sz" && i->is_regular_file(ignored)) total += i->file_size(ignored);
  }
  return total;
}

void filter_file(const Job& job, const fs::path& from, const fs::path& to, FolderResult& result,
                 Contribution& contribution) {
  RecordReader reader(from);
  RecordWriter writer(to);
  const std::uint64_t bytes_before = result.bytes;
  std::string bytes;
  Record record;
  while (reader.next(bytes)) {
    stop_if_wanted(job);
    if (!record.ParseFromString(bytes)) reader.fail("it is not a protobuf message of the type Record");
    if (!record.has_group_id()) reader.fail("it has no group id");
    if (job.group_ids.contains(record.group_id())) {
      writer.write(bytes);  // as it was read: a message written anew need not have the same bytes
      ++result.kept;
    }
    result.bytes = bytes_before + reader.position();
    if (++result.records % job.records_per_progress == 0) contribution.update(result);
  }
  writer.close();
  result.bytes = bytes_before + reader.position();
  ++result.files;
}

/// One attempt, from the start.
FolderResult filter_once(const Job& job, const Folder& folder, Tally& tally) {
  stop_if_wanted(job);
  PartialFolder output(folder.output);
  Contribution contribution(tally);
  FolderResult result;
  for (const fs::path& name : find_record_files(folder.source)) {
    filter_file(job, folder.source / name, output.path() / name, result, contribution);
  }
  output.commit();
  contribution.finish(result);
  result.error.clear();
  return result;
}

}  // namespace

std::vector<Folder> find_folders(const fs::path& source, const fs::path& output) {
  std::vector<Folder> folders;
  for (const fs::directory_entry& entry : fs::directory_iterator(source)) {
    const fs::path name = entry.path().filename();
    if (!entry.is_directory() || name.string().starts_with('.')) continue;
    folders.push_back({name.string(), entry.path(), output / name, total_size(entry.path())});
  }
  std::sort(folders.begin(), folders.end(), [](const Folder& a, const Folder& b) { return a.name < b.name; });
  return folders;
}

Step step_of_failure(const Folder& folder) {
  return {.bytes = static_cast<std::int64_t>(folder.bytes), .finished = 1, .failed = 1};
}

FolderResult filter_folder(const Job& job, const Folder& folder, Tally& tally) {
  FolderResult result;
  for (int attempt = 0; attempt <= job.retries; ++attempt) {
    try {
      result = filter_once(job, folder, tally);
      break;
    } catch (const Interrupted&) {
      result.error = "was interrupted";
      break;
    } catch (const std::exception& e) {
      result.error = e.what();
      if (attempt > 0) result.error += " (attempt " + std::to_string(attempt + 1) + ")";
    }
  }
  tally.add(result.error.empty() ? Step{.finished = 1} : step_of_failure(folder));
  return result;
}

}  // namespace record_filter
