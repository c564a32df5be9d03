// SPDX-License-Identifier: MIT
/// @file
/// What is done with a future when it is done: callbacks, continuations, coroutines that go on.
#pragma once

#include <conc/detail/future_state.hpp>
#include <conc/detail/registry.hpp>
#include <conc/error.hpp>
#include <coroutine>
#include <exception>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// A handle made of a reference that somebody else holds.
template <class T>
class Borrowed {
 public:
  explicit Borrowed(FutureState<T>& state) noexcept : handle_{FutureAccess::adopt(&state)} {}
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  ~Borrowed() { FutureAccess::release(handle_); }
  const Future<T>& operator*() const noexcept { return handle_; }

 private:
  Future<T> handle_;
};

/// Calls `fn()`; what it throws goes to the hook for what has no caller.
template <class F>
void call_reporting(F&& fn) noexcept {
  try {
    fn();
  } catch (...) {
    const std::exception_ptr exception = std::current_exception();
    keep_for_sanitizer(exception);
    const char* name = "unknown";
    try {
      name = this_thread_state().options.name.c_str();
    } catch (const std::bad_alloc&) {  // a thread that conc meets for the first time
    }
    report_uncaught({exception, name});
  }
}

/// What add_done_callback() registers. Destroys itself after the call.
template <class T, class F>
class DoneCallback final : public Callback, public Recycled {
 public:
  template <class G>
  explicit DoneCallback(G&& fn) : Callback{Needs::future}, fn_(std::forward<G>(fn)) {}

  void call(FutureCore& core) noexcept override {
    {
      const Borrowed<T> future{static_cast<FutureState<T>&>(core)};
      call_reporting([&] { std::apply(fn_, std::forward_as_tuple(*future)); });
    }
    delete this;
  }

 private:
  [[no_unique_address]] F fn_;
};

/// Runs a continuation on the thread that makes its source done.
struct RunHere {
  static void run(Task& task, FutureCore& /*source*/) { task.run(); }
};

/// A reference to a future, whatever its type.
class CoreHandle {
 public:
  explicit CoreHandle(FutureCore& core) noexcept : core_{&core} { core_->add_handle(); }
  CoreHandle(CoreHandle&& other) noexcept : core_{std::exchange(other.core_, nullptr)} {}
  CoreHandle& operator=(CoreHandle&&) = delete;
  ~CoreHandle() {
    if (core_ != nullptr) {
      core_->drop_handle();
    }
  }

 private:
  FutureCore* core_;
};

/// Has an executor run it.
template <class E>
struct RunBy {
  E& executor;

  void run(Task& task, FutureCore& source) {
    try {
      executor.detach([owned = OwnedTask{task}, kept = CoreHandle{source}]() mutable { owned(); });
    } catch (...) {  // it is cancelled by now: the executor takes no tasks any more, or there is no memory
    }
  }
};

/// What a continuation is called with: the result of a Future<T> if it can be called with that, else the future itself.
/// The second is not even asked where the first holds: a generic lambda may not compile with it.
template <class F, class T>
struct ContinuationCall {
  static constexpr bool takes_result = [] {
    if constexpr (std::is_void_v<T>) {
      return std::is_invocable_v<F>;
    } else {
      return std::is_invocable_v<F, std::add_lvalue_reference_t<const T>>;
    }
  }();
  static constexpr bool takes_future = [] {
    if constexpr (takes_result) {
      return false;
    } else {
      return std::is_invocable_v<F, const Future<T>&>;
    }
  }();
};

/// The state of the future that then() returns; waits in the source's list of callbacks.
template <class R, class T, class Runner, class F>
class ContinuationState final : public FutureState<R>, private Callback {
 public:
  static constexpr bool takes_future = ContinuationCall<F, T>::takes_future;

  template <class G>
  explicit ContinuationState(Runner runner, G&& fn)
      : FutureState<R>{FutureCore::kHandle | FutureCore::kOwned},
        Callback{Needs::future},
        runner_{runner},
        fn_(std::forward<G>(fn)) {}

  void chain_to(FutureState<T>& source) {
    if (!source.add(*this)) {
      const CoreHandle kept{source};  // fn may drop the handle that then() was called on
      call(source);
    }
  }

  const std::type_info& callable() const noexcept override { return typeid(F); }

 protected:
  ~ContinuationState() override {}

