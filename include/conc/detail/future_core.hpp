// SPDX-License-Identifier: MIT
/// @file
/// FutureCore: the state that all handles of one future share, but for the type of its result.
///
///              start()             finish()
///   pending ------------> running ------------> succeeded | failed
///      |  |                                          ^
///      |  '---- settle() ----> settling ---finish()--'      (running -> settling too: a Promise)
///      '------- cancel() ----> cancelling --finish()--> cancelled
///
/// pending     the callable belongs to whoever moves on from here; the result belongs to nobody yet.
/// running     one thread runs the task: callable and result are its own. cancel() fails.
/// settling    one thread puts a result in from outside. Lasts for a move of the result.
/// cancelling  one thread destroys the callable and its arguments. Lasts for that.
///             In all of these the list of callbacks belongs to whoever has locked it, and may grow and shrink.
/// succeeded, failed, cancelled   final: the result never changes. The callable is gone. Callbacks are handed out once,
///             to the thread that came here, which calls them after the change and without a lock.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/ref.hpp>
#include <conc/detail/registry.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/task.hpp>
#include <conc/detail/wait_graph.hpp>
#include <conc/detail/wait_point.hpp>
#include <conc/error.hpp>
#include <conc/lock.hpp>
#include <conc/thread.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <typeinfo>
#include <utility>

namespace conc::inline CONC_ABI {

/// Called for an exception that nobody has ever retrieved, when the last handle of its future is gone. Called on the
/// thread that drops it, without a lock held. Whatever it throws is dropped.
using UnretrievedExceptionHook = void (*)(const std::exception_ptr&);

/// Prints one line to stderr: the type of the exception and its what().
[[gnu::visibility("default")]] inline void default_unretrieved_exception_hook(const std::exception_ptr& exception) {
  const std::string line = "Future exception was never retrieved: " + detail::describe(exception) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);  // one call: lines of several threads do not mix
}

namespace detail {

[[gnu::visibility("default")]] inline constinit std::atomic<UnretrievedExceptionHook> unretrieved_exception_hook{
    &default_unretrieved_exception_hook};

inline void report_unretrieved(const std::exception_ptr& exception) noexcept {
  try {
    unretrieved_exception_hook.load()(exception);
  } catch (...) {  // a hook that fails has nobody to report to
  }
}

class FutureCore;

/// Something to be called when a future becomes done. Lives in whatever registered it; not copied, not allocated here.
class Callback {
 public:
  Callback(const Callback&) = delete;
  Callback& operator=(const Callback&) = delete;

  /// `core` is done.
  virtual void call(FutureCore& core) noexcept = 0;

 protected:
  /// What a callback needs of the future during the call.
  enum class Needs : std::uint8_t {
    future,   // it is kept alive, and its result stays in it
    nothing,  // whoever registered the callback holds a handle, or does not look at the future
  };

  explicit Callback(Needs needs) noexcept : needs_{needs} {}
  ~Callback() = default;

 private:
  friend class FutureCore;
  const Needs needs_;
  Callback* next_ = nullptr;  // in the core's circle; null: not registered. Guarded by the core's list lock.
  Callback* previous_ = nullptr;
};

#if defined(__SANITIZE_THREAD__)
#define CONC_DETAIL_KEEP_EXCEPTIONS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CONC_DETAIL_KEEP_EXCEPTIONS 1
#endif
#endif

#if defined(CONC_DETAIL_KEEP_EXCEPTIONS)
/// Keeps the last 65,536 exceptions alive. libstdc++ counts references where ThreadSanitizer does not see it, so that the
/// destruction of an exception on another thread than its throw would look like a race.
inline void keep_for_sanitizer(const std::exception_ptr& exception) {
  constexpr std::size_t kKept = 65'536;
  static Lock lock;
  static auto* const kept = new std::exception_ptr[kKept];  // never destroyed: threads may throw while the process ends
  static std::size_t next = 0;
  std::exception_ptr oldest = exception;
  const ScopedLock guard{lock};
  std::swap(kept[next++ % kKept], oldest);
}
#else
inline void keep_for_sanitizer(const std::exception_ptr& /*exception*/) noexcept {}
#endif

class FutureCore : public Task {
 public:
  // word_ = handles << 32 | flags | phase
  //   phase          see the drawing above; 4 and more are final.
  //   kOwned         a queue, a worker that took it from there, or a Promise refers to it: whoever will make it done.
  //   kCallbacks     the list of callbacks is not empty. Changed with the list locked, dropped by whoever takes the list.
  //   kLocked        somebody changes the list. Never held while anything is called.
  //   kLockSleepers  somebody may be asleep until kLocked drops; see detail::await for who raises and drops it.
  //   kSleepers      somebody may be asleep until the phase is final; likewise.
  //   kCalling       the thread that made it done calls the callbacks, which refer to it.
  //   kRetrieved     somebody was given the exception. Never dropped.
  //   kTaken         the result was moved out. Never dropped.
  //   handles        how many Future handles name it.
  // The block is freed when kOwned and kCalling are down and handles is 0.
  // Illegal: a callback registered in a final phase, but by who had locked the list before; a sleeper without its bit.
  // Legal:   kSleepers in a final phase (nobody can fall asleep then), or with nobody asleep.
  enum Phase : std::uint64_t {
    pending = 0,
    running = 1,
    cancelling = 2,
    settling = 3,
    cancelled = 4,
    failed = 5,
    succeeded = 6
  };
  static constexpr std::uint64_t kPhase = 7;
  static constexpr std::uint64_t kOwned = 8;
  static constexpr std::uint64_t kHandle = std::uint64_t{1} << 32U;

