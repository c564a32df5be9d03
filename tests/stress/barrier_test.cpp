// SPDX-License-Identifier: MIT
#include <conc/barrier.hpp>
#include <conc/thread.hpp>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

#include "lifetime.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using conc_test::eventually;
using conc_test::run_threads;
using conc_test::scaled;
using SteadyClock = std::chrono::steady_clock;

/// How many threads wait at once.
std::size_t crowd_size() { return conc_test::sanitizer() == conc_test::Sanitizer::none ? 10'000 : 500; }

/// Many threads with small stacks that run the same function.
template <class F>
std::vector<conc::Thread> crowd(std::size_t count, F run) {
  std::vector<conc::Thread> threads;
  threads.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    threads.emplace_back(conc::ThreadOptions{.stack_size = 64 * 1024}, run);
    threads.back().start();
  }
  return threads;
}

}  // namespace

TEST_CASE("Barrier: what was done before wait is visible to all after it, pass by pass", "[barrier][B2][B9][G7]") {
  for (std::size_t parties = 2; parties <= 8; ++parties) {
    const int passes = scaled(30'000) / static_cast<int>(parties * parties);
    conc::Barrier barrier{static_cast<std::int64_t>(parties)};
    std::vector<int> written(parties);  // no atomics: ThreadSanitizer sees whether the barrier orders them
    std::vector<int> wrong(parties);
    run_threads(parties, [&](std::size_t thread) {
      for (int pass = 1; pass <= passes; ++pass) {
        written[thread] = pass;
        barrier.wait();
        for (const int number : written) wrong[thread] += number == pass ? 0 : 1;
        barrier.wait();  // before they write again
      }
    });
    CHECK(wrong == std::vector<int>(parties));
    CHECK(barrier.n_waiting() == 0);
    CHECK_FALSE(barrier.broken());
  }
}

TEST_CASE("Barrier: the action sees what came before it, and is seen by what comes after", "[barrier][B3][G7]") {
  constexpr std::size_t kParties = 4;
  const int passes = scaled(20'000);
  std::vector<int> parts(kParties);  // no atomics
  long sum = 0;
  std::vector<int> wrong(kParties);
  conc::Barrier barrier{kParties, [&] {
                          for (const int part : parts) sum += part;
                        }};
  run_threads(kParties, [&](std::size_t thread) {
    for (int pass = 1; pass <= passes; ++pass) {
      parts[thread] = pass;  // the last action has ended, and the next one waits for this thread
      barrier.wait();
      wrong[thread] += sum == static_cast<long>(kParties) * pass * (pass + 1) / 2 ? 0 : 1;
    }
  });
  CHECK(wrong == std::vector<int>(kParties));
}

TEST_CASE("Barrier: gives out each index once in each of many passes", "[barrier][B2][B9][G7]") {
  constexpr std::size_t kParties = 3;
  const auto passes = static_cast<std::size_t>(scaled(50'000));
  conc::Barrier barrier{kParties};
  std::vector<std::vector<std::size_t>> given(kParties);
  run_threads(kParties, [&](std::size_t thread) {
    for (std::size_t pass = 0; pass < passes; ++pass) given[thread].push_back(barrier.wait());
  });
  std::size_t wrong = 0;
  for (std::size_t pass = 0; pass < passes; ++pass) {
    std::size_t seen = 0;
    for (const auto& mine : given) seen |= std::size_t{1} << mine[pass];
    wrong += seen == 7 ? 0U : 1U;
  }
  CHECK(wrong == 0);
}

TEST_CASE("Barrier: each pass succeeds for all or for none, whatever breaks it", "[barrier][B5][B7][B8][FM5][G7]") {
  constexpr std::size_t kParties = 3;
  const int rounds = scaled(3'000);
  conc::Barrier barrier{kParties};
  conc::Barrier meeting{kParties + 1};  // is never broken
  std::atomic<int> passed{0};
  std::atomic<int> wrong{0};
  std::atomic<int> rounds_passed{0};
  run_threads(kParties + 1, [&](std::size_t thread) {
    std::minstd_rand random{static_cast<unsigned>(thread) + 1};
    for (int round = 0; round < rounds; ++round) {
      meeting.wait();
      if (thread == kParties) {
        for (unsigned i = random() % 256; i > 0; --i) conc::detail::sync::pause();
        switch (round % 3) {
          case 0:
            barrier.abort();
            break;
          case 1:
            barrier.reset();
            barrier.abort();  // lets those end that come later
            break;
          default:
            break;
        }
      } else {
        try {
          barrier.wait(round % 3 == 2 ? conc::Deadline{std::chrono::microseconds{random() % 50}} : conc::never);
          ++passed;
        } catch (const conc::BrokenBarrierError&) {
        }
      }
      if (meeting.wait() == 0) {  // all have left
        const int count = passed.exchange(0);
        wrong += count == 0 || count == kParties ? 0 : 1;
        rounds_passed += count == 0 ? 0 : 1;
        wrong += barrier.n_waiting() == 0 ? 0 : 1;
        barrier.reset();
        wrong += barrier.broken() ? 1 : 0;
      }
    }
  });
  CHECK(wrong == 0);
  CHECK(rounds_passed <= rounds);
}

TEST_CASE("Barrier: resets from outside throw out some, and all go on in the end", "[barrier][B8][G7]") {
  constexpr std::size_t kParties = 4;
  const int passes = scaled(20'000);
  conc::Barrier barrier{kParties};
  std::atomic<std::size_t> at_work{kParties};
  std::atomic<int> wrong{0};
  std::vector<long> written(kParties);  // no atomics
  run_threads(kParties + 1, [&](std::size_t thread) {
    if (thread == kParties) {
      while (at_work != 0) {
        barrier.reset();
        std::this_thread::yield();
      }
      return;
    }
    const auto pass = [&] {
      for (;;) {
        try {
          barrier.wait();
          return;
        } catch (const conc::BrokenBarrierError&) {
        }
      }
    };
    for (int round = 1; round <= passes; ++round) {
      written[thread] = round;
      pass();
      for (const long number : written) wrong += number == round ? 0 : 1;
      pass();
    }
    --at_work;
  });
  CHECK(wrong == 0);
  CHECK(barrier.n_waiting() == 0);
}

TEST_CASE("Barrier: may be destroyed by who has passed, while the others leave", "[barrier][G8]") {
  constexpr std::size_t kParties = 3;
  const int rounds = scaled(10'000);
  conc::Barrier meeting{kParties};
  std::atomic<conc::Barrier*> next{nullptr};
  std::atomic<int> deleted{0};
  run_threads(kParties, [&](std::size_t thread) {
    for (int round = 0; round < rounds; ++round) {
      if (thread == 0) next = new conc::Barrier{kParties};
      meeting.wait();
      conc::Barrier* const barrier = next;
      if (barrier->wait() == static_cast<std::size_t>(round) % kParties) {
        delete barrier;
        ++deleted;
      }
      meeting.wait();
    }
  });
  CHECK(deleted == rounds);
}

TEST_CASE("Barrier: may be destroyed by whom abort or the deadline of another released", "[barrier][G8][B5][B7]") {
  const int rounds = scaled(6'000);
  conc::Barrier meeting{2};
  std::atomic<conc::Barrier*> next{nullptr};
  int deleted = 0;
  run_threads(2, [&](std::size_t thread) {
    std::minstd_rand random{static_cast<unsigned>(thread) + 1};
    for (int round = 0; round < rounds; ++round) {
      if (thread == 0) next = new conc::Barrier{3};
      meeting.wait();
      conc::Barrier* const barrier = next;
      if (thread == 0) {
        try {
          barrier->wait();
        } catch (const conc::BrokenBarrierError&) {
        }
        delete barrier;
        ++deleted;
      } else {
        while (barrier->n_waiting() == 0) std::this_thread::yield();
        if (round % 2 == 0) {
          barrier->abort();
        } else {
          try {
            barrier->wait(std::chrono::microseconds{random() % 30});
          } catch (const conc::BrokenBarrierError&) {
          }
        }
      }
      meeting.wait();
    }
  });
  CHECK(deleted == rounds);
}

TEST_CASE("Barrier: lets 10,000 waiting threads go", "[barrier][FR3]") {
  const std::size_t count = crowd_size();
  conc::Barrier barrier{static_cast<std::int64_t>(count) + 1};
  std::atomic<std::size_t> sum{0};
  std::vector<conc::Thread> threads = crowd(count, [&] { sum += barrier.wait(); });
  CHECK(eventually([&] { return barrier.n_waiting() == count; }, 60s));
  CHECK(sum == 0);
  const auto begin = SteadyClock::now();
  CHECK(barrier.wait() == count);
  for (conc::Thread& thread : threads) thread.join();
  CHECK(SteadyClock::now() - begin < 20s);  // ten times what it may take
  CHECK(sum == count * (count - 1) / 2);
}

TEST_CASE("Barrier: abort reaches 10,000 waiting threads", "[barrier][FR3][B7]") {
  const std::size_t count = crowd_size();
  conc::Barrier barrier{static_cast<std::int64_t>(count) + 1};
  std::atomic<std::size_t> broken{0};
  std::vector<conc::Thread> threads = crowd(count, [&] {
    try {
      barrier.wait();
    } catch (const conc::BrokenBarrierError&) {
      ++broken;
    }
  });
  CHECK(eventually([&] { return barrier.n_waiting() == count; }, 60s));
  const auto begin = SteadyClock::now();
  barrier.abort();
  for (conc::Thread& thread : threads) thread.join();
  CHECK(SteadyClock::now() - begin < 20s);
  CHECK(broken == count);
}

TEST_CASE("Latch: lets 10,000 waiting threads go", "[latch][FR3]") {
  const std::size_t count = crowd_size();
  conc::Latch arrived{static_cast<std::int64_t>(count)};
  conc::Latch latch{1};
  std::atomic<std::size_t> released{0};
  std::vector<conc::Thread> threads = crowd(count, [&] {
    arrived.count_down();
    released += latch.wait() ? 1U : 0U;
  });
  CHECK(arrived.wait(60s));
  CHECK(released == 0);
  const auto begin = SteadyClock::now();
  latch.count_down();
  for (conc::Thread& thread : threads) thread.join();
  CHECK(SteadyClock::now() - begin < 20s);
  CHECK(released == count);
}

TEST_CASE("Latch: what was done before count_down is visible after wait", "[latch][G7]") {
  constexpr std::size_t kThreads = 4;
  const int rounds = scaled(2'000);
  int wrong = 0;
  for (int round = 1; round <= rounds; ++round) {
    conc::Latch latch{kThreads};
    int parts[kThreads] = {};  // no atomics
    int sums[kThreads] = {};
    run_threads(kThreads, [&](std::size_t thread) {
      parts[thread] = round;
      latch.arrive_and_wait();
      for (const int part : parts) sums[thread] += part;
    });
    for (const int sum : sums) wrong += sum == static_cast<int>(kThreads) * round ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("Latch: may be destroyed by whom count_down released, while it is still returning", "[latch][G8]") {
  struct One : conc::Latch {
    One() : conc::Latch{1} {}
  };
  const int rounds = scaled(20'000);
  const int deleted = conc_test::destroy_while_releasing<One>(
      rounds, [](One&) {}, [](One& latch) { latch.count_down(); },
      [](One& latch, conc::Deadline deadline) { return latch.wait(deadline); });
  CHECK(deleted == rounds);
}
