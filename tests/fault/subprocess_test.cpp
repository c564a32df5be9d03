// SPDX-License-Identifier: MIT
// Descriptors and memory that run out around a program that is run.
#include <conc/subprocess.hpp>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <exception>
#include <string>
#include <system_error>
#include <vector>

#include "allocations.hpp"
#include "background.hpp"
#include "process_support.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using conc::subprocess::CompletedProcess;
using conc::subprocess::run;
using conc_test::DescriptorLimit;
using conc_test::fail_each_allocation;
using conc_test::live_bytes;
using conc_test::open_descriptors;
using conc_test::outcome;

}  // namespace

TEST_CASE("subprocess: each descriptor that is missing is std::system_error and leaves nothing behind",
          "[process][P19][FW12]") {
  const std::ptrdiff_t before = open_descriptors();
  int failures = 0;
  CompletedProcess done;
  // One that the system gives at first, two, …, until there are enough.
  for (rlim_t limit = 3;; ++limit) {
    std::exception_ptr thrown;  // looked at once there are descriptors again: UndefinedBehaviorSanitizer needs some
    {
      const DescriptorLimit few{limit};
      try {
        done = run({"cat"}, {.input = "input", .capture_output = true});
      } catch (...) {
        thrown = std::current_exception();
      }
    }
    REQUIRE(open_descriptors() == before);
    if (!thrown) break;
    try {
      std::rethrow_exception(thrown);
    } catch (const std::system_error& error) {
      const std::string what = error.what();
      REQUIRE(error.code() == std::errc::too_many_files_open);
      REQUIRE((what.starts_with("subprocess::run: no pipe: ") || what.starts_with("subprocess::run: no pidfd: ")));
    }
    ++failures;
  }
  CHECK(failures >= 7);  // three pipes and the pidfd
  CHECK(done.out == "input");
  CHECK(done.returncode == 0);
}

TEST_CASE("subprocess: a program that cannot be started leaves nothing behind", "[process][P19]") {
  const std::size_t before = live_bytes;
  const std::ptrdiff_t descriptors = open_descriptors();
  for (int i = 0; i < conc_test::scaled(100); ++i) {
    CHECK(outcome([] { run({"no_such_program"}, {.input = "x", .capture_output = true}); }) ==
          "subprocess::run: no_such_program: No such file or directory");
    CHECK(outcome([] { run({"true"}, {.capture_output = true, .cwd = "/nowhere"}); }) ==
          "subprocess::run: the working directory /nowhere: No such file or directory");
  }
  CHECK(open_descriptors() == descriptors);
  CHECK(live_bytes <= before + 16384);
}

TEST_CASE("subprocess: each allocation that fails leaves no process and no descriptor", "[process][G4][FR2]") {
  const std::ptrdiff_t descriptors = open_descriptors();
  const std::string input(100'000, 'x');
  const conc::subprocess::Options options{
      .input = input, .capture_output = true, .timeout = 1h, .check = true, .env = {{"A", "1"}}};
  CompletedProcess done;
  int failures = 0;
  fail_each_allocation([&] { done = run({"cat"}, options); },
                       [&](bool got_through) {
                         CHECK_FALSE(got_through);
                         CHECK(open_descriptors() == descriptors);
                         CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);  // no children
                         ++failures;
                       });
  CHECK(failures >= 5);
  CHECK((done.out == input));
  int expired = 0;
  fail_each_allocation(
      [&] {
        try {
          run({"sleep", "1000"}, {.capture_output = true, .timeout = 0s});
        } catch (const conc::TimeoutError&) {
          ++expired;
        }
      },
      [&](bool) {
        CHECK(open_descriptors() == descriptors);
        CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
      });
  CHECK(expired >= 1);
}
