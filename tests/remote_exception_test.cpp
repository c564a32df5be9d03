// SPDX-License-Identifier: MIT
// What detail/remote_exception.hpp and remote_error.hpp promise: exceptions that cross between processes.
#include <conc/detail/remote_exception.hpp>
#include <conc/remote_error.hpp>
#include <conc/subprocess.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

#include "support.hpp"

using conc::detail::ByteBuffer;
using conc::detail::type_name;

namespace {

constexpr int kPid = 4711;

std::vector<std::byte> bytes_of(const std::exception_ptr& exception) {
  ByteBuffer buffer;
  conc::Pickler pickler{buffer};
  conc::detail::save_exception(pickler, exception);
  return {buffer.data(), buffer.data() + buffer.size()};
}

std::exception_ptr exception_of(std::span<const std::byte> bytes) {
  conc::Unpickler pickled{bytes};
  std::exception_ptr exception = conc::detail::load_exception(pickled, kPid);
  pickled.expect_end();
  return exception;
}

std::exception_ptr sent(const std::exception_ptr& exception) { return exception_of(bytes_of(exception)); }

/// What is thrown by `fail`, as it arrives.
template <class Fail>
std::exception_ptr sent_of(Fail fail) {
  std::exception_ptr thrown;
  try {
    fail();
  } catch (...) {
    thrown = std::current_exception();
  }
  return sent(thrown);  // not while it is handled: what arrives would take it for its cause
}

/// The exception caught as a Caught; throws it if it is none.
template <class Caught, class Look>
auto caught_as(const std::exception_ptr& exception, Look look) {
  try {
    std::rethrow_exception(exception);
  } catch (const Caught& caught) {
    return look(caught);
  }
}

template <class Caught>
std::string what_of(const std::exception_ptr& exception) {
  return caught_as<Caught>(exception, [](const Caught& caught) { return std::string{caught.what()}; });
}

conc::RemoteInfo info_of(const std::exception_ptr& exception) {
  return caught_as<conc::RemoteInfo>(exception, [](const conc::RemoteInfo& info) { return info; });
}

/// Arrives as an E and as nothing more special, with its text and its type's name.
template <class E>
void check_arrives(const E& thrown) {
  const std::exception_ptr arrived = sent(std::make_exception_ptr(thrown));
  const std::string name = type_name(typeid(E));
  CAPTURE(name);
  CHECK(what_of<E>(arrived) == thrown.what());
  CHECK(info_of(arrived).type() == name);
  CHECK(info_of(arrived).message() == thrown.what());
  CHECK(info_of(arrived).pid() == kPid);
  // Once more: from a pool in a worker. What is said of it stays.
  const std::exception_ptr again = sent(arrived);
  CHECK(what_of<E>(again) == thrown.what());
  CHECK(info_of(again).type() == name);
  CHECK(info_of(again).pid() == kPid);
}

struct Unknown : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Known : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct KnownFinal final : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Reading {
  int sensor;
  std::string unit;
};
struct KnownFields : std::exception {
  KnownFields() = default;
  KnownFields(int row, std::string column) : row_{row}, column_{std::move(column)} {}
  template <class Ar>
  void pickle(Ar& ar) {
    ar(row_, column_);
  }
  const char* what() const noexcept override { return column_.c_str(); }
  int row() const { return row_; }

 private:
  int row_ = 0;
  std::string column_;
};
struct KnownWithCause : std::runtime_error, std::nested_exception {
  using std::runtime_error::runtime_error;
};
struct KnownWithCode : std::system_error {
  using std::system_error::system_error;
};
template <class T>
struct KnownTemplate : std::logic_error {
  using std::logic_error::logic_error;
};

const bool registered = conc::register_exception<Known>() && conc::register_exception<KnownFinal>() &&
                        conc::register_exception<Reading>() && conc::register_exception<KnownFields>() &&
                        conc::register_exception<KnownWithCause>() && conc::register_exception<KnownWithCode>() &&
                        conc::register_exception<KnownTemplate<std::pair<int, Known>>>() &&
                        conc::register_exception<std::filesystem::filesystem_error>();

}  // namespace

