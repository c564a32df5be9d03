// SPDX-License-Identifier: MIT
/// @file
/// What stands behind the handles of thread.hpp: the state of each thread, and the registry of those that run.
#pragma once

#include <cerrno>
#include <conc/deadline.hpp>
#include <conc/detail/ref.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/tracker.hpp>
#include <conc/detail/wait_point.hpp>
#include <conc/error.hpp>
#include <conc/lock.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI {

/// What a Thread may be told besides what to run.
struct ThreadOptions {
  std::string name{};          ///< default: "Thread-N". The system shows the first 15 bytes.
  bool daemon = false;         ///< the program may end while it runs
  std::size_t stack_size = 0;  ///< in bytes, rounded up to whole pages; 0: the system's default
};

namespace detail {

/// What all handles of one thread share. The registry holds a reference from start() until the system's thread is joined.
///
///   created ---start()---> started ---target ends---> finished ---its system thread is joined---> joined
///      ^---no new thread---'
///
/// created   the target belongs to the handles; ident is 0.
/// started   the new thread alone touches the target; it is in the registry's list.
/// finished  the target is gone; destructors of thread_locals may still run. Whoever claims the system's thread
///           (claimed, under the registry's lock) joins it.
/// joined    nothing of the thread is left.
class ThreadState : public RefCounted {
 public:
  static constexpr std::uint32_t kSleepers = 1;
  enum Phase : std::uint32_t { created = 0, started = 2, finished = 4, joined = 6 };

  explicit ThreadState(ThreadOptions chosen) : options{std::move(chosen)} {}

  /// Runs the target, then destroys it. Exceptions leave it.
  virtual void run() {}

  std::uint32_t phase() const noexcept {
    return word.load(mo::acquire) & ~kSleepers;  // acquire: pairs with the release in enter()
  }

  void enter(Phase reached) noexcept {
    // release: what the thread did is visible to who finds it finished. The registry's reference keeps the word alive.
    if ((word.exchange(reached, mo::release) & kSleepers) != 0) {
      sync::wake(&word, sync::everybody);
    }
  }

  /// Waits until it has come as far as `wanted`, or back to created, or until `deadline` passes. Returns how far it was.
  std::uint32_t wait_for(Phase wanted, Deadline deadline, const char* operation) {
    std::uint32_t reached = created;
    const auto attempt = [&reached, wanted](std::uint32_t value) {
      reached = value & ~kSleepers;
      return reached >= wanted || reached == created;
    };
    await(word, kSleepers, deadline, Spin{}, {operation, this}, attempt);
    return reached;
  }

  const ThreadOptions options;
  sync::Atomic<std::uint32_t> word{created};  // a Phase | kSleepers; see detail::await for the bit
  std::atomic<std::uint64_t> ident{0};        // from start() on; no scheduling point, as the registry's other fields
  std::atomic<std::uint64_t> native_id{0};

  // Guarded by the registry's lock.
  ThreadState* previous = nullptr;
  ThreadState* next = nullptr;
  sync::ThreadHandle handle{};
  bool joinable = false;  // handle is valid
  bool claimed = false;   // somebody joins it
};

/// A ThreadState with its target: one allocation for both.
template <class F, class... Args>
class ThreadWithTarget final : public ThreadState {
 public:
  template <class G, class... As>
  explicit ThreadWithTarget(ThreadOptions chosen, G&& fn, As&&... args)
      : ThreadState{std::move(chosen)}, call_{Call{std::forward<G>(fn), {std::forward<As>(args)...}}} {}

  void run() override {
    struct Reset {
      std::optional<Call>& call;
      ~Reset() { call.reset(); }
    };
    const Reset reset{call_};
    std::apply(std::move(call_->fn), std::move(call_->args));
  }

 private:
  struct Call {
    F fn;
    std::tuple<Args...> args;
  };
  std::optional<Call> call_;
};

/// Something that must end before the threads are waited for at exit: threads of its own wait for it.
class ExitHook : public RefCounted {
 public:
  /// Called when the program exits.
  virtual void at_exit() noexcept = 0;

 private:
  friend class Registry;
  ExitHook* previous_exit_ = nullptr;  // guarded by the registry's lock
  ExitHook* next_exit_ = nullptr;
  bool hooked_ = false;
};

/// Knows every thread that runs. Never destroyed, and no scheduling point of the explorer.
class Registry {
 public:
  constexpr Registry() noexcept = default;

  /// Sees to it that the exit waits and runs the hooks. Returns 0 or the error number.
  int watch_exit() {
    const Hold hold{*this};
    if (!exit_rule_set_) {
      process_ = sync::process_id();
      if (set_exit_rule_() != 0) {
        return ENOMEM;
      }
      exit_rule_set_ = true;
    }
    return 0;
  }

