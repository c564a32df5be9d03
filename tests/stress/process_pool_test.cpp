// SPDX-License-Identifier: MIT
// Pools whose workers are killed all the time, and pools used by many threads at once: every task that was accepted comes
// to its end, with the right result where it has one, and nothing is left.
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <conc/detail/descriptor.hpp>
#include <conc/error.hpp>
#include <conc/future.hpp>
#include <conc/process_pool.hpp>
#include <cstddef>
#include <deque>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gate.hpp"
#include "processes.hpp"
#include "support.hpp"
#include "worker.hpp"
#include "worker_tasks.hpp"

namespace {

using namespace std::chrono_literals;
using conc::OnWorkerDeath;
using conc::ProcessPoolExecutor;
using conc_test::broken_by;
using conc_test::count_workers;
using conc_test::run_threads;
using conc_test::scaled;

/// Kills one of the pool's workers, and surely nothing else. @return whether it did
bool kill_one(const ProcessPoolExecutor& pool, std::minstd_rand& random) {
  const std::vector<int> pids = pool.worker_pids();
  if (pids.empty()) return false;
  const int pid = pids[random() % pids.size()];
  const conc::detail::Descriptor process = conc::detail::pidfd_of(pid);
  // The number may be another process's by now; the descriptor is of whatever had it when it was opened.
  if (!process.is_open() || conc_test::parent_of(pid) != conc::detail::fork_server.pid()) return false;
  return ::syscall(SYS_pidfd_send_signal, process.number(), SIGKILL, nullptr, 0) == 0;
}

std::string text_of(int number, std::size_t size) { return std::to_string(number) + std::string(size, 'x'); }
std::string echo(std::string text, int number) { return std::to_string(number) + text; }

/// Mostly nothing, sometimes as much as a pipe takes or more.
std::size_t random_size(std::minstd_rand& random) {
  const auto dice = random() % 100;
  return dice == 0 ? 1'000'000 : dice < 5 ? 65'500 + random() % 100 : random() % 100;
}

}  // namespace

TEST_CASE("ProcessPoolExecutor: workers are killed all the time, and every result is right",
          "[process_pool][P6][P7][P16][FW2][FW3][FW7][FW11]") {
  // 500 deaths, 50,000 in the long form.
  const int plain = conc_test::long_form() ? 50'000 : 500;
  const int kills = conc_test::sanitizer() == conc_test::Sanitizer::none ? plain : plain / 5;
  const std::ptrdiff_t descriptors = conc_test::count_descriptors();
  std::atomic<int> killed{0};
  std::atomic<int> arrived{0};
  std::atomic<bool> ends{false};
  int wrong = 0;
  int tasks = 0;
  {
    ProcessPoolExecutor pool{{.max_workers = 4, .on_worker_death = OnWorkerDeath::respawn, .retries = 1'000'000}};
    conc_test::Worker killer{[&] {
      std::minstd_rand random{7};
      while (killed < kills && !ends) {
        if (kill_one(pool, random)) ++killed;
        // There is some progress between two kills, so that the whole comes to its end.
        const int next = arrived + static_cast<int>(random() % 16);
        conc_test::eventually([&] { return arrived > next || ends; }, 1s);
      }
    }};
    struct Task {
      int number;
      std::size_t size;
      conc::Future<std::string> result;
    };
    std::deque<Task> under_way;
    std::minstd_rand random{1};
    while (killed < kills || !under_way.empty()) {
      while (killed < kills && under_way.size() < 64) {
        const int number = tasks++;
        const std::size_t size = random_size(random);
        under_way.push_back({number, size, pool.submit(&echo, text_of(number, size), number)});
      }
      const Task& first = under_way.front();
      wrong += first.result.result() == echo(text_of(first.number, first.size), first.number) ? 0 : 1;
      under_way.pop_front();
      ++arrived;
    }
    ends = true;
    killer.join();
    CHECK(pool.wait_idle(1h));
    CHECK(pool.stats().done == static_cast<std::size_t>(tasks));
    CHECK(pool.stats().failed == 0);
    CHECK(pool.worker_pids().size() <= 4);
  }
  CHECK(wrong == 0);
  CHECK(killed >= kills);
  CHECK(count_workers() == 0);
  CHECK(conc_test::count_descriptors() == descriptors);
}

TEST_CASE("ProcessPoolExecutor: without retries a death costs one task at most, and no other",
          "[process_pool][P6][FW2]") {
  const int kills = scaled(200);
  ProcessPoolExecutor pool{{.max_workers = 3, .on_worker_death = OnWorkerDeath::respawn}};
  std::minstd_rand random{3};
  int wrong = 0;
  std::size_t lost = 0;
  for (int i = 0; i < kills; ++i) {
    std::vector<conc::Future<int>> futures;
    for (int k = 0; k < 20; ++k) futures.push_back(pool.submit(&conc_test::twice, k));
    kill_one(pool, random);
    for (int k = 0; k < 20; ++k) {
      try {
        wrong += futures[static_cast<std::size_t>(k)].result() == 2 * k ? 0 : 1;
      } catch (const conc::WorkerDied&) {
        ++lost;
      }
    }
  }
  CHECK(wrong == 0);
  CHECK(lost <= static_cast<std::size_t>(kills));
  pool.shutdown();
  CHECK(pool.stats().failed == lost);
  CHECK(pool.stats().died >= lost);
  CHECK(count_workers() == 0);
}

