// SPDX-License-Identifier: MIT
#include <conc/semaphore.hpp>

#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <thread>

#include "lifetime.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using conc_test::run_threads;
using conc_test::scaled;

}  // namespace

TEMPLATE_TEST_CASE("Semaphore: never lets in more threads than it has permits, and loses none",
                   "[semaphore][S1][S6][G7]", conc::Semaphore, conc::BoundedSemaphore) {
  constexpr std::int64_t kPermits = 2;
  const int rounds = scaled(200'000);
  TestType semaphore{kPermits};
  std::atomic<int> inside{0};
  std::atomic<int> too_many{0};
  run_threads(5, [&](std::size_t thread) {
    std::minstd_rand random{static_cast<unsigned>(thread) + 1};
    for (int i = 0; i < rounds; ++i) {
      bool acquired = true;
      switch (random() % 3) {
        case 0:
          semaphore.acquire();
          break;
        case 1:
          acquired = semaphore.try_acquire();
          break;
        default:
          acquired = semaphore.acquire(std::chrono::microseconds{random() % 50});
          break;
      }
      if (!acquired) continue;
      too_many += ++inside > kPermits ? 1 : 0;
      --inside;
      semaphore.release();
    }
  });
  CHECK(too_many == 0);
  CHECK(semaphore.value() == kPermits);
}

TEST_CASE("Semaphore: every permit of release(n) reaches an acquire", "[semaphore][S3][S4][G7]") {
  const int batches = scaled(10'000);
  constexpr std::size_t kConsumers = 3;
  conc::Semaphore semaphore{0};
  const int permits = batches * 6;  // 1 + 2 + 3 for each
  std::atomic<int> acquired{0};
  run_threads(kConsumers + 1, [&](std::size_t thread) {
    if (thread == kConsumers) {
      for (int i = 0; i < batches; ++i) {
        semaphore.release(1);
        semaphore.release(2);
        semaphore.release(3);
        if (i % 8 == 0) std::this_thread::yield();  // lets the consumers run dry and sleep
      }
    } else {
      for (int i = 0; i < permits / static_cast<int>(kConsumers); ++i) {
        semaphore.acquire();
        ++acquired;
      }
    }
  });
  CHECK(acquired == permits);
  CHECK(semaphore.value() == 0);
}

TEST_CASE("Semaphore: orders what was done before release before what comes after acquire", "[semaphore][G7]") {
  const int rounds = scaled(10'000);
  conc::Semaphore ping{0};
  conc::Semaphore pong{0};
  long ball = 0;  // no atomic: ThreadSanitizer sees whether the semaphores order it
  int wrong = 0;
  run_threads(2, [&](std::size_t thread) {
    for (int round = 0; round < rounds; ++round) {
      if (thread == 0) {
        ++ball;
        ping.release();
        pong.acquire();
      } else {
        ping.acquire();
        wrong += ball == 2L * round + 1 ? 0 : 1;
        ++ball;
        pong.release();
      }
    }
  });
  CHECK(ball == 2L * rounds);
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("Semaphore: may be destroyed by whom release let in, while release is still returning",
                   "[semaphore][G8]", conc::Semaphore, conc::BoundedSemaphore) {
  const int rounds = scaled(20'000);
  const int deleted = conc_test::destroy_while_releasing<TestType>(
      rounds, [](TestType& semaphore) { semaphore.acquire(); }, [](TestType& semaphore) { semaphore.release(); },
      [](TestType& semaphore, conc::Deadline deadline) { return semaphore.acquire(deadline); });
  CHECK(deleted == rounds);
}
