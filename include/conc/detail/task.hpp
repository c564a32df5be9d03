// SPDX-License-Identifier: MIT
/// @file
/// Task: what an executor queues and a worker runs.
#pragma once

#include <conc/detail/recycler.hpp>
#include <conc/detail/sync.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// What became of a task.
enum class Outcome : std::uint8_t {
  succeeded,
  failed,
  cancelled,
  claimed,  // somebody who waits for it runs it, or has
};
inline constexpr std::size_t kOutcomes = 4;

/// One unit of work: callable, arguments, result and state in one block of memory that is recycled. Whoever has it in a
/// queue owns it, until run() or refuse().
class Task : public Recycled {
 public:
  Task() noexcept = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  /// Runs it. It may be gone afterwards.
  virtual Outcome run() = 0;

  /// It is not to be run: it is cancelled, or failed with `why` if that is not null. It may be gone afterwards.
  virtual Outcome refuse(const std::exception_ptr& why) noexcept = 0;

  static constexpr std::uint32_t kHomes = 0x3fffffff;  // what home can hold

  Task* next = nullptr;                 // in the queue; belongs to the queue
  std::uint32_t home : 30 = 0;          // the number of the executor that queued it; 0: none
  std::uint32_t takes_slot : 1 = 0;     // of those that the executor's queue has
  std::uint32_t is_member : 1 = 0;      // of a TaskGroup
  sync::Hint runner_cpu{sync::no_cpu};  // where it was last run or finished; in the inbox, see below

  /// While it waits in an inbox: how far away the task lies that the same thread has queued some tasks before. Whoever takes
  /// the inbox follows a list through another CPU's cache, and fetches ahead with this. The task there may have gone.
  void remember_former(const Task* former) noexcept {
    const auto distance = (reinterpret_cast<std::intptr_t>(this) - reinterpret_cast<std::intptr_t>(former)) / kGrain;
    runner_cpu.set(static_cast<std::uint32_t>(distance) | kDistance);
  }
  void fetch_former() const noexcept {
    const auto distance = static_cast<std::int32_t>(runner_cpu.get() << 1U) >> 1;  // without kDistance, with its sign
    __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::intptr_t>(this) - distance * kGrain), 1);
  }

 private:
  static constexpr std::intptr_t kGrain = 64;
  static constexpr std::uint32_t kDistance = 0x8000'0000;  // no CPU has such a number

 protected:
  virtual ~Task() = default;

  /// Counts the task, if a worker of its own executor runs it.
  void count(Outcome outcome) const noexcept;
};

/// The number of the executor or the event loop that was made last. One for all modules of a process: their threads meet.
[[gnu::visibility("default")]] inline constinit std::atomic<std::uint32_t> last_home{0};

/// A number for a new one.
inline std::uint32_t new_home() noexcept {
  // relaxed: only distinctness matters. Not 0; after 2^30 executors a number may serve two of them, and then a worker of
  // the one may run a task of the other that it waits for.
  const std::uint32_t number = (last_home.fetch_add(1, mo::relaxed) + 1) & Task::kHomes;
  return number != 0 ? number : new_home();
}

/// Owns a task until it is called, which runs it. A task that never gets to that is cancelled.
class OwnedTask {
 public:
  explicit OwnedTask(Task& task) noexcept : task_{&task} {}
  OwnedTask(OwnedTask&& other) noexcept : task_{std::exchange(other.task_, nullptr)} {}
  OwnedTask& operator=(OwnedTask&&) = delete;
  ~OwnedTask() {
    if (task_ != nullptr) {
      task_->refuse(nullptr);
    }
  }
  void operator()() { std::exchange(task_, nullptr)->run(); }

 private:
  Task* task_;
};

/// A number that one thread changes and any may read.
class Counter {
 public:
  void add_one() noexcept { value_.store(value() + 1, mo::relaxed); }  // relaxed: for statistics
  std::uint64_t value() const noexcept { return value_.load(mo::relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// What a worker thread of an executor shows to the tasks it runs: ThreadRecord::worker points to it.
struct WorkerFace {
  std::uint32_t home = 0;         // the number of its executor
  const Task* current = nullptr;  // the task that it took from the queue and runs, until that comes to its end
  Counter outcomes[kOutcomes];    // of the tasks that it met
  /// Called first on another thread on which the worker is to go on. Null when nothing is to be prepared.
  void (*prepare)(WorkerFace&) = nullptr;
  /// Called just before the current task becomes done: the worker is as good as idle. Null when nobody wants to know.
  void (*nearly_idle)(WorkerFace&) noexcept = nullptr;
  /// Called after that if there is something left to do after all.
  void (*busy_again)(WorkerFace&) noexcept = nullptr;

  void count(Outcome outcome) noexcept { outcomes[static_cast<std::size_t>(outcome)].add_one(); }
};

inline WorkerFace* this_worker() noexcept { return static_cast<WorkerFace*>(sync::this_thread().worker); }

inline void Task::count(Outcome outcome) const noexcept {
  if (WorkerFace* const worker = this_worker(); worker != nullptr && worker->home == home) {
    worker->count(outcome);
  }
}

}  // namespace conc::inline CONC_ABI::detail
