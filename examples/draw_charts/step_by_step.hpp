// SPDX-License-Identifier: MIT
/// @file
/// A thread that goes on only when it is told to.
#pragma once

#include <functional>
#include <utility>

#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/future.hpp>

namespace draw_charts {

/// Runs work(pause) in a thread of its own, but only while somebody is in step(), until the next pause(). So it is
/// decided, and not left to time, what several such threads do after what; and no two of them ever run at once.
class StepByStep {
 public:
  using Pause = std::function<void()>;

  explicit StepByStep(std::function<void(const Pause&)> work)
      : thread_(conc::spawn([this, work = std::move(work)] { run(work); })) {}
  ~StepByStep() {
    while (step()) continue;
  }

  StepByStep(const StepByStep&) = delete;
  StepByStep& operator=(const StepByStep&) = delete;

  /// Lets the thread go on, and waits until it pauses or ends.
  /// @return whether there is more to do.
  bool step() {
    if (ended_) return false;
    go_on_.set();
    paused_.wait();
    paused_.clear();
    return !ended_;
  }

  /// Throws what work() threw, after the last step.
  void result() const { thread_.result(); }

 private:
  struct AtEnd {
    StepByStep& self;
    ~AtEnd() {
      self.ended_ = true;
      self.paused_.set();
    }
  };

  void run(const std::function<void(const Pause&)>& work) {
    const AtEnd at_end{*this};
    wait_for_turn();
    work([this] {
      paused_.set();
      wait_for_turn();
    });
  }

  void wait_for_turn() {
    go_on_.wait();
    go_on_.clear();
  }

  conc::Event go_on_;
  conc::Event paused_;
  bool ended_ = false;  // read and written in turns only
  conc::Future<void> thread_;
};

}  // namespace draw_charts
