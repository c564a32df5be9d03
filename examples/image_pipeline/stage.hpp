// SPDX-License-Identifier: MIT
/// @file
/// One stage of the pipeline: workers that take items from one queue and put them into the next.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <conc/event.hpp>
#include <conc/queue.hpp>
#include <conc/thread.hpp>

#include "picture.hpp"

namespace image_pipeline {

/// What goes through the pipeline.
struct Item {
  std::size_t number = 0;  // of the file
  Picture picture{};       // empty until it is read
};

using Items = conc::Queue<Item>;

/// What became of a file.
struct Outcome {
  bool done = false;
  std::string error{};  // empty and not done: nobody came to it
};

/// What all stages share.
struct Job {
  std::vector<Outcome> outcomes;  // one for each file; written by the worker who has its item
  conc::Event& stop;              // once it is set, items are dropped
  bool fail_fast = false;         // the first failure sets it
};

/// How the workers of a stage spent their time, in seconds, and the number of items they had.
struct Effort {
  std::size_t items = 0;
  double busy = 0;
  double waited_for_items = 0;  // the queue before was empty
  double waited_for_room = 0;   // the queue behind was full
};

/// The workers are started by the constructor and joined by finish(), or by the destructor.
class Stage {
 public:
  /// Changes the item. What it throws is the end of that item, and of no other.
  using Work = std::function<void(Item&)>;

  /// @param out  nullptr: this is the last stage.
  /// @throws std::system_error if a worker cannot be started. Those that were have ended then.
  Stage(std::string name, std::size_t workers, Items& in, Items* out, Job& job, Work work);
  ~Stage() { finish(); }

  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  /// Shuts the queue `in` down, since nothing more will come, and returns when all that was in it has left this stage.
  void finish();

  const std::string& name() const noexcept { return name_; }
  std::size_t workers() const noexcept { return workers_.size(); }

  /// Of all workers together. To be called after finish().
  Effort effort() const;

 private:
  void work_off(Effort& effort);

  const std::string name_;
  Items& in_;
  Items* const out_;
  Job& job_;
  const Work work_;
  std::vector<Effort> efforts_;  // one for each worker
  std::vector<conc::Thread> workers_;
};

}  // namespace image_pipeline
