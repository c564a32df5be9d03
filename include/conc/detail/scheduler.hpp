// SPDX-License-Identifier: MIT
/// @file
/// Scheduler: the queues and the worker threads of a thread pool.
///
///     other threads                        worker                      worker
///          | push: one CAS              own     dealt               own     dealt
///          v                             ^        ^ |                ^        ^ |
///        inbox ---- taken as a whole ----|--------' '----- steal --->|        |
///                   dealt in chunks      '--- pushed by its tasks; anybody may steal the oldest
///
/// A worker runs what its own tasks have submitted, newest first; then what was dealt to it from outside, oldest first;
/// then it looks outside; then it steals. Every 64th look goes outside first; of 1,024 one goes to the oldest that its tasks
/// have submitted, and one to the others' queues.
///
/// A worker that finds nothing becomes idle. One idle worker at a time searches, which means looking again and again for
/// about the price of a wake-up; the others sleep. Whoever queues a task calls an idle worker if none searches, and if
/// none is idle, starts one, up to the maximum. A searcher that finds something calls the next one if there is more. So
/// the one who submits wakes at most one thread, and none as long as somebody is awake and looking.
///
/// No task is overlooked: the one who queues it publishes the task and then looks for searchers; a searcher says that it
/// stops and then looks once more for tasks. Both are seq_cst read-modify-writes followed by seq_cst loads, so at least
/// one of them sees the other. The limits on wake-ups are those of Go's and Tokio's schedulers; the inbox that is dealt
/// out in chunks is conc's own.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/action.hpp>
#include <conc/detail/event_count.hpp>
#include <conc/detail/future_core.hpp>
#include <conc/detail/inbox.hpp>
#include <conc/detail/lobby.hpp>
#include <conc/detail/registry.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/task.hpp>
#include <conc/detail/wait_point.hpp>
#include <conc/detail/work_deque.hpp>
#include <conc/error.hpp>
#include <conc/lock.hpp>
#include <conc/semaphore.hpp>
#include <conc/thread.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI::detail {

class Scheduler;

/// One worker: its queues, and what only its thread touches.
class alignas(apart) Worker : public WorkerFace {
 public:
  Worker(Scheduler& scheduler, std::size_t number);

  /// The next task, in the order of the drawing above; null when the pool is closed and nothing is left. Waits.
  Task* next();

  void run(Task& task);

  Scheduler& pool;
  const std::size_t index;
  WorkDeque own;                 // of tasks that its tasks have submitted
  WorkDeque dealt;               // of tasks from outside; taken at the thieves' end only, so first in, first out
  std::optional<Thread> thread;  // written under Scheduler::starting_ while it is not alive
  sync::Atomic<bool> alive{false};
  Lobby::Presence presence;
  bool fresh = true;                    // has not looked for a task yet
  sync::Atomic<bool> finishing{false};  // counted as idle, but its last task is not quite done

 private:
  Task* look();
  Task* from_outside();
  Task* steal();
  Task* search();

  unsigned tick_ = 0;
};

/// What a pool is told about its threads.
struct SchedulerOptions {
  std::size_t max_workers;
  std::string name_prefix;
  std::size_t stack_size;
  std::size_t max_queued;  // 0: no bound
  Action initializer;      // runs first on every worker; or empty
};

class Scheduler : public ExitHook {
 public:
  explicit Scheduler(SchedulerOptions options)
      : options_{std::move(options)},
        number_{new_home()},
        workers_(options_.max_workers),
        lobby_{options_.max_workers, static_cast<bool>(options_.initializer)} {
    if (options_.max_queued != 0) {
      slots_.emplace(static_cast<std::int64_t>(options_.max_queued));
    }
  }

  /// Once it is owned: it is closed when the program exits.
  void close_at_exit() { registry.hook(*this); }

  ~Scheduler() override {
    for (std::size_t i = 0; i < options_.max_workers; ++i) {
      delete workers_[i].load(mo::relaxed);  // relaxed: nobody else knows the scheduler any more
    }
  }

  const SchedulerOptions& options() const noexcept { return options_; }

  /// The worker of this pool that the calling thread is, or null.
  Worker* this_worker() const noexcept {
    WorkerFace* const face = detail::this_worker();
    return face != nullptr && face->home == number_ ? static_cast<Worker*>(face) : nullptr;
  }

