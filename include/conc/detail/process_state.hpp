// SPDX-License-Identifier: MIT
/// @file
/// What stands behind the handles of process.hpp: the state of each process, and those that the exit waits for.
#pragma once

#include <cxxabi.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <conc/deadline.hpp>
#include <conc/detail/byte_buffer.hpp>
#include <conc/detail/code_table.hpp>
#include <conc/detail/descriptor.hpp>
#include <conc/detail/frame.hpp>
#include <conc/detail/ref.hpp>
#include <conc/detail/registry.hpp>
#include <conc/detail/remote_code.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/worker_process.hpp>
#include <conc/error.hpp>
#include <conc/lock.hpp>
#include <conc/pickle.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI {

/// What a Process may be told besides what to run.
struct ProcessOptions {
  std::string name{};   ///< default: "Process-N"
  bool daemon = false;  ///< the program may end while it runs
  StartMethod start_method = StartMethod::fork_server;
  std::vector<std::string> preload{};  ///< plugins that it loads first, as dlopen(3) wants them
};

namespace detail {

/// What runs in the process: the function, and not what it returns. The compiler's runtime hands a forced unwind over as a
/// reference to nothing, and UndefinedBehaviorSanitizer must not mind.
template <class F>
struct ProcessTarget {
  template <class... Args>
  __attribute__((no_sanitize("undefined"))) void operator()(Args&&... args) {
    try {
      std::apply(std::move(fn), std::forward_as_tuple(std::forward<Args>(args)...));
#if defined(__GLIBCXX__)
    } catch (const abi::__forced_unwind&) {  // pthread_exit: this thread's end is the end of the process
      registry.join_at_exit();
      std::fflush(nullptr);
      ::_exit(0);
#endif
    } catch (...) {
      throw;
    }
  }

  F fn;
};

/// What the function returns stays where it is.
template <class F, class... Args>
struct RemoteCall<ProcessTarget<F>, Args...> {
  using Received = void;
  static constexpr bool travels = std::is_invocable_v<F, Args...> && is_remote_callable<F> && (picklable<Args> && ...);

  static constexpr void check() {
    if constexpr (std::is_invocable_v<F, Args...>) {
      check_callable<F>();
      (check_argument<Args>(), ...);
    } else {
      RemoteCall<F, Args...>::check();
    }
  }
};

/// What all handles of one process share.
class ProcessState : public RefCounted {
 public:
  explicit ProcessState(ProcessOptions chosen) : options{std::move(chosen)} {}

  /// Keeps the call as bytes, behind the header of its frame.
  template <class Save>
  void encode(const CodeKey& key, Save save) {
    call_.extend(sizeof(FrameHeader));
    Pickler pickler{call_};
    pickler(options.name, key);
    save(pickler);
    kept_ = pickler.kept();
    const FrameHeader header{.kind = FrameKind::process, .length = call_.size() - sizeof(FrameHeader)};
    std::memcpy(call_.data(), &header, sizeof header);
  }

  /// Under the lock. If it throws, it may be called again.
  void start() {
    Pipe calls;
    calls.open("Process::start");
    Descriptor nowhere = above_standard(Descriptor{::open("/dev/null", O_WRONLY | O_CLOEXEC)});
    if (!nowhere.is_open() || ::fcntl(calls.write_end.number(), F_SETFL, O_NONBLOCK) != 0) {
      throw_system_error(errno, "Process::start");
    }
    WorkerProcess started =
        WorkerProcess::start(options.start_method, std::move(calls.read_end), std::move(nowhere), options.preload);
    send(calls.write_end.number(), started.pidfd());
    worker = std::move(started);
    pidfd_.store(worker.pidfd(), mo::relaxed);  // relaxed: published by owner_
    pid_.store(worker.pid(), mo::relaxed);      // relaxed: likewise
    owner_.store(::getpid(), mo::release);      // release: pairs with owner()
    call_.clear();
  }

  /// The process that has started it; 0: it was not started.
  pid_t owner() const noexcept {
    return owner_.load(mo::acquire);  // acquire: whoever sees that it was started sees pid and pidfd
  }
  pid_t pid() const noexcept {
    return pid_.load(mo::relaxed);  // relaxed: a number that stands alone
  }
  int pidfd() const noexcept {
    return pidfd_.load(mo::relaxed);  // relaxed: likewise
  }

  /// Once it was started. @return whether it ended before `end`; then it was reaped.
  bool wait_for_end(sync::TimePoint end, const char* operation);

  /// Of one that has ended.
  std::optional<int> status() {
    const ScopedLock guard{lock};
    return worker.reap();
  }

  const ProcessOptions options;
  Lock lock;             // guards worker, and is held while it is started
  WorkerProcess worker;  // its pidfd stays open as long as this lives

  // Guarded by the lock of RunningProcesses.
  ProcessState* previous = nullptr;
  ProcessState* next = nullptr;
  bool listed = false;
  bool told = false;  // by the exit, which is one thread, to end

