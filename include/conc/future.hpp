// SPDX-License-Identifier: MIT
/// @file
/// Future and Promise: a result that will be there later. The state machine is drawn in detail/future_core.hpp.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/continuation.hpp>
#include <conc/detail/future_state.hpp>
#include <conc/error.hpp>
#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI {

/// A handle of a result that will be there later. Copies name the same future; all members are const.
///
/// @tparam T            the type of the result: an object type, also one that can only be moved; T&; void.
/// @par Thread safety   every member from any thread at any time; assigning to one handle object is not synchronized.
/// @par Memory ordering what a task did before it ended, and what led to set_result(), is visible to whoever finds the
///                      future done.
/// @par Lifetime        dropping handles does not stop the task. The result lives as long as a handle does.
/// @par Cost            done(): one load. result(): one load if done; else a short spin, then one system call.
/// @par Python          concurrent.futures.Future. An exception that nobody retrieves is reported
///                      (set_unretrieved_exception_hook).
template <class T>
class Future {
 public:
  using value_type = T;

  /// Names no future: valid() is false, and everything else throws UsageError.
  Future() noexcept = default;
  Future(const Future& other) noexcept : state_{other.state_} {
    if (state_ != nullptr) {
      state_->add_handle();
    }
  }
  Future(Future&& other) noexcept : state_{std::exchange(other.state_, nullptr)} {}
  Future& operator=(Future other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~Future() {
    if (state_ != nullptr) {
      state_->drop_handle();
    }
  }

  [[nodiscard]] bool valid() const noexcept { return state_ != nullptr; }

  /// Whether it has a result, has failed or was cancelled.
  [[nodiscard]] bool done() const { return state("Future::done").done(); }

  /// Whether its task is being run: it cannot be cancelled any more.
  [[nodiscard]] bool running() const {
    const auto phase = state("Future::running").phase();
    return phase == detail::FutureCore::running || phase == detail::FutureCore::settling;
  }

  [[nodiscard]] bool cancelled() const { return state("Future::cancelled").phase() == detail::FutureCore::cancelled; }

  /// Cancels a task that has not been started. Its callable and arguments are destroyed here, and callbacks called.
  /// @return whether the future is cancelled: false if its task was started. Where another thread is just cancelling it,
  ///         true comes at once, while that one may still destroy the callable: wait() then lasts for that.
  // NOLINTNEXTLINE(modernize-use-nodiscard): done for what it does
  bool cancel() const { return state("Future::cancel").cancel(); }

  /// Asks a task that takes a StopToken to end, whether it was started or not. It ends as it likes.
  /// @return whether it is the first request; false too where the task takes no StopToken.
  /// @par Python   has nothing like it.
  bool request_stop() const { return state("Future::request_stop").request_stop(); }

  /// Waits for the result.
  ///
  /// A task that waits without a deadline for a task of its own executor that nobody has started runs it itself.
  ///
  /// @return the result, as often as it is asked for; it lives in the future.
  /// @throws whatever the task threw; CancelledError; TimeoutError once `deadline` has passed; InvalidStateError if the
  ///         result was moved out through another handle; DeadlockError if the wait, without a deadline, would never end
  ///         because the tasks that run wait for each other.
  std::add_lvalue_reference_t<const T> result(Deadline deadline = never) const& requires(!std::is_reference_v<T>) {
    Future kept;
    detail::FutureState<T>& state = finished(deadline, kept);
    if constexpr (!std::is_void_v<T>) {
      check_not_taken(state);
      return state.stored();
    }
  }
  T result(Deadline deadline = never) const& requires std::is_reference_v<T> {
    Future kept;
    return *finished(deadline, kept).stored();
  }

  /// Waits for the result and empties this handle.
  /// @return the result, moved if no other handle exists or if it can only be moved (then it is gone for the other
  ///         handles: nobody may be looking at it, callbacks and then() included), else copied. For a type that says that
  ///         it can be copied, but cannot, see only_moved.
  /// @throws as above; then this handle stays as it was.
  T result(Deadline deadline = never) && {
    Future mine{std::move(*this)};  // a callback may drop this handle while the task is claimed
    try {
      return mine.taken(deadline);
    } catch (...) {
      *this = std::move(mine);
      throw;
    }
  }

  /// As result(), but does not wait: @return nothing if the future is not done. (Of a reference a pointer, null if it is
  /// not done; of void, whether it is.)
  [[nodiscard]] std::optional<T> try_result() const& requires(std::is_object_v<T>&& detail::copyable<T>()) {
    return is_ready() ? std::optional<T>{result()} : std::nullopt;
  }
  /// Where it gives a result, this handle is empty then.
  [[nodiscard]] std::optional<T> try_result() && requires std::is_object_v<T> {
    return is_ready() ? std::optional<T>{std::move(*this).result()} : std::nullopt;
  }
  [[nodiscard]] std::remove_reference_t<T>* try_result() const& requires std::is_reference_v<T> {
    return is_ready() ? __builtin_addressof(result()) : nullptr;
  }
  [[nodiscard]] bool try_result() const& requires std::is_void_v<T> { return is_ready() && (result(), true); }

  /// Waits until it is done.
  /// @return its exception; null if it succeeded.
  /// @throws CancelledError; TimeoutError once `deadline` has passed; DeadlockError as result().
  [[nodiscard]] std::exception_ptr exception(Deadline deadline = never) const {
    Future kept;
    detail::FutureState<T>& state = settled(deadline, "Future::exception", kept);
    return state.phase() == detail::FutureCore::failed ? state.retrieve() : nullptr;
  }

  /// Waits until it is done.
  /// @return false if `deadline` passed first.
  // NOLINTNEXTLINE(modernize-use-nodiscard): without a deadline there is nothing to look at
  bool wait(Deadline deadline = never) const { return state("Future::wait").wait(deadline, "Future::wait"); }

  /// Calls fn(const Future<T>&) once, when the future is done: on the thread that makes it done, without a lock, in the
  /// order of registration; here and now if it is done already. What `fn` throws goes to the hook of set_excepthook();
  /// it must not end its thread.
  template <class F>
  void add_done_callback(F&& fn) const {
    static_assert(std::is_invocable_v<std::decay_t<F>&, const Future&>,
                  "add_done_callback(fn): fn must be callable with a const Future<T>&");
    detail::FutureState<T>& core = state("Future::add_done_callback");
    auto* const callback = new detail::DoneCallback<T, std::decay_t<F>>{std::forward<F>(fn)};
    if (!core.add(*callback)) {
      const Future kept{*this};  // fn may drop the handle that this is
      callback->call(core);
    }
  }

  /// A future of what fn returns, which is called when this one is done, on the thread that makes it done; here and now
  /// if it is done already. fn gets the result; or this future, if it cannot be called with the result but with a
  /// const Future<T>&. If it takes the result, it is skipped where this future fails or is cancelled, and the new one does
  /// likewise. fn must not end its thread: pthread_exit() in it ends the program.
  /// The new future is no task of an executor: a task that waits for it does not run what it depends on.
  /// Where one result makes a long chain of futures done, each link takes some stack: thousands are no trouble.
  /// @par Python   has nothing like it.
  template <class F>
  auto then(F&& fn) const {
    return detail::chain(state("Future::then"), detail::RunHere{}, std::forward<F>(fn));
  }

  /// The same, but fn is run by `executor`, which must still be there then. If it takes no tasks any more, or its queue is
  /// full (WhenFull::raise), the new future is cancelled.
  template <class E, class F>
  auto then(E& executor, F&& fn) const {
    return detail::chain(state("Future::then"), detail::RunBy<E>{executor}, std::forward<F>(fn));
  }

  /// Suspends the coroutine until the future is done; it goes on on the thread that makes it done, and gets what result()
  /// gives. It may be destroyed while it is suspended here, unless it is being resumed at that moment.
  auto operator co_await() const& { return detail::Awaiter<T, const Future&>{state("co_await Future"), *this}; }
  auto operator co_await() && {
    detail::FutureState<T>& core = state("co_await Future");
    return detail::Awaiter<T, Future>{core, std::move(*this)};
  }

  /// Whether both name the same future.
  friend bool operator==(const Future& a, const Future& b) noexcept { return a.state_ == b.state_; }

 private:
  friend struct detail::FutureAccess;

  /// Takes over a handle's reference.
  explicit Future(detail::FutureState<T>* state) noexcept : state_{state} {}

  detail::FutureState<T>& state(const char* operation) const {
    if (state_ == nullptr) [[unlikely]] {
      detail::throw_usage_error(std::string{operation} + ": this handle names no future");
    }
    return *state_;
  }

  /// The state once it is done and not cancelled. Where it has to wait, `kept` keeps it alive: a worker may run the task
  /// itself, and a callback drop this handle.
  detail::FutureState<T>& settled(Deadline deadline, const char* operation, Future& kept) const {
    detail::FutureState<T>& core = state(operation);
    if (!core.done()) {
      kept = *this;
      if (!core.wait(deadline, operation)) {
        throw TimeoutError{std::string{operation} + ": not done before the deadline"};
      }
    }
    if (core.phase() == detail::FutureCore::cancelled) [[unlikely]] {
      throw CancelledError{std::string{operation} + ": the future was cancelled"};
    }
    return core;
  }

  /// The state once it has succeeded.
  detail::FutureState<T>& finished(Deadline deadline, Future& kept) const {
    detail::FutureState<T>& core = settled(deadline, "Future::result", kept);
    if (core.phase() == detail::FutureCore::failed) [[unlikely]] {
      std::rethrow_exception(core.retrieve());
    }
    return core;
  }

  bool is_ready() const { return state("Future::try_result").done(); }

  /// The result, moved or copied out.
  T taken(Deadline deadline) const {
    Future kept;
    detail::FutureState<T>& core = finished(deadline, kept);
    kept = {};  // so that this handle may be the only one
    if constexpr (std::is_reference_v<T>) {
      return *core.stored();
    } else if constexpr (!std::is_void_v<T>) {
      check_not_taken(core);
      if constexpr (detail::copyable<T>()) {
        if (std::is_trivially_copy_constructible_v<T> || !core.has_one_handle()) {
          return std::as_const(core.stored());
        }
      }
      if (!core.take()) {
        throw_taken();
      }
      return core.moved_out();
    }
  }

  static void check_not_taken(const detail::FutureState<T>& core) {
    if (core.taken()) [[unlikely]] {
      throw_taken();
    }
  }
  [[noreturn]] static void throw_taken() {
    throw InvalidStateError{"Future::result: the result was moved out through another handle"};
  }

  detail::FutureState<T>* state_ = nullptr;
};

/// The other end of a future: where its result comes from. Can be moved; not copied.
///
/// @par Thread safety   every member from any thread at any time, but for moves and the destructor.
/// @par Lifetime        a promise that is dropped without a result leaves BrokenPromise in the future.
/// @par Cost            one block of recycled memory; set_result(): two compare-and-swaps, and one system call if
///                      somebody sleeps.
/// @par Python          concurrent.futures.Future, the half of it that executors use.
template <class T>
class Promise {
 public:
  Promise() : state_{new detail::FutureState<T>{detail::FutureCore::kOwned}} {}
  Promise(Promise&& other) noexcept : state_{std::exchange(other.state_, nullptr)} {}
  Promise& operator=(Promise&& other) noexcept {
    Promise gone{std::move(other)};
    std::swap(state_, gone.state_);
    return *this;
  }
  ~Promise() {
    if (state_ != nullptr) {
      state_->break_promise();
    }
  }