  /// Starts the system's thread. Returns 0 or the error number; then nothing is left of the attempt.
  int start(ThreadState& thread, void* (*entry)(void*)) {
    if (const int error = watch_exit(); error != 0) {
      return error;
    }
    const Hold hold{*this};  // held over the start: whoever finds the thread finds its handle valid
    const int error = sync::start(thread.handle, entry, &thread, thread.options.stack_size);
    if (error == 0) {
      thread.joinable = true;
      link(thread);
    }
    return error;
  }

  /// Enters a thread that conc did not start.
  void adopt(ThreadState& thread) {
    const Hold hold{*this};
    link(thread);
  }

  void forget(ThreadState& thread) {
    {
      const Hold hold{*this};
      (thread.previous != nullptr ? thread.previous->next : first_) = thread.next;
      (thread.next != nullptr ? thread.next->previous : last_) = thread.previous;
    }
    thread.drop_reference();
  }

  /// The state of the main thread, which is made when somebody asks first.
  ThreadState& main_thread() {
    const Hold hold{*this};
    if (main_ == nullptr) {
      main_ = new ThreadState{{.name = "MainThread"}};
      main_->ident.store(sync::main_thread_id, mo::relaxed);    // relaxed, as all of ident: a number that stands alone
      main_->native_id.store(sync::process_id(), mo::relaxed);  // relaxed: likewise
      main_->enter(ThreadState::started);
    }
    return *main_;
  }

  /// What a thread that conc did not start is while its thread_locals are destroyed.
  ThreadState& departed() {
    const Hold hold{*this};
    if (departed_ == nullptr) {
      departed_ = new ThreadState{{.name = "Dummy", .daemon = true}};
      departed_->enter(ThreadState::joined);
    }
    return *departed_;
  }

  /// The first thread that `wanted` accepts, in the order of their start. Calls it with the lock held.
  template <class Wanted>
  std::optional<Ref<ThreadState>> find(Wanted wanted) {
    const Hold hold{*this};
    for (ThreadState* thread = first_; thread != nullptr; thread = thread->next) {
      if (wanted(*thread)) {
        return Ref<ThreadState>::share(thread);
      }
    }
    return std::nullopt;
  }

  /// Joins the system's thread of a finished one, unless somebody else does that. Waits for the destructors of its
  /// thread_locals.
  void reap(ThreadState& thread) {
    const auto claimed = find([&thread](ThreadState& candidate) {
      return &candidate == &thread && candidate.joinable && !std::exchange(candidate.claimed, true);
    });
    if (claimed) {
      sync::join(thread.handle);
      settle(thread);
    }
  }

  /// Joins those that are finished and gone, or belong to an exploration that is over. Never waits: a destructor of a
  /// thread_local may take its time, may wait for a lock that the caller holds, and may be the caller.
  void reap_gone() {
    const sync::Unscheduled unscheduled;  // what an exploration's earlier run has left is no step of this one
    const void* const me = sync::this_thread().thread;
    while (const auto gone = find([me](ThreadState& candidate) {
             return candidate.joinable && !candidate.claimed && &candidate != me &&
                    (candidate.phase() == ThreadState::finished || sync::gone(candidate.handle)) &&
                    sync::try_join(candidate.handle) && !std::exchange(candidate.claimed, true);
           })) {
      settle(**gone);
    }
  }

  /// From now on until unhook(), the caller or somebody else must hold a reference. An exploration ends by itself.
  void hook(ExitHook& hook) noexcept {
    if (sync::exploring()) {
      return;
    }
    const Hold hold{*this};
    hook.hooked_ = true;
    hook.next_exit_ = hooks_;
    if (hooks_ != nullptr) {
      hooks_->previous_exit_ = &hook;
    }
    hooks_ = &hook;
  }

  void unhook(ExitHook& hook) noexcept {
    const Hold hold{*this};
    if (std::exchange(hook.hooked_, false)) {
      (hook.previous_exit_ != nullptr ? hook.previous_exit_->next_exit_ : hooks_) = hook.next_exit_;
      if (hook.next_exit_ != nullptr) {
        hook.next_exit_->previous_exit_ = hook.previous_exit_;
      }
    }
  }

  /// What std::exit runs: waits for all threads that are no daemons. Not in a forked child, where they do not exist.
  void join_at_exit() {
    if (sync::process_id() != process_) {
      return;
    }
    main_thread().enter(ThreadState::joined);  // whoever waits for the main thread need not wait any longer
    run_hooks();
    reap_gone();
    const void* const me = sync::this_thread().thread;
    while (const auto running = find([me](ThreadState& candidate) {
             return candidate.joinable && !candidate.claimed && !candidate.options.daemon && &candidate != me;
           })) {
      run_hooks();  // of what was hooked before that thread was started
      (*running)->wait_for(ThreadState::finished, never, "exit");
      reap(**running);
      run_hooks();  // of what that thread has made meanwhile
    }
    reap_gone();
  }

