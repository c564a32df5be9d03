// SPDX-License-Identifier: MIT
#include <conc/error.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <exception>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "support.hpp"

TEMPLATE_TEST_CASE("Error: is the base of everything that can happen to a correct program", "[error]",
                   conc::TimeoutError, conc::CancelledError, conc::InvalidStateError, conc::QueueEmpty, conc::QueueFull,
                   conc::QueueShutDown, conc::BrokenBarrierError, conc::BrokenPromise, conc::DeadlockError,
                   conc::PickleError, conc::RemoteError, conc::BrokenExecutor, conc::BrokenThreadPool,
                   conc::BrokenProcessPool) {
  STATIC_REQUIRE(std::is_base_of_v<conc::Error, TestType>);
  STATIC_REQUIRE(std::is_base_of_v<std::runtime_error, TestType>);
  STATIC_REQUIRE_FALSE(std::is_base_of_v<conc::UsageError, TestType>);
  STATIC_REQUIRE(std::is_nothrow_copy_constructible_v<TestType>);
  CHECK(std::string{TestType{"what happened"}.what()} == "what happened");
}

TEST_CASE("UsageError: is a logic_error and no Error, for it is the caller's mistake", "[error][G5]") {
  STATIC_REQUIRE(std::is_base_of_v<std::logic_error, conc::UsageError>);
  STATIC_REQUIRE_FALSE(std::is_base_of_v<conc::Error, conc::UsageError>);
}

TEST_CASE("BrokenExecutor: covers broken thread pools and broken process pools", "[error]") {
  STATIC_REQUIRE(std::is_base_of_v<conc::BrokenExecutor, conc::BrokenThreadPool>);
  STATIC_REQUIRE(std::is_base_of_v<conc::BrokenExecutor, conc::BrokenProcessPool>);
}

namespace {

std::string line_for(const std::exception_ptr& exception) {
  conc::detail::report_uncaught({exception, "sampler"});
  return conc_test::take_stderr();
}

struct NoStdException {};

std::string hook_saw;

void remember(const conc::ExceptHookArgs& args) {
  hook_saw = std::string{args.thread_name} + " / " + conc::detail::describe(args.exception);
}

void fail(const conc::ExceptHookArgs&) { throw std::runtime_error{"the hook failed"}; }

}  // namespace

TEST_CASE("excepthook: prints one line with thread, type and message by default", "[error][T10]") {
  CHECK(line_for(std::make_exception_ptr(std::out_of_range{"no such row"})) ==
        "Exception in thread sampler: std::out_of_range: no such row\n");
  CHECK(line_for(std::make_exception_ptr(conc::QueueEmpty{"nothing"})).find("QueueEmpty: nothing\n") !=
        std::string::npos);
  CHECK(line_for(std::make_exception_ptr(42)) == "Exception in thread sampler: int\n");
  CHECK(line_for(std::make_exception_ptr(NoStdException{})).find("NoStdException\n") != std::string::npos);
}

TEST_CASE("excepthook: is replaced by set_excepthook, which returns the hook until then", "[error][T10]") {
  CHECK(conc::set_excepthook(&remember) == &conc::default_excepthook);
  conc::detail::report_uncaught({std::make_exception_ptr(std::runtime_error{"bad sample"}), "sampler"});
  CHECK(hook_saw == "sampler / std::runtime_error: bad sample");
  CHECK(conc_test::take_stderr().empty());

  CHECK(conc::set_excepthook(nullptr) == &remember);  // back to the default
  CHECK(line_for(std::make_exception_ptr(1)) == "Exception in thread sampler: int\n");
  CHECK(conc::set_excepthook(&conc::default_excepthook) == &conc::default_excepthook);
}

TEST_CASE("excepthook: what it throws itself is dropped", "[error][T10]") {
  conc::set_excepthook(&fail);
  conc::detail::report_uncaught({std::make_exception_ptr(1), "sampler"});
  CHECK(conc::set_excepthook(nullptr) == &fail);
  CHECK(conc_test::take_stderr().empty());
}