  static constexpr Phase phase_of(std::uint64_t value) noexcept { return static_cast<Phase>(value & kPhase); }
  static constexpr bool is_done(std::uint64_t value) noexcept { return (value & kPhase) >= cancelled; }

  /// acquire: what led to a final phase is visible to who sees it; pairs with the release in finish().
  std::uint64_t value() const noexcept { return word_.load(mo::acquire); }
  Phase phase() const noexcept { return phase_of(value()); }
  bool done() const noexcept { return is_done(value()); }
  bool has_handles() const noexcept { return value() >> 32U != 0; }
  /// Whether one handle alone can look at the result: callbacks that will or may look count as others.
  bool has_one_handle() const noexcept {
    const std::uint64_t seen = value();
    return seen >> 32U == 1 && (seen & (kCallbacks | kCalling)) == 0;
  }
  /// Whether nobody will ever hear of it but its owner.
  bool forgotten() const noexcept {
    const std::uint64_t seen = value();
    return seen >> 32U == 0 && (seen & (kCallbacks | kLocked | kCalling)) == 0;
  }

  // Handles and the owner.

  void add_handle() noexcept { word_.fetch_add(kHandle, mo::relaxed); }  // relaxed: made from another handle

  void drop_handle() noexcept {
    // acquire, twice, and release: all uses of the block through other references come before its end.
    std::uint64_t seen = word_.load(mo::acquire);
    if (!is_last(seen - kHandle)) {  // else nobody else can reach it
      seen = word_.fetch_sub(kHandle, mo::acq_rel);
    }
    if (is_last(seen - kHandle)) {
      destroy();
    }
  }

  void drop_owner() noexcept { drop(kOwned); }

  // The way through the phases.

  /// pending -> running. The caller then calls execute(), or settles it.
  bool start() noexcept { return leave(pending, running); }

  /// Gives the right to put a result in from outside.
  /// @return the phase until now, pending or running; or settling, where somebody else has or had that right
  Phase settle() noexcept { return leave(pending, settling) ? pending : leave(running, settling) ? running : settling; }
  /// Gives it back: no result was put in.
  void unsettle(Phase until_now) noexcept { leave(settling, until_now); }

  bool cancel() noexcept {
    if (!leave(pending, cancelling)) {
      const Phase now = phase();
      return now == cancelling || now == cancelled || (now == running && cancel_running());
    }
    add_handle();  // the one that the caller has may be destroyed with the callable
    abandon();
    finish(cancelled, false);
    drop_handle();
    return true;
  }

  /// Comes to a final phase, wakes who waits and calls the callbacks. The caller has the right to: it came from pending
  /// to running, settling or cancelling itself.
  /// @param owner  the caller holds kOwned and gives it up
  void finish(Phase outcome, bool owner) noexcept {
    const void* const address = &word_;  // taken now: a waiter may free the block once the phase shows
    runner_cpu.set(sync::this_cpu());
    WorkerFace* const told = tell_nearly_idle();
    std::uint64_t old = word_.load(mo::relaxed);  // relaxed: a guess; the exchange checks it
    std::uint64_t reached = 0;
    bool to_call = false;
    do {
      to_call = (old & (kCallbacks | kLocked)) != 0;
      reached = (old & ~(kPhase | kSleepers)) | outcome;
      if (to_call) {
        reached |= kCalling;  // stays alive during the calls
      } else if (owner) {
        reached &= ~kOwned;
      }
      // release (1): pairs with the acquire loads of value() and of detail::await. acquire: as in drop_handle().
    } while (!word_.compare_exchange_weak(old, reached, mo::acq_rel, mo::relaxed));
    if ((old & kSleepers) != 0) {
      sync::wake<std::uint64_t>(address, sync::everybody);
    }
    if (told != nullptr && (to_call || is_last(reached))) {
      told->busy_again(*told);
    }
    if (to_call) {
      call_back(kCalling | (owner ? kOwned : 0));
    } else if (is_last(reached)) {
      destroy();
    }
  }

