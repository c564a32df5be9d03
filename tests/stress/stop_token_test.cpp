// SPDX-License-Identifier: MIT
#include <conc/stop_token.hpp>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <memory>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "support.hpp"

namespace {

using conc::StopCallback;
using conc::StopSource;
using conc::StopToken;
using conc_test::run_threads;
using conc_test::scaled;

/// Threads that go through rounds together: none begins a round before all have ended the one before.
class Rounds {
 public:
  explicit Rounds(std::size_t threads) : threads_{threads} {}
  void meet() {
    const std::size_t ticket = arrived_++;
    const std::size_t all = (ticket / threads_ + 1) * threads_;
    while (arrived_ < all) std::this_thread::yield();
  }

 private:
  std::size_t threads_;
  std::atomic<std::size_t> arrived_{0};
};

}  // namespace

TEST_CASE("StopCallback: every registered callback is called once, however the stop comes", "[stop_token][G7]") {
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kCallbacks = 3;
  const int rounds = scaled(20'000);
  Rounds meeting{kThreads};
  std::optional<StopSource> source;
  int message = 0;  // no atomic: ThreadSanitizer sees whether the stop orders it
  std::atomic<int> wrong{0};
  run_threads(kThreads, [&](std::size_t thread) {
    for (int round = 0; round < rounds; ++round) {
      if (thread == 0) source.emplace();
      meeting.meet();
      if (thread == 0) {
        for (int i = 0; i < round % 64 * 8; ++i) conc::detail::sync::pause();
        message = round;
        wrong += source->request_stop() ? 0 : 1;
        meeting.meet();
      } else {
        int calls[kCallbacks] = {};  // no atomic: the constructor, or the meeting, orders it
        const auto call = [&](int& count) {
          return [&] {
            ++count;
            wrong += message == round ? 0 : 1;
          };
        };
        const StopCallback first{source->get_token(), call(calls[0])};
        const StopCallback second{source->get_token(), call(calls[1])};
        const StopCallback third{source->get_token(), call(calls[2])};
        meeting.meet();
        for (const int count : calls) wrong += count == 1 ? 0 : 1;
      }
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("StopCallback: none runs after its destructor, and the destructor orders it", "[stop_token][G7]") {
  constexpr std::size_t kThreads = 4;
  const int rounds = scaled(20'000);
  Rounds meeting{kThreads};
  std::optional<StopSource> source;
  std::atomic<int> wrong{0};
  std::atomic<int> called{0};
  run_threads(kThreads, [&](std::size_t thread) {
    std::minstd_rand random{static_cast<unsigned>(thread) + 1};
    for (int round = 0; round < rounds; ++round) {
      if (thread == 0) source.emplace();
      meeting.meet();
      if (thread == 0) {
        for (unsigned i = 0; i < random() % 256; ++i) conc::detail::sync::pause();
        wrong += source->request_stop() ? 0 : 1;
      } else {
        for (int i = 0; i < 3; ++i) {
          auto count = std::make_unique<int>(0);  // no atomic, and freed: a late call is a report
          {
            const StopCallback callback{source->get_token(), [&count] { ++*count; }};
            for (unsigned pauses = random() % 64; pauses != 0; --pauses) conc::detail::sync::pause();
          }
          wrong += *count <= 1 ? 0 : 1;
          called += *count;
        }
      }
      meeting.meet();
    }
  });
  CHECK(wrong == 0);
  CHECK(called > 0);  // the race took place
}

TEST_CASE("StopSource: one of many calls of request_stop wins and publishes", "[stop_token][G7]") {
  constexpr std::size_t kThreads = 4;
  const int rounds = scaled(20'000);
  Rounds meeting{kThreads + 1};
  std::optional<StopSource> source;
  int calls = 0;  // no atomic
  std::atomic<int> winners{0};
  std::atomic<int> wrong{0};
  run_threads(kThreads + 1, [&](std::size_t thread) {
    for (int round = 0; round < rounds; ++round) {
      if (thread == kThreads) {
        source.emplace();
        const StopCallback callback{source->get_token(), [&] { ++calls; }};
        meeting.meet();
        meeting.meet();
        wrong += calls == round + 1 ? 0 : 1;
      } else {
        meeting.meet();
        const StopSource mine{*source};
        winners += mine.request_stop() ? 1 : 0;
        wrong += mine.stop_requested() ? 0 : 1;
        meeting.meet();
      }
    }
  });
  CHECK(winners == rounds);
  CHECK(calls == rounds);
  CHECK(wrong == 0);
}

TEST_CASE("StopToken: handles are copied and dropped by many threads, and outlive the source", "[stop_token][G6][G7]") {
  constexpr std::size_t kThreads = 4;
  const int rounds = scaled(20'000);
  Rounds meeting{kThreads};
  std::vector<std::optional<StopSource>> sources(kThreads);
  std::atomic<int> wrong{0};
  run_threads(kThreads, [&](std::size_t thread) {
    for (int round = 0; round < rounds; ++round) {
      if (thread == 0) {
        const StopSource source;
        for (auto& copy : sources) copy.emplace(source);
      }
      meeting.meet();
      StopToken token = sources[thread]->get_token();
      const bool stops = round % 2 == 0 && thread == 1;
      if (stops) wrong += sources[thread]->request_stop() ? 0 : 1;
      sources[thread].reset();
      StopToken copy{token};
      const StopCallback callback{std::move(token), [] {}};
      if (copy.stop_requested()) wrong += copy.stop_possible() ? 0 : 1;
      meeting.meet();
      wrong += copy.stop_possible() == (round % 2 == 0) ? 0 : 1;  // all sources are gone
    }
  });
  CHECK(wrong == 0);
}
