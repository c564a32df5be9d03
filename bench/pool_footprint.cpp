// SPDX-License-Identifier: MIT
// What a pool takes while it does nothing: the memory of queued tasks, the CPU time of idle workers. One figure for a
// process, because neither what another pool has left in the heap nor its threads shall be in it.
//
// Usage: pool_footprint conc|tbb|asio|cv futures|detached|idle
//   futures   bytes per queued task whose future somebody holds, with 100,000 of them; the handles count
//   detached  bytes per queued task that nobody waits for
//   idle      microseconds of CPU time in two seconds, from the end of the last task on, with two workers
#include <sys/resource.h>
#include <unistd.h>
#include <batches.hpp>
#include <pool_adapters.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

constexpr std::int64_t kTasks = 100'000;

double resident_bytes() {
  std::ifstream statm{"/proc/self/statm"};
  std::int64_t pages = 0;
  std::int64_t resident = 0;
  statm >> pages >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double cpu_microseconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto microseconds = [](const timeval& time) {
    return 1e6 * static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec);
  };
  return microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
}

std::int64_t zero() { return 0; }

/// The memory that `queue(pool)` takes for kTasks tasks, while the only worker is held up.
template <class Pool, class Queue>
double bytes_per_task(Queue queue) {
  Pool pool{1};
  for (int i = 0; i < 1'000; ++i) {  // what the first tasks need once
    auto future = pool.submit(zero);
    bench::take(future);
  }
  std::atomic<bool> held{false};
  std::atomic<bool> go_on{false};
  auto gate = pool.submit([&held, &go_on] {
    held = true;
    held.notify_all();
    go_on.wait(false);
    return std::int64_t{0};
  });
  held.wait(false);
  const double before = resident_bytes();
  auto rest = queue(pool);
  const double after = resident_bytes();
  go_on = true;
  go_on.notify_all();
  bench::take(gate);
  rest();
  return (after - before) / kTasks;
}

template <class Pool>
double futures() {
  return bytes_per_task<Pool>([](Pool& pool) {
    std::vector<decltype(pool.submit(zero))> futures;
    futures.reserve(kTasks);
    for (std::int64_t i = 0; i < kTasks; ++i) {
      futures.push_back(pool.submit([i] { return i; }));
    }
    return [futures = std::move(futures)]() mutable {
      for (auto& future : futures) {
        bench::take(future);
      }
    };
  });
}

template <class Pool>
double detached() {
  bench::DoneCount left;
  left.expect(kTasks);
  return bytes_per_task<Pool>([&left](Pool& pool) {
    for (std::int64_t i = 0; i < kTasks; ++i) {
      pool.detach([&left] { left.arrive(); });
    }
    return [&left] { left.wait(); };
  });
}

template <class Pool>
double idle() {
  Pool pool{2};
  std::vector<decltype(pool.submit(zero))> futures;
  for (int i = 0; i < 1'000; ++i) {
    futures.push_back(pool.submit(zero));
  }
  for (auto& future : futures) {
    bench::take(future);
  }
  const double before = cpu_microseconds();
  std::this_thread::sleep_for(std::chrono::seconds{2});
  return cpu_microseconds() - before;
}

template <class Pool>
int print(std::string_view figure) {
  if (figure == "futures") {
    std::printf("%.1f\n", futures<Pool>());
  } else if (figure == "detached") {
    std::printf("%.1f\n", detached<Pool>());
  } else if (figure == "idle") {
    std::printf("%.1f\n", idle<Pool>());
  } else {
    return 2;
  }
  return 0;
}

int print(std::string_view pool, std::string_view figure) {
  if (pool == "conc") {
    return print<bench::ConcPool>(figure);
  }
  if (pool == "tbb") {
    return print<bench::TbbPool>(figure);
  }
  if (pool == "asio") {
    return print<bench::AsioPool>(figure);
  }
  if (pool == "cv") {
    return print<bench::CvPool>(figure);
  }
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const int result = argc == 3 ? print(argv[1], argv[2]) : 2;
  if (result != 0) {
    std::fputs("usage: pool_footprint conc|tbb|asio|cv futures|detached|idle\n", stderr);
  }
  return result;
}