  // Submitting.

  /// What is to be done when the queue is full.
  enum class Full : std::uint8_t { wait, refuse, ignore };

  /// Queues the tasks from `last` on, each linked to the one before it, up to `first`.
  /// @return false if the queue is full, where it is not to be waited for
  /// @throws UsageError after shutdown; BrokenThreadPool; std::system_error if there is no worker and none can be started.
  ///         Then they were not queued.
  bool push(Task& first, Task& last, std::size_t count, Full full) {
    if (Worker* const me = this_worker(); me != nullptr) {
      if (lobby_.closed()) {  // what is accepted just before that, this worker runs itself
        throw_closed();
      }
      push_own(*me, last, count);
      return true;
    }
    const bool started_one = lobby_.started() == 0 && start_first();
    const bool takes_slots = slots_ && full != Full::ignore;
    if (takes_slots) {
      for (std::size_t taken = 0; taken < count; ++taken) {
        if (full == Full::wait) {
          slots_->acquire();
        } else if (!slots_->try_acquire()) {
          if (taken > 0) {
            slots_->release(static_cast<std::int64_t>(taken));
          }
          return false;
        }
      }
    }
    for (Task* task = &last;; task = task->next) {
      task->home = number_ & Task::kHomes;
      task->takes_slot = takes_slots ? 1U : 0U;
      if (task == &first) {
        break;
      }
    }
    if (const std::uint32_t cpu = sync::this_cpu(); submitter_cpu_.get() != cpu) {
      submitter_cpu_.set(cpu);
    }
    const Inbox::Pushed pushed = inbox_.push(&first, &last);
    if (pushed == Inbox::Pushed::closed) [[unlikely]] {
      if (takes_slots) {
        slots_->release(static_cast<std::int64_t>(count));
      }
      throw_closed();
    }
    if (pushed == Inbox::Pushed::first || !lobby_.complete()) {
      // The first worker will look for this task once it is initialized: that is no reason for a second one.
      // seq_cst: comes after the push; the worker looks after it has dropped the flag.
      const bool will_look = started_one && first_initializes_.load(mo::seq_cst);
      call_somebody(will_look ? Lobby::Newcomers::none : Lobby::Newcomers::until_closed);
    }
    return true;
  }

  /// Queues tasks that running tasks count on, also after shutdown. By a worker. If there is no memory, none is queued.
  void push_own(Worker& me, Task& last, std::size_t count) {
    me.own.make_room(static_cast<std::int64_t>(count));
    Task* task = &last;
    for (std::size_t i = 0; i < count; ++i) {
      Task* const former = task->next;  // read now: a thief may run the task at once
      task->home = number_ & Task::kHomes;
      push_back(me, *task);
      task = former;
    }
  }

  /// Queues a task that the worker has taken from its own queue, where there is room for it.
  void push_back(Worker& me, Task& task) noexcept {
    if (me.own.push(&task) || !lobby_.complete()) {
      call_somebody(Lobby::Newcomers::always);
    }
  }

  /// Queues tasks that were queued already, linked to each other, before those that wait outside.
  void move_outside(Task* tasks) noexcept {
    if (tasks == nullptr) {
      return;
    }
    {
      const ScopedLock guard{outside_};
      Task* last = tasks;
      while (last->next != nullptr) {
        last = last->next;
      }
      last->next = chain_.load(mo::relaxed);  // relaxed: guarded
      chain_.store(tasks, mo::seq_cst);       // seq_cst: comes before the look for idle workers
    }
    call_somebody(Lobby::Newcomers::always);
  }

  // Ending.

  /// No task is accepted any more. What is queued is run, unless `cancel`. Does not wait.
  void close(bool cancel) {
    if (is_forked()) {
      return;
    }
    const std::exception_ptr cancelled;
    end(cancel ? &cancelled : nullptr);
    registry.unhook(*this);
  }

  /// Waits until all workers have ended; after close().
  void join() {
    if (is_forked()) {
      return;
    }
    quiet_.await(never, Spin{}, {"ThreadPoolExecutor::shutdown", this}, [this] { return lobby_.empty(); });
    // No thread is started any more. One of them may be calling, from the destructor of a thread_local, and others may
    // do the same: then nobody waits for anybody, and the program's exit joins them.
    const std::uint64_t me = sync::this_thread_id();
    if (any_thread([me](const Thread& thread) { return thread.ident() == me; })) {
      return;
    }
    any_thread([](Thread thread) {
      thread.join();
      return false;
    });
  }

