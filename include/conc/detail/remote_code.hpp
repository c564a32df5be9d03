// SPDX-License-Identifier: MIT
/// @file
/// RemoteCode: the code of a call as another process of the same program can be told to run it. Callable and arguments travel
/// as bytes beside the code's key.
///
/// A callable is a pointer to a function, which travels as its place in the program; or something picklable: a lambda that
/// captures only plain values, a functor that pickle.hpp knows.
#pragma once

#include <unistd.h>

#include <conc/detail/code_table.hpp>
#include <conc/detail/remote_exception.hpp>
#include <conc/detail/throw_trace.hpp>
#include <conc/error.hpp>
#include <conc/pickle.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI::detail {

template <class F, class Items>
struct MapCall;
template <class R>
struct MapChunk;

/// Reads callable and arguments, calls, and writes the result. What is thrown goes out.
using Thunk = void (*)(Unpickler& call, Pickler& result);

template <class F>
inline constexpr bool is_function_pointer = std::is_pointer_v<F>&& std::is_function_v<std::remove_pointer_t<F>>;

/// What can be called in another process.
template <class F>
inline constexpr bool is_remote_callable = is_function_pointer<F> || picklable<F>;

template <class F>
void save_callable(Pickler& pickler, const F& fn) {
  if constexpr (is_function_pointer<F>) {
    if (fn == nullptr) {
      throw PickleError{"a null pointer to a function cannot be sent to another process"};
    }
    const auto place = place_of(reinterpret_cast<std::uintptr_t>(fn));
    if (!place) {
      throw PickleError{"a function that belongs to no file of the program cannot be sent to another process"};
    }
    pickler(place->module, place->offset);
  } else {
    pickler(fn);
  }
}

template <class F>
F load_callable(Unpickler& pickled) {
  if constexpr (is_function_pointer<F>) {
    CodePlace place;
    pickled(place.module, place.offset);
    const std::uintptr_t code = code_at(place);
    if (code == 0) {
      throw PickleError{"a function is not known in process " + std::to_string(::getpid()) +
                        ": the library that it belongs to is not loaded there"};
    }
    return reinterpret_cast<F>(code);
  } else {
    return pickled.get<F>();
  }
}

// What is wrong with a call, in words. The names of the templates are what compilers print beside the type.

/// Whether the compiler writes T as a class of this name in namespace std; libc++ has an inline namespace in it.
template <class T>
constexpr bool is_of_std(std::string_view name) {
  std::string_view text = __PRETTY_FUNCTION__;
  text.remove_prefix(text.find("T = ") + 4);
  for (const std::string_view space : {"std::", "__1::"}) {
    text.remove_prefix(text.starts_with(space) ? space.size() : 0);
  }
  return text.starts_with(name);
}

template <class T>
constexpr bool is_std_function = is_of_std<T>("function<");
template <class T>
constexpr bool is_std_bind = is_of_std<T>("_Bind<") || is_of_std<T>("__bind<");

template <class T>
constexpr bool is_std_ref = is_of_std<T>("reference_wrapper<");

template <class T>
constexpr bool is_text = std::is_same_v<T, const char*> || std::is_same_v<T, char*>;

/// The compiler names the Callable.
template <class Callable>
constexpr void check_callable() {
  if constexpr (is_std_function<Callable>) {
    static_assert(
        is_remote_callable<Callable>,
        "fn is a std::function, and what is in it cannot be sent to another process: pass the function or lambda "
        "itself");
  } else if constexpr (is_std_bind<Callable>) {
    static_assert(
        is_remote_callable<Callable>,
        "fn is a std::bind, which cannot be sent to another process: pass a lambda, and the rest as arguments");
  } else if constexpr (is_std_ref<Callable>) {
    static_assert(is_remote_callable<Callable>,
                  "fn is a std::ref, and what it refers to stays in this process: pass the function or lambda itself");
  } else if constexpr (std::is_member_pointer_v<Callable>) {
    static_assert(is_remote_callable<Callable>,
                  "fn is a pointer to a member, which cannot be sent to another process: pass a lambda that calls it");
  } else {
    static_assert(
        is_remote_callable<Callable>,
        "fn cannot be sent to another process: it must be a function pointer or hold only plain values (no pointer, "
        "reference or view), or be picklable; pass the rest as an argument");
  }
}

