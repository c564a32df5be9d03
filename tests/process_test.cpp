// SPDX-License-Identifier: MIT
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <conc/process.hpp>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "background.hpp"
#include "process_support.hpp"
#include "processes.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using conc::Process;
using conc::StartMethod;
using conc::detail::Descriptor;
using conc::detail::pidfd_of;
using conc_test::in_child;
using conc_test::message_of;
using conc_test::open_descriptors;
using conc_test::time_to_end;

constexpr std::array methods{StartMethod::fork_server, StartMethod::spawn, StartMethod::fork};

[[noreturn]] void pause_for_ever() {
  for (;;) ::pause();
}

int add(int a, int b) { return a + b; }

/// Picklable, and what it returns is not.
struct Counter {
  int from = 0;
  template <class Archive>
  void pickle(Archive& archive) {
    archive(from);
  }
  const int* operator()(const std::vector<int>& numbers) const {
    ::_exit(std::accumulate(numbers.begin(), numbers.end(), from));
  }
};

struct RefusesToBePickled {
  int unused = 0;
  template <class Archive>
  void pickle(Archive& archive) {
    if constexpr (Archive::is_saving) throw std::runtime_error{"no bytes of me"};
    archive(unused);
  }
};

std::optional<int> run(Process process) {
  process.start();
  process.join();
  return process.exitcode();
}

}  // namespace

TEST_CASE("Process: runs a function with arguments, and its exit code tells how it ended", "[process][P19]") {
  for (const StartMethod method : methods) {
    CHECK(run(Process{{.start_method = method}, [] {}}) == 0);
    CHECK(run(Process{{.start_method = method}, add, 1, 2}) == 0);
    CHECK(run(Process{{.start_method = method}, [](int n) { ::_exit(n); }, 7}) == 7);
    // LeakSanitizer looks in a forked process for the threads of its parent, and says that it finds none.
    if (method != StartMethod::fork || conc_test::sanitizer() != conc_test::Sanitizer::address) {
      CHECK(run(Process{{.start_method = method}, [](int n) { std::exit(n); }, 8}) == 8);
    }
    CHECK(run(Process{{.start_method = method}, [](int signal) { ::raise(signal); }, SIGUSR2}) == -SIGUSR2);
    CHECK(run(Process{{.start_method = method}, Counter{3}, std::vector<int>{10, 20}}) == 33);
    CHECK(run(Process{{.start_method = method}, [] { ::pthread_exit(nullptr); }}) == 0);
  }
}

TEST_CASE("Process: before the start and after the end", "[process][P19]") {
  for (const StartMethod method : methods) {
    Process process{{.name = "worker", .start_method = method}, pause_for_ever};
    CHECK(process.name() == "worker");
    CHECK(!process.daemon());
    CHECK(process.pid() == 0);
    CHECK(process.sentinel() < 0);
    CHECK(!process.is_alive());
    CHECK(!process.exitcode());
    CHECK(message_of<conc::UsageError>([&] { process.join(); }) == "Process::join: worker was not started");
    CHECK(message_of<conc::UsageError>([&] { process.terminate(); }) == "Process::terminate: worker was not started");
    CHECK(message_of<conc::UsageError>([&] { process.kill(); }) == "Process::kill: worker was not started");
    process.start();
    CHECK(process.pid() > 0);
    CHECK(process.is_alive());
    CHECK(!process.exitcode());
    CHECK(!process.join(0ms));
    CHECK(!process.join(1ms));
    CHECK(message_of<conc::UsageError>([&] { process.start(); }) == "Process::start: worker was started already");
    pollfd sentinel{process.sentinel(), POLLIN, 0};
    CHECK(::poll(&sentinel, 1, 0) == 0);
    process.terminate();
    CHECK(process.join());
    CHECK(::poll(&sentinel, 1, 0) == 1);
    CHECK(process.join(0ms));
    CHECK(!process.is_alive());
    CHECK(process.exitcode() == -SIGTERM);
    process.terminate();
    process.kill();
    CHECK(process.exitcode() == -SIGTERM);
    CHECK(message_of<conc::UsageError>([&] { process.start(); }) == "Process::start: worker was started already");
  }
}