  /// A handle of the future, as often as it is asked for.
  [[nodiscard]] Future<T> get_future() const {
    detail::FutureState<T>& core = state("Promise::get_future");
    core.add_handle();
    return detail::FutureAccess::adopt<T>(&core);
  }

  /// Tells the future that its task runs, so that it cannot be cancelled.
  /// @return false if it was cancelled.
  /// @throws InvalidStateError if it runs or is finished.
  [[nodiscard]] bool set_running_or_notify_cancel() const {
    detail::FutureState<T>& core = state("Promise::set_running_or_notify_cancel");
    if (core.start()) {
      return true;
    }
    const auto phase = core.phase();
    if (phase != detail::FutureCore::cancelled && phase != detail::FutureCore::cancelling) {
      throw InvalidStateError{"Promise::set_running_or_notify_cancel: the future runs or is finished"};
    }
    return false;
  }

  /// Makes the result of `args` and the future done.
  /// @throws InvalidStateError if the future is finished or cancelled; whatever the constructor of the result throws: then
  ///         nothing has changed.
  template <class... Args>
  void set_result(Args&&... args) const {
    if (!try_set_result(std::forward<Args>(args)...)) {
      throw InvalidStateError{"Promise::set_result: the future is finished or cancelled"};
    }
  }
  void set_exception(const std::exception_ptr& exception) const {
    if (!try_set_exception(exception)) {
      throw InvalidStateError{"Promise::set_exception: the future is finished or cancelled"};
    }
  }