  void at_exit() noexcept override { close(false); }

  /// Waits until no task is queued and none runs.
  bool wait_idle(Deadline deadline) {
    return quiet_.await(deadline, Spin{}, {"ThreadPoolExecutor::wait_idle", this}, [this] { return quiet(); }) !=
           Waited::timed_out;
  }

  // Looking.

  /// Counts a task that no worker has met.
  void count(Outcome outcome) noexcept {
    elsewhere_[static_cast<std::size_t>(outcome)].fetch_add(1, mo::relaxed);  // relaxed: for statistics
  }

  struct Numbers {
    std::size_t queued = 0;
    std::size_t running = 0;
    std::size_t workers = 0;
    std::uint64_t outcomes[kOutcomes] = {};
  };

  Numbers numbers() {
    Numbers result;
    {
      const ScopedLock guard{outside_};
      result.queued = inbox_.count();
      for (const Task* task = chain_.load(mo::relaxed); task != nullptr; task = task->next) {  // relaxed: guarded
        ++result.queued;
      }
    }
    for_each_worker([&result](Worker& worker) {
      result.queued += worker.own.size() + worker.dealt.size();
      for (std::size_t i = 0; i < kOutcomes; ++i) {
        result.outcomes[i] += worker.outcomes[i].value();
      }
      return false;
    });
    for (std::size_t i = 0; i < kOutcomes; ++i) {
      result.outcomes[i] += elsewhere_[i].load(mo::relaxed);  // relaxed: for statistics
    }
    const std::size_t idle = lobby_.idle();
    result.workers = lobby_.started();
    result.running = result.workers > idle ? result.workers - idle : 0;
    return result;
  }

 private:
  friend class Worker;

  static constexpr unsigned kChunk = WorkDeque::kFirstSize < 32 ? static_cast<unsigned>(WorkDeque::kFirstSize) : 32;

  /// Calls `visit` with a handle of each thread there was, without a lock, until it returns true.
  template <class Visit>
  bool any_thread(Visit visit) {
    for (std::size_t i = 0; i < options_.max_workers; ++i) {
      // acquire: pairs with the release of who started it.
      if (Worker* const worker = workers_[i].load(mo::acquire);
          worker != nullptr && worker->thread && visit(*worker->thread)) {
        return true;
      }
    }
    for (std::size_t i = 0;; ++i) {
      std::optional<Thread> thread;
      {
        const ScopedLock guard{starting_};
        if (i == former_.size()) {
          return false;
        }
        thread = former_[i];
      }
      if (visit(*thread)) {
        return true;
      }
    }
  }

  [[noreturn, gnu::cold, gnu::noinline]] void throw_closed() {
    const ScopedLock guard{outside_};
    if (broken_ != nullptr) {
      std::rethrow_exception(broken_);
    }
    throw_usage_error("ThreadPoolExecutor::submit: cannot schedule new futures after shutdown");
  }

  /// After a task was queued: has an idle worker search, or starts one, unless somebody searches already.
  void call_somebody(Lobby::Newcomers newcomers) noexcept {
    // What is not in sight any more is in the hands of a worker, who calls somebody himself if he leaves something.
    if (lobby_.call(newcomers, [this] { return in_sight(); }) == Lobby::Called::newcomer) {
      try {
        start_worker();
      } catch (...) {  // the tasks wait for the workers that there are
        not_started(std::current_exception());
      }
    }
  }

  /// @return whether the calling thread has started the first worker
  bool start_first() {
    if (inbox_.closed()) {
      throw_closed();
    }
    if (!lobby_.call_first()) {
      return false;
    }
    first_initializes_.store(static_cast<bool>(options_.initializer), mo::relaxed);  // relaxed: its start publishes it
    try {
      start_worker();
    } catch (...) {
      not_started(std::current_exception());
      throw;
    }
    return true;
  }