/// What was written to stderr: its first line, and whether there are others and each of them tells a call.
static std::pair<std::string, bool> message_and_calls() {
  std::istringstream text{conc_test::take_stderr()};
  std::string message;
  std::string line;
  std::getline(text, message);
  bool calls = true;
  int lines = 0;
  for (; std::getline(text, line); ++lines) calls = calls && line.starts_with("      at ");
  return {message, calls && lines > 0};
}

TEST_CASE("Process: an exception is printed, with where it was thrown, and makes the exit code 1", "[process][P19]") {
  for (const StartMethod method : methods) {
    CHECK(run(Process{{.name = "one", .start_method = method}, [] { throw std::runtime_error{"no luck"}; }}) == 1);
    CHECK(message_and_calls() == std::pair{"Exception in process one: std::runtime_error: no luck"s, true});
    CHECK(run(Process{{.name = "two", .start_method = method}, [] { throw 42; }}) == 1);
    CHECK(message_and_calls() == std::pair{"Exception in process two: int"s, true});
  }
}

TEST_CASE("Process: names are distinct where none was given", "[process][P19]") {
  const Process one{[] {}};
  const Process two{[] {}};
  CHECK(one.name().starts_with("Process-"));
  CHECK(one.name() != two.name());
  CHECK(one == Process{one});
  CHECK(!(one == two));
  CHECK(Process{{.daemon = true}, [] {}}.daemon());
}

TEST_CASE("Process: the system shows its name", "[process]") {
  Process process{{.name = "named by conc"}, [] {
                    std::array<char, 16> name{};
                    ::prctl(PR_GET_NAME, name.data());
                    ::_exit(std::string{name.data()} == "named by conc" ? 3 : 4);
                  }};
  process.start();
  process.join();
  CHECK(process.exitcode() == 3);
}

TEST_CASE("Process: kill ends what ignores SIGTERM, and what it has started", "[process][P19]") {
  for (const StartMethod method : methods) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    // The text of its grandchild's number goes where the program's standard error goes.
    Process process{{.start_method = method}, [] {
                      ::signal(SIGTERM, SIG_IGN);
                      const pid_t child = ::fork();
                      if (child == 0) pause_for_ever();
                      std::fprintf(stderr, "%d\n", child);
                      pause_for_ever();
                    }};
    process.start();
    std::string text;
    REQUIRE(conc_test::eventually([&] { return (text += conc_test::take_stderr()).ends_with('\n'); }));
    const Descriptor grandchild = pidfd_of(std::stoi(text));
    process.terminate();
    CHECK(!process.join(20ms));
    process.kill();
    process.join();
    CHECK(process.exitcode() == -SIGKILL);
    CHECK(time_to_end(grandchild) < 10s);
    ::close(ends[0]);
    ::close(ends[1]);
  }
}

TEST_CASE("Process: a large call is written while the process reads it", "[process][FC6]") {
  const auto size = conc_test::scaled(std::size_t{20'000'000});
  std::vector<int> numbers(size);
  std::iota(numbers.begin(), numbers.end(), 0);
  const long long sum = std::accumulate(numbers.begin(), numbers.end(), 0LL);
  for (const StartMethod method : methods) {
    Process process{{.start_method = method},
                    [](const std::vector<int>& all, long long expected) {
                      ::_exit(std::accumulate(all.begin(), all.end(), 0LL) == expected ? 5 : 6);
                    },
                    numbers,
                    sum};
    CHECK(run(process) == 5);
  }
}

TEST_CASE("Process: one that dies before it has read its call does not hold up start", "[process][FW3]") {
  const std::vector<int> numbers(1'000'000);
  for (const StartMethod method : methods) {
    Process process{
        {.start_method = method, .preload = {"no-such-plugin.so"}}, [](const std::vector<int>&) {}, numbers};
    process.start();
    process.join();
    CHECK(process.exitcode() == 1);
    CHECK(conc_test::take_stderr().starts_with("conc: a worker cannot load no-such-plugin.so: "));
  }
}

TEST_CASE("Process: what cannot be pickled is an error of the constructor", "[process][FC1]") {
  CHECK(message_of<std::runtime_error>([] {
          Process{[](const RefusesToBePickled&) {}, RefusesToBePickled{}};
        }) == "no bytes of me");
  void (*const nothing)() = nullptr;
  CHECK(!message_of<conc::PickleError>([&] { Process{nothing}; }).empty());
}

