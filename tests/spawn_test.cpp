// SPDX-License-Identifier: MIT
#include <pthread.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/thread.hpp>
#include <conc/wait.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "background.hpp"

using namespace std::chrono_literals;
using conc_test::eventually;
using conc_test::message_of;
using conc_test::outcome;

TEST_CASE("spawn: gives a future of what the function returns", "[spawn][T17]") {
  const conc::Future<int> sum = conc::spawn([](int a, int b) { return a + b; }, 40, 2);
  CHECK(sum.result() == 42);
  conc::spawn([] {}).result();
  int value = 0;
  int& same = conc::spawn([&value]() -> int& { return value; }).result();
  CHECK(&same == &value);
  CHECK(*conc::spawn([p = std::make_unique<int>(4)](std::unique_ptr<int> q) { return std::make_unique<int>(*p + *q); },
                     std::make_unique<int>(5))
             .result() == 9);
}

TEST_CASE("spawn: every call has a thread of its own", "[spawn][T17]") {
  conc::Event go;
  std::vector<conc::Future<std::uint64_t>> futures;
  for (int i = 0; i < 5; ++i) {
    futures.push_back(conc::spawn([&go] {
      go.wait();
      return conc::current_thread().ident();
    }));
  }
  for (const auto& future : futures) CHECK(eventually([&] { return future.running(); }));
  go.set();
  std::set<std::uint64_t> threads{conc::current_thread().ident()};
  for (const auto& future : conc::as_completed(futures)) threads.insert(future.result());
  CHECK(threads.size() == 6);
}

TEST_CASE("spawn: options name the thread and size its stack", "[spawn][T8][T17]") {
  constexpr std::size_t wanted = std::size_t{32} << 20U;
  const auto [name, daemon, stack] =
      conc::spawn({.name = "mine", .daemon = true, .stack_size = wanted}, [] {
        pthread_attr_t attributes;
        std::size_t size = 0;
        ::pthread_getattr_np(::pthread_self(), &attributes);
        ::pthread_attr_getstacksize(&attributes, &size);
        ::pthread_attr_destroy(&attributes);
        return std::tuple{conc::current_thread().name(), conc::current_thread().daemon(), size};
      }).result();
  CHECK(name == "mine");
  CHECK(daemon);
  CHECK(stack >= wanted);
  CHECK(conc::spawn([] { return conc::current_thread().name(); }).result().starts_with("Thread-"));
}

TEST_CASE("spawn: what the function throws is in the future, and not in the excepthook", "[spawn][T17]") {
  const conc::Future<int> failed = conc::spawn([]() -> int { throw std::runtime_error{"boom"}; });
  CHECK(outcome([&] { (void)failed.result(); }) == "boom");
  CHECK(outcome([] { conc::spawn([] { throw 42; }).result(); }) == "something else");
}

TEST_CASE("spawn: a function that runs cannot be cancelled, but asked to end", "[spawn][T17][F1][F18]") {
  conc::Event running;
  const conc::Future<int> future = conc::spawn(
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
  CHECK(future.result() == 7);
}

TEST_CASE("spawn: copies its arguments, and std::ref shares", "[spawn][T17]") {
  int value = 1;
  const auto captured = std::make_shared<int>(0);
  conc::spawn([](int& x) { x = 2; }, std::ref(value)).result();
  CHECK(value == 2);
  CHECK(conc::spawn([captured](const std::shared_ptr<int>& p) { return p.use_count() > 1; }, captured).result());
  CHECK(captured.use_count() == 1);  // gone when the future is done
}

TEST_CASE("spawn: the future may be dropped", "[spawn][T16][T17]") {
  const std::size_t before = conc::active_count();
  conc::Event ran;
  conc::spawn([&ran] { ran.set(); });
  ran.wait();
  CHECK(eventually([before] { return conc::active_count() == before; }));
}

TEST_CASE("spawn: a thread that cannot be had is a std::system_error, and nothing is left", "[spawn][T9][T17][FR1]") {
  constexpr std::size_t too_large = std::size_t{1} << 60U;
  const auto captured = std::make_shared<int>(0);
  bool ran = false;
  CHECK(message_of<std::system_error>([&] {
          conc::spawn({.name = "too large", .stack_size = too_large}, [captured, &ran] { ran = true; });
        }).starts_with("Thread::start: too large: "));
  CHECK(captured.use_count() == 1);
  CHECK_FALSE(ran);
}

TEST_CASE("spawn: a thread that exits in the middle leaves BrokenPromise", "[spawn][F15][T17]") {
  const auto captured = std::make_shared<int>(0);
  const conc::Future<int> future = conc::spawn([captured]() -> int { ::pthread_exit(nullptr); });
  CHECK(message_of<conc::BrokenPromise>([&] { (void)future.result(); }) ==
        "Future: the thread that ran the task was made to exit");
  CHECK(captured.use_count() == 1);
}

TEST_CASE("spawn: threads that wait for each other in a circle get DeadlockError", "[spawn][FM11]") {
  conc::Promise<conc::Future<void>> promise;
  const conc::Future<void> first =
      conc::spawn([future = promise.get_future()] { conc::Future<void>{future.result()}.result(); });
  const conc::Future<void> second = conc::spawn([first] { first.result(); });
  promise.set_result(second);
  CHECK(message_of<conc::DeadlockError>([&] { first.result(); }) != "");
  CHECK(message_of<conc::DeadlockError>([&] { second.result(); }) != "");
}
