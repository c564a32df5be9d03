// SPDX-License-Identifier: MIT
/// @file
/// FutureState<T>: a FutureCore with its result. CallState: one with the call that makes the result.
#pragma once

#include <conc/detail/future_core.hpp>
#include <conc/error.hpp>
#include <conc/stop_token.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace conc::inline CONC_ABI {
template <class T>
class Future;

/// Specialize it as true for a type of results that says that it can be copied, but cannot: a struct with a vector of
/// unique_ptr, for example. Such results are only moved.
template <class T>
inline constexpr bool only_moved = false;
}  // namespace conc::inline CONC_ABI

namespace conc::inline CONC_ABI::detail {

/// What stands for void where a value is stored.
struct Nothing {};

/// Whether a T can be copied. Containers and tuples of what cannot be copied say that they can.
template <class T>
constexpr bool copyable() {
  if constexpr (only_moved<T> || !std::is_copy_constructible_v<T>) {
    return false;
  } else if constexpr (requires {
                         typename T::allocator_type;
                         typename T::value_type;
                       }) {
    return std::is_same_v<typename T::value_type, T> || copyable<typename T::value_type>();
  } else if constexpr (requires { std::tuple_size<T>::value; }) {
    return []<std::size_t... i>(std::index_sequence<i...>) { return (copyable<std::tuple_element_t<i, T>>() && ...); }
    (std::make_index_sequence<std::tuple_size_v<T>>{});
  } else {
    return true;
  }
}

/// How a result of type T is stored: a reference as a pointer, void as Nothing.
template <class T>
struct Storage {
  using type = T;
};
template <class T>
struct Storage<T&> {
  using type = T*;
};
template <>
struct Storage<void> {
  using type = Nothing;
};
template <class T>
using Stored = typename Storage<T>::type;

template <class T>
class FutureState : public FutureCore {
  static_assert(std::is_void_v<T> || std::is_lvalue_reference_v<T> || (std::is_object_v<T> && !std::is_const_v<T>),
                "Future<T>: T must be void, an lvalue reference, or an object type that is not const");

 public:
  explicit FutureState(std::uint64_t first) noexcept : FutureCore{first} {}

  /// Of a future that succeeded.
  Stored<T>& stored() noexcept { return value_; }

  /// The result, after take(). If its move throws, it was not taken.
  T moved_out() noexcept(std::is_nothrow_move_constructible_v<T>) requires std::is_object_v<T> {
    if constexpr (std::is_nothrow_move_constructible_v<T>) {
      return std::move(value_);
    } else {
      try {
        return std::move(value_);
      } catch (...) {
        untake();
        throw;
      }
    }
  }

  /// Puts the result in; the caller then finishes.
  template <class... Args>
  void put(Args&&... args) {
    if constexpr (std::is_lvalue_reference_v<T>) {
      ((value_ = __builtin_addressof(args)), ...);
    } else if constexpr (std::is_arithmetic_v<T>) {
      ::new (place()) T(static_cast<T>(args)...);  // said, so that no compiler warns here of what the caller wants
    } else {
      ::new (place()) Stored<T>(std::forward<Args>(args)...);
    }
  }

  void fail(const std::exception_ptr& exception) noexcept final {
    ::new (static_cast<void*>(&error_)) std::exception_ptr(exception);
    keep_for_sanitizer(exception);
  }

  const std::exception_ptr& error() const noexcept final { return error_; }

 protected:
  ~FutureState() override {
    const Phase reached = phase();
    if (reached == succeeded) {
      value_.~Value();
    } else if (reached == failed) {
      error_.~exception_ptr();
    }
  }

  Outcome execute(bool /*owner*/) override { return Outcome::claimed; }  // a Promise has nothing to run

  /// The one way a call becomes a result: whatever `call` returns or throws is put in, the callable is destroyed, and
  /// the future is done.
  template <class F>
  Outcome complete(bool owner, F call) {
    Phase outcome = succeeded;
    {
      const Running frame{*this};
      try {
        if constexpr (std::is_void_v<T>) {
          call();
          put();
        } else if constexpr (std::is_lvalue_reference_v<T>) {
          put(call());
        } else {
          ::new (place()) T(call());  // made where it stays
        }
      } catch (...) {
        if (must_go_on()) {
          abandon();
          fail(make_error<BrokenPromise>("Future: the thread that ran the task was made to exit"));
          count(Outcome::failed);
          finish(failed, owner);
          throw;
        }
        fail(std::current_exception());
        outcome = failed;
      }
      abandon();
    }
    const Outcome result = outcome == succeeded ? Outcome::succeeded : Outcome::failed;
    count(result);
    finish(outcome, owner);
    return result;
  }

