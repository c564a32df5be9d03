// SPDX-License-Identifier: MIT
#include <conc/event.hpp>
#include <conc/future.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "futures.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using conc::Future;
using conc::Promise;
using conc_test::boom;
using conc_test::ending;
using conc_test::run_threads;
using conc_test::scaled;

/// Lets `n` threads do something in rounds: a thread leaves next(round) when all have come there.
class Rounds {
 public:
  explicit Rounds(std::size_t n) : threads_{n} {}
  void next(std::size_t round) {
    arrived_.fetch_add(1);
    while (arrived_.load() < threads_ * (round + 1)) std::this_thread::yield();
  }

 private:
  const std::size_t threads_;
  std::atomic<std::size_t> arrived_{0};
};

}  // namespace

TEST_CASE("Future: of a cancel and a start that race exactly one wins", "[future][F1][F5][FM8][G7]") {
  // The long form without a sanitizer: 10^7.
  const std::size_t trials = scaled<std::size_t>(100'000) *
                             (conc_test::long_form() && conc_test::sanitizer() == conc_test::Sanitizer::none ? 10 : 1);
  constexpr std::size_t kBatch = 100;
  std::vector<Promise<std::size_t>> promises(kBatch);
  std::vector<Future<std::size_t>> futures(kBatch);
  std::vector<char> started(kBatch);
  std::vector<char> cancelled(kBatch);
  std::vector<int> called(kBatch);  // no atomic: one callback is called, by the one who wins
  Rounds rounds{3};
  std::size_t wrong = 0;
  std::size_t starts = 0;
  run_threads(3, [&](std::size_t thread) {
    for (std::size_t round = 0; round < trials / kBatch; ++round) {
      if (thread == 2) {  // prepares and looks
        for (std::size_t i = 0; i < kBatch; ++i) {
          promises[i] = Promise<std::size_t>{};
          futures[i] = promises[i].get_future();
          called[i] = 0;
          futures[i].add_done_callback([&called, i](const Future<std::size_t>&) { ++called[i]; });
        }
        rounds.next(2 * round);
        rounds.next(2 * round + 1);
        for (std::size_t i = 0; i < kBatch; ++i) {
          const bool ran = started[i] != 0;
          wrong += ran != (cancelled[i] != 0) && futures[i].done() && futures[i].cancelled() != ran && called[i] == 1 &&
                           (!ran || futures[i].result() == i)
                       ? 0U
                       : 1U;
          starts += ran ? 1U : 0U;
        }
        continue;
      }
      rounds.next(2 * round);
      const bool starter = thread == round % 2;
      for (std::size_t k = 0; k < kBatch; ++k) {
        const std::size_t i = starter || round % 4 < 2 ? k : kBatch - 1 - k;  // side by side, or towards each other
        if (starter) {
          started[i] = promises[i].set_running_or_notify_cancel() ? 1 : 0;
          if (started[i] != 0) promises[i].set_result(i);
        } else {
          cancelled[i] = futures[i].cancel() ? 1 : 0;
        }
      }
      rounds.next(2 * round + 1);
    }
  });
  CHECK(wrong == 0);
  CHECK(starts > 0);
  CHECK(starts < trials);
}

TEST_CASE("Future: a task of a pool that is cancelled while it starts either runs or does not",
          "[future][F1][F12][FM8][G7]") {
  const int trials = scaled(100'000);
  conc::ThreadPoolExecutor pool{2};
  int wrong = 0;
  const auto token = std::make_shared<int>(0);
  for (int i = 0; i < trials; ++i) {
    std::atomic<int> ran{0};
    const Future<void> future = pool.submit([&ran, token] { ++ran; });
    for (int spins = i % 64; spins > 0; --spins) conc::detail::sync::pause();
    const bool was_cancelled = future.cancel();
    future.wait();
    wrong += was_cancelled == future.cancelled() && ran == (was_cancelled ? 0 : 1) ? 0 : 1;
  }
  pool.shutdown();
  CHECK(wrong == 0);
  CHECK(token.use_count() == 1);
}

TEST_CASE("Future: of results, exceptions, cancels and a dropped promise that race exactly one wins",
          "[future][F4][F15][G7]") {
  const std::size_t rounds_to_do = scaled<std::size_t>(20'000);
  std::optional<Promise<std::string>> promise;
  Future<std::string> future;
  std::atomic<int> winners{0};
  std::atomic<int> calls{0};
  int wrong = 0;
  Rounds rounds{4};
  run_threads(4, [&](std::size_t thread) {
    for (std::size_t round = 0; round < rounds_to_do; ++round) {
      if (thread == 0) {
        promise.emplace();
        future = promise->get_future();
        winners = 0;
        calls = 0;
        future.add_done_callback([&calls](const Future<std::string>&) { ++calls; });
      }
      rounds.next(2 * round);
      Future<std::string> mine = future;
      if (thread == 0) winners += promise->try_set_result(std::string(40, 'x')) ? 1 : 0;
      if (thread == 1) winners += promise->try_set_exception(boom()) ? 1 : 0;
      if (thread == 2) (void)ending([&] { (void)promise->set_running_or_notify_cancel(); });  // may be in the way
      if (thread == 3) winners += mine.cancel() ? 1 : 0;
      mine = {};
      rounds.next(2 * round + 1);
      if (thread == 0) {
        promise.reset();
        const std::string how = ending([&] { future.result(); });
        wrong += winners == 1 && calls == 1 && (how == "returned" || how == "boom" || how == "CancelledError") ? 0 : 1;
      }
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("Future: what was done before the result was set is visible to who waits, polls or is called back",
          "[future][F3][F6][G7]") {
  const std::size_t rounds_to_do = scaled<std::size_t>(20'000);
  std::vector<Promise<std::size_t>> promises(rounds_to_do);
  std::vector<std::size_t> messages(rounds_to_do);  // no atomics: ThreadSanitizer sees whether the future orders them
  std::atomic<int> wrong{0};
  run_threads(4, [&](std::size_t thread) {
    for (std::size_t i = 0; i < rounds_to_do; ++i) {
      if (thread == 0) {
        messages[i] = i + 1;
        promises[i].set_result(i);
        continue;
      }
      const Future<std::size_t> future = promises[i].get_future();
      if (thread == 1) {
        future.wait();
      } else if (thread == 2) {
        while (!future.done()) std::this_thread::yield();
      } else {
        future.add_done_callback(
            [&, i](const Future<std::size_t>& done) { wrong += messages[i] == done.result() + 1 ? 0 : 1; });
        future.wait();
      }
      wrong += messages[i] == i + 1 && future.result() == i ? 0 : 1;
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("Future: callbacks that are added while it becomes done are called once each", "[future][F6][F7][G7]") {
  const std::size_t rounds_to_do = scaled<std::size_t>(5'000);
  constexpr std::size_t kAdders = 3;
  constexpr std::size_t kEach = 8;
  std::optional<Promise<int>> promise;
  std::vector<int> calls(kAdders * kEach);  // no atomics: each is called by one thread
  int wrong = 0;
  Rounds rounds{kAdders + 1};
  run_threads(kAdders + 1, [&](std::size_t thread) {
    for (std::size_t round = 0; round < rounds_to_do; ++round) {
      if (thread == kAdders) {
        promise.emplace();
        calls.assign(calls.size(), 0);
      }
      rounds.next(3 * round);
      if (thread == kAdders) {
        for (std::size_t i = 0; i < round % 50; ++i) conc::detail::sync::pause();
        promise->set_result(1);
      } else {
        const Future<int> future = promise->get_future();
        for (std::size_t i = 0; i < kEach; ++i) {
          future.add_done_callback([&call = calls[thread * kEach + i]](const Future<int>&) { ++call; });
        }
      }
      rounds.next(3 * round + 1);
      if (thread == kAdders) wrong += calls == std::vector<int>(calls.size(), 1) ? 0 : 1;
      rounds.next(3 * round + 2);
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("Future: handles that are copied, moved and dropped everywhere free the result once", "[future][G6][G7]") {
  struct Alive {
    explicit Alive(std::atomic<int>& all) : count{&all} { ++*count; }
    Alive(const Alive& other) : count{other.count} { ++*count; }
    Alive& operator=(const Alive&) = delete;
    ~Alive() { --*count; }
    std::atomic<int>* count;
  };
  std::atomic<int> alive{0};
  const std::size_t rounds_to_do = scaled<std::size_t>(10'000);
  std::optional<Promise<Alive>> promise;
  Rounds rounds{3};
  std::atomic<int> wrong{0};
  run_threads(3, [&](std::size_t thread) {
    std::minstd_rand random{static_cast<unsigned>(thread) + 1};
    for (std::size_t round = 0; round < rounds_to_do; ++round) {
      if (thread == 0) promise.emplace();
      rounds.next(3 * round);
      Future<Alive> future = promise->get_future();
      rounds.next(3 * round + 1);
      Future<Alive> copy = random() % 2 == 0 ? future : Future<Alive>{};
      if (thread == 0) {
        promise->set_result(alive);
        promise.reset();
      } else if (random() % 4 == 0) {
        future = {};
      }
      if (random() % 2 == 0 && future.valid()) wrong += std::move(future).result().count == &alive ? 0 : 1;
      copy = Future<Alive>{};
      future = {};
      rounds.next(3 * round + 2);
      wrong += alive == 0 ? 0 : 1;
    }
  });
  CHECK(wrong == 0);
  CHECK(alive == 0);
}

TEST_CASE("Future: a result that can only be moved goes to one of those that want it", "[future][F13][G7]") {
  const std::size_t rounds_to_do = scaled<std::size_t>(20'000);
  std::optional<Promise<std::unique_ptr<std::size_t>>> promise;
  std::atomic<int> got{0};
  std::atomic<int> came_late{0};
  int wrong = 0;
  Rounds rounds{3};
  run_threads(3, [&](std::size_t thread) {
    for (std::size_t round = 0; round < rounds_to_do; ++round) {
      if (thread == 0) {
        promise.emplace();
        got = came_late = 0;
      }
      rounds.next(3 * round);
      Future<std::unique_ptr<std::size_t>> future = promise->get_future();
      rounds.next(3 * round + 1);
      if (thread == 0) {
        future = {};
        promise->set_result(std::make_unique<std::size_t>(round));
        promise.reset();
      } else {
        const std::string how = ending([&] { got += *std::move(future).result() == round ? 1 : 100; });
        came_late += how == "InvalidStateError" ? 1 : 0;
        future = {};
      }
      rounds.next(3 * round + 2);
      if (thread == 0) wrong += got == 1 && came_late == 1 ? 0 : 1;
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("Future: blocks that are freed and used again wake nobody wrongly", "[future][F3][FM15][G7]") {
  // Each waiter may destroy the future while set_result() is still waking: the block soon is another future.
  const std::size_t rounds_to_do = scaled<std::size_t>(30'000);
  std::vector<std::atomic<Promise<std::size_t>*>> handed(2);
  std::atomic<int> wrong{0};
  run_threads(4, [&](std::size_t thread) {
    std::atomic<Promise<std::size_t>*>& slot = handed[thread / 2];
    for (std::size_t round = 0; round < rounds_to_do; ++round) {
      if (thread % 2 == 0) {
        auto owned = std::make_unique<Promise<std::size_t>>();
        Future<std::size_t> future = owned->get_future();
        slot = owned.release();
        wrong += std::move(future).result(round % 3 == 0 ? conc::Deadline{1h} : conc::never) == round ? 0 : 1;
      } else {
        Promise<std::size_t>* promise = nullptr;
        while ((promise = slot.exchange(nullptr)) == nullptr) std::this_thread::yield();
        const std::unique_ptr<Promise<std::size_t>> owned{promise};
        for (std::size_t i = 0; i < round % 64 * 8; ++i) conc::detail::sync::pause();
        owned->set_result(round);
      }
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("Future: an exception is rethrown in a hundred threads at once", "[future][F3][FM14][G7]") {
  const std::size_t rounds_to_do = scaled<std::size_t>(20);
  std::atomic<int> caught{0};
  for (std::size_t round = 0; round < rounds_to_do; ++round) {
    auto promise = std::make_unique<Promise<int>>();
    Future<int> future = promise->get_future();
    conc_test::StartGate all_have;
    std::atomic<int> left{100};
    run_threads(101, [&](std::size_t thread) {
      if (thread == 100) {
        all_have.wait();
        promise->set_exception(boom());
        promise.reset();
        return;
      }
      const Future<int> mine = future;
      if (--left == 0) {
        future = {};
        all_have.open();
      }
      caught += ending([&] { mine.result(); }) == "boom" ? 1 : 0;
    });
  }
  CHECK(caught == 100 * static_cast<int>(rounds_to_do));
}

TEST_CASE("Future: continuations and coroutines on a future that becomes done run once", "[future][F16][F17][G7]") {
  const std::size_t rounds_to_do = scaled<std::size_t>(10'000);
  std::optional<Promise<std::size_t>> promise;
  std::atomic<std::size_t> resumed{0};
  int wrong = 0;
  Rounds rounds{2};
  const auto await = [&resumed](Future<std::size_t> future) -> conc_test::Detached {
    resumed += co_await std::move(future);
  };
  run_threads(2, [&](std::size_t thread) {
    for (std::size_t round = 0; round < rounds_to_do; ++round) {
      if (thread == 0) {
        promise.emplace();
        resumed = 0;
      }
      rounds.next(3 * round);
      Future<std::size_t> last;
      if (thread == 0) {
        for (std::size_t i = 0; i < round % 50; ++i) conc::detail::sync::pause();
        promise->set_result(round);
      } else {
        last = promise->get_future().then([](std::size_t n) { return n + 1; });
        await(promise->get_future());
        last = last.then([](std::size_t n) { return n + 1; });
        if (round % 7 == 0) last.cancel();
        wrong += round % 7 == 0 || last.result() == round + 2 ? 0 : 1;
      }
      rounds.next(3 * round + 1);
      if (thread == 1) wrong += resumed == round && last.done() ? 0 : 1;
      rounds.next(3 * round + 2);
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("wait: no completion is lost and none is counted twice", "[wait][W6][AC1][G7]") {
  constexpr std::size_t kFutures = 16;
  const std::size_t rounds_to_do = scaled<std::size_t>(2'000);
  std::vector<Promise<std::size_t>> promises(kFutures);
  std::vector<Future<std::size_t>> futures(kFutures);
  std::atomic<int> wrong{0};
  Rounds rounds{5};
  run_threads(5, [&](std::size_t thread) {
    std::minstd_rand random{static_cast<unsigned>(thread) + 1};
    for (std::size_t round = 0; round < rounds_to_do; ++round) {
      if (thread == 0) {
        for (std::size_t i = 0; i < kFutures; ++i) {
          promises[i] = Promise<std::size_t>{};
          futures[i] = promises[i].get_future();
        }
      }
      rounds.next(2 * round);
      if (thread < 2) {  // they finish half of them each, in some order
        std::vector<std::size_t> mine(kFutures / 2);
        std::iota(mine.begin(), mine.end(), thread * kFutures / 2);
        std::shuffle(mine.begin(), mine.end(), random);
        for (const std::size_t i : mine) {
          if (i % 5 == 0) {
            futures[i].cancel();
          } else {
            promises[i].set_result(i);
          }
        }
      } else if (thread == 2) {
        std::vector<int> seen(kFutures);
        for (const Future<std::size_t>& future : conc::as_completed(futures)) {
          wrong += future.done() ? 0 : 1;
          ++seen[static_cast<std::size_t>(std::find(futures.begin(), futures.end(), future) - futures.begin())];
        }
        wrong += seen == std::vector<int>(kFutures, 1) ? 0 : 1;
      } else if (thread == 3) {
        std::vector<Future<std::size_t>> left = futures;
        std::size_t done_so_far = 0;
        while (!left.empty()) {
          auto [done, not_done] = conc::wait(left, {.return_when = conc::ReturnWhen::first_completed});
          wrong += !done.empty() && done.size() + not_done.size() == left.size() ? 0 : 1;
          for (const Future<std::size_t>& future : done) wrong += future.done() ? 0 : 1;
          done_so_far += done.size();
          left = std::move(not_done);
        }
        wrong += done_so_far == kFutures ? 0 : 1;
      } else {
        const conc::Deadline deadline{std::chrono::microseconds{random() % 100}};
        const auto some = conc::wait(futures, {.timeout = deadline, .return_when = conc::ReturnWhen::first_exception});
        wrong += some.done.size() + some.not_done.size() == kFutures ? 0 : 1;
        for (const Future<std::size_t>& future : some.done) wrong += future.done() ? 0 : 1;
        int early = 0;
        (void)ending([&] {
          for ([[maybe_unused]] const auto& future : conc::as_completed(futures, deadline)) {
            if (++early == 5) break;
          }
        });
        wrong += conc::wait(futures).not_done.empty() ? 0 : 1;
        wrong += conc::when_all(futures).result().size() == kFutures ? 0 : 1;
      }
      rounds.next(2 * round + 1);
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("wait: when_all and when_any see every completion that they race with", "[wait][F17][W6][G7]") {
  constexpr std::size_t kFutures = 4;
  const std::size_t rounds_to_do = scaled<std::size_t>(5'000);
  std::vector<Promise<std::size_t>> promises(kFutures);
  std::vector<Future<std::size_t>> futures(kFutures);
  int wrong = 0;
  Rounds rounds{3};
  run_threads(3, [&](std::size_t thread) {
    for (std::size_t round = 0; round < rounds_to_do; ++round) {
      if (thread == 2) {
        for (std::size_t i = 0; i < kFutures; ++i) {
          promises[i] = Promise<std::size_t>{};
          futures[i] = promises[i].get_future();
        }
      }
      rounds.next(2 * round);
      if (thread == 2) {
        const Future<conc::WhenAny<std::size_t>> any = conc::when_any(futures);
        const auto all = conc::when_all(futures);
        const auto pair = conc::when_all(futures[0], futures[3]);
        const conc::WhenAny<std::size_t>& first = any.result();
        wrong += first.index < kFutures && first.futures.at(first.index).done() && first.futures == futures ? 0 : 1;
        for (const Future<std::size_t>& future : all.result()) wrong += future.done() ? 0 : 1;
        wrong += std::get<1>(pair.result()).result(0s) == 3 ? 0 : 1;
      } else {
        for (std::size_t i = thread; i < kFutures; i += 2) promises[i].set_result(i);
      }
      rounds.next(2 * round + 1);
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("Future: a pool's futures give each value and each exception to whoever asks", "[future][F3][F13][G7]") {
  const int count = scaled(30'000);
  conc::ThreadPoolExecutor pool{3};
  std::vector<Future<std::string>> futures;
  for (int i = 0; i < count; ++i) {
    futures.push_back(pool.submit([i] {
      if (i % 10 == 0) throw std::runtime_error{std::to_string(i)};
      return std::to_string(i) + " of a text that is too long for small strings";
    }));
  }
  int wrong = 0;
  for (int i = 0; i < count; ++i) {
    Future<std::string>& future = futures[static_cast<std::size_t>(i)];
    std::string got;
    const std::string how = ending([&] { got = i % 3 == 0 ? future.result() : std::move(future).result(); });
    wrong += i % 10 == 0 ? (how == std::to_string(i) ? 0 : 1) : (got.starts_with(std::to_string(i) + " of") ? 0 : 1);
  }
  CHECK(wrong == 0);
}
