// SPDX-License-Identifier: MIT
#include "stage.hpp"

#include <chrono>
#include <exception>
#include <utility>

namespace image_pipeline {
namespace {

class Stopwatch {
 public:
  /// The seconds since the last call.
  double lap() {
    const Clock::time_point now = Clock::now();
    const std::chrono::duration<double> time = now - std::exchange(last_, now);
    return time.count();
  }

 private:
  using Clock = std::chrono::steady_clock;

  Clock::time_point last_ = Clock::now();
};

}  // namespace

Stage::Stage(std::string name, std::size_t workers, Items& in, Items* out, Job& job, Work work)
    : name_(std::move(name)), in_(in), out_(out), job_(job), work_(std::move(work)), efforts_(workers) {
  workers_.reserve(workers);
  try {
    for (std::size_t i = 0; i < workers; ++i) {
      conc::Thread worker{{.name = name_ + "-" + std::to_string(i)}, [this, i] { work_off(efforts_[i]); }};
      worker.start();
      workers_.push_back(worker);
    }
  } catch (...) {
    finish();  // what is not constructed has no destructor, but threads that use it
    throw;
  }
}

void Stage::finish() {
  in_.shutdown();
  for (conc::Thread& worker : workers_) worker.join();
}

Effort Stage::effort() const {
  Effort total;
  for (const Effort& one : efforts_) {
    total.items += one.items;
    total.busy += one.busy;
    total.waited_for_items += one.waited_for_items;
    total.waited_for_room += one.waited_for_room;
  }
  return total;
}

/// What each worker does.
void Stage::work_off(Effort& effort) {
  Stopwatch watch;
  for (Item& item : in_) {
    effort.waited_for_items += watch.lap();
    if (job_.stop.is_set()) continue;  // taken all the same: the stage before may wait for room
    ++effort.items;
    Outcome& outcome = job_.outcomes[item.number];
    try {
      work_(item);
      effort.busy += watch.lap();
      if (out_ != nullptr) {
        out_->put(std::move(item));  // waits while the queue is full: nobody gets far ahead of the next stage
        effort.waited_for_room += watch.lap();
      } else {
        outcome.done = true;
      }
    } catch (const std::exception& e) {
      effort.busy += watch.lap();
      outcome.error = name_ + ": " + e.what();
      if (job_.fail_fast) job_.stop.set();
    }
  }
  effort.waited_for_items += watch.lap();
}

}  // namespace image_pipeline
