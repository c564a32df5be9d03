// SPDX-License-Identifier: MIT
/// @file
/// Three stages, with a bounded queue from each to the next.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include <conc/event.hpp>

#include "depths.hpp"
#include "stage.hpp"
#include "transform.hpp"

namespace image_pipeline {

struct Settings {
  std::filesystem::path source;
  std::filesystem::path output;
  std::vector<Transform> transforms;
  std::size_t readers = 1;
  std::size_t transformers = 1;
  std::size_t writers = 1;
  std::size_t depth = 8;  // how many pictures may wait between two stages
  std::size_t max_pixels = 100'000'000;
  bool fail_fast = false;
};

/// What one stage did.
struct StageReport {
  std::string name;
  std::size_t workers = 0;
  Effort effort{};
};

struct Result {
  std::vector<Outcome> outcomes;  // one for each file
  std::vector<StageReport> stages;
  Depths depths;  // of the two queues between them
  double seconds = 0;
};

/// Reads the files of these names in the source folder, transforms them, and writes them under the same names to the
/// output folder. A file that fails ends no other, unless settings.fail_fast.
///
/// @param stop  once it is set, what is in work is finished, and the rest is dropped. Set by a failure with fail_fast.
/// @throws std::system_error if threads cannot be started.
Result run_pipeline(const Settings& settings, const std::vector<std::string>& names, conc::Event& stop);

}  // namespace image_pipeline
