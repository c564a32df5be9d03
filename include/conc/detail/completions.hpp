// SPDX-License-Identifier: MIT
/// @file
/// Completions: tells in which order some futures become done.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/event_count.hpp>
#include <conc/detail/future_core.hpp>
#include <conc/detail/ref.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/task.hpp>
#include <conc/detail/wait_point.hpp>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI::detail {

/// Each future that is watched leaves its place here when it becomes done. Owned by the one who waits and by every future
/// that has not become done yet, whose callback it is.
class Completions final : public RefCounted {
 public:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  explicit Completions(std::size_t n) : places_(n), cores_(n) {}

  /// `core` must be kept alive by the caller until it is unwatched or was returned by next(). At once if it is done.
  void watch(std::size_t place, FutureCore& core) {
    Place& mine = places_[place];
    mine.all = this;
    cores_[place] = &core;
    add_reference();
    if (!core.add(mine)) {
      mine.call(core);
    }
  }

  /// Lets go of the futures that are not done. From now on nobody may call next().
  void unwatch() noexcept {
    for (std::size_t i = 0; i < places_.size(); ++i) {
      FutureCore* const core = std::exchange(cores_[i], nullptr);
      if (core != nullptr && core->remove(places_[i])) {
        drop_reference();
      }
    }
  }

  /// The place of the future that became done next, in order; waits for it. `none` if `deadline` passes.
  /// Without a deadline, a worker runs one of the futures' tasks itself while none of them runs.
  /// @throws DeadlockError where it would wait for itself.
  std::size_t next(Deadline deadline, const char* operation) {
    Place* place = take();
    while (place == nullptr) {
      if (deadline.is_never() && this_worker() != nullptr && claim_one()) {
        place = take();
        continue;
      }
      const auto attempt = [this, &place] {
        place = take();
        return place != nullptr;
      };
      std::optional<WaitGraph::Edge> edge;
      auto* const frame = static_cast<TaskFrame*>(sync::this_thread().frame);
      if (deadline.is_never() && frame != nullptr) {
        edge.emplace(wait_graph, *frame, cores_.data(), cores_.size(), operation);
      }
      if (changed_.await(deadline, Spin{}, {operation, this}, attempt) == Waited::timed_out) {
        return none;
      }
    }
    const auto index = static_cast<std::size_t>(place - places_.data());
    cores_[index] = nullptr;
    return index;
  }

 private:
  struct Place final : Callback {
    Place() noexcept : Callback{Needs::nothing} {}

    void call(FutureCore& /*core*/) noexcept override {
      Completions& set = *all;
      next_done = set.done_.load(mo::relaxed);  // relaxed: a guess; the exchange checks it
      // seq_cst: publishes the place, and comes before the look for the one who waits; see EventCount.
      while (!set.done_.compare_exchange_weak(next_done, this, mo::seq_cst, mo::relaxed)) {
      }
      set.changed_.notify();
      set.drop_reference();  // *this goes with it
    }

    Completions* all = nullptr;
    Place* next_done = nullptr;
  };

  Place* take() noexcept {
    if (taken_ == nullptr) {
      // seq_cst: comes after the raising of the sleepers bit; see EventCount. The places are published by their pushes.
      Place* newest = done_.exchange(nullptr, mo::seq_cst);
      while (newest != nullptr) {  // oldest first
        Place* const older = newest->next_done;
        newest->next_done = taken_;
        taken_ = newest;
        newest = older;
      }
    }
    return taken_ == nullptr ? nullptr : std::exchange(taken_, taken_->next_done);
  }

  /// @return false if there is nothing to claim, or one of the tasks runs. Of many, all are looked at only now and then:
  /// those that run are mostly the oldest.
  bool claim_one() {
    constexpr std::size_t kWindow = 64;
    FutureCore* pending = nullptr;
    while (first_open_ < places_.size() && (cores_[first_open_] == nullptr || cores_[first_open_]->done())) {
      ++first_open_;
    }
    const std::size_t enough = claims_until_all_ == 0 ? places_.size() : first_open_ + kWindow;
    claims_until_all_ = claims_until_all_ == 0 ? places_.size() / kWindow : claims_until_all_ - 1;
    for (std::size_t i = first_open_; i < places_.size() && (i < enough || pending == nullptr); ++i) {
      FutureCore* const core = cores_[i];
      const auto phase = core == nullptr ? FutureCore::cancelled : core->phase();
      if (phase == FutureCore::running || phase == FutureCore::settling) {
        return false;
      }
      if (phase == FutureCore::pending && pending == nullptr && core->may_claim()) {
        pending = core;
      }
    }
    return pending != nullptr && pending->claim();
  }

  std::vector<Place> places_;           // its size never changes
  std::vector<FutureCore*> cores_;      // those that are watched, by place; belongs to the one who waits
  std::size_t claims_until_all_ = 0;    // claims before all places are looked at again
  std::size_t first_open_ = 0;          // all places before it are done
  sync::Atomic<Place*> done_{nullptr};  // newest first
  Place* taken_ = nullptr;              // taken from there, oldest first; of the one who waits
  EventCount changed_;
};

}  // namespace conc::inline CONC_ABI::detail
