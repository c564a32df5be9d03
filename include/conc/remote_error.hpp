// SPDX-License-Identifier: MIT
/// @file
/// RemoteInfo: what every exception has beside its own type that came from another process. register_exception: makes an
/// exception's type known, so that it comes with that type. Those of the standard library and of conc are known.
#pragma once

#include <conc/detail/code_table.hpp>
#include <conc/detail/throw_trace.hpp>
#include <conc/error.hpp>
#include <conc/pickle.hpp>
#include <concepts>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI {

/// Where an exception comes from. Whatever is thrown in a worker process arrives as an exception that can be caught as this,
/// and as its own type too, if that is known; as RemoteError if not.
///
/// @par Thread safety   as of any value that does not change.
/// @par Python          as the cause of type _RemoteTraceback in concurrent.futures.process; there it holds a text.
class [[gnu::visibility("default")]] RemoteInfo {
 public:
  RemoteInfo(std::string type, std::string message, int pid, std::vector<detail::CodePlace> trace = {})
      : what_{std::make_shared<const What>(What{std::move(type), std::move(message), std::move(trace)})}, pid_{pid} {}

  /// The name of the exception's type, as it was thrown: "app::NoSuchRow".
  const std::string& type() const noexcept { return what_->type; }

  /// What its what() returned there; empty if it is no std::exception.
  const std::string& message() const noexcept { return what_->message; }

  /// The process in which it was thrown.
  int pid() const noexcept { return pid_; }

  /// The calls in that process that led to the throw, innermost first, a line each, up to 64: the names of functions where
  /// the program exports them (link with -rdynamic), else file and offset, for addr2line. Of an exception that was thrown
  /// again on its way out of the task: those that led to the last throw. Empty of a cause (std::nested_exception), which the
  /// task has caught; of what conc has thrown before the task began, for example because it could not be unpickled; on
  /// processors other than x86-64 and AArch64; and with -mcmodel=large.
  ///
  /// @throws std::bad_alloc
  /// @par Cost   names are looked up now, each among all that its module exports: microseconds, or some 100 µs a line in a
  ///             program that exports 100,000 names. Without this call: the worker takes some 10 µs to note the calls.
  std::string trace() const { return detail::describe_places(what_->trace); }

  /// For conc itself.
  const std::vector<detail::CodePlace>& places() const noexcept { return what_->trace; }

 private:
  struct What {
    std::string type;
    std::string message;
    std::vector<detail::CodePlace> trace;
  };
  std::shared_ptr<const What> what_;  // shared: copies of exceptions must not throw. Never moved from: there is no move
  int pid_;

 public:
  RemoteInfo(const RemoteInfo&) noexcept = default;
  RemoteInfo& operator=(const RemoteInfo&) noexcept = default;
  [[gnu::noinline]] ~RemoteInfo() {}  // NOLINT(modernize-use-equals-default): not into the destructor of each exception
};

namespace detail {

/// An exception as it arrives.
template <class E>
class __attribute__((visibility("default"))) Remote final : public E, public RemoteInfo {
 public:
  Remote(E&& thrown, const RemoteInfo& info) : E(std::move(thrown)), RemoteInfo{info} {}
};

/// Likewise, with the exception during whose handling it was thrown.
template <class E>
class __attribute__((visibility("default"))) RemoteNested final : public E,
                                                                  public RemoteInfo,
                                                                  public std::nested_exception {
 public:
  RemoteNested(E&& thrown, const RemoteInfo& info) : E(std::move(thrown)), RemoteInfo{info} {}
};

template <class E>
constexpr bool with_error_code = requires(const E& exception, const std::error_code& code, const std::string& text) {
  { exception.code() } -> std::convertible_to<std::error_code>;
  E(code, text);
};

/// As std::filesystem::filesystem_error has, whose header is expensive.
template <class E>
constexpr bool with_two_paths = requires(const E& exception, const std::error_code& code, const std::string& text) {
  exception.path1();
  exception.path2();
  E(text, exception.path1(), exception.path2(), code);
};

template <class E>
constexpr bool with_message =
    std::is_convertible_v<E*, std::exception*>&& std::is_constructible_v<E, const std::string&>;

/// What std::exceptions have in common is saved by one function for all.
[[gnu::cold, gnu::noinline]] inline void save_message(Pickler& pickler, const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& caught) {
    const char* const text = caught.what();
    pickler(std::string{text == nullptr ? "" : text});
  }
}