TEST_CASE("ProcessPoolExecutor: pools that are broken by a kill at some moment: every future comes to its end",
          "[process_pool][P6][P7][FW7]") {
  std::minstd_rand random{5};
  int wrong = 0;
  for (int round = 0; round < scaled(100); ++round) {
    ProcessPoolExecutor pool{2};
    std::vector<conc::Future<std::string>> futures;
    const auto death = random() % 30;
    bool broken = false;
    for (unsigned i = 0; i < 30; ++i) {
      try {
        futures.push_back(pool.submit(&echo, text_of(static_cast<int>(i), random_size(random) % 70'000), 1));
      } catch (const conc::BrokenProcessPool&) {
        broken = true;
      }
      if (i == death) kill_one(pool, random);
    }
    for (std::size_t i = 0; i < futures.size(); ++i) {
      const std::string how = broken_by(futures[i]);
      wrong += how == "returned" || how.starts_with("ProcessPoolExecutor: ") ? 0 : 1;
      if (how != "returned") broken = true;
    }
    if (broken) wrong += broken_by(conc_test::submitted(pool, &conc_test::twice, 1)) != "returned" ? 0 : 1;
  }
  CHECK(wrong == 0);
  CHECK(count_workers() == 0);
}

TEST_CASE("ProcessPoolExecutor: eight threads submit, wait and cancel at once", "[process_pool][X13][G7]") {
  const int tasks = scaled(2'000);
  std::atomic<int> wrong{0};
  std::atomic<int> cancelled{0};
  ProcessPoolExecutor pool{3};
  run_threads(8, [&](std::size_t thread) {
    std::deque<std::pair<int, conc::Future<int>>> under_way;
    const auto take = [&] {
      const auto [number, future] = under_way.front();
      under_way.pop_front();
      if (number % 10 == 9 && future.cancel()) {
        ++cancelled;
      } else if (future.result() != 2 * number) {
        ++wrong;
      }
    };
    for (int i = 0; i < tasks; ++i) {
      const int number = static_cast<int>(thread) * tasks + i;
      under_way.emplace_back(number, pool.submit(&conc_test::twice, number));
      if (under_way.size() > 20) take();
    }
    while (!under_way.empty()) take();
  });
  CHECK(wrong == 0);
  pool.shutdown();
  const auto stats = pool.stats();
  CHECK(stats.done + stats.cancelled == static_cast<std::size_t>(8 * tasks));
  CHECK(stats.cancelled == static_cast<std::size_t>(cancelled.load()));
}

TEST_CASE("ProcessPoolExecutor: what is submitted while the pool is shut down or killed is run, refused, or fails",
          "[process_pool][X13][P7][P12]") {
  for (int round = 0; round < scaled(60); ++round) {
    std::atomic<int> wrong{0};
    std::atomic<int> ran{0};
    std::atomic<int> refused{0};
    std::atomic<int> failed{0};
    ProcessPoolExecutor pool{2};
    run_threads(5, [&](std::size_t thread) {
      if (thread == 4) {
        if (!conc_test::eventually([&] { return ran > round % 7; })) ++wrong;
        if (round % 3 == 0) {
          pool.shutdown({.wait = round % 2 == 0, .cancel_futures = round % 4 == 0});
        } else if (round % 3 == 1) {
          pool.kill_workers();
        } else {
          pool.terminate_workers();
        }
        return;
      }
      for (int i = 0; i < 100; ++i) {
        std::optional<conc::Future<int>> future;
        try {
          future.emplace(pool.submit(&conc_test::twice, i));
        } catch (const conc::UsageError&) {
          ++refused;
          continue;
        } catch (const conc::BrokenProcessPool&) {
          ++refused;
          continue;
        }
        try {
          (future->result() == 2 * i ? ran : wrong) += 1;
        } catch (const conc::BrokenProcessPool&) {
          ++failed;
        } catch (const conc::CancelledError&) {
          ++failed;
        }
      }
    });
    CHECK(wrong == 0);
    CHECK(ran + refused + failed == 400);
  }
  CHECK(count_workers() == 0);
}

TEST_CASE("ProcessPoolExecutor: each worker ends after one task, again and again", "[process_pool][P9][FW11][P16]") {
  // 10,000 workers in the long form.
  const int tasks = scaled(1'000);
  const std::ptrdiff_t descriptors = conc_test::count_descriptors();
  int wrong = 0;
  {
    ProcessPoolExecutor pool{{.max_workers = 4, .max_tasks_per_child = 1}};
    std::deque<std::pair<int, conc::Future<int>>> under_way;
    for (int i = 0; i < tasks || !under_way.empty(); ++i) {
      if (i < tasks) under_way.emplace_back(i, pool.submit(&conc_test::twice, i));
      if (i < 20 && i < tasks) continue;
      const auto& [number, future] = under_way.front();
      wrong += future.result() == 2 * number ? 0 : 1;
      under_way.pop_front();
      if (i % 100 == 0) {
        // No zombies: at most those that work, and those whose end is just being noticed.
        wrong += count_workers() <= 8 ? 0 : 1;
        wrong += conc_test::count_descriptors() <= descriptors + 2 + 3 * 4 + 4 ? 0 : 1;
      }
    }
    CHECK(pool.stats().died == 0);
  }
  CHECK(wrong == 0);
  CHECK(count_workers() == 0);
  CHECK(conc_test::count_descriptors() == descriptors);
}