  // Task.

  Outcome run() override { return start() ? execute(true) : leave_to_others(); }

  Outcome refuse(const std::exception_ptr& why) noexcept override {
    if (why == nullptr) {
      cancel();
    } else if (leave(pending, settling)) {
      abandon();
      if (!has_handles()) {
        mark(kRetrieved);  // nobody could have asked
      }
      fail(why);
      finish(failed, true);
      return Outcome::failed;
    }
    return leave_to_others();
  }

  /// By the owner: there will be no result.
  void break_promise() noexcept {
    // Where there is no handle and no callback, nobody can get at it any more.
    if (settle() == settling || forgotten()) {
      drop_owner();
      return;
    }
    if (!has_handles()) {
      mark(kRetrieved);  // nobody could have asked
    }
    fail(make_error<BrokenPromise>("Promise: dropped without a result"));
    finish(failed, true);
  }

  // Waiting.

  /// @throws DeadlockError where it would wait for itself.
  bool wait(Deadline deadline, const char* operation) { return done() || wait_until_done(deadline, operation); }

  /// Whether the calling thread is a worker of the executor that queued the task.
  bool may_claim() const noexcept {
    const WorkerFace* const worker = this_worker();
    return worker != nullptr && home != 0 && worker->home == home;
  }

  /// Runs the task on the calling thread, if that may claim it and nobody has started it.
  bool claim() {
    if (!may_claim() || phase() != pending) {
      return false;
    }
    const auto* const frame = static_cast<const TaskFrame*>(sync::this_thread().frame);
    if (frame != nullptr && (frame->depth >= sync::deepest || sync::stack_is_short())) {
      return claim_elsewhere(*this_worker());
    }
    return claim_here();
  }

  // Callbacks.

  /// @return false if the future is done already: then `callback` was not registered.
  bool add(Callback& callback) {
    if (!lock_list(true)) {
      return false;
    }
    if (callbacks_ == nullptr) {
      callback.next_ = callback.previous_ = callbacks_ = &callback;
    } else {
      callback.next_ = callbacks_;
      callback.previous_ = std::exchange(callbacks_->previous_, &callback);
      callback.previous_->next_ = &callback;
    }
    unlock_list(kCallbacks);
    return true;
  }

  /// @return whether it was still registered: then it will not be called. Else it has been, is being or is about to be.
  bool remove(Callback& callback) noexcept {
    lock_list(false);
    const bool registered = callback.next_ != nullptr;
    if (registered) {
      unlink(callback);
    }
    unlock_list(callbacks_ == nullptr ? 0 : kCallbacks);
    return registered;
  }

  // The result.

  /// The exception of a failed future; counts as retrieved then.
  const std::exception_ptr& retrieve() noexcept {
    mark(kRetrieved);
    return error();
  }

  virtual const std::exception_ptr& error() const noexcept = 0;

  /// Marks the result as moved out. @return false if it was already
  bool take() noexcept {
    const std::uint64_t seen = value();
    if ((seen & kTaken) != 0) {
      return false;
    }
    return is_last(seen - kHandle) ||  // nobody else could ask
           (mark(kTaken) & kTaken) == 0;
  }
  /// It was not moved out after all.
  void untake() noexcept { word_.fetch_and(~kTaken, mo::relaxed); }  // relaxed: the result is as it was
  bool taken() const noexcept { return (value() & kTaken) != 0; }

  virtual bool request_stop() noexcept { return false; }

  /// For reports: what the task would call.
  virtual const std::type_info& callable() const noexcept { return typeid(void); }

 protected:
  explicit FutureCore(std::uint64_t first) noexcept : word_{first} {}

  /// Runs the task, which is in the phase running, and finishes it.
  /// @param owner  as for finish()
  virtual Outcome execute(bool owner) = 0;
  /// Destroys callable and arguments of a task that will never run.
  virtual void abandon() noexcept {}
  /// For tasks that can be cancelled while they run. @return whether it is cancelled
  virtual bool cancel_running() noexcept { return false; }
  /// Puts the exception in; the caller then finishes.
  virtual void fail(const std::exception_ptr& exception) noexcept = 0;