 private:
  struct Hold {
    explicit Hold(Registry& registry) : guard{registry.lock_} {}
    sync::Unscheduled unscheduled;
    ScopedLock<Lock> guard;
  };

  void run_hooks() noexcept {
    while (const auto hook = first_hook()) {
      unhook(**hook);
      (*hook)->at_exit();
    }
  }

  std::optional<Ref<ExitHook>> first_hook() {
    const Hold hold{*this};
    return hooks_ == nullptr ? std::nullopt : std::optional{Ref<ExitHook>::share(hooks_)};
  }

  void link(ThreadState& thread) noexcept {
    thread.add_reference();
    thread.previous = last_;
    (last_ != nullptr ? last_->next : first_) = &thread;
    last_ = &thread;
  }

  /// Its system's thread has been joined.
  void settle(ThreadState& thread) {
    thread.enter(ThreadState::joined);
    forget(thread);
  }

  static int set_exit_rule() noexcept;

  Lock lock_;
  // That of the module in which the registry lies. std::atexit binds what it is given to the module that calls it: the
  // rule would be run, and be gone, when a module is unloaded that happened to start the first thread.
  int (*const set_exit_rule_)() noexcept = &set_exit_rule;
  bool exit_rule_set_ = false;
  std::uint64_t process_ = 0;
  ThreadState* main_ = nullptr;
  ThreadState* departed_ = nullptr;
  ThreadState* first_ = nullptr;
  ThreadState* last_ = nullptr;
  ExitHook* hooks_ = nullptr;
};

[[gnu::visibility("default")]] inline constinit Registry registry{};
static_assert(std::is_trivially_destructible_v<Registry> || debugging, "threads may use it while the process ends");

inline int Registry::set_exit_rule() noexcept {
  return std::atexit([] { registry.join_at_exit(); });
}

/// What every thread that conc starts runs.
inline void* run_thread(void* argument) {
  ThreadState& self = *static_cast<ThreadState*>(argument);
  const char* const name = self.options.name.c_str();
  sync::ThreadRecord& record = sync::this_thread();
  record.id = self.ident.load(mo::relaxed);  // relaxed: written before this thread was started
  record.thread = &self;
  record.stack_middle = sync::middle_of_stack();
  self.native_id.store(sync::native_thread_id(), mo::relaxed);  // relaxed: a number that stands alone
  sync::set_thread_name(name);
  watch_end_of_thread();
  struct Finish {
    ThreadState& self;
    ~Finish() { self.enter(ThreadState::finished); }
  };
  const Finish finish{self};
  try {
    self.run();
  } catch (...) {
    if (must_go_on()) {
      throw;
    }
    report_uncaught({std::current_exception(), name});
  }
  return nullptr;
}

/// The state of the calling thread. A thread that conc did not start is entered at its first call, until it ends.
inline ThreadState& this_thread_state() {
  sync::ThreadRecord& record = sync::this_thread();
  if (record.thread == nullptr) {
    if (sync::this_thread_id() == sync::main_thread_id) {
      record.thread = &registry.main_thread();
    } else {
      // A destructor of another thread_local may ask after this one is gone. Then nothing is left to enter.
      thread_local constinit bool gone = false;
      if (gone) {
        return registry.departed();
      }
      struct Adopted {
        ThreadState& state;
        Adopted()
            : state{*new ThreadState{{.name = "Dummy-" + std::to_string(sync::this_thread_id()), .daemon = true}}} {
          state.ident.store(sync::this_thread_id(), mo::relaxed);        // relaxed, twice: numbers
          state.native_id.store(sync::native_thread_id(), mo::relaxed);  // that stand alone
          state.enter(ThreadState::started);
          registry.adopt(state);
        }
        Adopted(const Adopted&) = delete;
        Adopted& operator=(const Adopted&) = delete;
        ~Adopted() {
          sync::this_thread().thread = nullptr;
          gone = true;
          state.enter(ThreadState::joined);
          registry.forget(state);
          state.drop_reference();
        }
      };
      thread_local const Adopted adopted;
      record.thread = &adopted.state;
    }
  }
  return *static_cast<ThreadState*>(record.thread);
}

[[gnu::visibility("default")]] inline constinit std::atomic<std::uint64_t> unnamed_threads{0};

}  // namespace detail

}  // namespace conc::inline CONC_ABI
