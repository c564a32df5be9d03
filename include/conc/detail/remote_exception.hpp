// SPDX-License-Identifier: MIT
/// @file
/// Exceptions as bytes: save_exception and load_exception.
#pragma once

#include <cxxabi.h>

#include <conc/detail/byte_buffer.hpp>
#include <conc/detail/code_table.hpp>
#include <conc/detail/future_core.hpp>
#include <conc/detail/throw_trace.hpp>
#include <conc/error.hpp>
#include <conc/pickle.hpp>
#include <conc/remote_error.hpp>
#include <conc/subprocess.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

namespace conc::inline CONC_ABI {

template <>
struct pickler<subprocess::CalledProcessError> {
  static void save(Pickler& to, const subprocess::CalledProcessError& error) { to(error.process()); }
  static subprocess::CalledProcessError load(Unpickler& from) {
    return subprocess::CalledProcessError{from.get<subprocess::CompletedProcess>()};
  }
};

template <>
struct pickler<subprocess::TimeoutExpired> {
  static void save(Pickler& to, const subprocess::TimeoutExpired& error) {
    to(std::string{error.what()}, error.process());
  }
  static subprocess::TimeoutExpired load(Unpickler& from) {
    const auto what = from.get<std::string>();
    return {from.get<subprocess::CompletedProcess>(), what};
  }
};

}  // namespace conc::inline CONC_ABI