[[gnu::cold, gnu::noinline]] inline std::string load_message(Unpickler& pickled) { return pickled.get<std::string>(); }

/// How an exception's type is turned into bytes and back.
template <class E>
struct ExceptionCodec {
  static constexpr bool exists = picklable<E> || with_error_code<E> || with_two_paths<E> || with_message<E> ||
                                 (std::is_base_of_v<std::exception, E> && std::is_default_constructible_v<E>);

  static constexpr bool is_message = with_message<E> && !picklable<E> && !with_error_code<E> && !with_two_paths<E>;

  static void save([[maybe_unused]] Pickler& pickler, [[maybe_unused]] const E& exception) {
    if constexpr (picklable<E>) {
      pickler(exception);
    } else if constexpr (with_two_paths<E>) {
      save_code(pickler, exception.code());
      pickler(text_without_code(exception, exception.code()), exception.path1().native(), exception.path2().native());
    } else if constexpr (with_error_code<E>) {
      save_code(pickler, exception.code());
      pickler(text_without_code(exception, exception.code()));
    }
  }

  static E load(Unpickler& pickled) {
    if constexpr (picklable<E>) {
      return pickled.get<E>();
    } else if constexpr (with_two_paths<E>) {
      using Path = std::remove_cvref_t<decltype(std::declval<const E&>().path1())>;
      using Native = typename Path::string_type;
      const std::error_code code = load_code(pickled);
      const std::string text = pickled.get<std::string>();
      const Path first{pickled.get<Native>()};
      const Path second{pickled.get<Native>()};
      return E(text, first, second, code);
    } else if constexpr (with_error_code<E>) {
      const std::error_code code = load_code(pickled);
      std::string text = pickled.get<std::string>();
      if constexpr (std::is_constructible_v<E, const std::error_code&>) {
        if (text.empty()) {
          return E(code);
        }
      }
      return E(code, text);
    } else if constexpr (with_message<E>) {
      return E(load_message(pickled));
    } else {
      return E();
    }
  }

 private:
  static void save_code(Pickler& pickler, const std::error_code& code) {
    if (code.category() != std::generic_category() && code.category() != std::system_category()) {
      throw PickleError{std::string{"an error code of category "} + code.category().name()};
    }
    pickler(code.category() == std::system_category(), std::int32_t{code.value()});
  }

  static std::error_code load_code(Unpickler& pickled) {
    const bool system = pickled.get<bool>();
    return {pickled.get<std::int32_t>(), system ? std::system_category() : std::generic_category()};
  }

  /// Without what a class derived from system_error has put around it.
  static const char* text_of(const E& exception) noexcept {
    if constexpr (std::is_base_of_v<std::system_error, E>) {
      return exception.std::system_error::what();
    } else {
      return exception.what();
    }
  }

  /// What the constructor was given, without what it has added: the text of the code.
  static std::string text_without_code(const E& exception, const std::error_code& code) {
    std::string text = text_of(exception);
    const std::string message = code.message();
    for (const std::string_view added : {std::string_view{message}, std::string_view{": "}}) {
      text.resize(text.size() - (text.ends_with(added) ? added.size() : 0));
    }
    return text;
  }
};

/// What is known of a type of exceptions. There are many of them in each program: what need not know the type is done by
/// those who use this.
struct ExceptionCode {
  bool is(const std::type_info& thrown) const noexcept {
    return thrown == *type || thrown == *remote || thrown == *remote_nested;
  }

  const std::type_info* type;
  const std::type_info* remote;  // as it arrives; the type itself if nothing can be derived from it
  const std::type_info* remote_nested;
  void (*save)(Pickler& pickler, const std::exception_ptr& exception);
  void (*raise)(Unpickler& pickled, const RemoteInfo& info, bool nested);  // throws a remote, or something else
};

