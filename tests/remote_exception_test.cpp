// SPDX-License-Identifier: MIT
// What detail/remote_exception.hpp and remote_error.hpp promise: exceptions that cross between processes.
#include <conc/detail/remote_exception.hpp>
#include <conc/remote_error.hpp>

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
  try {
    fail();
  } catch (...) {
    return sent(std::current_exception());
  }
  return nullptr;
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
