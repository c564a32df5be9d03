// SPDX-License-Identifier: MIT
// Threads started, joined, named, looked at and forgotten from several threads at once.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/event.hpp>
#include <conc/queue.hpp>
#include <conc/thread.hpp>
#include <cstddef>
#include <cstdint>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "background.hpp"

using namespace std::chrono_literals;
using conc_test::outcome;
using conc_test::run_threads;

TEST_CASE("Thread: threads are started and joined by several threads at once", "[thread][T3][T4][T6]") {
  constexpr std::size_t starters = 4;
  const std::size_t rounds = conc_test::scaled<std::size_t>(500);
  std::vector<std::vector<std::uint64_t>> idents(starters);
  std::atomic<std::size_t> runs{0};
  std::atomic<std::size_t> wrong{0};
  run_threads(starters, [&](std::size_t index) {
    for (std::size_t i = 0; i < rounds; ++i) {
      std::uint64_t seen = 0;
      conc::Thread thread{{.name = "t" + std::to_string(index)}, [&] {
                            seen = conc::current_thread().ident();
                            if (conc_test::thread_fact(::gettid(), "comm") != "t" + std::to_string(index)) ++wrong;
                            ++runs;
                          }};
      thread.start();
      if (thread.ident() == 0) ++wrong;
      if (i % 3 == 0) {
        while (!thread.join(100us)) continue;
      } else {
        thread.join();
      }
      if (seen != thread.ident() || thread.is_alive()) ++wrong;
      idents[index].push_back(thread.ident());
    }
  });
  CHECK(runs == starters * rounds);
  CHECK(wrong == 0);
  std::set<std::uint64_t> distinct;
  for (const std::vector<std::uint64_t>& some : idents) distinct.insert(some.begin(), some.end());
  CHECK(distinct.size() == starters * rounds);
}

TEST_CASE("Thread: many threads join the same one", "[thread][T3]") {
  for (int round = 0; round < conc_test::scaled(300); ++round) {
    int result = 0;  // no atomic: join makes it visible
    conc::Event go;
    conc::Thread thread{[&] {
      go.wait();
      result = 42;
    }};
    thread.start();
    std::atomic<int> right{0};
    run_threads(5, [&](std::size_t index) {
      if (index == 0) go.set();
      conc::Thread handle = thread;
      if (index % 2 == 0) {
        handle.join();
      } else {
        while (!handle.join(10us)) continue;
      }
      if (result == 42 && !handle.is_alive()) ++right;
    });
    REQUIRE(right == 5);
  }
}

TEST_CASE("Thread: handles are dropped while threads run, and others look at the list of threads",
          "[thread][T16][G6]") {
  constexpr std::size_t starters = 3;
  const std::size_t rounds = conc_test::scaled<std::size_t>(500);
  std::atomic<std::size_t> ended{0};
  std::atomic<std::size_t> wrong{0};
  run_threads(starters + 2, [&](std::size_t index) {
    if (index < starters) {
      for (std::size_t i = 0; i < rounds; ++i) conc::Thread{[&] { ++ended; }}.start();
      return;
    }
    while (ended.load() < starters * rounds) {
      for (const conc::Thread& thread : conc::enumerate()) {
        if (thread.name().empty() || thread.ident() == 0) ++wrong;
      }
      if (conc::active_count() == 0) ++wrong;
    }
  });
  CHECK(ended == starters * rounds);
  CHECK(wrong == 0);
  // The next start joins those that have ended.
  CHECK(conc_test::eventually([] { return conc::active_count() == 1; }));
  conc::Thread last{[] {}};
  last.start();
  last.join();
}

TEST_CASE("Thread: threads that conc did not start come and go while others look at the list", "[thread]") {
  std::atomic<bool> over{false};
  std::atomic<int> wrong{0};
  conc::Thread looker{[&] {
    while (!over.load()) {
      for (conc::Thread& thread : conc::enumerate()) {
        if (thread.ident() == 0) ++wrong;
        if (thread.name().starts_with("Dummy-")) thread.join(50us);
      }
    }
  }};
  looker.start();
  for (int round = 0; round < conc_test::scaled(300); ++round) {
    run_threads(3, [&](std::size_t) {
      const conc::Thread self = conc::current_thread();
      if (!self.is_alive() || !(self == conc::current_thread())) ++wrong;
    });
  }
  over.store(true);
  looker.join();
  CHECK(wrong == 0);
}

namespace {
std::atomic<int> reported{0};
}

TEST_CASE("Thread: the excepthook may be replaced while threads fail", "[thread][T10]") {
  reported.store(0);
  const auto count = [](const conc::ExceptHookArgs&) { ++reported; };
  const auto count_too = [](const conc::ExceptHookArgs& args) {
    if (outcome([&] { std::rethrow_exception(args.exception); }) == "boom") ++reported;
  };
  conc::ExceptHook const original = conc::set_excepthook(count);
  const int rounds = conc_test::scaled(300);
  run_threads(3, [&](std::size_t index) {
    for (int i = 0; i < rounds; ++i) {
      if (index == 0) {
        conc::set_excepthook(i % 2 == 0 ? conc::ExceptHook{count_too} : conc::ExceptHook{count});
        continue;
      }
      conc::Thread thread{[] { throw std::runtime_error{"boom"}; }};
      thread.start();
      thread.join();
    }
  });
  conc::set_excepthook(original);
  CHECK(reported == 2 * rounds);
}

TEST_CASE("Thread: a chain of threads, each started by the one before, leaves nothing behind", "[thread][T16]") {
  const int length = conc_test::scaled(1000);
  conc::Event done;
  std::atomic<int> started{0};
  struct Link {
    int left;
    conc::Event& done;
    std::atomic<int>& started;
    void operator()() const {
      ++started;
      if (left == 0) {
        done.set();
      } else {
        conc::Thread{Link{left - 1, done, started}}.start();
      }
    }
  };
  conc::Thread{Link{length, done, started}}.start();
  done.wait();
  CHECK(started == length + 1);
  CHECK(conc_test::eventually([] { return conc::active_count() == 1; }));
  conc::Thread last{[] {}};
  last.start();
  last.join();
}

TEST_CASE("Thread: workers in threads of conc empty a queue", "[thread][queue]") {
  const int items = conc_test::scaled(10'000);
  conc::Queue<int> queue{16};
  std::atomic<std::int64_t> sum{0};
  std::vector<conc::Thread> workers;
  for (int i = 0; i < 4; ++i) {
    workers.emplace_back([&] {
      for (const int& item : queue) {
        conc::TaskDone done{queue};
        sum += item;
      }
    });
    workers.back().start();
  }
  for (int i = 1; i <= items; ++i) queue.put(i);
  queue.join();
  CHECK(sum == std::int64_t{items} * (items + 1) / 2);
  queue.shutdown();
  for (conc::Thread& worker : workers) worker.join();
}
