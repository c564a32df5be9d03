// SPDX-License-Identifier: MIT
/// @file
/// Process: a function that runs in a process of its own. process_init and StartMethod, and with them subprocess.hpp. Not
/// part of conc.hpp.
#pragma once

#if !defined(__linux__)
#error "conc/process.hpp needs Linux (pidfd)."
#endif

#include <conc/deadline.hpp>
#include <conc/detail/process_state.hpp>
#include <conc/detail/ref.hpp>
#include <conc/detail/remote_code.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/worker_process.hpp>
#include <conc/error.hpp>
#include <conc/lock.hpp>
#include <conc/pickle.hpp>
#include <conc/subprocess.hpp>
#include <csignal>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI {

/// A handle of a process that runs one function: copies name the same process. Dropping all of them does not end it.
///
///     int main(int argc, char** argv) {
///       conc::process_init(argc, argv);
///       conc::Process process{[](int n) { std::printf("%d\n", n * n); }, 7};
///       process.start();
///       process.join();
///     }
///
/// The function, its arguments and whatever they are made of travel as bytes, so they must be picklable: no pointers, no
/// references. What it returns is dropped. An exception that leaves it is printed to stderr, with the calls that led to the
/// throw, and the process ends with 1.
/// The process leads a group of its own, so that Ctrl-C reaches only the program; it reads /dev/null, writes where the program
/// does, and ends with the program, however that ends. When the function has returned, the process waits for conc's
/// threads in it that are no daemons, and runs neither destructors of statics nor exit handlers.
///
/// @par Thread safety   every member from any thread at any time.
/// @par Memory ordering none: processes share no memory.
/// @par Lifetime        at exit the program sends SIGTERM to processes that are daemons, waits for the others, and kills
///                      what is left of the daemons half a second later.
/// @par Cost            start() takes some hundred microseconds with the fork server, a few milliseconds with spawn; see
///                      StartMethod. One descriptor from start() until the last handle is gone.
/// @par Python          multiprocessing.Process; the target and its arguments are passed directly, and pickled at once, not
///                      by start(). daemon is not inherited, and a daemon may have processes of its own. There is no close():
///                      handles that are dropped do that. A program that dies takes its processes along.
class Process {
 public:
  /// A process that will call fn(args...), with decayed copies of the arguments.
  /// @throws PickleError if they cannot be turned into bytes; std::bad_alloc; what their own pickling throws.
  template <class F, class... Args>
    requires(!std::is_same_v<std::remove_cvref_t<F>, Process> &&
             !std::is_same_v<std::remove_cvref_t<F>, ProcessOptions>)
  explicit Process(F&& fn, Args&&... args)
      : Process{ProcessOptions{}, std::forward<F>(fn), std::forward<Args>(args)...} {}

  template <class F, class... Args>
  explicit Process(ProcessOptions options, F&& fn, Args&&... args)
      : state_{make(std::move(options), std::forward<F>(fn), std::forward<Args>(args)...)} {}

  /// Starts the process and sends it the call; waits until it has read all that its pipe does not hold.
  /// @throws UsageError if called twice, or if the start method needs process_init(); std::system_error if the system has
  ///         no process or descriptor to give; BrokenProcessPool if the fork server was killed. Then no process is left,
  ///         and start() may be tried again.
  void start() {
    detail::running_processes().reap_gone();
    detail::running_processes().prepare();
    const ScopedLock guard{state_->lock};
    if (state_->owner() != 0) {
      detail::throw_usage_error("Process::start: " + name() + " was started already");
    }
    state_->start();
    detail::running_processes().add(*state_);
  }

  /// Waits until the process has ended.
  /// @return true, always.
  /// @throws UsageError if it was not started, or by another process than this: a forked child has none of its
  ///         parent's processes.
  bool join() { return join(never); }

  /// @return whether it ended before `deadline`. Any number of threads may join one, any number of times.
  /// @throws as join().
  bool join(Deadline deadline) {
    check_started("join");
    return state_->wait_for_end(deadline.resolve(), "Process::join");
  }

  /// Whether it was started and has not ended.
  /// @throws UsageError if it was started by another process than this.
  [[nodiscard]] bool is_alive() const { return is_started("is_alive") && !state_->wait_for_end({}, nullptr); }

  /// The exit status: 0 if the function has returned, 1 if it threw, n if it called _exit(n) or exit(n); -N if signal N has
  /// killed it; nothing before it has ended.
  /// subprocess::status_lost if somebody else has taken it, or if the fork server was killed, which kills its processes.
  /// @throws as is_alive().
  [[nodiscard]] std::optional<int> exitcode() const {
    if (!is_started("exitcode") || !state_->wait_for_end({}, nullptr)) {
      return std::nullopt;
    }
    return state_->status().value_or(subprocess::status_lost);
  }

  /// Sends SIGTERM: it ends, unless it handles that. Nothing happens if it has ended.
  /// @throws as join().
  void terminate() { send("terminate", SIGTERM); }

  /// Sends SIGKILL to it and to what it has started in its process group.
  /// @throws as join().
  void kill() { send("kill", SIGKILL); }

  [[nodiscard]] const std::string& name() const noexcept { return state_->options.name; }
  [[nodiscard]] bool daemon() const noexcept { return state_->options.daemon; }

  /// The system's number of the process; 0 before start(). Another process may have it once this one was joined.
  [[nodiscard]] int pid() const noexcept { return state_->pid(); }

  /// A descriptor that poll(2) finds readable once the process has ended; negative before start(). Belongs to the handles.
  [[nodiscard]] int sentinel() const noexcept { return state_->pidfd(); }

  friend bool operator==(const Process& a, const Process& b) noexcept { return a.state_.get() == b.state_.get(); }

 private:
  using StateRef = detail::Ref<detail::ProcessState>;

  template <class F, class... Args>
  static StateRef make(ProcessOptions options, F&& fn, Args&&... args) {
    using Target = detail::ProcessTarget<std::decay_t<F>>;
    using Call = detail::RemoteCall<Target, std::decay_t<Args>...>;
    Call::check();
    if (options.name.empty()) {
      // relaxed: only distinctness matters.
      options.name = "Process-" + std::to_string(detail::unnamed_processes.fetch_add(1, detail::mo::relaxed) + 1);
    }
    StateRef state = StateRef::adopt(new detail::ProcessState{std::move(options)});
    if constexpr (Call::travels) {
      const Target target{std::forward<F>(fn)};
      state->encode(detail::RemoteCode<Target, std::decay_t<Args>...>::key(), [&](Pickler& pickler) {
        detail::save_call(pickler, target, static_cast<const std::decay_t<Args>&>(args)...);
      });
    }
    return state;
  }

  /// @throws UsageError in another process than the one that has started it.
  bool is_started(const char* operation) const {
    const pid_t owner = state_->owner();
    if (owner != 0 && owner != ::getpid()) {
      detail::throw_usage_error(std::string{"Process::"} + operation + ": " + name() + " was started by process " +
                                std::to_string(owner) + ", this is " + std::to_string(::getpid()));
    }
    return owner != 0;
  }

  void check_started(const char* operation) const {
    if (!is_started(operation)) {
      detail::throw_usage_error(std::string{"Process::"} + operation + ": " + name() + " was not started");
    }
  }

  void send(const char* operation, int signal) const {
    check_started(operation);
    const ScopedLock guard{state_->lock};
    state_->worker.signal(signal);
  }

  StateRef state_;
};

}  // namespace conc::inline CONC_ABI