  /// Marks the calling thread as running this task, as long as it lives.
  class Running {
   public:
    explicit Running(FutureCore& task) noexcept
        : record_{sync::this_thread()}, frame_{static_cast<TaskFrame*>(record_.frame), &task, 0} {
      frame_.depth = frame_.outer == nullptr ? 1 : frame_.outer->depth + 1;
      record_.frame = &frame_;
      task.runner_cpu.set(sync::this_cpu());
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() { record_.frame = frame_.outer; }

   private:
    sync::ThreadRecord& record_;
    TaskFrame frame_;
  };

 private:
  static constexpr std::uint64_t kCallbacks = 16;
  static constexpr std::uint64_t kLocked = 32;
  static constexpr std::uint64_t kLockSleepers = 64;
  static constexpr std::uint64_t kSleepers = 128;
  static constexpr std::uint64_t kRetrieved = 256;
  static constexpr std::uint64_t kTaken = 512;
  static constexpr std::uint64_t kCalling = 1024;

  /// Tells the worker's pool that this thread is as good as idle, if it has nothing else to do but to finish this task.
  WorkerFace* tell_nearly_idle() noexcept {
    WorkerFace* const worker = this_worker();
    if (worker == nullptr || worker->current != this) {
      return nullptr;
    }
    worker->current = nullptr;  // while callbacks run here, this block may become that of another future
    // relaxed: callbacks that are registered later make it busy again.
    if (worker->nearly_idle == nullptr || (word_.load(mo::relaxed) & kCallbacks) != 0) {
      return nullptr;
    }
    worker->nearly_idle(*worker);
    return worker;
  }

  bool leave(Phase from, Phase to) noexcept {
    std::uint64_t old = word_.load(mo::relaxed);  // relaxed: a guess; the exchange checks it
    while (phase_of(old) == from) {
      // acquire: pairs with the release here: who gave the right to settle back may have begun to write. The callable
      // was published when the caller got its reference. relaxed: a failure looks again.
      if (word_.compare_exchange_weak(old, (old & ~kPhase) | to, mo::acq_rel, mo::relaxed)) {
        return true;
      }
    }
    return false;
  }

  /// For the owner of a task that is not his to run.
  Outcome leave_to_others() noexcept {
    const Phase now = phase();
    drop_owner();
    return now == cancelled || now == cancelling ? Outcome::cancelled : Outcome::claimed;
  }

  std::uint64_t mark(std::uint64_t flag) noexcept {
    const std::uint64_t seen = word_.load(mo::relaxed);  // relaxed, twice: a flag that publishes nothing
    return (seen & flag) != 0 ? seen : word_.fetch_or(flag, mo::relaxed);
  }

  void destroy() noexcept {
    // relaxed: the caller alone refers to it.
    const std::uint64_t last = word_.load(mo::relaxed);
    if (phase_of(last) == failed && (last & kRetrieved) == 0) {
      report_unretrieved(error());
    }
    delete this;
  }

  /// @param unless_done  give up where the future is done
  bool lock_list(bool unless_done) {
    bool locked = false;
    const auto attempt = [this, unless_done, &locked](std::uint64_t& value) {
      while ((value & kLocked) == 0 && !(unless_done && is_done(value))) {
        // acquire: pairs with the release of the one who unlocked. release: continues no sequence of its own; none needed.
        if (word_.compare_exchange_weak(value, value | kLocked, mo::acquire, mo::acquire)) {
          locked = true;
          return true;
        }
      }
      return unless_done && is_done(value);
    };
    await(word_, kLockSleepers, never, Spin{}, {"Future", this}, attempt);
    return locked;
  }

  /// @param has_callbacks  kCallbacks or 0: what the list is like now
  void unlock_list(std::uint64_t has_callbacks) noexcept {
    std::uint64_t old = word_.load(mo::relaxed);  // relaxed: a guess; the exchange checks it
    // release: pairs with the acquire in lock_list().
    while (!word_.compare_exchange_weak(old, (old & ~(kLocked | kLockSleepers | kCallbacks)) | has_callbacks,
                                        mo::release, mo::relaxed)) {
    }
    if ((old & kLockSleepers) != 0) {
      sync::wake<std::uint64_t>(&word_, sync::everybody);
    }
  }

  /// Whether nobody refers to it any more.
  static constexpr bool is_last(std::uint64_t value) noexcept {
    return (value & (kOwned | kCalling)) == 0 && value >> 32U == 0;
  }

  /// Drops kOwned, kCalling, or both.
  void drop(std::uint64_t references) noexcept {
    // acquire and acq_rel: as in drop_handle().
    std::uint64_t seen = word_.load(mo::acquire);
    if (!is_last(seen & ~references)) {  // else nobody else can reach it
      seen = word_.fetch_and(~references, mo::acq_rel);
    }
    if (is_last(seen & ~references)) {
      destroy();
    }
  }

