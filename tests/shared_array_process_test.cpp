// SPDX-License-Identifier: MIT
// shared_array between a program and its worker processes.
#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <conc/error.hpp>
#include <conc/process.hpp>
#include <conc/process_pool.hpp>
#include <conc/shared_array.hpp>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

#include "processes.hpp"
#include "support.hpp"

using conc::ProcessPoolExecutor;
using conc::StartMethod;
using Numbers = conc::shared_array<int>;

namespace {

void add(const Numbers& numbers, int what) {
  for (int& number : numbers) number += what;
}

long sum(const Numbers& numbers) { return std::accumulate(numbers.begin(), numbers.end(), 0L); }

Numbers made(std::size_t size) {
  Numbers numbers{size};
  add(numbers, 1);
  return numbers;
}

Numbers passed_on(Numbers numbers) { return numbers; }

int descriptors() {
  int count = 0;
  DIR* const stream = ::opendir("/proc/self/fd");
  while (::readdir(stream) != nullptr) ++count;
  ::closedir(stream);
  return count;
}

void write_and_die(const Numbers& numbers) {
  numbers[0] = 7;
  ::kill(::getpid(), SIGKILL);
}

}  // namespace

TEST_CASE("shared_array: a task writes where its caller reads", "[shared_array][process_pool]") {
  ProcessPoolExecutor pool{2};
  const Numbers numbers(100'000);
  pool.submit(add, numbers, 3).result();
  CHECK(numbers[99'999] == 3);
  pool.submit(add, numbers, 4).result();
  CHECK(sum(numbers) == 700'000);
  CHECK(pool.submit(sum, numbers).result() == 700'000);
}

TEST_CASE("shared_array: arrives in workers however they were started", "[shared_array][process_pool]") {
  for (const StartMethod method : {StartMethod::fork_server, StartMethod::spawn, StartMethod::fork}) {
    const Numbers before(10);  // a forked worker has it as well
    ProcessPoolExecutor pool{{.max_workers = 1, .start_method = method}};
    pool.submit(add, before, 1).result();
    const Numbers after(10);
    pool.submit(add, after, 2).result();
    CHECK(sum(before) == 10);
    CHECK(sum(after) == 20);
    CHECK(sum(pool.submit(made, std::size_t{5}).result()) == 5);
  }
}

TEST_CASE("shared_array: a Process gets it too, and may be the last to have it", "[shared_array][process][P19]") {
  const Numbers numbers(10);
  conc::Process first{add, numbers, 5};
  conc::Process last{[](const Numbers& mine) { ::_exit(static_cast<int>(sum(mine))); }, Numbers{std::vector{20, 22}}};
  first.start();
  last.start();
  first.join();
  last.join();
  CHECK(sum(numbers) == 50);
  CHECK(last.exitcode() == 42);
}

TEST_CASE("shared_array: an argument that nobody else has lives until the task is done",
          "[shared_array][process_pool]") {
  ProcessPoolExecutor pool{1};
  std::vector<conc::Future<long>> sums;
  for (int i = 0; i < 100; ++i) sums.push_back(pool.submit(sum, Numbers{std::vector{i, i}}));
  long all = 0;
  for (auto& future : sums) all += future.result();
  CHECK(all == 9'900);
}

TEST_CASE("shared_array: a result lives on when its worker has ended", "[shared_array][process_pool]") {
  std::vector<Numbers> results;
  {
    ProcessPoolExecutor pool{{.max_workers = 2, .max_tasks_per_child = 1}};
    std::vector<conc::Future<Numbers>> futures;
    for (std::size_t i = 0; i < 10; ++i) futures.push_back(pool.submit(made, 1'000 + i));
    for (auto& future : futures) results.push_back(future.result());
  }
  long all = 0;
  for (const Numbers& numbers : results) all += sum(numbers);
  CHECK(all == 10'045);
}

TEST_CASE("shared_array: it goes from worker to worker, and stays one", "[shared_array][process_pool]") {
  ProcessPoolExecutor pool{{.max_workers = 2, .max_tasks_per_child = 1}};
  Numbers numbers = pool.submit(made, std::size_t{10}).result();
  const Numbers first = numbers;
  for (int i = 0; i < 5; ++i) numbers = pool.submit(passed_on, numbers).result();
  pool.submit(add, numbers, 1).result();
  CHECK(first[0] == 2);
  long all = 0;
  for (const long each : pool.map(sum, std::vector{first, numbers, first})) all += each;
  CHECK(all == 60);
}

TEST_CASE("shared_array: neither side keeps what has arrived", "[shared_array][process_pool][P16]") {
  ProcessPoolExecutor pool{1};
  pool.submit(passed_on, Numbers(1)).result();
  const int here = descriptors();
  const int there = pool.submit(descriptors).result();
  for (int i = 0; i < 100; ++i) {
    pool.submit(passed_on, Numbers(1)).result();
    pool.submit(made, std::size_t{1});  // nobody wants the result
  }
  CHECK(pool.wait_idle());
  CHECK(pool.submit(descriptors).result() == there);
  CHECK(descriptors() == here);
}

TEST_CASE("shared_array: it outlives a worker that dies with it", "[shared_array][process_pool][P6]") {
  ProcessPoolExecutor pool{{.max_workers = 1, .on_worker_death = conc::OnWorkerDeath::respawn}};
  const Numbers numbers(10);
  CHECK_THROWS_AS(pool.submit(write_and_die, numbers).result(), conc::BrokenProcessPool);
  CHECK(numbers[0] == 7);
  pool.submit(add, numbers, 1).result();
  CHECK(numbers[0] == 8);
}
