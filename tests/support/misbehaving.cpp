// SPDX-License-Identifier: MIT
// Cases that break what must hold after each case. Each is run on its own and must fail with the right words.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "support.hpp"

namespace {

std::atomic<bool> nothing{false};

void wait_for_nothing() {
  std::mutex mutex;
  std::condition_variable changed;
  std::unique_lock guard{mutex};
  changed.wait(guard, [] { return nothing.load(); });
}

}  // namespace

// The watchdog's report must name these two. They have external linkage, so that their names are in the executable,
// and end in an output, so that their frames stay.
[[gnu::noinline]] void stuck_worker() {
  wait_for_nothing();
  std::puts("");
}

[[gnu::noinline]] void stuck_main(std::thread& worker) {
  worker.join();
  std::puts("");
}

TEST_CASE("hangs in two threads") {
  std::thread worker{stuck_worker};
  stuck_main(worker);
}

TEST_CASE("leaves a thread") { std::thread{wait_for_nothing}.detach(); }

TEST_CASE("leaves a file descriptor") { REQUIRE(::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0); }

TEST_CASE("closes a file descriptor") { REQUIRE(::close(STDIN_FILENO) == 0); }

TEST_CASE("leaves a child process") {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  REQUIRE(child > 0);
}

TEST_CASE("leaves a temporary file") {
  std::ofstream{std::filesystem::temp_directory_path() / "left_behind"} << "text";
}

TEST_CASE("writes to stderr") { std::fputs("some unexpected words\n", stderr); }

TEST_CASE("dies with words on stderr") {
  std::fputs("its last words\n", stderr);
  std::abort();
}

TEST_CASE("takes what it writes to stderr") {
  std::fputs("expected words\n", stderr);
  REQUIRE(conc_test::take_stderr() == "expected words\n");
  REQUIRE(conc_test::take_stderr().empty());
}

TEST_CASE("announces that it writes to stderr", "[stderr]") { std::fputs("announced words\n", stderr); }