/// The compiler names the Argument.
template <class Argument>
constexpr void check_argument() {
  if constexpr (is_text<Argument>) {
    static_assert(picklable<Argument>,
                  "an argument is a const char*, which means nothing in another process: pass a std::string");
  } else if constexpr (std::is_pointer_v<Argument>) {
    static_assert(picklable<Argument>,
                  "an argument is a pointer, which means nothing in another process: pass the value");
  } else if constexpr (is_std_ref<Argument>) {
    static_assert(picklable<Argument>,
                  "an argument is a std::ref, and what it refers to stays in this process: pass the value, and return "
                  "what is new");
  } else if constexpr (View<Argument>) {
    static_assert(picklable<Argument>,
                  "an argument is a view, and what it looks at does not travel: pass a std::string or a container");
  } else {
    static_assert(
        picklable<Argument>,
        "an argument cannot be turned into bytes: give its type a member pickle() or a conc::pickler, or pass "
        "something else");
    static_assert((require_picklable<Argument>(), true));  // says why not
  }
}

/// The compiler names the Result.
template <class Result>
constexpr void check_result() {
  if constexpr (std::is_reference_v<Result>) {
    static_assert(!std::is_reference_v<Result>,
                  "fn returns a reference, which means nothing in another process: return the value");
  } else if constexpr (std::is_pointer_v<Result>) {
    static_assert(picklable<Result>, "fn returns a pointer, which means nothing in another process: return the value");
  } else if constexpr (View<Result>) {
    static_assert(picklable<Result>,
                  "fn returns a view, and what it looks at does not travel: return a std::string or a container");
  } else if constexpr (!std::is_void_v<Result>) {
    static_assert(
        picklable<std::remove_cv_t<Result>>,
        "the result of fn cannot be turned into bytes: give its type a member pickle() or a conc::pickler, or "
        "return something else");
    static_assert((require_picklable<std::remove_cv_t<Result>>(), true));
  }
}

/// What a call returns that is none: whatever is made of it, the compiler says no more than what is wrong with the call.
struct Anything {
  template <class T>
  operator T() const;  // NOLINT(google-explicit-constructor): it is to be taken for a T
};

/// What is known of a call at compile time.
template <class F, class... Args>
struct RemoteCall {
  static constexpr bool callable = std::is_invocable_v<F, Args...>;
  static constexpr bool callable_with_lvalues = std::is_invocable_v<F, Args&...>;

  static constexpr auto result() {
    if constexpr (callable) {
      return std::type_identity<std::invoke_result_t<F, Args...>>{};
    } else {
      return std::type_identity<void>{};
    }
  }
  using Result = typename decltype(result())::type;

  static constexpr bool result_travels = std::is_void_v<Result> || picklable<std::remove_cv_t<Result>>;
  static constexpr bool travels = callable && is_remote_callable<F> && (picklable<Args> && ...) && result_travels;
  using Received = std::conditional_t<!callable, Anything,
                                      std::conditional_t<std::is_rvalue_reference_v<Result>,
                                                         std::remove_reference_t<Result>, std::remove_cv_t<Result>>>;

  static constexpr void check() {
    if constexpr (!callable && callable_with_lvalues) {
      static_assert(
          callable,
          "fn takes an argument as T&, and a copy would travel to the other process: take it as const T& or T, and "
          "return what is new");
    } else if constexpr (!callable) {
      static_assert(callable, "fn(args...) cannot be called with these arguments (they are passed as decayed copies)");
    } else {
      check_callable<F>();
      (check_argument<Args>(), ...);
      check_result<Result>();
    }
  }
};

/// What map() submits is judged by what it calls.
template <class F, class... Items>
struct RemoteCall<MapCall<F, std::tuple<Items...>>> : RemoteCall<F, Items...> {
  using Received = MapChunk<typename MapCall<F, std::tuple<Items...>>::R>;
};