namespace conc::inline CONC_ABI::detail {

/// Known without being registered. Their place here is their name in bytes.
inline constexpr const ExceptionCode* kStandardExceptions[] = {
    &ExceptionCodeOf<std::exception>::code,
    &ExceptionCodeOf<std::runtime_error>::code,
    &ExceptionCodeOf<std::logic_error>::code,
    &ExceptionCodeOf<std::invalid_argument>::code,
    &ExceptionCodeOf<std::domain_error>::code,
    &ExceptionCodeOf<std::length_error>::code,
    &ExceptionCodeOf<std::out_of_range>::code,
    &ExceptionCodeOf<std::range_error>::code,
    &ExceptionCodeOf<std::overflow_error>::code,
    &ExceptionCodeOf<std::underflow_error>::code,
    &ExceptionCodeOf<std::system_error>::code,
    &ExceptionCodeOf<std::bad_alloc>::code,
    &ExceptionCodeOf<std::bad_array_new_length>::code,
    &ExceptionCodeOf<std::bad_cast>::code,
    &ExceptionCodeOf<std::bad_typeid>::code,
    &ExceptionCodeOf<std::bad_exception>::code,
    &ExceptionCodeOf<std::bad_weak_ptr>::code,
    &ExceptionCodeOf<std::bad_optional_access>::code,
    &ExceptionCodeOf<std::bad_variant_access>::code,
    &ExceptionCodeOf<Error>::code,
    &ExceptionCodeOf<TimeoutError>::code,
    &ExceptionCodeOf<CancelledError>::code,
    &ExceptionCodeOf<InvalidStateError>::code,
    &ExceptionCodeOf<QueueEmpty>::code,
    &ExceptionCodeOf<QueueFull>::code,
    &ExceptionCodeOf<QueueShutDown>::code,
    &ExceptionCodeOf<BrokenBarrierError>::code,
    &ExceptionCodeOf<BrokenPromise>::code,
    &ExceptionCodeOf<DeadlockError>::code,
    &ExceptionCodeOf<PickleError>::code,
    &ExceptionCodeOf<RemoteError>::code,
    &ExceptionCodeOf<BrokenExecutor>::code,
    &ExceptionCodeOf<BrokenThreadPool>::code,
    &ExceptionCodeOf<BrokenProcessPool>::code,
    &ExceptionCodeOf<UsageError>::code,
    &ExceptionCodeOf<subprocess::CalledProcessError>::code,
    &ExceptionCodeOf<subprocess::TimeoutExpired>::code,
};
inline constexpr std::uint64_t kStandard = ~std::uint64_t{0};  // their offset: no code is there

/// A chain of causes longer than this is cut.
inline constexpr std::size_t kMostCauses = 64;

/// The name without the class into which std::throw_with_nested puts an exception.
inline std::string without_nesting(const std::string& name) {
  for (const std::string_view wrapper : {"std::_Nested_exception<", "std::__nested<", "std::__1::__nested<"}) {
    if (name.starts_with(wrapper) && name.ends_with('>')) {
      std::string_view inner{name};
      inner.remove_prefix(wrapper.size());
      inner.remove_suffix(1);
      for (const std::string_view more : {" ", " const"}) {
        inner.remove_suffix(inner.ends_with(more) ? more.size() : 0);
      }
      return std::string{inner};
    }
  }
  return name;
}

/// An exception on its way, without its cause.
struct ExceptionRecord {
  CodeKey key{};  // of its ExceptionCode; zero if it has none
  std::string type{};
  std::string message{};
  std::vector<CodePlace> trace{};
  std::int32_t pid = 0;  // zero: the process that sends it
  ByteBuffer value{};
};

/// Exceptions come as pointers, and what is in them is known to handlers only: calls look(exception) if it is a Wanted.
template <class Wanted, class Look>
void look_at(const std::exception_ptr& exception, Look look) {
  try {
    std::rethrow_exception(exception);
  } catch (const Wanted& caught) {
    look(caught);
  } catch (...) {
  }
}

inline const std::type_info* type_of(const std::exception_ptr& exception) noexcept {
  try {
    std::rethrow_exception(exception);
  } catch (...) {
    return abi::__cxa_current_exception_type();
  }
}

/// The code for exceptions that are thrown as `thrown`, whose readable name is `name`; null if the type is not known.
inline const ExceptionCode* find_exception(const std::type_info& thrown, const std::string& name, CodeKey& key) {
  const bool nested = name != type_name(thrown);
  const auto is_it = [&](const ExceptionCode* code) {
    return nested ? type_name(*code->type) == name : code->is(thrown);
  };
  for (std::size_t i = 0; i < std::size(kStandardExceptions); ++i) {
    if (is_it(kStandardExceptions[i])) {
      key = {i, kStandard};
      return kStandardExceptions[i];
    }
  }
  const ExceptionCode* const found =
      exception_table.find_if([&](const std::string& /*mangled*/, const ExceptionCode* code) { return is_it(code); });
  if (found != nullptr) {
    key = code_key(found->type->name(), reinterpret_cast<std::uintptr_t>(found->raise));
  }
  return found;
}

inline const ExceptionCode* find_exception(const CodeKey& key) noexcept {
  if (key.offset != kStandard) {
    return exception_table.find(key);
  }
  return key.hash < std::size(kStandardExceptions) ? kStandardExceptions[key.hash] : nullptr;
}

inline ExceptionRecord record(const std::exception_ptr& exception, Pickler& pickler) {
  ExceptionRecord made;
  look_at<std::exception>(exception, [&made](const std::exception& caught) {
    const char* const text = caught.what();
    made.message = text == nullptr ? "" : text;
  });
  const std::type_info* const type = type_of(exception);
  if (type == nullptr) {
    made.type = "an unknown exception";
    return made;
  }
  made.type = without_nesting(type_name(*type));
  CodeKey key;
  if (const ExceptionCode* const code = find_exception(*type, made.type, key)) {
    try {
      Pickler value{made.value};
      code->save(value, exception);
      for (const auto& kept : value.kept()) {
        pickler.keep(kept);
      }
      made.key = key;
    } catch (...) {  // it goes as one that is not known
      made.value.clear();
    }
  }
  look_at<RemoteInfo>(exception, [&made](const RemoteInfo& info) {
    made.type = info.type();
    made.message = info.message();
    made.pid = info.pid();
    made.trace = info.places();
  });
  return made;
}

/// Writes an exception and what it is nested in. Whatever the exception does when it is looked at, it is written: at least
/// the name of its type. If it has left a call_traced(), this is to be called in the same thread, before the next one.
/// @throws std::bad_alloc
inline void save_exception(Pickler& pickler, const std::exception_ptr& exception) {
  std::exception_ptr next = exception;
  const ThrowPlaces trace = take_throw_trace();
  for (std::size_t depth = 1; next != nullptr; ++depth) {
    const ExceptionRecord made = record(next, pickler);
    const std::span<const CodePlace> calls = depth == 1 && made.pid == 0 ? trace.all() : std::span{made.trace};
    std::exception_ptr cause;
    if (depth < kMostCauses) {
      look_at<std::nested_exception>(next, [&cause](const std::nested_exception& it) { cause = it.nested_ptr(); });
    }
    pickler(made.key.hash, made.key.offset, made.type, made.message, made.pid,
            std::string{reinterpret_cast<const char*>(made.value.data()), made.value.size()});
    pickler(static_cast<std::uint32_t>(calls.size()));
    for (const CodePlace& call : calls) {
      pickler(call.module, call.offset);
    }
    pickler(cause != nullptr);
    next = std::move(cause);
  }
}

/// The exception that `code` makes of its value; null if it cannot. A nested_exception takes what is being handled.
inline std::exception_ptr catch_raised(const ExceptionCode& code, const ByteBuffer& value, const RemoteInfo& info,
                                       const std::exception_ptr& cause) {
  try {
    Unpickler pickled{std::span{value.data(), value.size()}};
    if (cause == nullptr) {
      code.raise(pickled, info, false);
    } else {
      try {
        std::rethrow_exception(cause);
      } catch (...) {
        code.raise(pickled, info, true);
      }
    }
  } catch (...) {
    const std::type_info* const caught = abi::__cxa_current_exception_type();
    const std::type_info& wanted = cause == nullptr ? *code.remote : *code.remote_nested;
    return caught != nullptr && *caught == wanted ? std::current_exception() : nullptr;
  }
  return nullptr;
}

/// Makes the exception from its record. If that fails, it becomes a RemoteError.
inline std::exception_ptr revive(const ExceptionRecord& record, const std::exception_ptr& cause) {
  const RemoteInfo info{record.type, record.message, record.pid, record.trace};
  if (const ExceptionCode* const code = find_exception(record.key)) {
    if (std::exception_ptr exception = catch_raised(*code, record.value, info, cause)) {
      return exception;
    }
  }
  ByteBuffer text;
  Pickler{text}(record.message.empty() ? record.type : record.type + ": " + record.message);
  std::exception_ptr exception = catch_raised(ExceptionCodeOf<RemoteError>::code, text, info, cause);
  return exception != nullptr ? exception : std::make_exception_ptr(std::bad_alloc{});
}

/// Reads what save_exception has written. No bytes: it had no memory to write anything, which is a std::bad_alloc.
/// @param pid  of the process that sent it
/// @throws PickleError, std::bad_alloc
inline std::exception_ptr load_exception(Unpickler& pickled, int pid) {
  if (pickled.remaining() == 0) {
    const RemoteInfo info{"std::bad_alloc", std::bad_alloc{}.what(), pid, {}};
    return catch_raised(ExceptionCodeOf<std::bad_alloc>::code, {}, info, nullptr);
  }
  std::vector<ExceptionRecord> records;
  do {
    if (records.size() == kMostCauses) {
      throw PickleError{"an exception with more than " + std::to_string(kMostCauses) + " causes"};
    }
    ExceptionRecord& read = records.emplace_back();
    pickled(read.key.hash, read.key.offset, read.type, read.message, read.pid);
    const auto value = pickled.get<std::string>();
    read.value.append(value.data(), value.size());
    for (auto left = pickled.get<std::uint32_t>(); left > 0; --left) {
      CodePlace& call = read.trace.emplace_back();
      pickled(call.module, call.offset);
    }
    read.pid = read.pid == 0 ? pid : read.pid;
  } while (pickled.get<bool>());
  std::exception_ptr exception;
  for (; !records.empty(); records.pop_back()) {
    exception = revive(records.back(), exception);
    keep_for_sanitizer(exception);
  }
  return exception;
}

}  // namespace conc::inline CONC_ABI::detail
