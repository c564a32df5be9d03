// SPDX-License-Identifier: MIT
#include <conc/event.hpp>
#include <conc/thread.hpp>

#include <any>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "background.hpp"
#include "support.hpp"

using conc::ThreadLocal;

namespace {

/// Counts those that are alive, and notes on which thread the last one died.
struct Counted {
  Counted() noexcept { ++alive; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() {
    --alive;
    died_on = std::this_thread::get_id();
  }

  int number = 0;
  static inline std::atomic<int> alive{0};
  static inline std::atomic<std::thread::id> died_on{};
};

}  // namespace

TEST_CASE("ThreadLocal: every thread has a value of its own", "[thread_local]") {
  ThreadLocal<int> number{[] { return 10; }};
  CHECK_FALSE(number.has_value());
  *number = 1;
  CHECK(number.has_value());
  constexpr std::size_t threads = 8;
  std::vector<int> before(threads);
  std::vector<int> after(threads);
  conc_test::run_threads(threads, [&](std::size_t thread) {
    before[thread] = number.get();
    for (std::size_t i = 0; i < 1000; ++i) number.get() += static_cast<int>(thread);
    after[thread] = *number;
  });
  for (std::size_t thread = 0; thread < threads; ++thread) {
    CHECK(before[thread] == 10);
    CHECK(after[thread] == 10 + 1000 * static_cast<int>(thread));
  }
  CHECK(*number == 1);
}

TEST_CASE("ThreadLocal: several of them do not get into each other's way", "[thread_local]") {
  ThreadLocal<std::string> words[4];
  conc_test::Background other{[&] {
    for (std::size_t i = 0; i < 4; ++i) *words[i] = std::to_string(i);
    for (std::size_t i = 4; i-- > 0;) {
      if (*words[i] != std::to_string(i) || words[i]->size() != 1) throw std::runtime_error{"another value"};
    }
  }};
  CHECK(other.join() == "returned");
  for (auto& word : words) CHECK(word->empty());
}

TEST_CASE("ThreadLocal: a value is destroyed when its thread ends, on that thread", "[thread_local]") {
  Counted::alive = 0;
  ThreadLocal<Counted> counted;
  std::thread::id thread;
  conc::Thread ends{[&] {
    counted->number = 1;
    thread = std::this_thread::get_id();
  }};
  ends.start();
  ends.join();
  CHECK(Counted::alive == 0);
  CHECK(Counted::died_on.load() == thread);
  counted->number = 2;
  CHECK(Counted::alive == 1);
}

TEST_CASE("ThreadLocal: its destructor destroys the values of threads that go on", "[thread_local][G8]") {
  Counted::alive = 0;
  std::optional<ThreadLocal<Counted>> counted{std::in_place};
  conc::Event made;
  conc::Event go;
  conc_test::Background other{[&] {
    (*counted)->number = 1;
    made.set();
    go.wait();
  }};
  made.wait();
  (*counted)->number = 2;
  CHECK(Counted::alive == 2);
  counted.reset();
  CHECK(Counted::alive == 0);
  CHECK(Counted::died_on.load() == std::this_thread::get_id());
  go.set();
  CHECK(other.join() == "returned");
}

TEST_CASE("ThreadLocal: the end of threads and of the object may meet", "[thread_local]") {
  Counted::alive = 0;
  for (int round = 0; round < conc_test::scaled(200); ++round) {
    auto counted = std::make_unique<ThreadLocal<Counted>>();
    conc::Event made;
    conc::Thread ends{[&made, &counted] {
      (*counted)->number = 1;
      made.set();
    }};
    ends.start();
    made.wait();
    counted.reset();
    ends.join();
    REQUIRE(Counted::alive == 0);
  }
}

TEST_CASE("ThreadLocal: reset() destroys the thread's own value, and the next get() makes another", "[thread_local]") {
  int made = 0;
  ThreadLocal<int> number{[&made] { return ++made; }};
  CHECK(*number == 1);
  CHECK(*number == 1);
  number.reset();
  CHECK_FALSE(number.has_value());
  number.reset();
  CHECK(*number == 2);
}

TEST_CASE("ThreadLocal: what making a value throws comes out of get(), and the next get() tries again",
          "[thread_local][G4]") {
  int attempts = 0;
  ThreadLocal<int> number{[&attempts]() -> int {
    if (++attempts < 3) throw std::runtime_error{"not yet"};
    return attempts;
  }};
  for (int i = 0; i < 2; ++i) {
    CHECK(conc_test::outcome([&] { (void)number.get(); }) == "not yet");
    CHECK_FALSE(number.has_value());
  }
  CHECK(*number == 3);
}

TEST_CASE("ThreadLocal: values may use others when they are made and destroyed", "[thread_local]") {
  struct Inner {
    Inner(ThreadLocal<int>& counter_of_thread, std::atomic<int>& total) : counter{counter_of_thread}, sum{total} {
      ++*counter;
    }
    Inner(const Inner&) = delete;
    Inner& operator=(const Inner&) = delete;
    ~Inner() { sum += ++*counter; }
    ThreadLocal<int>& counter;
    std::atomic<int>& sum;
  };
  std::atomic<int> sum{0};
  ThreadLocal<int> counter;
  ThreadLocal<Inner> inner{[&] { return Inner{counter, sum}; }};
  conc::Thread thread{[&] { (void)inner.get(); }};
  thread.start();
  thread.join();
  CHECK((sum == 1 || sum == 2));  // the counter may have gone first: then it is made anew
}

TEST_CASE("ThreadLocal: destructors of thread_locals may still use it", "[thread_local][FR9]") {
  static ThreadLocal<int> number{[] { return 5; }};
  static std::atomic<int> seen{0};
  struct Late {
    ~Late() {
      *number += 1;
      seen = *number;
      number.reset();
      seen += 100 * *number;
    }
  };
  conc::Thread thread{[] {
    thread_local const Late late;  // made before the thread's values, so destroyed after them
    (void)late;
    *number = 50;
  }};
  thread.start();
  thread.join();
  CHECK(seen == 506);
}

TEST_CASE("ThreadLocal: a value is what the function returns, whatever it could be converted to", "[thread_local]") {
  ThreadLocal<std::any> anything{[] { return std::any{7}; }};
  CHECK(std::any_cast<int>(*anything) == 7);
}

TEST_CASE("ThreadLocal: a thread that meets many short-lived ones keeps no remains of them", "[thread_local]") {
  Counted::alive = 0;
  for (int i = 0; i < conc_test::scaled(5000); ++i) {
    ThreadLocal<Counted> counted;
    counted->number = i;
  }
  CHECK(Counted::alive == 0);
  ThreadLocal<Counted> last;
  last->number = 1;
  std::size_t remains = 0;
  for (const auto* value = conc::detail::thread_values; value != nullptr; value = value->next_of_thread) ++remains;
  CHECK(remains <= 2);
}
