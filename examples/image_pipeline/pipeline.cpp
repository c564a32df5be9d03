// SPDX-License-Identifier: MIT
#include "pipeline.hpp"

#include <chrono>
#include <utility>

#include "png_file.hpp"

namespace image_pipeline {
namespace fs = std::filesystem;

Result run_pipeline(const Settings& settings, const std::vector<std::string>& names, conc::Event& stop) {
  const auto start = std::chrono::steady_clock::now();
  Job job{.outcomes = std::vector<Outcome>(names.size()), .stop = stop, .fail_fast = settings.fail_fast};

  const auto read = [&](Item& item) {
    const std::string& name = names[item.number];
    if (fs::exists(settings.output / name)) throw PngError("the output file exists");  // better now than after the work
    item.picture = read_png(settings.source / name, settings.max_pixels);
  };
  const auto transform = [&](Item& item) {
    for (const Transform& apply : settings.transforms) apply(item.picture);
  };
  const auto write = [&](Item& item) { write_png(settings.output / names[item.number], item.picture); };

  Items files;  // to be read: without a bound, for a number needs no room
  for (std::size_t i = 0; i < names.size(); ++i) files.put({.number = i});
  Items pictures{settings.depth};     // to be transformed
  Items transformed{settings.depth};  // to be written

  DepthSampler sampler({&pictures, &transformed});
  // From the last to the first. Destructors run in the opposite order, so whatever is thrown here, the stages end from
  // the first to the last, as below.
  Stage writers("write", settings.writers, transformed, nullptr, job, write);
  Stage transformers("transform", settings.transformers, pictures, &transformed, job, transform);
  Stage readers("read", settings.readers, files, &pictures, job, read);

  std::vector<StageReport> reports;
  for (Stage* stage : {&readers, &transformers, &writers}) {
    stage->finish();  // the stage before it has ended: nothing more will come
    reports.push_back({stage->name(), stage->workers(), stage->effort()});
  }
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  return {std::move(job.outcomes), std::move(reports), sampler.finish(), time.count()};
}

}  // namespace image_pipeline