TEST_CASE("Process: many threads may join, look and kill at once", "[process][P19]") {
  const int rounds = conc_test::scaled(20);
  for (int i = 0; i < rounds; ++i) {
    Process process{pause_for_ever};
    process.start();
    std::array<std::optional<int>, 4> codes;
    conc_test::run_threads(codes.size() + 1, [&, process](std::size_t index) mutable {
      if (index == codes.size()) {
        process.kill();
      } else {
        (void)process.is_alive();
        process.join();
        codes[index] = process.exitcode();
      }
    });
    for (const auto& code : codes) REQUIRE(code == -SIGKILL);
  }
}

TEST_CASE("Process: dropped handles do not end it; one that has ended is reaped by the next start", "[process][P16]") {
  const auto before = open_descriptors();
  Descriptor goes_on;
  {
    Process process{[] { ::pause(); }};
    process.start();
    goes_on = pidfd_of(process.pid());
  }
  CHECK(!conc::detail::await_end(goes_on.number(), {}));
  ::syscall(SYS_pidfd_send_signal, goes_on.number(), SIGTERM, nullptr, 0);
  REQUIRE(time_to_end(goes_on) < 10s);
  CHECK(run(Process{[] {}}) == 0);
  goes_on.close();
  CHECK(open_descriptors() == before);
  CHECK(conc_test::children_of(conc::detail::fork_server.pid()).empty());
}

TEST_CASE("Process: waits for the threads of its target that are no daemons", "[process][T11]") {
  for (const StartMethod method : {StartMethod::fork_server, StartMethod::spawn}) {
    Process process{{.start_method = method}, [] {
                      conc::Thread{[] {
                        ::poll(nullptr, 0, 20);
                        std::fputs("the thread ends\n", stderr);
                      }}.start();
                      conc::Thread{{.daemon = true}, pause_for_ever}.start();
                    }};
    CHECK(run(process) == 0);
    CHECK(conc_test::take_stderr() == "the thread ends\n");
  }
}

TEST_CASE("Process: may have processes of its own, and waits for those that are no daemons", "[process][P19]") {
  for (const StartMethod method : methods) {
    Process process{{.start_method = method}, [] {
                      Process inner{[] {
                        ::poll(nullptr, 0, 20);
                        std::fputs("the inner one ends\n", stderr);
                      }};
                      inner.start();
                      Process daemon{{.daemon = true}, pause_for_ever};
                      daemon.start();
                    }};
    CHECK(run(process) == 0);
    if (method != StartMethod::fork) CHECK(conc_test::take_stderr() == "the inner one ends\n");
    (void)conc_test::take_stderr();
  }
}

TEST_CASE("Process: a forked child has none of its parent's processes", "[process][P18]") {
  for (const StartMethod method : methods) {
    Process process{{.name = "of the parent", .start_method = method}, pause_for_ever};
    process.start();
    CHECK(in_child([&] {
            const std::string words = message_of<conc::UsageError>([&] { process.join(); });
            if (!words.starts_with("Process::join: of the parent was started by process ")) return 1;
            if (message_of<conc::UsageError>([&] { process.kill(); }).empty()) return 2;
            if (message_of<conc::UsageError>([&] { (void)process.is_alive(); }).empty()) return 3;
            if (message_of<conc::UsageError>([&] { (void)process.exitcode(); }).empty()) return 4;
            if (run(Process{{.start_method = method}, [] { ::_exit(7); }}) != 7) return 5;
            return 0;
          }) == 0);
    CHECK(process.is_alive());
    process.kill();
    process.join();
    CHECK(process.exitcode() == -SIGKILL);
  }
}

TEST_CASE("Process: an exit code that somebody else has taken is said to be lost", "[process][FW15]") {
  for (const StartMethod method : {StartMethod::spawn, StartMethod::fork}) {
    Process process{{.start_method = method}, [] {}};
    process.start();
    while (::waitpid(-1, nullptr, 0) != process.pid()) {
    }
    CHECK(process.join());
    CHECK(process.exitcode() == conc::subprocess::status_lost);
    CHECK(!process.is_alive());
    process.kill();
  }
}