TEST_CASE("exceptions: those of the standard library arrive with their type and text [P4]", "[remote_exception]") {
  check_arrives(std::exception{});
  check_arrives(std::runtime_error{"a"});
  check_arrives(std::logic_error{"b"});
  check_arrives(std::invalid_argument{"c"});
  check_arrives(std::domain_error{""});
  check_arrives(std::length_error{"e"});
  check_arrives(std::out_of_range{"f"});
  check_arrives(std::range_error{"g"});
  check_arrives(std::overflow_error{"h"});
  check_arrives(std::underflow_error{std::string(100'000, 'i')});
  check_arrives(std::bad_alloc{});
  check_arrives(std::bad_array_new_length{});
  check_arrives(std::bad_cast{});
  check_arrives(std::bad_typeid{});
  check_arrives(std::bad_exception{});
  check_arrives(std::bad_weak_ptr{});
  check_arrives(std::bad_optional_access{});
  check_arrives(std::bad_variant_access{});
}

TEST_CASE("exceptions: those of conc arrive with their type and text [P4]", "[remote_exception]") {
  check_arrives(conc::Error{"a"});
  check_arrives(conc::TimeoutError{"b"});
  check_arrives(conc::CancelledError{"c"});
  check_arrives(conc::InvalidStateError{"d"});
  check_arrives(conc::QueueEmpty{"e"});
  check_arrives(conc::QueueFull{"f"});
  check_arrives(conc::QueueShutDown{"g"});
  check_arrives(conc::BrokenBarrierError{"h"});
  check_arrives(conc::BrokenPromise{"i"});
  check_arrives(conc::DeadlockError{"j"});
  check_arrives(conc::PickleError{"k"});
  check_arrives(conc::RemoteError{"l"});
  check_arrives(conc::BrokenExecutor{"m"});
  check_arrives(conc::BrokenThreadPool{"n"});
  check_arrives(conc::BrokenProcessPool{"o"});
  check_arrives(conc::UsageError{"p"});
}

TEST_CASE("exceptions: those of subprocesses keep what is known of the process [P4]", "[remote_exception]") {
  using conc::subprocess::CalledProcessError;
  using conc::subprocess::TimeoutExpired;
  const conc::subprocess::CompletedProcess process{{"ls", "no such file"}, 2, "out", "err"};
  check_arrives(CalledProcessError{process});
  check_arrives(TimeoutExpired{process, "it took too long"});
  const auto look = [](const auto& caught) { return caught.process().args.back() + caught.process().err; };
  CHECK(caught_as<CalledProcessError>(sent(std::make_exception_ptr(CalledProcessError{process})), look) ==
        "no such fileerr");
  CHECK(caught_as<TimeoutExpired>(sent(std::make_exception_ptr(TimeoutExpired{process, "late"})), look) ==
        "no such fileerr");
}

TEST_CASE("exceptions: a system_error keeps its code [P4]", "[remote_exception]") {
  const std::error_code refused{ECONNREFUSED, std::generic_category()};
  check_arrives(std::system_error{refused, "connect"});
  check_arrives(std::system_error{refused, "connect: again"});
  check_arrives(std::system_error{refused, refused.message()});
  check_arrives(std::system_error{refused});
  check_arrives(std::system_error{std::error_code{EACCES, std::system_category()}, "open"});
  const auto code_of = [](const std::system_error& error) {
    return caught_as<std::system_error>(sent(std::make_exception_ptr(error)),
                                        [](const std::system_error& caught) { return caught.code(); });
  };
  CHECK(code_of(std::system_error{refused, "connect"}) == refused);
  CHECK(code_of(std::system_error{EACCES, std::system_category()}) == std::error_code{EACCES, std::system_category()});
}

TEST_CASE("exceptions: an error code of a category that is not known comes as text [P4][FC5]", "[remote_exception]") {
  class Category : public std::error_category {
   public:
    const char* name() const noexcept override { return "own"; }
    std::string message(int /*code*/) const override { return "own trouble"; }
  };
  static const Category category;
  const std::exception_ptr arrived = sent(std::make_exception_ptr(std::system_error{7, category, "device"}));
  CHECK(what_of<conc::RemoteError>(arrived) == "std::system_error: device: own trouble");
}

TEST_CASE("exceptions: a filesystem_error keeps code and paths once it is registered", "[remote_exception]") {
  using std::filesystem::filesystem_error;
  const filesystem_error thrown{"copy", "/from here", "/to there", std::make_error_code(std::errc::permission_denied)};
  check_arrives(thrown);
  const std::exception_ptr arrived = sent(std::make_exception_ptr(thrown));
  const auto look = [](const filesystem_error& caught) { return caught.path1().string() + caught.path2().string(); };
  CHECK(caught_as<filesystem_error>(arrived, look) == "/from here/to there");
  CHECK(caught_as<filesystem_error>(arrived, [](const filesystem_error& caught) { return caught.code(); }) ==
        thrown.code());
}

TEST_CASE("exceptions: registered ones arrive with their type [P4]", "[remote_exception]") {
  REQUIRE(registered);
  check_arrives(Known{"no such row"});
  check_arrives(KnownWithCode{ENOENT, std::generic_category(), "open"});
  check_arrives(KnownTemplate<std::pair<int, Known>>{"of two"});

  // What is picklable keeps all that it holds.
  const std::exception_ptr fields = sent(std::make_exception_ptr(KnownFields{12, "name"}));
  CHECK(what_of<KnownFields>(fields) == "name");
  CHECK(caught_as<KnownFields>(fields, [](const KnownFields& caught) { return caught.row(); }) == 12);
  CHECK(info_of(fields).message() == "name");

  // So does what is no std::exception.
  const std::exception_ptr reading = sent(std::make_exception_ptr(Reading{3, "mV"}));
  CHECK(caught_as<Reading>(reading,
                           [](const Reading& caught) { return std::to_string(caught.sensor) + caught.unit; }) == "3mV");
  CHECK(info_of(reading).message().empty());

  // Nothing can be derived from a final class.
  CHECK(what_of<KnownFinal>(sent(std::make_exception_ptr(KnownFinal{"the end"}))) == "the end");
}

namespace {
struct KnownBeforeMain : std::runtime_error {
  using std::runtime_error::runtime_error;
};
volatile bool never = false;
}  // namespace

TEST_CASE("register_exception: that the program has the call is enough", "[remote_exception]") {
  check_arrives(KnownBeforeMain{"early"});
  if (never) {
    conc::register_exception<KnownBeforeMain>();
  }
}

TEST_CASE("register_exception: says that it did, however often it is called", "[remote_exception]") {
  CHECK(conc::register_exception<Known>());
  CHECK(conc::register_exception<std::runtime_error>());
  check_arrives(Known{"twice"});
  check_arrives(std::runtime_error{"known anyway"});
}

namespace {

struct Base : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct NoText : std::exception {
  const char* what() const noexcept override { return nullptr; }
};
struct ThrowingCopy : std::runtime_error {
  ThrowingCopy() : std::runtime_error{"do not copy"} {}
  ThrowingCopy(const ThrowingCopy& other) : std::runtime_error{other} { throw std::logic_error{"copied"}; }
};
struct OnlyMoved : std::runtime_error {
  OnlyMoved() : std::runtime_error{"only moved"} {}
  OnlyMoved(OnlyMoved&&) = default;
  OnlyMoved(const OnlyMoved&) = delete;
};
struct TwoBases : std::runtime_error, std::bad_alloc {
  TwoBases() : std::runtime_error{"two"} {}
  const char* what() const noexcept override { return "two"; }
};
struct Virtual : virtual std::exception {
  const char* what() const noexcept override { return "virtual"; }
};
struct NoException {
  int number;
};

/// Registered, but its bytes cannot be made, or cannot be read.
struct Unwilling : std::exception {
  explicit Unwilling(int when) : when_{when} {}
  Unwilling() = default;
  template <class Ar>
  void pickle(Ar& ar) {
    if (when_ == 1) {
      throw std::runtime_error{"not now"};
    }
    ar(when_);
    if (when_ == 2 && !Ar::is_saving) {
      throw 2;
    }
  }
  const char* what() const noexcept override { return "unwilling"; }

 private:
  int when_ = 0;
};
/// Takes another text for its constructor than what() returns.
struct Particular : std::runtime_error {
  explicit Particular(const std::string& text) : std::runtime_error{text} {
    if (text != "fine") {
      throw std::invalid_argument{"not fine"};
    }
  }
  const char* what() const noexcept override { return "not what it was made of"; }
};
const bool also_registered = conc::register_exception<Unwilling>() && conc::register_exception<Particular>();

}  // namespace

TEST_CASE("exceptions: what is not known arrives as RemoteError with type and text [FC5]", "[remote_exception]") {
  REQUIRE(also_registered);
  const auto remote_what = [](const std::exception_ptr& arrived) {
    CHECK(info_of(arrived).pid() == kPid);
    return what_of<conc::RemoteError>(arrived);
  };
  const std::string here = "(anonymous namespace)::";
  CHECK(remote_what(sent_of([] { throw Unknown{"lost"}; })) == here + "Unknown: lost");
  CHECK(remote_what(sent_of([] { throw 42; })) == "int");
  CHECK(remote_what(sent_of([] { throw "text"; })) == "char const*");
  CHECK(remote_what(sent_of([] { throw std::string{"text"}; })) == type_name(typeid(std::string)));
  CHECK(remote_what(sent_of([] { throw nullptr; })) == "decltype(nullptr)");
  CHECK(remote_what(sent_of([] { throw NoException{1}; })) == here + "NoException");
  CHECK(remote_what(sent_of([] { throw NoText{}; })) == here + "NoText");
  CHECK(remote_what(sent_of([] { throw ThrowingCopy{}; })) == here + "ThrowingCopy: do not copy");
  CHECK(remote_what(sent_of([] { throw OnlyMoved{}; })) == here + "OnlyMoved: only moved");
  CHECK(remote_what(sent_of([] { throw TwoBases{}; })) ==
        here + "TwoBases");  // a std::exception twice: not caught as one
  CHECK(remote_what(sent_of([] { throw Virtual{}; })) == here + "Virtual: virtual");
  // Not even an exception whose type is known, if that fails.
  CHECK(remote_what(sent_of([] { throw Unwilling{1}; })) == here + "Unwilling: unwilling");
  CHECK(remote_what(sent_of([] { throw Unwilling{2}; })) == here + "Unwilling: unwilling");
  CHECK(what_of<Unwilling>(sent_of([] { throw Unwilling{3}; })) == "unwilling");
  CHECK(remote_what(sent_of([] { throw Particular{"fine"}; })) == here + "Particular: not what it was made of");

  const conc::RemoteInfo info = info_of(sent_of([] { throw Unknown{"lost"}; }));
  CHECK(info.type() == here + "Unknown");
  CHECK(info.message() == "lost");
  // What comes from a worker's worker is told as it was there.
  const std::exception_ptr again = sent(sent_of([] { throw Unknown{"lost"}; }));
  CHECK(remote_what(again) == here + "Unknown: lost");
  CHECK(info_of(again).type() == here + "Unknown");
  CHECK(info_of(again).message() == "lost");
}

TEST_CASE("RemoteInfo: is copied without a throw, and stays", "[remote_exception]") {
  STATIC_REQUIRE(std::is_nothrow_copy_constructible_v<conc::RemoteInfo>);
  STATIC_REQUIRE(std::is_nothrow_copy_constructible_v<conc::detail::Remote<std::runtime_error>>);
  STATIC_REQUIRE(std::is_nothrow_copy_assignable_v<conc::RemoteInfo>);
  conc::RemoteInfo info{"Type", "message", 1};
  const conc::RemoteInfo moved{std::move(info)};
  CHECK(info.type() == "Type");  // NOLINT(bugprone-use-after-move)
  CHECK(moved.message() == "message");
}

namespace {

/// The exceptions of the chain, from the outermost on: "type: text".
std::vector<std::string> chain_of(std::exception_ptr exception) {
  std::vector<std::string> chain;
  while (exception != nullptr) {
    const conc::RemoteInfo info = info_of(exception);
    chain.push_back(info.type() + ": " + info.message());
    std::exception_ptr cause;
    try {
      std::rethrow_exception(exception);
    } catch (const std::nested_exception& nested) {
      cause = nested.nested_ptr();
    } catch (...) {
    }
    exception = cause;
  }
  return chain;
}

template <class Outer, class Inner>
std::exception_ptr nested(const Outer& outer, const Inner& inner) {
  try {
    try {
      throw Inner(inner);
    } catch (...) {
      std::throw_with_nested(outer);
    }
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace

TEST_CASE("exceptions: causes come along [P4][FC5]", "[remote_exception][nested]") {
  const std::string here = "(anonymous namespace)::";
  const std::exception_ptr two = sent(nested(std::runtime_error{"outer"}, std::invalid_argument{"inner"}));
  CHECK(chain_of(two) == std::vector<std::string>{"std::runtime_error: outer", "std::invalid_argument: inner"});
  CHECK(what_of<std::runtime_error>(two) == "outer");
  try {
    std::rethrow_exception(two);
  } catch (const std::exception& outer) {
    CHECK_THROWS_AS(std::rethrow_if_nested(outer), std::invalid_argument);
  }
  // And once more.
  CHECK(chain_of(sent(two)) == chain_of(two));

  // Types that are registered, that are not, that are templates.
  using Template = KnownTemplate<std::pair<int, Known>>;
  const std::exception_ptr known = sent(nested(Template{"a"}, Known{"b"}));
  CHECK(what_of<Template>(known) == "a");
  CHECK(chain_of(known) == std::vector<std::string>{type_name(typeid(Template)) + ": a", here + "Known: b"});
  const std::exception_ptr unknown = sent(nested(Unknown{"c"}, 42));
  CHECK(what_of<conc::RemoteError>(unknown) == here + "Unknown: c");
  CHECK(chain_of(unknown) == std::vector<std::string>{here + "Unknown: c", "int: "});

  // An exception that takes its cause itself.
  std::exception_ptr own;
  try {
    try {
      throw Known{"cause"};
    } catch (...) {
      throw KnownWithCause{"effect"};
    }
  } catch (...) {
    own = std::current_exception();
  }
  own = sent(own);
  CHECK(what_of<KnownWithCause>(own) == "effect");
  CHECK(chain_of(own) == std::vector<std::string>{here + "KnownWithCause: effect", here + "Known: cause"});
  CHECK(chain_of(sent_of([] { throw KnownWithCause{"alone"}; })).size() == 1);
}

namespace traced {  // not unnamed: the program exports the names
[[gnu::noinline, gnu::cold]] void throws_unknown() { throw Unknown{"lost"}; }
[[gnu::noinline, gnu::cold]] void throws_on() {
  try {
    throws_unknown();
  } catch (...) {
    std::throw_with_nested(std::runtime_error{"effect"});
  }
}
}  // namespace traced

TEST_CASE("exceptions: it is told where they were thrown [FC5]", "[remote_exception][trace]") {
  const auto traced_exception_of = [](void (*fail)()) {
    std::vector<std::byte> bytes;
    try {
      conc::detail::call_traced(fail);
    } catch (...) {
      bytes = bytes_of(std::current_exception());
    }
    return exception_of(bytes);  // not while the one of here is handled
  };
  const std::exception_ptr unknown = traced_exception_of(&traced::throws_unknown);
  CHECK(what_of<conc::RemoteError>(unknown) == "(anonymous namespace)::Unknown: lost");
  const std::string trace = info_of(unknown).trace();
  CHECK(trace.starts_with("      at traced::throws_unknown()+0x"));
  // What comes from a worker's worker is told as it was there, also when it leaves a task of the worker between.
  CHECK(info_of(sent(unknown)).trace() == trace);
  static std::exception_ptr from_below;
  from_below = unknown;
  CHECK(info_of(traced_exception_of([] { std::rethrow_exception(from_below); })).trace() == trace);
  from_below = nullptr;

  // A cause was caught by the task itself.
  const std::exception_ptr effect = traced_exception_of(&traced::throws_on);
  CHECK(info_of(effect).trace().find("traced::throws_on()") != std::string::npos);
  CHECK(caught_as<std::nested_exception>(effect, [](const std::nested_exception& caught) {
          return info_of(caught.nested_ptr()).trace();
        }).empty());

  // Nobody has noted it; nor is that of another exception told.
  CHECK(info_of(sent_of(&traced::throws_unknown)).trace().empty());
}

TEST_CASE("exceptions: of a thousand causes the first come along", "[remote_exception][nested]") {
  std::exception_ptr deep = std::make_exception_ptr(std::runtime_error{"0"});
  for (int i = 1; i < 1000; ++i) {
    try {
      try {
        std::rethrow_exception(deep);
      } catch (...) {
        std::throw_with_nested(std::runtime_error{std::to_string(i)});
      }
    } catch (...) {
      deep = std::current_exception();
    }
  }
  const std::vector<std::string> chain = chain_of(sent(deep));
  REQUIRE(chain.size() == conc::detail::kMostCauses);
  CHECK(chain.front() == "std::runtime_error: 999");
  CHECK(chain.back() == "std::runtime_error: " + std::to_string(1000 - conc::detail::kMostCauses));
}

TEST_CASE("exceptions: bytes that are wrong give PickleError or some exception [FC7]", "[remote_exception][fault]") {
  const std::vector<std::exception_ptr> exceptions{
      std::make_exception_ptr(std::runtime_error{"a"}),
      std::make_exception_ptr(std::system_error{EACCES, std::generic_category(), "open"}),
      std::make_exception_ptr(KnownFields{12, "name"}), std::make_exception_ptr(42),
      nested(Known{"outer"}, nested(Reading{1, "V"}, std::bad_alloc{}))};
  std::size_t refused = 0;
  std::size_t other = 0;
  std::string foreign;
  const auto look = [&](std::span<const std::byte> bytes) {
    try {
      conc::Unpickler pickled{bytes};
      other += conc::detail::load_exception(pickled, kPid) != nullptr;
    } catch (const conc::PickleError&) {
      ++refused;
    } catch (...) {
      foreign = conc::detail::describe(std::current_exception());
    }
  };
  std::minstd_rand random{42};
  for (const std::exception_ptr& exception : exceptions) {
    const std::vector<std::byte> bytes = bytes_of(exception);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      look(std::span{bytes}.first(length));
    }
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      for (const unsigned change : {1U, 0x80U, 0xffU}) {
        auto changed = bytes;
        changed[at] ^= static_cast<std::byte>(change);
        look(changed);
      }
    }
    for (int i = conc_test::scaled(1000); i > 0; --i) {
      auto changed = bytes;
      for (unsigned long n = random() % 8 + 1; n > 0; --n) {
        changed[random() % changed.size()] = static_cast<std::byte>(random());
      }
      look(changed);
    }
  }
  CHECK(foreign.empty());
  CHECK(refused > 0);
  CHECK(other > 0);
  // A chain without an end.
  std::vector<std::byte> endless;
  for (std::size_t i = 0; i <= conc::detail::kMostCauses; ++i) {
    const auto bytes = bytes_of(std::make_exception_ptr(1));
    endless.insert(endless.end(), bytes.begin(), bytes.end());
    endless.back() = std::byte{1};
  }
  CHECK_THROWS_AS(exception_of(endless), conc::PickleError);
}

TEST_CASE("exceptions: several threads save and load at once, and pass them on [FM14]", "[remote_exception]") {
  const std::exception_ptr shared = nested(Known{"outer"}, std::runtime_error{"inner"});
  std::vector<std::exception_ptr> arrived(8);
  conc_test::run_threads(arrived.size(), [&](std::size_t index) {
    for (int i = conc_test::scaled(200); i > 0; --i) {
      arrived[index] = sent(shared);
      conc::register_exception<Base>();
    }
  });
  for (const std::exception_ptr& exception : arrived) {
    CHECK(what_of<Known>(exception) == "outer");
  }
  check_arrives(Base{"registered late"});
}