template <class E>
struct __attribute__((visibility("hidden"))) ExceptionCodeOf {
  static constexpr bool is_open = std::is_class_v<E> && !std::is_final_v<E> && !std::is_base_of_v<RemoteInfo, E>;
  static constexpr bool has_cause = std::is_base_of_v<std::nested_exception, E>;

  static auto remote() {
    if constexpr (is_open) {
      return std::type_identity<Remote<E>>{};
    } else {
      return std::type_identity<E>{};
    }
  }
  static auto remote_nested() {
    if constexpr (is_open && !has_cause) {
      return std::type_identity<RemoteNested<E>>{};
    } else {
      return remote();
    }
  }
  using Whole = typename decltype(remote())::type;
  using WholeNested = typename decltype(remote_nested())::type;

  [[gnu::cold]] static void save(Pickler& pickler, const std::exception_ptr& exception) {
    try {
      std::rethrow_exception(exception);
    } catch (const E& caught) {
      ExceptionCodec<E>::save(pickler, caught);
    }
  }

  [[gnu::cold]] static void raise(Unpickler& pickled, const RemoteInfo& info, bool nested) {
    E exception = ExceptionCodec<E>::load(pickled);
    pickled.expect_end();
    if constexpr (!is_open) {
      throw exception;
    } else if (nested) {
      throw WholeNested(std::move(exception), info);
    } else {
      throw Whole(std::move(exception), info);
    }
  }

  static constexpr ExceptionCode code{&typeid(E), &typeid(Whole), &typeid(WholeNested),
                                      ExceptionCodec<E>::is_message ? &save_message : &save, &raise};
};

[[gnu::visibility("default")]] inline constinit CodeTable<const ExceptionCode*> exception_table{};

/// Hidden: each module has its own entry, which comes and goes with it.
template <class E>
struct __attribute__((visibility("hidden"))) ExceptionEntry {
  /// Also makes sure that E is entered before main, or when the module is loaded.
  static void enter() {
    const void* entered = &lease;
    __asm__("" : "+r"(entered));  // neither compiler nor linker may find it unused
    node();
  }

 private:
  static CodeTable<const ExceptionCode*>::Node& node() {
    constexpr const ExceptionCode* code = &ExceptionCodeOf<E>::code;
    static CodeTable<const ExceptionCode*>::Node& entered = exception_table.enter(
        code_key(typeid(E).name(), reinterpret_cast<std::uintptr_t>(code->raise)), typeid(E).name(), code);
    return entered;
  }

#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wglobal-constructors"
#endif
  static inline const CodeLease<const ExceptionCode*> lease{node()};
#if defined(__clang__)
#pragma clang diagnostic pop
#endif
};

}  // namespace detail

/// Makes exceptions of type E known, so that those thrown in a worker process arrive as E, and not as RemoteError. That the
/// program has this call somewhere is enough, whether it is run or not: E is known before main, and in all processes of the
/// program. In a plugin: as soon as that is loaded there. Best at namespace scope, beside E:
///
///     const bool registered = conc::register_exception<app::NoSuchRow>();
///
/// E is picklable; or it is a std::exception that can be made of a std::string, which will be what what() returned, or of an
/// error code and a string, or of nothing. It arrives as a class derived from both E and RemoteInfo; as E if E is final.
///
/// @return true.
/// @throws std::bad_alloc
/// @par Thread safety   any thread, any time.
/// @par Python          no such thing: every picklable exception arrives.
template <class E>
bool register_exception() {
  static_assert(std::is_object_v<E> && !std::is_const_v<E> && std::is_copy_constructible_v<E>,
                "register_exception<E>(): E must be an object type that is not const and can be copied");
  static_assert(
      detail::ExceptionCodec<E>::exists,
      "register_exception<E>(): E must be picklable, or a std::exception that can be made of a std::string, of an "
      "error code and a std::string, or of nothing; give it a member pickle() or a conc::pickler<E>");
  if constexpr (detail::ExceptionCodec<E>::exists) {
    detail::ExceptionEntry<E>::enter();
  }
  return true;
}

}  // namespace conc::inline CONC_ABI