  void not_started(const std::exception_ptr& why) noexcept {
    const auto self = Ref<Scheduler>::share(this);  // a callback of what is swept may drop the pool
    if (lobby_.not_started()) {                     // nobody will run what is queued
      sweep(why);
    } else if (in_sight()) {  // others may have counted on the newcomer
      lobby_.call(Lobby::Newcomers::none, [] { return false; });
    }
    quiet_.notify(sync::everybody);
  }

  /// Whether this is the child of a fork that had workers before: they are not here.
  bool is_forked() const noexcept {
    const std::uint64_t process = process_.load(mo::relaxed);  // relaxed: no fork while threads are started
    return process != 0 && process != sync::process_id();
  }

  void start_worker() {
    const ScopedLock guard{starting_};
    process_.store(sync::process_id(), mo::relaxed);  // relaxed: see is_forked()
    std::size_t free = 0;
    // relaxed: written under this lock. acquire: pairs with the release of a worker that has ended.
    while (workers_[free].load(mo::relaxed) != nullptr && workers_[free].load(mo::relaxed)->alive.load(mo::acquire)) {
      ++free;
    }
    if (workers_[free].load(mo::relaxed) == nullptr) {             // relaxed: as above
      workers_[free].store(new Worker{*this, free}, mo::release);  // release: pairs with for_each_worker()
    }
    Worker& worker = *workers_[free].load(mo::relaxed);  // relaxed: as above
    lobby_.arrive(worker.presence);
    worker.alive.store(true, mo::relaxed);  // relaxed: read under this lock
    try {
      start_thread(worker);
    } catch (...) {
      worker.alive.store(false, mo::relaxed);  // relaxed: as above
      throw;
    }
  }

  /// With starting_ held.
  void start_thread(Worker& worker) {
    worker.fresh = true;
    const auto self = Ref<Scheduler>::share(this);
    if (worker.thread) {
      former_.push_back(*worker.thread);  // it may not be quite gone
    }
    Thread thread{ThreadOptions{.name = options_.name_prefix + "_" + std::to_string(worker.index),
                                .stack_size = options_.stack_size},
                  [self, &worker] { self->run(worker); }};
    worker.thread = thread;
    try {
      thread.start();
    } catch (...) {
      worker.thread.reset();  // it holds a reference to this
      throw;
    }
  }

  /// What a worker's thread runs.
  void run(Worker& me) {
    struct Present {
      explicit Present(Worker& worker) noexcept : me{worker} { sync::this_thread().worker = &me; }
      Present(const Present&) = delete;
      Present& operator=(const Present&) = delete;
      ~Present() {
        sync::this_thread().worker = nullptr;
        if (ended || !me.pool.replace(me)) {
          me.pool.leave(me);
        }
      }
      Worker& me;
      bool ended = false;
    };
    Present present{me};
    if (options_.initializer) {
      try {
        options_.initializer();
      } catch (...) {
        present.ended = true;
        if (must_go_on()) {
          become_broken(make_error<BrokenPromise>("it made its thread exit"));
          throw;
        }
        become_broken(std::current_exception());
        return;
      }
      // seq_cst: comes before the first look for tasks; see push().
      first_initializes_.exchange(false, mo::seq_cst);
    }
    while (Task* const task = me.next()) {
      me.run(*task);
    }
    present.ended = true;
  }

  /// The worker's thread was made to exit by its task: another one takes over. @return false if there is none
  bool replace(Worker& me) noexcept {
    if (me.presence.idle) {
      come_out(me);  // it is not, before its initializer has returned
    }
    try {
      const ScopedLock guard{starting_};
      start_thread(me);
      return true;
    } catch (...) {
      return false;
    }
  }

  void become_broken(const std::exception_ptr& cause) {
    const auto broken = std::make_exception_ptr(
        BrokenThreadPool{"ThreadPoolExecutor: the initializer of a worker failed: " + describe(cause)});
    keep_for_sanitizer(cause);
    keep_for_sanitizer(broken);
    {
      const ScopedLock guard{outside_};
      if (broken_ == nullptr) {
        broken_ = broken;
      }
    }
    end(&broken);
  }

