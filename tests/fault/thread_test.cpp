// SPDX-License-Identifier: MIT
// Threads that the system does not give, and allocations that fail around them.
#include <sys/resource.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <conc/event.hpp>
#include <conc/thread.hpp>
#include <cstddef>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "allocations.hpp"
#include "background.hpp"

using namespace std::chrono_literals;
using conc_test::Background;
using conc_test::fail_each_allocation;
using conc_test::live_bytes;
using conc_test::outcome;

namespace {

// No system has room for such a stack: start() fails as it does when there are no threads left.
constexpr std::size_t kTooLarge = std::size_t{1} << 60U;

/// The number of the std::system_error that start() throws; 0 if it throws none.
int start_error(conc::Thread& thread) {
  try {
    thread.start();
    return 0;
  } catch (const std::system_error& error) {
    return error.code() == std::error_code{error.code().value(), std::generic_category()} ? error.code().value() : -1;
  }
}

}  // namespace

TEST_CASE("Thread: a start that fails throws std::system_error and leaves no trace", "[thread][T9][FR1]") {
  const auto captured = std::make_shared<int>(1);
  const std::size_t threads = conc::active_count();
  bool ran = false;
  {
    conc::Thread thread{{.name = "too large", .stack_size = kTooLarge}, [captured, &ran] { ran = true; }};
    const std::size_t before = live_bytes;
    for (int i = 0; i < 3; ++i) {
      CHECK(start_error(thread) == EAGAIN);
      CHECK_FALSE(thread.is_alive());
      CHECK(thread.ident() == 0);
      CHECK(thread.native_id() == 0);
      CHECK(conc::active_count() == threads);
      CHECK(outcome([&] { thread.join(); }) == "UsageError");
      CHECK(captured.use_count() == 2);  // its target waits for a start that works
    }
    CHECK(live_bytes == before);
    CHECK(conc_test::message_of<std::system_error>([&] { thread.start(); }).starts_with("Thread::start: too large: "));
  }
  CHECK(captured.use_count() == 1);
  CHECK_FALSE(ran);
}

TEST_CASE("Thread: threads started before one that fails go on", "[thread][T9][FR1]") {
  for (int failing = 0; failing < 5; ++failing) {
    conc::Event end;
    std::vector<conc::Thread> threads;
    std::atomic<int> ended{0};
    for (int i = 0; i < 5; ++i) {
      threads.emplace_back(conc::ThreadOptions{.stack_size = i == failing ? kTooLarge : 0}, [&] {
        end.wait();
        ++ended;
      });
    }
    int started = 0;
    for (conc::Thread& thread : threads) started += start_error(thread) == 0 ? 1 : 0;
    CHECK(started == 4);
    end.set();
    for (int i = 0; i < 5; ++i) {
      if (i != failing) CHECK(threads[static_cast<std::size_t>(i)].join());
    }
    CHECK(ended == 4);
  }
}

TEST_CASE("Thread: a start that failed can be repeated when the system has a thread to give", "[thread][T9][FR1]") {
  if (conc_test::sanitizer() != conc_test::Sanitizer::none) SKIP("a sanitizer does not live with a limit on addresses");
  constexpr std::size_t stack = std::size_t{512} << 20U;
  std::size_t pages = 0;
  std::ifstream{"/proc/self/statm"} >> pages;
  rlimit old{};
  ::getrlimit(RLIMIT_AS, &old);
  rlimit little = old;
  little.rlim_cur = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + stack / 2;
  int runs = 0;
  conc::Thread thread{{.stack_size = stack}, [&] { ++runs; }};
  ::setrlimit(RLIMIT_AS, &little);
  const int error = start_error(thread);
  ::setrlimit(RLIMIT_AS, &old);
  CHECK(error == EAGAIN);
  CHECK(start_error(thread) == 0);
  CHECK(thread.ident() != 0);
  CHECK(thread.join());
  CHECK(runs == 1);
}

TEST_CASE("Thread: who joins while a start fails gets UsageError, and never hangs", "[thread][T2][T9][FR1]") {
  for (int i = 0; i < conc_test::scaled(500); ++i) {
    conc::Thread thread{{.stack_size = kTooLarge}, [] {}};
    std::atomic<int> refused{0};
    conc_test::run_threads(3, [&](std::size_t index) {
      if (index == 0) {
        for (int again = 0; again < 5; ++again) (void)outcome([&] { thread.start(); });
      } else if (outcome([&] { thread.join(); }) == "UsageError") {
        ++refused;
      }
    });
    REQUIRE(refused == 2);
  }
}

TEST_CASE("Thread: a constructor that fails to allocate leaks nothing and leaves its arguments alone",
          "[thread][G4][FR2]") {
  const std::size_t before = live_bytes;
  const std::string name = "a name that is too long for small strings";
  auto argument = std::make_unique<int>(1);
  const auto captured = std::make_shared<int>(2);
  int failures = 0;
  bool ran = false;
  fail_each_allocation(
      [&] {
        conc::Thread thread{
            {.name = name}, [captured, &ran](const std::unique_ptr<int>&) { ran = true; }, std::move(argument)};
        thread.start();
        thread.join();
      },
      [&](bool got_through) {
        CHECK_FALSE(got_through);
        CHECK(argument != nullptr);
        CHECK(captured.use_count() == 1);
        ++failures;
      });
  CHECK(failures >= 2);  // the name and the thread itself
  CHECK(ran);
  CHECK(argument == nullptr);
  CHECK(live_bytes <= before + sizeof(std::string) + 1024);
}

TEST_CASE("Thread: start and join need no memory of their own", "[thread][FR2]") {
  for (int i = 0; i < 10; ++i) {
    conc::Thread thread{[] {}};
    CHECK(fail_each_allocation([&] { thread.start(); }, [](bool) {}) == 0);
    CHECK(fail_each_allocation([&] { thread.join(); }, [](bool) {}) == 0);
  }
}

TEST_CASE("Thread: looking at threads survives allocations that fail", "[thread][FR2][G4]") {
  // In a fresh thread, which becomes known by this.
  const std::size_t before = conc::active_count();
  int failures = 0;
  std::size_t seen = 0;
  std::string name;
  Background foreign{[&] {
    fail_each_allocation([&] { name = conc::current_thread().name(); }, [&](bool) { ++failures; });
    fail_each_allocation([&] { seen = conc::enumerate().size(); }, [&](bool) { ++failures; });
  }};
  CHECK(foreign.join() == "returned");
  CHECK(failures >= 2);
  CHECK(seen == before + 1);
  CHECK(name.starts_with("Dummy-"));
  CHECK(conc::active_count() == before);
}

TEST_CASE("Thread: handles of a thread that never started free all memory", "[thread][T16]") {
  const std::size_t before = live_bytes;
  for (int i = 0; i < 10; ++i) {
    const conc::Thread thread{{.name = "a name that is too long for small strings"}, [] {}};
    const conc::Thread copy{thread};
  }
  CHECK(live_bytes == before);
}

TEST_CASE("Thread: finished threads are freed with their last handle", "[thread][T16]") {
  const auto start_and_forget = [] { conc::Thread{[] {}}.start(); };
  for (int i = 0; i < 10; ++i) start_and_forget();
  const std::size_t before = live_bytes;
  for (int i = 0; i < conc_test::scaled(500); ++i) start_and_forget();
  // The next start joins what has ended; the last few may be left until the exit.
  conc::Thread last{[] {}};
  CHECK(conc_test::eventually([] { return conc::active_count() == 1; }));
  last.start();
  last.join();
  CHECK(live_bytes <= before + 16384);
}
