// SPDX-License-Identifier: MIT
// What a pool of threads promises besides what every executor does: its workers, their initializer.
// The order of tasks, shutting down, bounds and waiting tasks have files of their own.
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/cpu_count.hpp>
#include <conc/event.hpp>
#include <conc/semaphore.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "background.hpp"
#include "busy_pool.hpp"

using namespace std::chrono_literals;
using conc_test::BusyWorkers;
using conc_test::message_of;
using conc_test::outcome;

namespace {

static_assert(conc::Executor<conc::ThreadPoolExecutor>);
static_assert(!std::is_copy_constructible_v<conc::ThreadPoolExecutor>);
static_assert(!std::is_move_constructible_v<conc::ThreadPoolExecutor>);

/// How long this process has used the processor.
std::chrono::nanoseconds processor_time() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return std::chrono::seconds{used.tv_sec} + std::chrono::nanoseconds{used.tv_nsec};
}

/// The names of the workers of a pool with `count` workers, as conc and as the system know them.
std::pair<std::set<std::string>, std::set<std::string>> worker_names(conc::ThreadPoolExecutor& pool,
                                                                     std::size_t count) {
  conc::Semaphore arrived{0};
  conc::Event go;
  std::vector<conc::Future<std::pair<std::string, std::string>>> futures;
  for (std::size_t i = 0; i < count; ++i) {
    futures.push_back(pool.submit([&] {
      arrived.release();
      go.wait();
      return std::pair{conc::current_thread().name(), conc_test::thread_fact(::gettid(), "comm")};
    }));
  }
  for (std::size_t i = 0; i < count; ++i) arrived.acquire();
  go.set();
  std::pair<std::set<std::string>, std::set<std::string>> names;
  for (const auto& future : futures) {
    names.first.insert(future.result().first);
    names.second.insert(future.result().second);
  }
  return names;
}

}  // namespace

static_assert(conc::detail::default_workers(1) == 5 && conc::detail::default_workers(27) == 31 &&
                  conc::detail::default_workers(28) == 32 && conc::detail::default_workers(1000) == 32,
              "X1: usable CPUs + 4, but no more than 32");