  /// No task is accepted any more; those that are queued fail with `*refusal`, are cancelled if that is null, or are run
  /// if there is no refusal.
  void end(const std::exception_ptr* refusal) {
    bool first = false;
    {
      const ScopedLock guard{outside_};
      first = !inbox_.closed();
      append(inbox_.take(true));
    }
    if (first && slots_) {
      slots_->release((std::numeric_limits<std::int32_t>::max)() / 2);  // who waits for room learns that it is closed
    }
    lobby_.close();
    if (refusal != nullptr) {
      sweep(*refusal);  // by now workers take no more tasks from their own, so this ends
    }
    // What was on its way from the inbox to the chain was seen by nobody.
    if (in_sight()) {
      call_somebody(Lobby::Newcomers::always);
    }
    quiet_.notify(sync::everybody);
  }

  /// Refuses all that is queued. Only a broken pool refuses the tasks of groups; else they are run here, for their makers
  /// count on them.
  void sweep(const std::exception_ptr& why) noexcept {
    sweeping_.fetch_add(1, mo::seq_cst);  // seq_cst: comes before the tasks are out of sight
    Task* kept = nullptr;
    const auto refuse = [this, &why, &kept](Task& task) {
      if (why == nullptr && task.is_member != 0) {
        task.next = std::exchange(kept, &task);
        return;
      }
      if (task.takes_slot != 0) {
        slots_->release();
      }
      count(task.refuse(why));
    };
    Task* task = nullptr;
    {
      const ScopedLock guard{outside_};
      append(inbox_.take());
      task = chain_.exchange(nullptr, mo::seq_cst);  // seq_cst: for who looks without the lock
    }
    while (task != nullptr) {
      refuse(*std::exchange(task, task->next));
    }
    for_each_worker([&refuse](Worker& worker) {
      for (WorkDeque* const deque : {&worker.dealt, &worker.own}) {
        while (!deque->empty()) {
          if (Task* const stolen = deque->steal(); stolen != nullptr) {
            refuse(*stolen);
          }
        }
      }
      return false;
    });
    if (kept != nullptr) {  // their makers may all be waiting for them, so that no worker is free
      sync::ThreadRecord& record = sync::this_thread();
      TaskFrame instead{static_cast<TaskFrame*>(record.frame), nullptr, 0};
      record.frame = &instead;
      while (kept != nullptr) {
        const Outcome outcome = std::exchange(kept, kept->next)->run();
        if (this_worker() == nullptr) {  // which counts by itself
          count(outcome);
        }
      }
      record.frame = instead.outer;
    }
    sweeping_.fetch_sub(1, mo::seq_cst);  // seq_cst: see EventCount
    quiet_.notify(sync::everybody);
  }

  /// Adds to the end of the chain. With outside_ held.
  void append(Task* tasks) noexcept {
    Task* last = chain_.load(mo::relaxed);  // relaxed: written under the lock
    if (last == nullptr) {
      chain_.store(tasks, mo::seq_cst);  // seq_cst: for who looks without the lock
      return;
    }
    while (last->next != nullptr) {
      last = last->next;
    }
    last->next = tasks;
  }

  /// Calls `visit` with the workers, from a random one on, until it returns true.
  template <class Visit>
  bool for_each_worker(Visit visit) {
    const std::size_t n = options_.max_workers;
    std::size_t i = n == 1 ? 0 : sync::random() % n;
    for (std::size_t left = n; left > 0; --left) {
      // acquire: pairs with the release in start_worker().
      if (Worker* const worker = workers_[i].load(mo::acquire); worker != nullptr && visit(*worker)) {
        return true;
      }
      i = i + 1 == n ? 0 : i + 1;
    }
    return false;
  }

  bool outside_in_sight() const noexcept {
    // seq_cst: as Inbox::empty(). The chain is filled from the inbox by somebody who is awake.
    return !inbox_.empty() || chain_.load(mo::seq_cst) != nullptr;
  }

  bool in_sight() {
    return outside_in_sight() ||
           for_each_worker([](const Worker& worker) { return !worker.dealt.empty() || !worker.own.empty(); });
  }

  bool quiet() {
    {
      const ScopedLock guard{outside_};  // what end() moves is in sight before or after
      if (outside_in_sight()) {
        return false;
      }
    }
    // Whoever took a task before that was busy or searching then, or sweeps. If he is neither now, he has done all that he
    // took: idle workers have nothing in their queues, and take nothing unless they search.
    return !in_sight() && lobby_.quiet() &&
           // acquire: pairs with the releases of finishing.
           !for_each_worker([](const Worker& worker) { return worker.finishing.load(mo::acquire); }) &&
           sweeping_.load(mo::seq_cst) == 0 && lobby_.quiet();  // seq_cst: comes after the looks
  }