 private:
  /// Writes the call, until all is written or the process has ended.
  void send(int calls, int pidfd) const {
    std::string_view rest{reinterpret_cast<const char*>(call_.data()), call_.size()};
    while (!rest.empty()) {
      pollfd fds[2] = {{calls, POLLOUT, 0}, {pidfd, POLLIN, 0}};
      if (::poll(fds, 2, -1) < 0 && errno != EINTR) {
        throw_system_error(errno, "Process::start: poll");
      }
      if (fds[1].revents != 0) {
        return;
      }
      const ssize_t written = write_without_signal(calls, rest);
      if (written >= 0) {
        rest.remove_prefix(static_cast<std::size_t>(written));
      } else if (errno == EPIPE) {
        return;
      } else if (errno != EAGAIN && errno != EINTR) {
        throw_system_error(errno, "Process::start: cannot write the call");
      }
    }
  }

  ByteBuffer call_;
  std::vector<std::shared_ptr<const void>> kept_;
  std::atomic<pid_t> owner_{0};
  std::atomic<pid_t> pid_{0};
  std::atomic<int> pidfd_{-1};
};

/// Those that were started and not reaped: they live without handles, and the exit waits for them. Never destroyed.
class RunningProcesses final : public ExitHook {
 public:
  /// Makes sure that the exit will wait.
  void prepare() {
    if (registry.watch_exit() != 0) {
      throw std::bad_alloc{};
    }
    const ScopedLock guard{lock_};
    if (!std::exchange(hooked_, true)) {
      registry.hook(*this);
    }
  }

  void add(ProcessState& process) noexcept {
    const ScopedLock guard{lock_};
    process.add_reference();
    process.listed = true;
    process.next = first_;
    if (first_ != nullptr) {
      first_->previous = &process;
    }
    first_ = &process;
  }

  void remove(ProcessState& process) noexcept {
    {
      const ScopedLock guard{lock_};
      if (!std::exchange(process.listed, false)) {
        return;
      }
      (process.previous != nullptr ? process.previous->next : first_) = process.next;
      if (process.next != nullptr) {
        process.next->previous = process.previous;
      }
    }
    process.drop_reference();
  }

  /// Reaps those that have ended, whether somebody has a handle or not.
  void reap_gone() {
    while (const auto gone = find([](const ProcessState& process) { return await_end(process.pidfd(), {}); })) {
      (*gone)->wait_for_end({}, nullptr);
    }
  }

  /// In a forked child, whose processes these are not; a thread that does not exist there may have held the lock.
  void forget() noexcept {
    std::construct_at(&lock_);
    if (first_ != nullptr) {
      others_ = std::exchange(first_, nullptr);
    }
  }

  void at_exit() noexcept override {
    {
      const ScopedLock guard{lock_};
      hooked_ = false;
    }
    while (const auto daemon =
               find([](const ProcessState& process) { return process.options.daemon && !process.told; })) {
      (*daemon)->told = true;
      signal(**daemon, SIGTERM);
    }
    while (const auto waited_for = find([](const ProcessState& process) { return !process.options.daemon; })) {
      (*waited_for)->wait_for_end(sync::forever, "exit");
    }
    const sync::TimePoint end = sync::now() + std::chrono::milliseconds{500};
    while (const auto daemon = find([](const ProcessState&) { return true; })) {
      if (!(*daemon)->wait_for_end(end, "exit")) {
        signal(**daemon, SIGKILL);
        (*daemon)->wait_for_end(sync::forever, "exit");
      }
    }
  }

 private:
  template <class Wanted>
  std::optional<Ref<ProcessState>> find(Wanted wanted) noexcept {
    const ScopedLock guard{lock_};
    for (ProcessState* process = first_; process != nullptr; process = process->next) {
      if (wanted(*process)) {
        return Ref<ProcessState>::share(process);
      }
    }
    return std::nullopt;
  }

  static void signal(ProcessState& process, int number) noexcept {
    const ScopedLock guard{process.lock};
    process.worker.signal(number);
  }

  Lock lock_;
  ProcessState* first_ = nullptr;
  ProcessState* others_ = nullptr;  // of the parent, in a forked child: what has handles there must not be destroyed
  bool hooked_ = false;
};

[[gnu::visibility("default")]] inline RunningProcesses& running_processes() {
  static RunningProcesses& processes = *[] {
    auto* const made = new RunningProcesses;
    pthread_atfork(nullptr, nullptr, [] { running_processes().forget(); });
    return made;
  }();
  return processes;
}

inline bool ProcessState::wait_for_end(sync::TimePoint end, const char* operation) {
  sync::ThreadRecord& record = sync::this_thread();
  record.waits_in.store(operation, mo::relaxed);  // relaxed, four times: only reports read these
  record.waits_for.store(this, mo::relaxed);
  const bool ended = await_end(pidfd(), end);
  record.waits_in.store(nullptr, mo::relaxed);
  record.waits_for.store(nullptr, mo::relaxed);
  if (ended) {
    status();
    running_processes().remove(*this);
  }
  return ended;
}

[[gnu::visibility("default")]] inline constinit std::atomic<unsigned> unnamed_processes{0};

}  // namespace detail

template <class F>
  requires(detail::is_remote_callable<F>)
struct pickler<detail::ProcessTarget<F>> {
  static void save(Pickler& to, const detail::ProcessTarget<F>& target) { detail::save_callable(to, target.fn); }
  static detail::ProcessTarget<F> load(Unpickler& from) { return {detail::load_callable<F>(from)}; }
};

}  // namespace conc::inline CONC_ABI
