// SPDX-License-Identifier: MIT
// Pools used by many threads at once: every task that was accepted runs once, and nobody is left asleep.
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/task_group.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"

using namespace std::chrono_literals;
using conc_test::run_threads;
using conc_test::scaled;

TEST_CASE("ThreadPoolExecutor: tasks of many submitters all run once", "[thread_pool][X13][G7]") {
  constexpr std::size_t submitters = 4;
  const std::size_t tasks = scaled<std::size_t>(20'000);
  for (const int workers : {1, 2, 4}) {
    std::vector<std::vector<int>> runs(submitters, std::vector<int>(tasks, 0));  // no atomics: shutdown orders them
    conc::ThreadPoolExecutor pool{workers};
    run_threads(submitters, [&](std::size_t thread) {
      for (std::size_t i = 0; i < tasks; ++i) {
        const auto task = [&runs, thread, i] { ++runs[thread][i]; };
        if (i % 2 == 0) {
          pool.submit(task);
        } else {
          pool.detach(task);
        }
      }
    });
    pool.shutdown();
    std::size_t once = 0;
    for (const auto& some : runs) {
      for (const int count : some) once += count == 1 ? 1U : 0U;
    }
    CHECK(once == submitters * tasks);
    CHECK(pool.stats().done == submitters * tasks);
  }
}

TEST_CASE("ThreadPoolExecutor: a sleeping worker hears of every task", "[thread_pool][X2][G7]") {
  // One task at a time: each may find the workers asleep, searching, or about to be.
  const int rounds = scaled(20'000);
  conc::ThreadPoolExecutor pool{3};
  std::minstd_rand random{1};
  long sum = 0;
  for (int i = 0; i < rounds; ++i) {
    for (std::uint_fast32_t pause = random() % 256; pause > 0; --pause) conc::detail::sync::pause();
    pool.submit([&sum] { ++sum; }).wait();  // no atomic: wait orders it
  }
  CHECK(sum == rounds);
}

TEST_CASE("ThreadPoolExecutor: submitters wait for their tasks, from several threads", "[thread_pool][X2][G7]") {
  const int rounds = scaled(5'000);
  conc::ThreadPoolExecutor pool{2};
  std::atomic<int> wrong{0};
  run_threads(4, [&](std::size_t thread) {
    for (int i = 0; i < rounds; ++i) {
      const int number = static_cast<int>(thread) * rounds + i;
      if (pool.submit([number] { return number; }).result() != number) ++wrong;
    }
  });
  CHECK(wrong == 0);
}

namespace {

/// A tree of tasks that submit tasks; counts its leaves.
struct Tree {
  conc::ThreadPoolExecutor* pool;
  std::atomic<int>* leaves;
  void operator()(int depth) const {
    if (depth == 0) {
      ++*leaves;
      return;
    }
    pool->detach(*this, depth - 1);
    pool->submit(*this, depth - 1);
  }
};

int fib(conc::ThreadPoolExecutor& pool, int n) {
  if (n < 2) return n;
  const conc::Future<int> other = pool.submit(&fib, std::ref(pool), n - 1);
  const int mine = fib(pool, n - 2);
  return mine + other.result();
}

int group_fib(conc::ThreadPoolExecutor& pool, int n) {
  if (n < 2) return n;
  int a = 0;  // no atomics: wait() orders them
  int b = 0;
  conc::TaskGroup group{pool};
  group.run([&] { a = group_fib(pool, n - 1); });
  group.run([&] { b = group_fib(pool, n - 2); });
  group.wait();
  return a + b;
}

}  // namespace

TEST_CASE("ThreadPoolExecutor: trees of tasks grow while others submit, and wait_idle sees their end",
          "[thread_pool][X13][X17]") {
  const int rounds = scaled(100);
  conc::ThreadPoolExecutor pool{4};
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> leaves{0};
    run_threads(2, [&](std::size_t) {
      for (int i = 0; i < 3; ++i) pool.submit(Tree{&pool, &leaves}, 6);
    });
    pool.wait_idle();
    wrong += leaves == 6 * 64 ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("ThreadPoolExecutor: tasks that claim meet workers that steal", "[thread_pool][X16][G7]") {
  const int rounds = scaled(50);
  for (const int workers : {2, 3}) {
    conc::ThreadPoolExecutor pool{workers};
    int wrong = 0;
    for (int round = 0; round < rounds; ++round) {
      const conc::Future<int> first = pool.submit(&fib, std::ref(pool), 12);
      const conc::Future<int> second = pool.submit(&fib, std::ref(pool), 11);
      wrong += first.result() + second.result() == 144 + 89 ? 0 : 1;
    }
    CHECK(wrong == 0);
    CHECK(pool.wait_idle());
    CHECK(pool.stats().cancelled == 0);
  }
}

TEST_CASE("TaskGroup: groups in groups, from workers and from outside", "[task_group][G7]") {
  const int rounds = scaled(50);
  conc::ThreadPoolExecutor pool{3};
  std::atomic<int> wrong{0};
  run_threads(2, [&](std::size_t thread) {
    for (int round = 0; round < rounds; ++round) {
      const int result = thread == 0 ? group_fib(pool, 10) : pool.submit(&group_fib, std::ref(pool), 12).result();
      wrong += result == (thread == 0 ? 55 : 144) ? 0 : 1;
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("parallel_for: loops of several threads on one pool", "[parallel_for][G7]") {
  const int rounds = scaled(500);
  conc::ThreadPoolExecutor pool{3};
  std::atomic<int> wrong{0};
  run_threads(3, [&](std::size_t thread) {
    std::vector<int> data(1000);
    for (int round = 0; round < rounds; ++round) {
      const int value = static_cast<int>(thread) + round;
      conc::parallel_for(pool, data.begin(), data.end(), [value](int& x) { x = value; });
      for (const int x : data) wrong += x == value ? 0 : 1;
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("ThreadPoolExecutor: cancellation, claims and starts meet", "[thread_pool][X16][FM8]") {
  const int rounds = scaled(5'000);
  conc::ThreadPoolExecutor pool{2};
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> ran{0};
    const conc::Future<void> target = pool.submit([&ran] { ++ran; });
    const conc::Future<void> claimer = pool.submit([target] {
      try {
        target.result();
      } catch (const conc::CancelledError&) {
      }
    });
    const bool cancelled = round % 2 == 0 && target.cancel();
    claimer.wait();
    wrong += ran == (cancelled ? 0 : 1) && target.cancelled() == cancelled ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("ThreadPoolExecutor: a cancel against a start lets exactly one of them happen", "[thread_pool][FM8][F1]") {
  using Clock = std::chrono::steady_clock;
  const int rounds = scaled(10'000);
  const Clock::time_point enough = Clock::now() + scaled(500) * 1ms;
  conc::ThreadPoolExecutor pool{2};
  int ran = 0;
  int cancelled = 0;
  int wrong = 0;
  int pause = 0;  // follows the border between the two, which is far off where the machine is busy
  for (int round = 0; round < rounds && (ran == 0 || cancelled == 0 || Clock::now() < enough); ++round) {
    std::atomic<int> runs{0};
    const conc::Future<void> future = pool.submit([&runs] { ++runs; });
    for (int i = 0; i < pause; ++i) conc::detail::sync::pause();
    if (future.cancel()) {
      ++cancelled;
      pause += 1 + pause / 16;
      wrong += future.cancelled() ? 0 : 1;
    } else {
      ++ran;
      pause -= pause / 4;
      future.wait();
      wrong += runs == 1 && !future.cancelled() ? 0 : 1;
    }
    if (round % 64 == 0) {
      pool.wait_idle();  // nothing comes after a cancel
      wrong += runs == (future.cancelled() ? 0 : 1) ? 0 : 1;
    } else if (future.cancelled()) {
      wrong += runs == 0 ? 0 : 1;
    }
  }
  CHECK(pool.wait_idle());
  CHECK(wrong == 0);
  CHECK(ran > 0);
  CHECK(cancelled > 0);
  const conc::PoolStats stats = pool.stats();
  CHECK(stats.done == static_cast<std::uint64_t>(ran));
  CHECK(stats.cancelled == static_cast<std::uint64_t>(cancelled));
}

TEST_CASE("ThreadPoolExecutor: the first who submit find a worker each, whoever starts the first one",
          "[thread_pool][X2]") {
  const int rounds = scaled(600);
  int alone = 0;
  for (int round = 0; round < rounds && alone == 0; ++round) {
    std::atomic<int> late{0};
    const std::size_t bound = round % 3 == 0 ? 1 : 0;
    conc::ThreadPoolOptions options{.max_workers = 4, .max_queued = bound};
    if (round % 3 == 1) options.initializer = [] {};
    conc::ThreadPoolExecutor pool{std::move(options)};
    conc::Event events[2];
    run_threads(2, [&](std::size_t mine) {
      pool.submit([&, mine] {
            events[mine].set();
            if (!events[1 - mine].wait(10s)) ++late;
          })
          .wait();
    });
    alone += late;
  }
  CHECK(alone == 0);
}

TEST_CASE("ThreadPoolExecutor: pools that come and go, with submitters at their end", "[thread_pool][X5][X13]") {
  const int rounds = scaled(1'000);
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> accepted{0};
    std::atomic<int> ran{0};
    std::atomic<int> cancelled{0};
    conc::ThreadPoolExecutor pool{1 + round % 3};
    run_threads(3, [&](std::size_t thread) {
      if (thread == 0) {
        pool.shutdown({.wait = round % 2 == 0, .cancel_futures = round % 4 >= 2});
        return;
      }
      try {
        for (int i = 0; i < 50; ++i) {
          const conc::Future<void> future = pool.submit([&] {
            ++ran;
            try {
              pool.detach([&ran] { ++ran; });
              ++accepted;
            } catch (const conc::UsageError&) {
            }
          });
          ++accepted;
          future.add_done_callback([&cancelled](const conc::Future<void>& done) { cancelled += done.cancelled(); });
        }
      } catch (const conc::UsageError&) {
      }
    });
    pool.shutdown();
    const conc::PoolStats stats = pool.stats();
    // A detached task that was cancelled tells nobody but the statistics.
    wrong += static_cast<std::uint64_t>(accepted.load()) == stats.done + stats.cancelled ? 0 : 1;
    wrong += static_cast<std::uint64_t>(ran.load()) == stats.done ? 0 : 1;
    wrong += static_cast<std::uint64_t>(cancelled.load()) <= stats.cancelled ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("ThreadPoolExecutor: submitters of a full pool and its end", "[thread_pool][X17][X13]") {
  const int rounds = scaled(300);
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    for (const conc::WhenFull when_full :
         {conc::WhenFull::block, conc::WhenFull::raise, conc::WhenFull::run_by_caller}) {
      std::atomic<int> accepted{0};
      std::atomic<int> ran{0};
      conc::ThreadPoolExecutor pool{{.max_workers = 2, .max_queued = 2, .when_full = when_full}};
      run_threads(4, [&](std::size_t thread) {
        if (thread == 3) {
          if (round % 2 == 0) pool.shutdown();
          return;
        }
        try {
          for (int i = 0; i < 30; ++i) {
            try {
              pool.detach([&ran] { ++ran; });
              ++accepted;
            } catch (const conc::QueueFull&) {
            }
          }
        } catch (const conc::UsageError&) {
        }
      });
      pool.shutdown();
      wrong += accepted == ran ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("ThreadPoolExecutor: initializers that fail meet submitters and the end", "[thread_pool][X8]") {
  const int rounds = scaled(500);
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> workers{0};
    std::atomic<int> ran{0};
    std::atomic<int> broken{0};
    std::atomic<int> submitted{0};
    {
      conc::ThreadPoolExecutor pool{{.max_workers = 3, .initializer = [&workers, round] {
                                       if (++workers == 1 + round % 3) throw std::runtime_error{"boom"};
                                     }}};
      run_threads(2, [&](std::size_t) {
        for (int i = 0; i < 20; ++i) {
          try {
            const conc::Future<void> future = pool.submit([&ran] { ++ran; });
            ++submitted;
            future.add_done_callback(
                [&broken](const conc::Future<void>& done) { broken += done.exception() != nullptr ? 1 : 0; });
          } catch (const conc::BrokenThreadPool&) {
          }
        }
      });
    }
    wrong += ran + broken == submitted ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("ThreadPoolExecutor: stats and wait_idle may be called all the time", "[thread_pool][X17][G7]") {
  const int rounds = scaled(2'000);
  conc::ThreadPoolExecutor pool{3};
  std::atomic<bool> end{false};
  std::atomic<int> wrong{0};
  run_threads(3, [&](std::size_t thread) {
    if (thread == 0) {
      for (int i = 0; i < rounds; ++i) pool.submit([] {}).wait();
      end = true;
      return;
    }
    while (!end) {
      if (thread == 1) {
        const conc::PoolStats stats = pool.stats();
        wrong += stats.running <= 3 && stats.workers <= 3 && stats.failed + stats.cancelled == 0 ? 0 : 1;
      } else {
        pool.wait_idle();
        pool.wait_idle(10us);
      }
    }
  });
  CHECK(wrong == 0);
  CHECK(pool.stats().done == static_cast<std::uint64_t>(rounds));
}

TEST_CASE("ThreadPoolExecutor: after wait_idle every future is done", "[thread_pool][X17]") {
  const int rounds = scaled(3'000);
  int not_done = 0;
  for (int round = 0; round < rounds; ++round) {
    conc::ThreadPoolExecutor pool{4};  // while it grows, workers count themselves idle before their task is done
    std::vector<conc::Future<void>> futures;
    for (int i = 0; i < 3; ++i) futures.push_back(pool.submit([] {}));
    pool.wait_idle();
    for (const auto& future : futures) not_done += future.done() ? 0 : 1;
  }
  CHECK(not_done == 0);
}

TEST_CASE("map: many iterations on one pool, left early and not", "[map][X10]") {
  const int rounds = scaled(500);
  conc::ThreadPoolExecutor pool{3};
  std::vector<int> items;
  for (int i = 0; i < 50; ++i) items.push_back(i);
  std::atomic<int> wrong{0};
  run_threads(2, [&](std::size_t thread) {
    for (int round = 0; round < rounds; ++round) {
      const auto size = static_cast<std::size_t>(round);
      int expected = 0;
      for (const int x : pool.map(
               {.chunksize = 1 + size % 7, .buffersize = size % 11}, [](int i) { return i; }, items)) {
        wrong += x == expected++ ? 0 : 1;
        if (thread == 1 && x == round % 50) break;
      }
    }
  });
  CHECK(wrong == 0);
}