  void come_out(Worker& me) noexcept {
    const bool counted_on = lobby_.come_out(me.presence);
    me.finishing.store(false, mo::release);  // release: it counts as busy by now; pairs with the acquire in quiet()
    if (counted_on && in_sight()) {
      call_somebody(Lobby::Newcomers::always);
    }
  }

  /// A searcher on the CPU of the one who submits would be in his way, where another one has slept elsewhere.
  bool searches_in_the_way(Worker& me) {
    const std::uint32_t here = sync::this_cpu();
    me.presence.cpu.set(here);
    return submitter_cpu_.get() == here && lobby_.idle() >= 2 && for_each_worker([here](const Worker& worker) {
             const std::uint32_t there = worker.presence.cpu.get();
             return there != here && there != sync::no_cpu;
           });
  }

  void leave(Worker& me) noexcept {
    const bool idle = me.presence.idle;  // read now: another thread may take the worker's place at once
    const bool searching = me.presence.searching;
    me.alive.store(false, mo::release);  // release: pairs with the acquire in start_worker()
    const bool last = lobby_.leave(idle, searching);
    if (in_sight()) {  // queued after this worker's last look
      if (last) {
        sweep(make_error<BrokenThreadPool>("ThreadPoolExecutor: no thread is left to run the task"));
      } else {
        call_somebody(Lobby::Newcomers::always);
      }
    }
    quiet_.notify(sync::everybody);
  }

  /// For a fresh thread on which the worker goes on.
  static void prepare(WorkerFace& face) { static_cast<Worker&>(face).pool.options_.initializer(); }

  /// The worker is as good as idle. This counts while there are workers to be started: none is, as long as one is idle.
  static void nearly_idle(WorkerFace& face) noexcept {
    auto& me = static_cast<Worker&>(face);
    if (me.pool.lobby_.complete()) {  // for good: they end with the pool
      me.nearly_idle = nullptr;
    } else if (!me.presence.idle && me.own.empty() && me.dealt.empty()) {
      me.finishing.store(true, mo::relaxed);  // relaxed: published by the next line, where quiet() looks first
      me.pool.lobby_.become_idle(me.presence);
    }
  }
  static void busy_again(WorkerFace& face) noexcept {
    auto& me = static_cast<Worker&>(face);
    if (me.presence.idle) {
      me.pool.come_out(me);
    }
  }

  /// Takes the first task that waits outside, and deals out some more to `me`. null if there is none.
  Task* deal(Worker& me) {
    if (!outside_in_sight()) {
      return nullptr;
    }
    Task* first = nullptr;
    bool more = false;
    {
      const ScopedLock guard{outside_};
      first = chain_.load(mo::relaxed);  // relaxed: guarded
      if (first == nullptr) {
        first = inbox_.take();
      }
      if (first != nullptr && first->next != nullptr) {
        more = true;
        Task* rest = first->next;
        me.dealt.push_some(rest, kChunk);
        chain_.store(rest, mo::seq_cst);  // seq_cst: comes before the look for idle workers
      } else {
        chain_.store(nullptr, mo::seq_cst);  // seq_cst: for who waits until there is nothing
      }
    }
    // Tasks between the inbox and here are seen by nobody, and a searcher may have given up meanwhile.
    if (more && !me.presence.idle) {
      call_somebody(Lobby::Newcomers::always);
    }
    return first;
  }

  const SchedulerOptions options_;
  const std::uint32_t number_;
  std::atomic<std::uint64_t> process_{0};              // where the workers are; 0 before the first one
  std::vector<sync::Atomic<Worker*>> workers_;         // its size never changes
  std::optional<Semaphore> slots_;                     // the places in a bounded queue
  std::atomic<std::uint64_t> elsewhere_[kOutcomes]{};  // what became of tasks that no worker has met
  Lock starting_;                                      // guards the start of workers
  std::vector<Thread> former_;                         // threads of workers that got another one; guarded by starting_
  std::exception_ptr broken_;                          // why, if an initializer failed; guarded by outside_
  sync::Atomic<bool> first_initializes_{false};        // the worker that was started when there was none
  sync::Atomic<std::uint32_t> sweeping_{0};            // how many threads refuse tasks
  EventCount quiet_;                                   // notified when workers become idle or end
  alignas(apart) Lobby lobby_;
  sync::Hint submitter_cpu_{sync::no_cpu};  // where the last task came from
  alignas(apart) Inbox inbox_;
  alignas(apart) Lock outside_;         // guards who takes from the inbox, and the chain
  sync::Atomic<Task*> chain_{nullptr};  // taken from the inbox, to be dealt; oldest first
};