  /// The same, but @return false where they throw InvalidStateError.
  template <class... Args>
  bool try_set_result(Args&&... args) const {
    using Stored = detail::Stored<T>;
    if constexpr (std::is_void_v<T>) {
      static_assert(sizeof...(Args) == 0, "Promise<void>::set_result() takes no argument");
    } else if constexpr (std::is_reference_v<T>) {
      static_assert(
          sizeof...(Args) == 1 && ((std::is_lvalue_reference_v<Args> && std::is_convertible_v<Args&&, T>)&&...),
          "Promise<T&>::set_result(object): object must be an lvalue of type T");
    } else {
      static_assert(std::is_constructible_v<T, Args&&...>,
                    "Promise<T>::set_result(args...): a T cannot be made of these arguments");
    }
    detail::FutureState<T>& core = state("Promise::set_result");
    const auto from = core.settle();
    if (from == detail::FutureCore::settling) {
      return false;
    }
    if constexpr (std::is_reference_v<T> || std::is_nothrow_constructible_v<Stored, Args&&...>) {
      core.put(std::forward<Args>(args)...);
    } else {
      try {
        core.put(std::forward<Args>(args)...);
      } catch (...) {
        core.unsettle(from);
        throw;
      }
    }
    core.finish(detail::FutureCore::succeeded, false);
    return true;
  }
  bool try_set_exception(const std::exception_ptr& exception) const {
    if (exception == nullptr) {
      detail::throw_usage_error("Promise::set_exception: the exception is null");
    }
    detail::FutureState<T>& core = state("Promise::set_exception");
    if (core.settle() == detail::FutureCore::settling) {
      return false;
    }
    core.fail(exception);
    core.finish(detail::FutureCore::failed, false);
    return true;
  }

 private:
  detail::FutureState<T>& state(const char* operation) const {
    if (state_ == nullptr) [[unlikely]] {
      detail::throw_usage_error(std::string{operation} + ": this promise was moved from");
    }
    return *state_;
  }

  detail::FutureState<T>* state_;
};

/// A future that has succeeded already.
template <class T>
[[nodiscard]] Future<std::decay_t<T>> make_ready_future(T&& value) {
  const Promise<std::decay_t<T>> promise;
  promise.set_result(std::forward<T>(value));
  return promise.get_future();
}
[[nodiscard]] inline Future<void> make_ready_future() {
  const Promise<void> promise;
  promise.set_result();
  return promise.get_future();
}

/// A future that has failed already.
template <class T>
[[nodiscard]] Future<T> make_exceptional_future(const std::exception_ptr& exception) {
  const Promise<T> promise;
  promise.set_exception(exception);
  return promise.get_future();
}

}  // namespace conc::inline CONC_ABI

template <class T>
struct std::hash<conc::Future<T>> {
  std::size_t operator()(const conc::Future<T>& future) const noexcept {
    return std::hash<const void*>{}(conc::detail::FutureAccess::state(future));
  }
};
