// SPDX-License-Identifier: MIT
// What the example memory_sampler offers to copy: sampled().
#include "../examples/memory_sampler/sampler.hpp"

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/atomic_integer.hpp>
#include <conc/event.hpp>
#include <conc/thread.hpp>
#include <exception>
#include <memory>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using memory_sampler::sampled;
using memory_sampler::Sampler;
using memory_sampler::Samples;
using namespace std::chrono_literals;

namespace {

/// Counts how often it was measured, and gives that number.
struct Counter {
  conc::AtomicInteger calls{0};

  auto measure() {
    return [this] { return static_cast<double>(calls.inc()); };
  }
};

}  // namespace

TEST_CASE("sampled: returns what the function returns, of whatever type", "[sampler]") {
  struct Fixed {  // can be neither copied nor moved
    explicit Fixed(int n) : number{n} {}
    Fixed(const Fixed&) = delete;
    Fixed& operator=(const Fixed&) = delete;
    int number;
  };
  Counter counter;
  Sampler sampler{counter.measure(), 1h};

  CHECK(sampled([] { return 42; }, sampler) == 42);
  CHECK(*sampled([] { return std::make_unique<int>(7); }, sampler) == 7);
  CHECK(sampled([] { return Fixed{3}; }, sampler).number == 3);
  int here = 0;
  CHECK(&sampled([&]() -> int& { return here; }, sampler) == &here);
  static_assert(std::is_void_v<decltype(sampled([&] { here = 1; }, sampler))>);
  sampled([&] { here = 1; }, sampler);
  CHECK(here == 1);
  CHECK(*sampled([only = std::make_unique<int>(5)]() mutable { return std::move(only); }, sampler) == 5);
}

TEST_CASE("sampled: takes a sample before the function begins and one after it ended, however short it is",
          "[sampler]") {
  Counter counter;
  Sampler sampler{counter.measure(), 1h};
  for (int round = 0; round < 200; ++round) {
    const auto before = counter.calls.value();
    const auto during = sampled([&] { return counter.calls.value() - before; }, sampler);
    REQUIRE(during == 1);
    REQUIRE(counter.calls.value() == before + 2);
    const std::vector<memory_sampler::Sample>& all = sampler.samples().all;  // of this function alone
    REQUIRE(all.size() == 2);
    REQUIRE(all[0].value == static_cast<double>(before + 1));
    REQUIRE(all[1].value == static_cast<double>(before + 2));
    REQUIRE(all[0].time <= all[1].time);
  }
}

TEST_CASE("sampled: goes on taking samples while the function runs", "[sampler]") {
  conc::Event seen_often;
  conc::AtomicInteger calls{0};
  Sampler sampler{[&] {
                    if (calls.inc() == 10) seen_often.set();
                    return 1.0;
                  },
                  1ms};
  sampled([&] { seen_often.wait(); }, sampler);  // would wait for ever
  CHECK(sampler.samples().all.size() >= 10);
  CHECK(sampler.samples().all.size() == static_cast<std::size_t>(calls.value()));
  CHECK(sampler.samples().all.back().time - sampler.samples().all.front().time >= 8ms);
}

TEST_CASE("sampled: throws what the function throws, and its thread has stopped and left its samples", "[sampler]") {
  Counter counter;
  Sampler sampler{counter.measure(), 1h};
  CHECK_THROWS_AS(sampled([]() -> int { throw std::out_of_range{"from the function"}; }, sampler), std::out_of_range);
  CHECK(sampler.samples().all.size() == 2);
  CHECK(sampler.samples().error == nullptr);
  CHECK(conc::active_count() == 1);
  CHECK_THROWS_AS(sampled([] { throw 42; }, sampler), int);
  CHECK(sampler.samples().all.size() == 2);
}

TEST_CASE("sampled: measures on one other thread, which has ended afterwards", "[sampler]") {
  struct SaysGoodbye {
    conc::AtomicInteger* ended = nullptr;
    ~SaysGoodbye() {
      for (int i = 0; i < 1000; ++i) std::this_thread::yield();  // so that who does not join comes too early
      ended->inc();
    }
  };
  std::vector<conc::Thread> threads;
  conc::AtomicInteger ended{0};
  Sampler sampler{[&] {
                    thread_local SaysGoodbye at_end;
                    at_end.ended = &ended;
                    threads.push_back(conc::current_thread());
                    return 0.0;
                  },
                  1h};
  sampled([] {}, sampler);
  CHECK(ended.value() == 1);
  REQUIRE(threads.size() == 2);
  CHECK(threads[0] == threads[1]);
  CHECK(threads[0] != conc::current_thread());
}

TEST_CASE("sampled: measuring that fails ends the sampling and not the function", "[sampler]") {
  for (const int bad : {1, 3}) {
    conc::AtomicInteger calls{0};
    conc::Event failed;
    Sampler sampler{[&] {
                      const auto call = calls.inc();
                      if (call == bad) {
                        failed.set();
                        throw std::runtime_error{"cannot measure"};
                      }
                      return 1.0;
                    },
                    1ms};
    const int result = sampled(
        [&] {
          failed.wait();
          return 42;
        },
        sampler);
    CHECK(result == 42);
    CHECK(calls.value() == bad);
    CHECK(sampler.samples().all.size() == static_cast<std::size_t>(bad - 1));
    CHECK_THROWS_AS(std::rethrow_exception(sampler.samples().error), std::runtime_error);
  }
}

TEST_CASE("sampled: may be called in a function that is sampled, with a sampler of its own", "[sampler]") {
  Counter outer;
  Counter inner;
  Sampler outer_sampler{outer.measure(), 1h};
  Sampler inner_sampler{inner.measure(), 1h};
  CHECK(sampled([&] { return sampled([] { return 6; }, inner_sampler) + 1; }, outer_sampler) == 7);
  CHECK(outer_sampler.samples().all.size() == 2);
  CHECK(inner_sampler.samples().all.size() == 2);
}

TEST_CASE("Samples: know their average and their peak", "[sampler]") {
  Samples samples;
  CHECK(samples.average() == 0);
  CHECK(samples.peak() == 0);
  for (const double value : {2.0, 9.0, 4.0}) samples.all.push_back({.time = {}, .value = value});
  CHECK(samples.average() == 5);
  CHECK(samples.peak() == 9);
}
