// SPDX-License-Identifier: MIT
/// @file
/// RemoteInfo: what every exception has beside its own type that came from another process. register_exception: makes an
/// exception's type known, so that it comes with that type. Those of the standard library and of conc are known.
#pragma once

#include <conc/detail/code_table.hpp>
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

namespace conc::inline CONC_ABI {

/// Where an exception comes from. Whatever is thrown in a worker process arrives as an exception that can be caught as this,
/// and as its own type too, if that is known; as RemoteError if not.
///
/// @par Thread safety   as of any value that does not change.
/// @par Python          as the cause of type _RemoteTraceback in concurrent.futures.process; there it holds a text.
class [[gnu::visibility("default")]] RemoteInfo {
 public:
  RemoteInfo(std::string type, std::string message, int pid)
      : text_{std::make_shared<const Text>(Text{std::move(type), std::move(message)})}, pid_{pid} {}

  /// The name of the exception's type, as it was thrown: "app::NoSuchRow".
  const std::string& type() const noexcept { return text_->type; }

  /// What its what() returned there; empty if it is no std::exception.
  const std::string& message() const noexcept { return text_->message; }

  /// The process in which it was thrown.
  int pid() const noexcept { return pid_; }

 private:
  struct Text {
    std::string type;
    std::string message;
  };
  std::shared_ptr<const Text> text_;  // shared: copies of exceptions must not throw. Never moved from: there is no move
  int pid_;

 public:
  RemoteInfo(const RemoteInfo&) noexcept = default;
  RemoteInfo& operator=(const RemoteInfo&) noexcept = default;
  ~RemoteInfo() = default;
};

namespace detail {

/// An exception as it arrives.
template <class E>
class [[gnu::visibility("default")]] Remote final
    : public E,
      public
      RemoteInfo{public : Remote(E && thrown, const RemoteInfo& info) : E(std::move(thrown)), RemoteInfo{info} {}};

/// Likewise, with the exception during whose handling it was thrown.
template <class E>
class [[gnu::visibility("default")]] RemoteNested final : public E, public RemoteInfo, public std::nested_exception{
  public : RemoteNested(E && thrown, const RemoteInfo& info) : E(std::move(thrown)),
  RemoteInfo{info} {}
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
constexpr bool with_message = std::is_base_of_v<std::exception, E>&& std::is_constructible_v<E, const std::string&>;

/// How an exception's type is turned into bytes and back.
template <class E>
struct ExceptionCodec {
  static constexpr bool exists = picklable<E> || with_error_code<E> || with_two_paths<E> || with_message<E> ||
                                 (std::is_base_of_v<std::exception, E> && std::is_default_constructible_v<E>);

  static void save(Pickler& pickler, const E& exception) {
    if constexpr (picklable<E>) {
      pickler(exception);
    } else if constexpr (with_two_paths<E>) {
      save_code(pickler, exception.code());
      pickler(text_without_code(exception, exception.code()), exception.path1().native(), exception.path2().native());
    } else if constexpr (with_error_code<E>) {
      save_code(pickler, exception.code());
      pickler(text_without_code(exception, exception.code()));
    } else if constexpr (with_message<E>) {
      const char* const text = exception.what();
      pickler(std::string{text == nullptr ? "" : text});
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
      return E(pickled.get<std::string>());
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

/// Throws a Thrown and catches it. What its making throws goes to the caller.
template <class Thrown, class... Args>
std::exception_ptr throw_and_catch(Args&&... args) {
  try {
    throw Thrown(std::forward<Args>(args)...);
  } catch (const Thrown&) {
    return std::current_exception();
  }
}

/// What is known of a type of exceptions.
struct ExceptionCode {
  const std::type_info& (*type)() noexcept;
  bool (*thrown_as)(const std::type_info& thrown) noexcept;  // it, or it as it arrived from elsewhere
  void (*save)(Pickler& pickler, const std::exception_ptr& exception);
  std::exception_ptr (*load)(Unpickler& pickled, const RemoteInfo& info, const std::exception_ptr& cause);
};

template <class E>
struct [[gnu::visibility("hidden")]] ExceptionCodeOf {
  static constexpr bool is_open = std::is_class_v<E> && !std::is_final_v<E> && !std::is_base_of_v<RemoteInfo, E>;
  static constexpr bool has_cause = std::is_base_of_v<std::nested_exception, E>;

  static const std::type_info& type() noexcept { return typeid(E); }

  static bool thrown_as(const std::type_info& thrown) noexcept {
    if constexpr (is_open && !has_cause) {
      return thrown == typeid(E) || thrown == typeid(Remote<E>) || thrown == typeid(RemoteNested<E>);
    } else if constexpr (is_open) {
      return thrown == typeid(E) || thrown == typeid(Remote<E>);
    } else {
      return thrown == typeid(E);
    }
  }

  static void save(Pickler & pickler, const std::exception_ptr& exception) {
    try {
      std::rethrow_exception(exception);
    } catch (const E& caught) {
      ExceptionCodec<E>::save(pickler, caught);
    }
  }

  static std::exception_ptr load(Unpickler & pickled, const RemoteInfo& info, const std::exception_ptr& cause) {
    if (cause == nullptr) {
      return make<Remote<E>>(pickled, info);
    }
    try {
      std::rethrow_exception(cause);
    } catch (...) {  // a nested_exception takes what is being handled
      if constexpr (has_cause) {
        return make<Remote<E>>(pickled, info);
      } else {
        return make<RemoteNested<E>>(pickled, info);
      }
    }
  }

  static constexpr ExceptionCode code{&type, &thrown_as, &save, &load};

 private:
  template <class Whole>
  static std::exception_ptr make(Unpickler & pickled, const RemoteInfo& info) {
    E exception = ExceptionCodec<E>::load(pickled);
    pickled.expect_end();
    if constexpr (is_open) {
      return throw_and_catch<Whole>(std::move(exception), info);
    } else {
      return throw_and_catch<E>(std::move(exception));
    }
  }
};

[[gnu::visibility("default")]] inline constinit CodeTable<const ExceptionCode*> exception_table{};

/// Hidden: each module has its own entry, which comes and goes with it.
template <class E>
struct [[gnu::visibility("hidden")]] ExceptionEntry {
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
        code_key(typeid(E).name(), reinterpret_cast<std::uintptr_t>(code->load)), typeid(E).name(), code);
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