template <class F>
inline constexpr bool is_map_call = false;
template <class F, class Items>
inline constexpr bool is_map_call<MapCall<F, Items>> = true;

/// Says at compile time what is wrong with the call of an F with decayed Args in another process, and what to write instead.
template <class F, class... Args>
constexpr void check_remote_call() {
  RemoteCall<F, Args...>::check();
}

[[gnu::visibility("default")]] inline constinit CodeTable<Thunk> code_table{};

/// What check_remote_call accepts has a key and code. Hidden: each module has its own, which comes and goes with it.
template <class F, class... Args>
struct __attribute__((visibility("hidden"))) RemoteCode {
  using Call = RemoteCall<F, Args...>;
  using Result = typename Call::Received;

  /// Also makes sure that the code is entered before main, or when its module is loaded.
  static CodeKey key() noexcept {
    const void* entered = &lease;
    __asm__("" : "+r"(entered));  // neither compiler nor linker may find it unused
    return entry().key;
  }

 private:
  static void run(Unpickler& call, Pickler& result) {
    if constexpr (Call::travels) {  // else check_remote_call() has said what is wrong, and that is enough
      F fn = load_callable<F>(call);
      std::tuple<Args...> args{call.get<Args>()...};  // in their order, as braces have it
      call.expect_end();
      auto run_and_save = [&] {
        if constexpr (is_map_call<F>) {
          // It keeps an exception beside the results: where that was thrown must be noted before.
          result(fn.run([](auto& calls) { detail::call_traced(calls); }));
        } else if constexpr (std::is_void_v<Result>) {
          std::apply(std::move(fn), std::move(args));
        } else {
          result(std::apply(std::move(fn), std::move(args)));
        }
      };
      detail::call_traced(run_and_save);
    }
  }

  static typename CodeTable<Thunk>::Node& entry() {
    static typename CodeTable<Thunk>::Node& node = code_table.enter(
        code_key(typeid(RemoteCode).name(), reinterpret_cast<std::uintptr_t>(&run)), typeid(F).name(), &run);
    return node;
  }

#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wglobal-constructors"
#endif
  static inline const CodeLease<Thunk> lease{entry()};
#if defined(__clang__)
#pragma clang diagnostic pop
#endif
};

/// Writes what the code of RemoteCode<F, Args...> reads.
template <class F, class... Args>
void save_call(Pickler& pickler, const F& fn, const Args&... args) {
  if constexpr (RemoteCall<F, Args...>::travels) {
    save_callable(pickler, fn);
    pickler(args...);
  }
}

/// The code of that name; null if it is not known here: it belongs to a library that is not loaded.
/// Thread safety: any thread, any time; nobody waits.
inline Thunk find_code(const CodeKey& key) noexcept { return code_table.find(key); }

}  // namespace conc::inline CONC_ABI::detail

namespace conc::inline CONC_ABI {

/// A task of map().
template <class F, class Items>
  requires(detail::is_remote_callable<F>&& picklable<std::vector<Items>>)
struct pickler<detail::MapCall<F, Items>> {
  static void save(Pickler& to, const detail::MapCall<F, Items>& call) {
    detail::save_callable(to, call.fn);
    to(call.items);
  }
  static detail::MapCall<F, Items> load(Unpickler& from) {
    F fn = detail::load_callable<F>(from);
    return {std::move(fn), from.get<std::vector<Items>>()};
  }
};

/// What such a task returns: the results so far, and the exception that ended it.
template <class R>
  requires(std::is_void_v<R> || picklable<R>)
struct pickler<detail::MapChunk<R>> {
  static void save(Pickler& to, const detail::MapChunk<R>& chunk) {
    to(chunk.results, chunk.error != nullptr);
    if (chunk.error != nullptr) {
      to(std::int32_t{::getpid()});
      detail::save_exception(to, chunk.error);
    }
  }
  static detail::MapChunk<R> load(Unpickler& from) {
    detail::MapChunk<R> chunk;
    from(chunk.results);
    if (from.get<bool>()) {
      const auto pid = from.get<std::int32_t>();
      chunk.error = detail::load_exception(from, pid);
    }
    return chunk;
  }
};

}  // namespace conc::inline CONC_ABI