TEST_CASE("ThreadPoolExecutor: has as many workers as it is told, or some more than there are CPUs",
          "[thread_pool][X1][G5]") {
  const unsigned usable = conc::usable_cpu_count();
  CHECK(conc::ThreadPoolExecutor{}.max_workers() == (usable + 4 < 32 ? usable + 4 : 32));
  CHECK(conc::ThreadPoolExecutor{{.thread_name_prefix = "default"}}.max_workers() ==
        conc::ThreadPoolExecutor{}.max_workers());
  CHECK(conc::ThreadPoolExecutor{1}.max_workers() == 1);
  CHECK(conc::ThreadPoolExecutor{{.max_workers = 16'383}}.max_workers() == 16'383);
  for (const int wrong : {0, -1, 16'384}) {
    CHECK(message_of<conc::UsageError>([wrong] { conc::ThreadPoolExecutor{wrong}; }) ==
          "ThreadPoolExecutor: max_workers is " + std::to_string(wrong) + ", and must be from 1 to 16383");
  }
}

TEST_CASE("ThreadPoolExecutor: starts no thread before there is a task", "[thread_pool][X2]") {
  const std::size_t before = conc::active_count();
  const conc::ThreadPoolExecutor pool{8};
  CHECK(conc::active_count() == before);
  CHECK(pool.stats().workers == 0);
}

TEST_CASE("ThreadPoolExecutor: five tasks one after the other use one thread", "[thread_pool][X2]") {
  for (int round = 0; round < conc_test::scaled(500); ++round) {
    conc::ThreadPoolExecutor pool{8};
    std::set<std::uint64_t> threads;
    for (int i = 0; i < 5; ++i) {
      threads.insert(pool.submit([] { return conc::current_thread().ident(); }).result());
    }
    REQUIRE(threads.size() == 1);
    REQUIRE(pool.stats().workers == 1);
  }
}

TEST_CASE("ThreadPoolExecutor: what is waited for in other ways leaves an idle worker too", "[thread_pool][X2]") {
  for (int round = 0; round < conc_test::scaled(100); ++round) {
    conc::ThreadPoolExecutor pool{8};
    for (int i = 0; i < 5; ++i) {
      const std::vector<conc::Future<int>> one{pool.submit([i] { return i; })};
      switch (i) {
        case 0:
          conc::wait(one);
          break;
        case 1:
          one[0].wait();
          break;
        case 2:
          CHECK(one[0].exception() == nullptr);
          break;
        case 3:
          CHECK(conc_test::eventually([&one] { return one[0].done(); }));
          break;
        default:
          CHECK(pool.wait_idle());
      }
    }
    REQUIRE(pool.stats().workers == 1);
  }
}

TEST_CASE("ThreadPoolExecutor: a task that throws leaves an idle worker too", "[thread_pool][X2][X9]") {
  for (int round = 0; round < conc_test::scaled(100); ++round) {
    conc::ThreadPoolExecutor pool{8};
    for (int i = 0; i < 5; ++i) {
      CHECK(outcome([&] { pool.submit([]() -> int { throw std::runtime_error{"boom"}; }).result(); }) == "boom");
    }
    REQUIRE(pool.stats().workers == 1);
  }
}

TEST_CASE("ThreadPoolExecutor: starts a worker for each task that finds all others busy, up to the maximum",
          "[thread_pool][X2]") {
  conc::ThreadPoolExecutor pool{4};
  for (std::size_t busy = 1; busy <= 4; ++busy) {
    const BusyWorkers workers{pool, busy};
    CHECK(pool.stats().workers == busy);
    CHECK(pool.stats().running == busy);
  }
  {
    const BusyWorkers workers{pool, 4};
    const conc::Future<void> fifth = pool.submit([] {});
    CHECK_FALSE(fifth.wait(10ms));
    CHECK(pool.stats().workers == 4);
    CHECK(pool.stats().queued == 1);
  }
  CHECK(pool.wait_idle());
  CHECK(pool.stats().workers == 4);
  CHECK(pool.stats().running == 0);
  CHECK(pool.stats().queued == 0);
}

TEST_CASE("ThreadPoolExecutor: workers are called prefix_0, prefix_1, …", "[thread_pool][X3]") {
  conc::ThreadPoolExecutor pool{{.max_workers = 3, .thread_name_prefix = "io"}};
  const auto [names, system_names] = worker_names(pool, 3);
  CHECK(names == std::set<std::string>{"io_0", "io_1", "io_2"});
  CHECK(system_names == names);
}

TEST_CASE("ThreadPoolExecutor: pools without a prefix have different names", "[thread_pool][X3]") {
  conc::ThreadPoolExecutor first{1};
  conc::ThreadPoolExecutor second{1};
  const std::string a = *worker_names(first, 1).first.begin();
  const std::string b = *worker_names(second, 1).first.begin();
  CHECK(a.starts_with("ThreadPoolExecutor-"));
  CHECK(a.ends_with("_0"));
  CHECK(b.starts_with("ThreadPoolExecutor-"));
  CHECK(a != b);
}

TEST_CASE("ThreadPoolExecutor: a worker knows its number, and who is no worker has none", "[thread_pool]") {
  conc::ThreadPoolExecutor pool{3};
  conc::ThreadPoolExecutor other{1};
  CHECK(pool.worker_index() == std::nullopt);
  CHECK(other.submit([&pool] { return pool.worker_index(); }).result() == std::nullopt);
  conc::Semaphore arrived{0};
  conc::Event go;
  const std::vector<int> three{0, 1, 2};
  const auto futures = pool.submit_many(
      [&](int) {
        arrived.release();
        go.wait();
        return pool.worker_index();
      },
      three);
  for (int i = 0; i < 3; ++i) arrived.acquire();
  go.set();
  std::set<std::optional<std::size_t>> numbers;
  for (const auto& future : futures) numbers.insert(future.result());
  CHECK(numbers == std::set<std::optional<std::size_t>>{0, 1, 2});
}

TEST_CASE("ThreadPoolExecutor: workers have at least the stack they are told to have", "[thread_pool]") {
  constexpr std::size_t wanted = std::size_t{32} << 20U;
  conc::ThreadPoolExecutor pool{{.max_workers = 1, .stack_size = wanted}};
  const std::size_t got = pool.submit([] {
                                pthread_attr_t attributes;
                                std::size_t size = 0;
                                ::pthread_getattr_np(::pthread_self(), &attributes);
                                ::pthread_attr_getstacksize(&attributes, &size);
                                ::pthread_attr_destroy(&attributes);
                                return size;
                              })
                              .result();
  CHECK(got >= wanted);
}

TEST_CASE("ThreadPoolExecutor: the initializer runs once on every worker, before its first task", "[thread_pool][X8]") {
  static thread_local int initialized = 0;
  std::atomic<int> calls{0};
  conc::ThreadPoolExecutor pool{{.max_workers = 3, .initializer = [&calls] {
                                   ++initialized;
                                   ++calls;
                                 }}};
  conc::Semaphore arrived{0};
  conc::Event go;
  std::vector<conc::Future<int>> futures;
  for (int i = 0; i < 3; ++i) {
    futures.push_back(pool.submit([&] {
      arrived.release();
      go.wait();
      return initialized;
    }));
  }
  for (int i = 0; i < 3; ++i) arrived.acquire();
  go.set();
  for (const auto& future : futures) CHECK(future.result() == 1);
  for (int i = 0; i < 20; ++i) CHECK(pool.submit([] { return initialized; }).result() == 1);
  CHECK(calls == 3);
}

TEST_CASE("ThreadPoolExecutor: an initializer that throws breaks the pool for all that is queued and comes",
          "[thread_pool][X8]") {
  conc::Event go;
  conc::ThreadPoolExecutor pool{{.max_workers = 1, .initializer = [&go] {
                                   go.wait();
                                   throw std::runtime_error{"no database"};
                                 }}};
  std::atomic<int> ran{0};
  std::vector<conc::Future<void>> futures;
  for (int i = 0; i < 10; ++i) futures.push_back(pool.submit([&ran] { ++ran; }));
  pool.detach([&ran] { ++ran; });
  CHECK(futures[0].cancel());
  go.set();
  const std::string message = "ThreadPoolExecutor: the initializer of a worker failed: std::runtime_error: no database";
  CHECK(message_of<conc::CancelledError>([&] { futures[0].result(); }) != "");
  for (std::size_t i = 1; i < 10; ++i) {
    CHECK(message_of<conc::BrokenThreadPool>([&] { futures[i].result(); }) == message);
  }
  CHECK(ran == 0);
  CHECK(message_of<conc::BrokenThreadPool>([&] { pool.submit([] {}); }) == message);
  CHECK(message_of<conc::BrokenExecutor>([&] { pool.detach([] {}); }) == message);
  CHECK(message_of<conc::BrokenThreadPool>([&] { (void)pool.map([](int x) { return x; }, std::vector<int>{1}); }) ==
        message);
  pool.shutdown();
  CHECK(message_of<conc::BrokenThreadPool>([&] { pool.submit([] {}); }) == message);
  CHECK(pool.stats().workers == 0);
}

TEST_CASE("ThreadPoolExecutor: what runs goes on when the initializer of another worker throws", "[thread_pool][X8]") {
  std::atomic<int> workers{0};
  conc::ThreadPoolExecutor pool{{.max_workers = 2, .initializer = [&workers] {
                                   if (++workers == 2) throw 42;
                                 }}};
  conc::Event running;
  conc::Event broken;
  const conc::Future<std::string> first = pool.submit([&] {
    running.set();
    broken.wait();
    return message_of<conc::BrokenThreadPool>([&] { pool.submit([] {}); });
  });
  running.wait();
  const conc::Future<void> second = pool.submit([] {});
  const std::string message = "ThreadPoolExecutor: the initializer of a worker failed: int";
  CHECK(message_of<conc::BrokenThreadPool>([&] { second.result(); }) == message);
  CHECK(conc_test::eventually([&] { return outcome([&] { pool.submit([] {}); }) == message; }));
  broken.set();
  CHECK(first.result() == message);
}

TEST_CASE("ThreadPoolExecutor: whatever a task throws is in its future", "[thread_pool][X9]") {
  conc::ThreadPoolExecutor pool{2};
  const conc::Future<void> number = pool.submit([] { throw 42; });
  int thrown = 0;
  try {
    number.result();
  } catch (int value) {
    thrown = value;
  }
  CHECK(thrown == 42);
  struct Own {
    std::unique_ptr<int> value;
  };
  const conc::Future<int> own = pool.submit([]() -> int { throw Own{std::make_unique<int>(7)}; });
  try {
    (void)own.result();
  } catch (const Own& error) {
    thrown = *error.value;
  }
  CHECK(thrown == 7);
  CHECK(pool.submit([] { return 1; }).result() == 1);
}

TEST_CASE("ThreadPoolExecutor: callables and arguments may be movable only, and are gone when the future is done",
          "[thread_pool][F12][F13]") {
  conc::ThreadPoolExecutor pool{2};
  const auto captured = std::make_shared<int>(1);
  for (int i = 0; i < conc_test::scaled(200); ++i) {
    const conc::Future<int> future =
        pool.submit([captured, only = std::make_unique<int>(40)](
                        std::unique_ptr<int> argument, const std::shared_ptr<int>&) { return *only + *argument; },
                    std::make_unique<int>(2), captured);
    REQUIRE(future.result() == 42);
    REQUIRE(captured.use_count() == 1);
  }
  std::unique_ptr<int> moved = pool.submit([] { return std::make_unique<int>(5); }).result();
  CHECK(*moved == 5);
  int shared = 0;
  pool.submit([](int& value) { value = 6; }, std::ref(shared)).result();
  CHECK(shared == 6);
  conc::Future<int&> reference = pool.submit([&shared]() -> int& { return shared; });
  CHECK(&reference.result() == &shared);
}

TEST_CASE("ThreadPoolExecutor: a task sees what was done before submit, and the waiter what the task did",
          "[thread_pool][G7]") {
  conc::ThreadPoolExecutor pool{3};
  for (int i = 0; i < conc_test::scaled(2000); ++i) {
    int before = 0;  // no atomics: ThreadSanitizer sees whether the pool orders them
    int after = 0;
    before = i;
    const conc::Future<void> future = pool.submit([&] { after = before + 1; });
    future.wait();
    REQUIRE(after == i + 1);
  }
}

TEST_CASE("ThreadPoolExecutor: a task that takes a StopToken can be asked to end", "[thread_pool][F18]") {
  conc::ThreadPoolExecutor pool{1};
  conc::Event running;
  const conc::Future<int> future = pool.submit(
      [&running](const conc::StopToken& token, int x) {
        conc::Event stopped;
        const conc::StopCallback callback{token, [&stopped] { stopped.set(); }};
        running.set();
        stopped.wait();
        return x;
      },
      7);
  running.wait();
  CHECK_FALSE(future.cancel());
  CHECK(future.request_stop());
  CHECK_FALSE(future.request_stop());
  CHECK(future.result() == 7);
}

namespace {
std::vector<std::string> reports;
conc::Event reported;
}  // namespace

TEST_CASE("ThreadPoolExecutor: what a detached task throws goes to the excepthook", "[thread_pool]") {
  reports.clear();
  reported.clear();
  conc::ExceptHook const original = conc::set_excepthook([](const conc::ExceptHookArgs& args) {
    reports.push_back(std::string{args.thread_name} + ": " + outcome([&] { std::rethrow_exception(args.exception); }));
    reported.set();
  });
  const auto argument = std::make_shared<int>(1);
  {
    conc::ThreadPoolExecutor pool{{.max_workers = 1, .thread_name_prefix = "p"}};
    pool.detach([](const std::shared_ptr<int>&) { throw std::runtime_error{"boom"}; }, argument);
    reported.wait();
    CHECK(pool.submit([] { return 1; }).result() == 1);
    CHECK(pool.stats().failed == 1);
    CHECK(pool.stats().workers == 1);
  }
  conc::set_excepthook(original);
  CHECK(reports == std::vector<std::string>{"p_0: boom"});
  CHECK(argument.use_count() == 1);
}

TEST_CASE("ThreadPoolExecutor: idle workers cost no processor time and do not wake up", "[thread_pool]") {
  constexpr auto limit = conc_test::sanitizer() == conc_test::Sanitizer::none ? 100ms : 500ms;
  std::atomic<pid_t> workers[8] = {};
  std::atomic<std::size_t> known{0};
  conc::ThreadPoolExecutor pool{{.max_workers = 8, .initializer = [&] { workers[known++] = ::gettid(); }}};
  { const BusyWorkers busy{pool, 8}; }
  CHECK(pool.wait_idle());
  CHECK(pool.stats().workers == 8);
  REQUIRE(known == 8);
  const auto naps = [&workers] {
    std::vector<long> all;
    for (const auto& worker : workers) all.push_back(conc_test::naps(worker));
    return all;
  };
  for (const auto& worker : workers) CHECK(conc_test::eventually([&worker] { return conc_test::sleeps(worker); }));
  const std::vector<long> naps_before = naps();
  const auto before = processor_time();
  conc::Event nothing_happens;
  CHECK_FALSE(nothing_happens.wait(2s));
  CHECK(processor_time() - before < limit);
  CHECK(naps() == naps_before);
}