  /// With the list locked.
  void unlink(Callback& callback) noexcept {
    if (callback.next_ == &callback) {
      callbacks_ = nullptr;
    } else {
      callback.previous_->next_ = callback.next_;
      callback.next_->previous_ = callback.previous_;
      if (callbacks_ == &callback) {
        callbacks_ = callback.next_;
      }
    }
    callback.next_ = nullptr;
  }

  /// Calls the callbacks, each once it is off the list: until then it may be removed. Then drops `references`.
  void call_back(std::uint64_t references) noexcept {
    for (;;) {
      lock_list(false);
      Callback* const callback = callbacks_;
      if (callback != nullptr) {
        unlink(*callback);
      }
      const bool more = callbacks_ != nullptr;
      unlock_list(more ? kCallbacks : 0);
      if (callback == nullptr) {
        drop(references);
        return;
      }
      if (!more && callback->needs_ == Callback::Needs::nothing) {
        drop(references);  // so that who goes on now finds itself alone with the result
        callback->call(*this);
        return;
      }
      callback->call(*this);
    }
  }

  [[gnu::noinline]] bool wait_until_done(Deadline deadline, const char* operation) {
    if (!deadline.is_never()) {
      return sleep(deadline, operation);
    }
    if (claim()) {
      return true;
    }
    auto* const frame = static_cast<TaskFrame*>(sync::this_thread().frame);
    if (frame == nullptr) {
      return sleep(never, operation);
    }
    FutureCore* const awaited = this;
    const WaitGraph::Edge edge{wait_graph, *frame, &awaited, 1, operation};
    return sleep(never, operation);
  }

  bool sleep(Deadline deadline, const char* operation) {
    // A task that nobody runs yet will likely be run where the last one was.
    sync::ThreadRecord& record = sync::this_thread();
    const std::uint32_t runner = runner_cpu.get();
    const Spin spin = Spin{runner != sync::no_cpu ? runner : record.partner_cpu}.patient();
    const bool ended = await(word_, kSleepers, deadline, spin, {operation, this}, &is_done) != Waited::timed_out;
    record.partner_cpu = runner_cpu.get();
    return ended;
  }

  [[gnu::noinline]] void execute_claimed() {
    struct Kept {  // a callback may drop the handle that the caller waits through
      FutureCore& core;
      ~Kept() { core.drop_handle(); }
    };
    add_handle();
    const Kept kept{*this};
    execute(false);
  }

  /// Claims it on a thread of its own, for this stack is deep enough. The tasks of this stack stay the outer ones of it.
  [[gnu::noinline]] bool claim_elsewhere(WorkerFace& worker) {
    TaskFrame base{static_cast<TaskFrame*>(sync::this_thread().frame), nullptr, 0};
    bool prepared = worker.prepare == nullptr;
    bool claimed = false;
    const auto on_fresh_thread = [this, &worker, &base, &prepared, &claimed] {
      if (!prepared) {
        try {
          worker.prepare(worker);
        } catch (...) {  // as if there were no thread
          return;
        }
        prepared = true;
      }
      sync::ThreadRecord& record = sync::this_thread();
      record.worker = &worker;
      record.frame = &base;
      claimed = claim_here();
    };
    try {
      const ThreadOptions& mine = this_thread_state().options;
      Thread thread{ThreadOptions{.name = mine.name, .stack_size = mine.stack_size}, on_fresh_thread};
      thread.start();
      thread.join();
    } catch (const std::exception&) {  // no thread to be had
      prepared = false;
    }
    return prepared ? claimed : claim_here();  // else this stack must do
  }

  bool claim_here() {
    if (!start()) {
      return false;
    }
    execute_claimed();
    return true;
  }

  sync::Atomic<std::uint64_t> word_;
  Callback* callbacks_ = nullptr;  // in order of registration; guarded by kLocked
};

inline std::string name_of(const FutureCore& task) { return type_name(task.callable()); }
inline std::uint32_t home_of(const FutureCore& task) noexcept { return task.home; }

}  // namespace detail

/// Replaces the hook for exceptions that nobody retrieved; nullptr brings the default back.
/// @return the hook until now.
/// @par Thread safety   any thread, any time.
inline UnretrievedExceptionHook set_unretrieved_exception_hook(UnretrievedExceptionHook hook) noexcept {
  return detail::unretrieved_exception_hook.exchange(hook == nullptr ? &default_unretrieved_exception_hook : hook);
}

}  // namespace conc::inline CONC_ABI
