// SPDX-License-Identifier: MIT
/// @file
/// TaskGroup: fork-join on a ThreadPoolExecutor.
#pragma once

#include <conc/detail/scheduler.hpp>
#include <conc/error.hpp>
#include <conc/thread_pool.hpp>
#include <cstdint>
#include <exception>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI {

/// Fork-join: runs tasks on a pool and waits for all of them.
///
/// @par Thread safety   run() from any thread, tasks of the group included; wait() and the destructor by the thread that
///                      made the group.
/// @par Memory ordering what a task did is visible after wait().
/// @par Lifetime        the destructor waits for the tasks.
/// @par Cost            run(): one block of recycled memory and one exchange. A worker that waits runs the tasks that nobody
///                      has started, newest first, and no others.
/// @par Python          has nothing like it.
class TaskGroup {
 public:
  explicit TaskGroup(ThreadPoolExecutor& pool) noexcept
      : pool_{*pool.state_}, worker_{pool_.this_worker()}, maker_{&detail::sync::this_thread()} {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup() noexcept(false) { join(); }  // throws only the forced unwind of a thread that is made to exit

  /// Has the pool call fn(). max_queued does not count it. Where the caller is none of the pool's workers, and the pool is
  /// shut down or one of its workers has made the group, it is called here and now: that worker may be the only one, and
  /// waits. What nobody has started when a shutdown cancels tasks is called by that shutdown().
  /// @throws BrokenThreadPool; std::system_error as submit().
  template <class F>
  void run(F&& fn) {
    static_assert(std::is_invocable_v<std::decay_t<F>&>, "TaskGroup::run(fn): fn must be callable without arguments");
    auto* const task = new Member<std::decay_t<F>>{*this, std::forward<F>(fn)};
    const bool counted_here = count_one();
    try {
      if (detail::Worker* const me = counted_here ? worker_ : pool_.this_worker(); me != nullptr) {
        pool_.push_own(*me, *task, 1);
      } else if (worker_ != nullptr) {
        run_here(*task);
      } else {
        pool_.push(*task, *task, 1, detail::Scheduler::Full::ignore);
      }
    } catch (const UsageError&) {
      run_here(*task);
    } catch (...) {
      delete task;
      uncount_one(counted_here);
      throw;
    }
  }

  /// Waits until all tasks have ended. The group can be used again then.
  /// @throws the exception of the first task that threw; BrokenThreadPool.
  void wait() {
    join();
    if (failed_.load(detail::mo::relaxed)) [[unlikely]] {  // relaxed: join() has acquired what led to it
      failed_.store(false, detail::mo::relaxed);           // relaxed: no task is left
      std::rethrow_exception(std::exchange(error_, nullptr));
    }
  }

 private:
  // others_ = 2 * (tasks that other threads have added - tasks that other threads have ended) + kSleepers
  //   The maker counts the tasks it adds and ends itself in mine_, which costs no exchange. mine_ + others_ / 2 is the
  //   number of tasks that have not ended, so the maker waits until others_ / 2 is -mine_.
  //   kSleepers  the maker may be asleep; see detail::await. Only one thread sleeps here, and others that look wake it.
  static constexpr std::int64_t kSleepers = 1;
  static constexpr std::int64_t kTask = 2;

  class MemberBase : public detail::Task {
   public:
    explicit MemberBase(TaskGroup& group) noexcept : group_{group} {}
    const TaskGroup& group() const noexcept { return group_; }

   protected:
    TaskGroup& group_;
  };

  template <class F>
  class Member final : public MemberBase {
   public:
    template <class G>
    Member(TaskGroup& group, G&& fn) : MemberBase{group}, fn_(std::forward<G>(fn)) {
      this->is_member = 1;
    }

    detail::Outcome run() override {
      TaskGroup& group = this->group_;
      detail::Outcome outcome = detail::Outcome::succeeded;
      try {
        fn_();
      } catch (...) {
        if (detail::must_go_on()) {
          group.fail(detail::make_error<BrokenPromise>("TaskGroup: the thread that ran a task was made to exit"));
          this->count(detail::Outcome::failed);
          delete this;
          group.end_one();
          throw;
        }
        group.fail(std::current_exception());
        outcome = detail::Outcome::failed;
      }
      this->count(outcome);
      delete this;
      group.end_one();
      return outcome;
    }

    detail::Outcome refuse(const std::exception_ptr& why) noexcept override {
      TaskGroup& group = this->group_;
      group.fail(why != nullptr ? why : detail::make_error<CancelledError>("TaskGroup: a task was cancelled"));
      delete this;
      group.end_one();
      return detail::Outcome::failed;
    }

   private:
    [[no_unique_address]] F fn_;
  };

  void run_here(detail::Task& task) {
    const auto pool = detail::Ref<detail::Scheduler>::share(&pool_);  // the group may be gone when the task has ended
    pool->count(task.run());
  }

  bool count_one() noexcept {
    if (maker_ == &detail::sync::this_thread()) {
      ++mine_;
      return true;
    }
    others_.fetch_add(kTask, detail::mo::relaxed);  // relaxed: the task that adds it has not ended itself
    return false;
  }

  void uncount_one(bool counted_here) noexcept {
    if (counted_here) {
      --mine_;
    } else {
      end_elsewhere();
    }
  }

  void end_one() noexcept { uncount_one(maker_ == &detail::sync::this_thread()); }

  void end_elsewhere() noexcept {
    const void* const address = &others_;  // taken now: the group may be gone once the maker knows
    // release: pairs with the acquire in join().
    if ((others_.fetch_sub(kTask, detail::mo::release) & kSleepers) != 0) {
      detail::sync::wake<std::int64_t>(address, detail::sync::everybody);
    }
  }

  void fail(const std::exception_ptr& exception) noexcept {
    // relaxed: only one may win; the maker reads error_ after it has acquired the end of this task.
    if (!failed_.exchange(true, detail::mo::relaxed)) {
      detail::keep_for_sanitizer(exception);
      error_ = exception;
    }
  }

  bool ended(std::int64_t others) const noexcept { return mine_ + (others >> 1) == 0; }

  void join() {
    // acquire: pairs with the release of those who ended tasks.
    if (ended(others_.load(detail::mo::acquire))) {
      return;
    }
    if (worker_ != nullptr) {
      run_unstarted();
    }
    detail::await(others_, kSleepers, never, detail::Spin{}, {"TaskGroup::wait", this},
                  [this](std::int64_t others) { return ended(others); });
  }

  bool is_mine(const detail::Task& task) const noexcept {
    return task.is_member != 0 && &static_cast<const MemberBase&>(task).group() == this;
  }

  /// Runs what nobody has started. The tasks of the group are the last ones that this worker has queued, but for those
  /// that were submitted besides.
  void run_unstarted() {
    while (!ended(others_.load(detail::mo::acquire))) {  // acquire: as in join()
      detail::Task* const task = worker_->own.pop();
      if (task == nullptr || (!is_mine(*task) && !sort(task))) {
        return;
      }
      if (is_mine(*task)) {
        task->run();
      }
    }
  }

  /// Takes `task` and all that is queued below it, and puts the tasks of groups back, this one's on top. The others go
  /// where tasks from outside wait: there they are not in the way any more. @return whether there was one of this group
  bool sort(detail::Task* task) noexcept {
    detail::Task* mine = nullptr;  // each list with the oldest first
    detail::Task* of_groups = nullptr;
    detail::Task* others = nullptr;
    while (task != nullptr) {
      detail::Task*& kind = is_mine(*task) ? mine : task->is_member != 0 ? of_groups : others;
      task->next = std::exchange(kind, task);
      task = worker_->own.pop();
    }
    const bool found = mine != nullptr;
    for (detail::Task* oldest : {of_groups, mine}) {
      while (oldest != nullptr) {
        detail::Task* const newer = oldest->next;
        pool_.push_back(*worker_, *oldest);
        oldest = newer;
      }
    }
    pool_.move_outside(others);
    return found;
  }

  detail::Scheduler& pool_;
  detail::Worker* const worker_;  // that made the group, if it is one of the pool
  const detail::sync::ThreadRecord* const maker_;
  std::int64_t mine_ = 0;
  detail::sync::Atomic<bool> failed_{false};
  std::exception_ptr error_;  // written by who raised failed_
  detail::sync::Atomic<std::int64_t> others_{0};
};

}  // namespace conc::inline CONC_ABI
