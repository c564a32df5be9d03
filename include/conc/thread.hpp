// SPDX-License-Identifier: MIT
/// @file
/// Thread, current_thread, main_thread, enumerate, active_count.
#pragma once

#include <cxxabi.h>
#include <conc/deadline.hpp>
#include <conc/detail/ref.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/wait_point.hpp>
#include <conc/error.hpp>
#include <conc/lock.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI {

/// What a Thread may be told besides what to run.
struct ThreadOptions {
  std::string name{};          ///< default: "Thread-N". The system shows the first 15 bytes.
  bool daemon = false;         ///< the program may end while it runs
  std::size_t stack_size = 0;  ///< in bytes, rounded up to whole pages; 0: the system's default
};

class Thread;

namespace detail {

/// What all handles of one thread share. The registry holds a reference from start() until the system's thread is joined.
///
///   created ---start()---> started ---target ends---> finished ---its system thread is joined---> joined
///      ^---no new thread---'
///
/// created   the target belongs to the handles; ident is 0.
/// started   the new thread alone touches the target; it is in the registry's list.
/// finished  the target is gone; whoever claims the system thread (claimed, under the registry's lock) joins it.
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

  /// Waits until it has come as far as `wanted`; false if `deadline` passed first.
  bool wait_for(Phase wanted, Deadline deadline, const char* operation) {
    const auto attempt = [this, wanted](std::uint32_t) { return phase() >= wanted; };
    return await(word, kSleepers, deadline, Spin{}, {operation, this}, attempt) != Waited::timed_out;
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

/// Knows every thread that runs. Never destroyed, and no scheduling point of the explorer.
class Registry {
 public:
  constexpr Registry() noexcept = default;

  /// Starts the system's thread. Returns 0 or the error number; then nothing is left of the attempt.
  int start(ThreadState& thread, void* (*entry)(void*)) {
    const Hold hold{*this};  // held over the start: whoever finds the thread finds its handle valid
    if (!exit_rule_set_) {
      process_ = sync::process_id();
      if (std::atexit([] { the_registry().join_at_exit(); }) != 0) {
        return ENOMEM;
      }
      exit_rule_set_ = true;
    }
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

  /// Joins the system's thread of a finished one, unless somebody else does that.
  void reap(ThreadState& thread) {
    const auto claimed = find([&thread](ThreadState& candidate) {
      return &candidate == &thread && candidate.joinable && !std::exchange(candidate.claimed, true);
    });
    if (claimed) {
      join_claimed(thread);
    }
  }

  /// The same for all that are finished or gone.
  void reap_finished() {
    while (const auto claimed = find([](ThreadState& candidate) {
             return candidate.joinable &&
                    (candidate.phase() == ThreadState::finished || sync::gone(candidate.handle)) &&
                    !std::exchange(candidate.claimed, true);
           })) {
      join_claimed(**claimed);
    }
  }

  /// What std::exit runs: waits for all threads that are no daemons. Not in a forked child, where they do not exist.
  void join_at_exit() {
    if (sync::process_id() != process_) {
      return;
    }
    const void* const me = sync::this_thread().thread;
    reap_finished();
    while (const auto running = find([me](ThreadState& candidate) {
             return candidate.joinable && !candidate.options.daemon && &candidate != me &&
                    candidate.phase() == ThreadState::started;
           })) {
      (*running)->wait_for(ThreadState::finished, never, "exit");
    }
    reap_finished();
  }

  static Registry& the_registry() noexcept;

 private:
  struct Hold {
    explicit Hold(Registry& registry) : guard{registry.lock_} {}
    sync::Unscheduled unscheduled;
    ScopedLock<Lock> guard;
  };

  void link(ThreadState& thread) noexcept {
    thread.add_reference();
    thread.previous = last_;
    (last_ != nullptr ? last_->next : first_) = &thread;
    last_ = &thread;
  }

  void join_claimed(ThreadState& thread) {
    if (sync::gone(thread.handle)) {
      const sync::Unscheduled unscheduled;  // what an earlier run left behind is no part of this one
      thread.enter(ThreadState::joined);
      forget(thread);
      return;
    }
    sync::join(thread.handle);
    thread.enter(ThreadState::joined);
    forget(thread);
  }

  Lock lock_;
  bool exit_rule_set_ = false;
  std::uint64_t process_ = 0;
  ThreadState* main_ = nullptr;
  ThreadState* first_ = nullptr;
  ThreadState* last_ = nullptr;
};

[[gnu::visibility("default")]] inline constinit Registry registry{};
static_assert(std::is_trivially_destructible_v<Registry>, "threads may use it while the process ends");

inline Registry& Registry::the_registry() noexcept { return registry; }

/// What every thread that conc starts runs.
inline void* run_thread(void* argument) {
  ThreadState& self = *static_cast<ThreadState*>(argument);
  const char* const name = self.options.name.c_str();
  sync::ThreadRecord& record = sync::this_thread();
  record.id = self.ident.load(mo::relaxed);  // relaxed: written before this thread was started
  record.thread = &self;
  self.native_id.store(sync::native_thread_id(), mo::relaxed);  // relaxed: a number that stands alone
  sync::set_thread_name(name);
  struct Finish {
    ThreadState& self;
    ~Finish() { self.enter(ThreadState::finished); }
  };
  const Finish finish{self};
  try {
    self.run();
#if defined(__GLIBCXX__)
  } catch (const abi::__forced_unwind&) {  // pthread_exit or pthread_cancel: must go on
    throw;
#endif
  } catch (...) {
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

/// A handle of a thread: copies name the same thread. Dropping all of them does not end it.
///
/// @par Thread safety   every member from any thread at any time.
/// @par Memory ordering what was done before start() is visible to the target; what the target did is visible after
///                      join() returned true.
/// @par Lifetime        target and arguments are destroyed on the new thread when the target ends, or with the last
///                      handle if it was never started. At exit the program waits for all threads that are no daemons,
///                      before it destroys the statics that were complete when the first of them was started.
/// @par Cost            start() creates a thread of the system: tens of microseconds.
/// @par Python          threading.Thread; the target and its arguments are passed directly. daemon is not inherited.
class Thread {
 public:
  /// A thread that will call fn(args...), with decayed copies of the arguments; std::ref shares instead.
  template <class F, class... Args>
    requires(!std::is_same_v<std::remove_cvref_t<F>, Thread> && !std::is_same_v<std::remove_cvref_t<F>, ThreadOptions>)
  explicit Thread(F&& fn, Args&&... args) : Thread{ThreadOptions{}, std::forward<F>(fn), std::forward<Args>(args)...} {}

  template <class F, class... Args>
  explicit Thread(ThreadOptions options, F&& fn, Args&&... args)
      : state_{make(std::move(options), std::forward<F>(fn), std::forward<Args>(args)...)} {}

  /// Runs the target in a new thread.
  /// @throws UsageError if called twice; std::system_error if the system has no thread to give: then start() may be
  ///         tried again.
  void start() {
    std::uint32_t expected = detail::ThreadState::created;
    // relaxed: start() of the system's thread publishes everything. Only one call may win.
    if (!state_->word.compare_exchange_strong(expected, detail::ThreadState::started, detail::mo::relaxed)) {
      detail::throw_usage_error("Thread::start: " + name() + " was started already");
    }
    detail::registry.reap_finished();
    state_->ident.store(detail::sync::new_thread_id(), detail::mo::relaxed);  // relaxed: a number that stands alone
    const int error = detail::registry.start(*state_, &detail::run_thread);
    if (error != 0) {
      state_->ident.store(0, detail::mo::relaxed);  // relaxed: as above
      state_->enter(detail::ThreadState::created);
      throw std::system_error{error, std::generic_category(), "Thread::start: " + name()};
    }
  }

  /// Waits until the thread has ended.
  /// @return true, always.
  /// @throws UsageError if it was not started, or if it is the calling thread.
  bool join() { return join(never); }

  /// @return whether the thread ended before `deadline`. Any number of threads may join one, any number of times.
  /// @throws as join().
  bool join(Deadline deadline) {
    using State = detail::ThreadState;
    if (state_->phase() == State::created) {
      detail::throw_usage_error("Thread::join: " + name() + " was not started");
    }
    if (detail::sync::this_thread().thread == state_.get()) {
      detail::throw_usage_error("Thread::join: " + name() + " cannot wait for itself");
    }
    const Deadline until = deadline.is_poll() ? deadline : Deadline::after(deadline);
    if (!state_->wait_for(State::finished, until, "Thread::join")) {
      return false;
    }
    detail::registry.reap(*state_);
    return state_->wait_for(State::joined, until, "Thread::join");
  }

  /// Whether the target runs: from start() until just before join() can return.
  [[nodiscard]] bool is_alive() const noexcept { return state_->phase() == detail::ThreadState::started; }

  [[nodiscard]] const std::string& name() const noexcept { return state_->options.name; }
  [[nodiscard]] bool daemon() const noexcept { return state_->options.daemon; }

  /// The thread's identity: from start() on, never used again by another thread; 0 before.
  [[nodiscard]] std::uint64_t ident() const noexcept {
    return state_->ident.load(detail::mo::relaxed);  // relaxed: a number that stands alone
  }

  /// The system's number of the thread, once it runs; 0 before.
  [[nodiscard]] std::uint64_t native_id() const noexcept {
    return state_->native_id.load(detail::mo::relaxed);  // relaxed: a number that stands alone
  }

  friend bool operator==(const Thread& a, const Thread& b) noexcept { return a.state_.get() == b.state_.get(); }

 private:
  friend Thread current_thread();
  friend Thread main_thread();
  friend std::vector<Thread> enumerate();

  using StateRef = detail::Ref<detail::ThreadState>;

  explicit Thread(StateRef state) noexcept : state_{std::move(state)} {}

  template <class F, class... Args>
  static StateRef make(ThreadOptions options, F&& fn, Args&&... args) {
    static_assert(
        std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...>,
        "Thread{fn, args...}: fn cannot be called with these arguments (they are passed as decayed copies; use "
        "std::ref to share)");
    if (options.name.empty()) {
      // relaxed: only distinctness matters.
      options.name = "Thread-" + std::to_string(detail::unnamed_threads.fetch_add(1, detail::mo::relaxed) + 1);
    }
    return StateRef::adopt(new detail::ThreadWithTarget<std::decay_t<F>, std::decay_t<Args>...>{
        std::move(options), std::forward<F>(fn), std::forward<Args>(args)...});
  }

  StateRef state_;
};

/// The calling thread. A thread that conc did not start is called "Dummy-N" and is a daemon.
[[nodiscard]] inline Thread current_thread() { return Thread{Thread::StateRef::share(&detail::this_thread_state())}; }

/// The thread that runs main().
[[nodiscard]] inline Thread main_thread() { return Thread{Thread::StateRef::share(&detail::registry.main_thread())}; }

/// All threads that are alive and known: the main thread first, then those that conc started, and those that asked for
/// current_thread().
[[nodiscard]] inline std::vector<Thread> enumerate() {
  std::vector<Thread> alive{main_thread()};
  (void)detail::registry.find([&alive](detail::ThreadState& thread) {
    if (thread.phase() == detail::ThreadState::started) {
      alive.push_back(Thread{Thread::StateRef::share(&thread)});
    }
    return false;
  });
  return alive;
}

/// How many threads enumerate() would return.
[[nodiscard]] inline std::size_t active_count() { return enumerate().size(); }

}  // namespace conc::inline CONC_ABI