inline Worker::Worker(Scheduler& scheduler, std::size_t number) : pool{scheduler}, index{number} {
  home = scheduler.number_;
  prepare = scheduler.options_.initializer ? &Scheduler::prepare : nullptr;
  nearly_idle = &Scheduler::nearly_idle;
  busy_again = &Scheduler::busy_again;
}

inline Task* Worker::next() {
  const bool may_look =
      !std::exchange(fresh, false) && (!presence.idle || presence.searching);  // else see Scheduler::quiet()
  Task* const task = may_look ? look() : nullptr;
  if (task == nullptr) {
    return search();
  }
  if (presence.idle) {
    pool.come_out(*this);
  }
  return task;
}

inline void Worker::run(Task& task) {
  if (task.takes_slot != 0) {
    pool.slots_->release();
  }
  struct Done {  // also where the task makes the thread exit
    Worker& me;
    ~Done() {
      me.current = nullptr;
      if (me.presence.idle) {
        // release: pairs with the acquire in Scheduler::quiet(). seq_cst, and an exchange: comes before this worker's look
        // for who waits there.
        me.finishing.exchange(false, mo::seq_cst);
      }
    }
  };
  current = &task;
  const Done done{*this};
  const Outcome outcome = task.run();
  if (outcome == Outcome::cancelled || outcome == Outcome::claimed) {  // the others count themselves
    count(outcome);
  }
}

inline Task* Worker::look() {
  // Now and then something else comes first, so that nothing waits for ever. The oldest tasks seldom: in a tree of tasks
  // they are the roots of what is best done later.
  constexpr unsigned kOutsideFirst = 64;
  constexpr unsigned kOldestFirst = 1024;
  Task* task = nullptr;
  if (++tick_ % kOutsideFirst == 0) {
    task = from_outside();
  } else if (tick_ % kOldestFirst == 1) {
    task = own.steal();
  } else if (tick_ % kOldestFirst == kOldestFirst / 2 + 1) {
    task = steal();
  }
  if (task == nullptr) {
    task = own.pop();
  }
  if (task == nullptr) {
    task = from_outside();
  }
  return task != nullptr ? task : steal();
}

inline Task* Worker::from_outside() {
  while (!dealt.empty()) {
    if (Task* const task = dealt.steal(); task != nullptr) {
      return task;
    }
  }
  return pool.deal(*this);
}

inline Task* Worker::steal() {
  Task* task = nullptr;
  pool.for_each_worker([this, &task](Worker& other) {
    if (&other == this) {
      return false;
    }
    task = other.dealt.steal();
    if (task == nullptr) {
      task = other.own.steal();
    }
    return task != nullptr;
  });
  return task;
}

inline Task* Worker::search() {
  Lobby& lobby = pool.lobby_;
  if (!presence.idle) {
    lobby.become_idle(presence);
  }
  if (presence.searching && pool.searches_in_the_way(*this)) {
    lobby.hand_over_search(presence);
  }
  for (;;) {
    if (presence.searching) {
      Spin spin{pool.submitter_cpu_.get()};
      do {
        if (Task* const task = look(); task != nullptr) {
          pool.come_out(*this);
          return task;
        }
      } while (spin.again());
      lobby.stop_searching(presence);
    }
    // From here on whoever queues a task sees that nobody searches. What was queued before is in sight now.
    if (pool.in_sight() && lobby.try_to_search(presence)) {
      continue;
    }
    pool.quiet_.notify(sync::everybody);
    if (!lobby.wait_for_call(presence)) {
      pool.come_out(*this);
      Task* const task = look();
      if (task != nullptr && pool.in_sight()) {  // what it leaves nobody else may have seen
        pool.call_somebody(Lobby::Newcomers::always);
      }
      return task;
    }
  }
}

}  // namespace conc::inline CONC_ABI::detail