  Outcome execute(bool owner) override {
    return this->complete(owner, [this]() -> decltype(auto) {
      if constexpr (takes_future) {
        const Borrowed<T> future{*source_};
        return std::apply(std::move(fn_), std::forward_as_tuple(*future));
      } else if constexpr (std::is_void_v<T>) {
        return std::move(fn_)();
      } else if constexpr (std::is_reference_v<T>) {
        return std::apply(std::move(fn_), std::forward_as_tuple(*source_->stored()));
      } else {
        return std::apply(std::move(fn_), std::forward_as_tuple(std::as_const(source_->stored())));
      }
    });
  }

  void abandon() noexcept override { fn_.~F(); }

 private:
  void call(FutureCore& core) noexcept override {
    source_ = static_cast<FutureState<T>*>(&core);
    if constexpr (!takes_future) {
      if (core.phase() == FutureCore::cancelled) {
        this->refuse(nullptr);
        return;
      }
      if (core.phase() == FutureCore::failed || core.taken()) {
        inherit(core);
        return;
      }
    }
    Runner runner = runner_;  // *this may be gone before it returns
    runner.run(*this, core);
  }

  /// Fails as the source did, without having been run.
  void inherit(FutureCore& core) noexcept {
    if (this->settle() == FutureCore::settling) {  // it is cancelled
      this->drop_owner();
      return;
    }
    abandon();
    this->fail(core.phase() == FutureCore::failed
                   ? core.retrieve()
                   : make_error<InvalidStateError>("Future::then: the result was moved out through another handle"));
    this->finish(FutureCore::failed, true);
  }

  Runner runner_;
  FutureState<T>* source_ = nullptr;  // once it is done
  union {
    F fn_;  // until it has run or is cancelled
  };
};

template <class F, class T>
constexpr auto continuation_result() {
  if constexpr (ContinuationCall<F, T>::takes_future) {
    return std::type_identity<FutureResult<std::invoke_result_t<F, const Future<T>&>>>{};
  } else if constexpr (!ContinuationCall<F, T>::takes_result) {
    return std::type_identity<void>{};
  } else if constexpr (std::is_void_v<T>) {
    return std::type_identity<FutureResult<std::invoke_result_t<F>>>{};
  } else {
    return std::type_identity<FutureResult<std::invoke_result_t<F, std::add_lvalue_reference_t<const T>>>>{};
  }
}

template <class T, class Runner, class F>
auto chain(FutureState<T>& source, Runner runner, F&& fn) {
  using G = std::decay_t<F>;
  static_assert(ContinuationCall<G, T>::takes_result || ContinuationCall<G, T>::takes_future,
                "then(fn): fn must be callable with the result of this future, or with a const Future<T>&");
  using R = typename decltype(continuation_result<G, T>())::type;
  auto* const state = new ContinuationState<R, T, Runner, G>{runner, std::forward<F>(fn)};
  Future<R> future = FutureAccess::adopt<R>(state);
  state->chain_to(source);
  return future;
}

/// What co_await makes of a future. F: const Future<T>&, or Future<T> if the handle is a temporary.
template <class T, class F>
class Awaiter final : private Callback {
 public:
  Awaiter(FutureState<T>& state, F&& future) noexcept
      : Callback{Needs::nothing}, state_{state}, future_{std::forward<F>(future)} {}
  ~Awaiter() {
    if (suspended_) {  // the coroutine is destroyed where it waits
      state_.remove(*this);
    }
  }

  bool await_ready() const noexcept { return state_.done(); }
  bool await_suspend(std::coroutine_handle<> coroutine) {
    coroutine_ = coroutine;
    suspended_ = true;  // before add(): the coroutine may go on, and end, while that returns
    const bool suspended = state_.add(*this);
    if (!suspended) {
      suspended_ = false;
    }
    return suspended;
  }
  decltype(auto) await_resume() { return std::forward<F>(future_).result(); }

 private:
  void call(FutureCore& /*core*/) noexcept override {
    suspended_ = false;
    const std::coroutine_handle<> coroutine = coroutine_;  // *this may be gone before it returns
    call_reporting([coroutine] { coroutine.resume(); });
  }

  FutureState<T>& state_;
  F future_;
  std::coroutine_handle<> coroutine_;
  bool suspended_ = false;
};

}  // namespace conc::inline CONC_ABI::detail