 private:
  using Value = Stored<T>;

  void* place() noexcept { return const_cast<void*>(static_cast<const volatile void*>(__builtin_addressof(value_))); }

  union {
    Value value_;               // if succeeded
    std::exception_ptr error_;  // if failed
  };
};

/// The way between a handle and its state.
struct FutureAccess {
  /// A handle that takes over a reference.
  template <class T>
  static Future<T> adopt(FutureState<T>* state) noexcept {
    return Future<T>{state};
  }
  /// Takes the reference out of a handle.
  template <class T>
  static void release(Future<T>& future) noexcept {
    future.state_ = nullptr;
  }
  template <class T>
  static FutureState<T>* state(const Future<T>& future) noexcept {
    return future.state_;
  }
};

/// A callable with its arguments, decayed. A callable that cannot be called without a StopToken first gets one.
template <class F, class... Args>
struct Call {
  static constexpr bool stoppable = !std::is_invocable_v<F, Args...> && std::is_invocable_v<F, StopToken, Args...>;
  static constexpr bool callable = stoppable || std::is_invocable_v<F, Args...>;
  using Arguments = std::conditional_t<stoppable, std::tuple<StopToken, Args...>, std::tuple<Args...>>;

  decltype(auto) operator()() { return std::apply(std::move(fn), std::move(args)); }

  [[no_unique_address]] F fn;
  [[no_unique_address]] Arguments args;
};

/// The type of the future of a call that returns R.
template <class R>
using FutureResult = std::conditional_t<std::is_lvalue_reference_v<R>, R, std::remove_cvref_t<R>>;

template <bool callable, class C>
struct CallResultOf {
  using type = void;
};
template <class C>
struct CallResultOf<true, C> {
  using type = FutureResult<decltype(std::declval<C&>()())>;
};
template <class F, class... Args>
using CallResult = typename CallResultOf<Call<std::decay_t<F>, std::decay_t<Args>...>::callable,
                                         Call<std::decay_t<F>, std::decay_t<Args>...>>::type;

/// The state of a future with the call that makes its result. Born with one handle, and owned by whoever is to run it.
template <class T, class C>
class CallState final : public FutureState<T> {
 public:
  template <class F, class... Args>
  explicit CallState(F&& fn, Args&&... args)
      : FutureState<T>{FutureCore::kHandle | FutureCore::kOwned},
        stop_{},
        call_{make(std::forward<F>(fn), std::forward<Args>(args)...)} {}

  bool request_stop() noexcept override {
    if constexpr (C::stoppable) {
      return stop_.request_stop();
    } else {
      return false;
    }
  }

  const std::type_info& callable() const noexcept override { return typeid(decltype(call_.fn)); }

 protected:
  ~CallState() override {
    if (this->phase() == FutureCore::pending) {  // nobody ever got to know it
      abandon();
    }
  }

  Outcome execute(bool owner) override {
    return this->complete(owner, [this]() -> decltype(auto) { return call_(); });
  }

  void abandon() noexcept override { call_.~C(); }

 private:
  struct NoSource {};

  template <class F, class... Args>
  C make(F&& fn, Args&&... args) {
    if constexpr (C::stoppable) {
      return C{std::forward<F>(fn), {stop_.get_token(), std::forward<Args>(args)...}};
    } else {
      return C{std::forward<F>(fn), {std::forward<Args>(args)...}};
    }
  }

  [[no_unique_address]] std::conditional_t<C::stoppable, StopSource, NoSource> stop_;
  union {
    C call_;  // until the task has run or is cancelled
  };
};

/// Makes the state of fn(args...).
template <class F, class... Args>
auto* make_call_state(F&& fn, Args&&... args) {
  using C = Call<std::decay_t<F>, std::decay_t<Args>...>;
  return new CallState<CallResult<F, Args...>, C>{std::forward<F>(fn), std::forward<Args>(args)...};
}

}  // namespace conc::inline CONC_ABI::detail
