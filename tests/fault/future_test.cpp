// SPDX-License-Identifier: MIT
// Futures where memory or threads are not to be had, at the end of threads and of the program, and what they allocate.
#include <pthread.h>

#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <climits>
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/future.hpp>
#include <conc/task_group.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "busy_pool.hpp"
#include "futures.hpp"
#include "support.hpp"
#include "worker.hpp"

namespace {

using conc::Future;
using conc::Promise;
using conc_test::allocations_left;
using conc_test::boom;
using conc_test::ending;
using conc_test::fail_each_allocation;
using conc_test::Hooks;

constexpr auto long_text = "a text that is too long for small strings";

// No system has room for such a stack.
constexpr std::size_t kTooLarge = std::size_t{1} << 60U;

// FR9: used before main, and destroyed after it.
const Promise<std::string> global_promise;
Future<std::string> global_future = [] {
  global_promise.get_future().add_done_callback([text = std::string{long_text}](const Future<std::string>&) {});
  return conc::make_ready_future(std::string{long_text}).then([](const std::string& text) { return text + "!"; });
}();

/// Makes futures done when its thread ends, after and before conc's own thread_locals have gone.
struct AtThreadEnd {
  std::optional<Promise<std::string>> promise;
  std::vector<Future<std::string>> futures;
  std::atomic<int>* good = nullptr;

  ~AtThreadEnd() {
    if (good == nullptr) return;
    const Promise<std::string> fresh;
    futures.push_back(fresh.get_future());
    fresh.set_result(long_text);
    futures.push_back(futures.front().then([](const std::string& text) { return text + "!"; }));
    promise->set_result(long_text);
    promise.reset();
    std::size_t sum = 0;
    for (const Future<std::string>& future : conc::wait(futures).done) sum += future.result().size();
    const std::size_t one = std::string{long_text}.size();
    *good += sum == 3 * one + 1 ? 1 : 0;
  }
};

/// How many allocations the calling thread makes in `fn`.
template <class F>
int allocations_in(F fn) {
  allocations_left.store(INT_MAX);
  fn();
  return INT_MAX - allocations_left.exchange(-1);
}

/// A block for each future, where blocks are not recycled.
constexpr int per_future = conc_test::sanitizer() == conc_test::Sanitizer::address ? 1 : 0;

}  // namespace

TEST_CASE("Promise: its constructor leaks nothing when an allocation fails", "[promise][FR2]") {
  const auto make = [] {
    std::vector<Promise<std::array<char, 1000>>> several;  // a block that is not recycled
    several.emplace_back();
  };
  int failures = 0;
  CHECK(fail_each_allocation(make, [&](bool got_through) {
          CHECK_FALSE(got_through);
          ++failures;
        }) == 2);
  CHECK(failures == 2);
}

TEST_CASE("Promise: set_result and set_exception leave all as it was when an allocation fails", "[promise][FR2][G4]") {
  const Promise<std::string> promise;
  const Future<std::string> future = promise.get_future();
  int called = 0;
  future.add_done_callback([&called](const Future<std::string>&) { ++called; });
  int failures = 0;
  fail_each_allocation([&] { promise.set_result(long_text); },
                       [&](bool got_through) {
                         ++failures;
                         CHECK_FALSE(got_through);
                         CHECK_FALSE(future.done());
                         CHECK_FALSE(future.running());
                         CHECK(called == 0);
                       });
  CHECK(failures > 0);
  CHECK(future.result() == long_text);
  CHECK(called == 1);
  const std::exception_ptr exception = boom();
  CHECK(conc::make_exceptional_future<int>(exception).exception() == exception);  // ThreadSanitizer's own memory
  const Promise<std::string> failed;
  CHECK(allocations_in([&] { failed.set_exception(exception); }) == 0);
  CHECK(ending([&] { failed.get_future().result(); }) == "boom");
}

TEST_CASE("Promise: one that is dropped when there is no memory leaves an exception all the same",
          "[promise][F15][FR2]") {
  conc::make_exceptional_future<int>(boom()).wait();
  (void)conc_test::take_stderr();
  std::vector<Future<int>> futures;
  for (int k = 0; k < 3; ++k) {
    std::optional<Promise<int>> promise{std::in_place};
    futures.push_back(promise->get_future());
    allocations_left.store(k);
    promise.reset();
    allocations_left.store(-1);
    const std::string how = ending([&] { futures.back().result(); });
    CHECK(how == (k == 0 ? "std::bad_alloc" : "BrokenPromise"));
  }
}

TEST_CASE("Future: result gives a copy away or stays as it was when an allocation fails", "[future][F13][FR2][G4]") {
  Future<std::string> future = conc::make_ready_future(std::string{long_text});
  const Future<std::string> other = future;
  std::string text;
  int failures = 0;
  fail_each_allocation([&] { text = std::move(future).result(); },
                       [&](bool got_through) {
                         ++failures;
                         CHECK_FALSE(got_through);
                         REQUIRE(future.valid());
                         CHECK(future == other);
                       });
  CHECK(failures > 0);
  CHECK(text == long_text);
  CHECK_FALSE(future.valid());
}

TEST_CASE("Future: add_done_callback registers all or nothing when an allocation fails", "[future][F6][FR2][G4]") {
  for (const bool done : {false, true}) {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    if (done) promise.set_result(1);
    std::string calls;
    // Its copy allocates, and so does the block of 1000 bytes that it is kept in.
    const auto callback = [&calls, text = std::string{long_text}, bytes = std::array<char, 1000>{}](
                              const Future<int>& f) { calls += text[0] + std::to_string(bytes[0] + f.result()); };
    int failures = 0;
    fail_each_allocation([&] { future.add_done_callback(callback); },
                         [&](bool got_through) {
                           ++failures;
                           CHECK_FALSE(got_through);
                           CHECK(calls.empty());
                         });
    CHECK(failures >= 2);
    if (!done) promise.set_result(1);
    CHECK(calls == "a1");
  }
}

TEST_CASE("Future: then registers all or nothing when an allocation fails", "[future][F17][FR2][G4]") {
  for (const bool done : {false, true}) {
    const auto token = std::make_shared<int>(0);
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    if (done) promise.set_result(1);
    int calls = 0;
    Future<std::array<char, 1000>> next;
    int failures = 0;
    fail_each_allocation(
        [&] {
          next = future.then([&calls, token, text = std::string{long_text}](int n) {
            ++calls;
            return std::array<char, 1000>{static_cast<char>(n)};
          });
        },
        [&](bool got_through) {
          ++failures;
          CHECK_FALSE(got_through);
          CHECK(calls == 0);
          CHECK(token.use_count() == 1);
        });
    CHECK(failures >= 2);
    if (!done) promise.set_result(1);
    CHECK(next.result()[0] == 1);
    CHECK(calls == 1);
    CHECK(token.use_count() == 1);
  }
}

TEST_CASE("Future: a continuation for which its executor has no memory is cancelled", "[future][F17][FR2]") {
  const Hooks hooks;
  conc::ThreadPoolExecutor pool{1};
  pool.submit([] {}).wait();
  for (int k = 0; k < 10; ++k) {
    const Promise<std::string> promise;
    const Future<std::size_t> next =
        promise.get_future().then(pool, [bytes = std::array<char, 1000>{}](const std::string& text) {
          return text.size() + static_cast<std::size_t>(bytes[0]);
        });
    std::string text = long_text;
    const std::size_t size = text.size();
    allocations_left.store(k);
    promise.set_result(std::move(text));
    const bool failed = allocations_left.exchange(-1) < 0;
    std::size_t got = 0;
    const std::string how = ending([&] { got = next.result(); });
    CHECK((failed ? how == "CancelledError" : got == size));
  }
  CHECK(Hooks::take().empty());
}

TEST_CASE("Future: a callback that throws on a thread that conc does not know is reported without memory",
          "[future][F8][FR2]") {
  const Hooks hooks;
  const Future<int> ready = conc::make_ready_future(1);
  ready.add_done_callback([](const Future<int>&) { throw 1; });  // a sanitizer's own memory
  (void)Hooks::take();
  const std::exception_ptr exception = boom();
  for (int k = 0; k < 4; ++k) {
    std::thread{[&] {
      ready.add_done_callback([&exception, k](const Future<int>&) {
        allocations_left.store(k);
        std::rethrow_exception(exception);
      });
      allocations_left.store(-1);
    }}.join();
  }
  CHECK(conc_test::take_stderr().empty());
}

TEST_CASE("wait: fails as a whole or not at all when an allocation fails", "[wait][FR2][G4]") {
  std::vector<Promise<conc_test::Travelled>> promises(3);
  std::vector<Future<conc_test::Travelled>> futures;
  for (const auto& promise : promises) futures.push_back(promise.get_future());
  promises[1].set_result(7);
  const auto each = [&](auto call) {
    int failures = 0;
    fail_each_allocation(call, [&](bool got_through) {
      ++failures;
      CHECK_FALSE(got_through);
      CHECK(futures.size() == 3);
      CHECK_FALSE(futures[0].done());
    });
    CHECK(failures > 0);
  };
  const conc::Deadline poll{std::chrono::seconds{0}};
  std::size_t done = 0;
  each([&] { done = conc::wait(futures, poll).done.size(); });
  CHECK(done == 1);
  each([&] {
    done = conc::wait(futures, {.timeout = poll, .return_when = conc::ReturnWhen::first_exception}).not_done.size();
  });
  CHECK(done == 2);
  bool first_is_done = false;
  each([&] {
    for (const auto& future : conc::as_completed(futures)) {
      first_is_done = future == futures[1];
      break;
    }
  });
  CHECK(first_is_done);
  each([&] { conc::when_all(futures); });
  each([&] { conc::when_all(futures[0], futures[2]); });
  each([&] { conc::when_any(futures); });
  promises[0].set_result(6);
  promises[2].set_result(8);
  for (auto& future : futures) CHECK(std::move(future).result().copies == 0);  // no other handle was left anywhere
}

TEST_CASE("wait: when_all and when_any work after some allocations have failed", "[wait][F17][FR2]") {
  const std::vector<Promise<int>> promises(3);
  std::vector<Future<int>> futures;
  for (const Promise<int>& promise : promises) futures.push_back(promise.get_future());
  Future<std::vector<Future<int>>> all;
  Future<conc::WhenAny<int>> any;
  const auto ignore = [](bool) {};
  CHECK(fail_each_allocation([&] { all = conc::when_all(futures); }, ignore) > 0);
  CHECK(fail_each_allocation([&] { any = conc::when_any(futures); }, ignore) > 0);
  for (const std::size_t i : {1U, 0U, 2U}) promises[i].set_result(1);
  CHECK(all.result() == futures);
  CHECK(any.result().index == 1);
}

TEST_CASE("ThreadPoolExecutor: submit hands over a task or nothing when an allocation fails",
          "[thread_pool][FR2][G4]") {
  const auto token = std::make_shared<int>(0);
  std::atomic<int> ran{0};
  int accepted = 0;
  {
    conc::ThreadPoolExecutor pool{2};
    for (int i = 0; i < 10; ++i) {
      Future<void> future;
      fail_each_allocation(
          [&] {
            future = pool.submit([&ran, token, bytes = std::array<char, 1000>{}] { ran += 1 + bytes[0]; });
            ++accepted;
          },
          [&](bool) {
            if (future.valid()) future.wait();
            future = {};
            CHECK(ran == accepted);
          });
      future.wait();
      CHECK(ran == accepted);
    }
  }
  CHECK(ran == accepted);
  CHECK(accepted >= 10);
  CHECK(token.use_count() == 1);
}

TEST_CASE("map: runs its calls or cancels them when an allocation fails", "[thread_pool][X10][FR2][G4]") {
  conc::ThreadPoolExecutor pool{2};
  pool.submit([] {}).wait();
  const auto token = std::make_shared<int>(0);
  const std::vector<int> numbers{1, 2, 3, 4};
  for (const std::size_t chunksize : {1U, 3U}) {
    int sum = 0;
    fail_each_allocation(
        [&] {
          sum = 0;
          for (const int n : pool.map(
                   {.chunksize = chunksize}, [token](int n) { return n * 2; }, numbers))
            sum += n;
        },
        [&](bool got_through) { CHECK((!got_through || sum == 20)); });
    CHECK(sum == 20);
  }
  pool.shutdown();
  CHECK(token.use_count() == 1);
}

TEST_CASE("map: makes all of its calls, or none where it throws because an allocation has failed",
          "[thread_pool][X10][FR2][G4]") {
  conc::ThreadPoolExecutor pool{1};
  pool.submit([] {}).wait();
  int calls = 0;
  const std::vector<int> numbers{1, 2, 3, 4, 5};
  const auto call = [&calls](int n) { calls += n; };
  // Lets each allocation fail in turn. By a task of the pool, which is its only worker, or while that one is busy.
  const auto each = [&](bool inside, auto submit, int all) {
    int failures = 0;
    bool failed = true;
    while (failed) {
      bool threw = false;
      const auto attempt = [&] {
        allocations_left.store(failures);
        try {
          submit();
        } catch (const std::bad_alloc&) {
          threw = true;
        }
        failed = allocations_left.exchange(-1) < 0;
      };
      calls = 0;
      if (inside) {
        pool.submit(attempt).result();
      } else {
        const conc_test::BusyWorkers busy{pool};
        attempt();
      }
      CHECK(pool.wait_idle());
      CHECK(threw == failed);
      CHECK(calls == (threw ? 0 : all));
      failures += failed ? 1 : 0;
    }
    CHECK(failures > 0);
  };
  for (const bool inside : {false, true}) {
    for (const std::size_t chunksize : {1U, 2U}) {
      each(
          inside, [&] { pool.map({.chunksize = chunksize}, call, numbers); }, 15);
      each(
          inside, [&] { pool.map({.chunksize = chunksize, .buffersize = 2}, call, numbers); }, 3);
    }
    each(
        inside, [&] { pool.submit_many(call, numbers); }, 15);
  }
}

TEST_CASE("spawn: leaves nothing behind when an allocation or the start of its thread fails",
          "[future][T17][FR1][FR2]") {
  const Hooks hooks;
  const auto token = std::make_shared<int>(0);
  const auto task = [token, text = std::string{long_text}] { return text.size(); };
  Future<std::size_t> future;
  int failures = 0;
  fail_each_allocation([&] { future = conc::spawn(task); },
                       [&](bool got_through) {
                         ++failures;
                         CHECK_FALSE(got_through);
                         CHECK(token.use_count() == 2);
                       });
  CHECK(failures > 0);
  CHECK(future.result() == std::string{long_text}.size());
  bool threw = false;
  try {
    conc::spawn(conc::ThreadOptions{.stack_size = kTooLarge}, task);
  } catch (const std::system_error&) {
    threw = true;
  }
  CHECK(threw);
  CHECK(conc_test::eventually([&] { return token.use_count() == 2; }));
  CHECK(Hooks::take().empty());
}

TEST_CASE("spawn: a task that makes its thread exit leaves BrokenPromise", "[future][T17][X9][F15]") {
  const auto token = std::make_shared<int>(0);
  const Future<int> future = conc::spawn([token]() -> int { ::pthread_exit(nullptr); });
  CHECK(ending([&] { future.result(); }) == "BrokenPromise");
  CHECK(token.use_count() == 1);
}

TEST_CASE("Future: futures work before main and are destroyed after it", "[future][FR9]") {
  CHECK(global_future.result() == std::string{long_text} + "!");
  CHECK_FALSE(global_promise.get_future().done());  // its callback is called at the very end
}

TEST_CASE("Future: thread_locals may make futures done when their thread ends", "[future][FR9]") {
  std::atomic<int> good{0};
  std::vector<Future<std::string>> futures;
  constexpr int kThreads = 4;
  for (int i = 0; i < kThreads; ++i) {
    const Promise<std::string> handed;
    futures.push_back(handed.get_future());
    std::thread{[&] {
      thread_local AtThreadEnd early;  // destroyed last: conc's own thread_locals have gone by then
      for (int k = 0; k < 100; ++k) (void)conc::make_ready_future(k);
      std::vector<Promise<int>> blocks(static_cast<std::size_t>(i) * 70);
      thread_local AtThreadEnd late;
      for (AtThreadEnd* const at_end : {&early, &late}) {
        at_end->promise.emplace();
        at_end->futures.push_back(at_end->promise->get_future());
        at_end->good = &good;
      }
      blocks.clear();
      handed.set_result(long_text);
    }}.join();
  }
  CHECK(good == 2 * kThreads);
  for (const Future<std::string>& future : futures) CHECK(future.result() == long_text);
}

TEST_CASE("Promise: a future and its result need no memory but recycled blocks", "[promise][cost]") {
  const auto round = [](int n) {
    Promise<int> promise;
    Future<int> future = promise.get_future();
    const Future<int> copy = future;
    const Future<int> next = future.then([](int m) { return m + 1; });
    future.add_done_callback([](const Future<int>&) {});
    promise.set_result(n);
    return std::move(future).result() + copy.result() + next.result() + (copy.exception() == nullptr ? 0 : 1);
  };
  int sum = 0;
  for (int i = 0; i < 10; ++i) sum += round(i);
  constexpr int kRounds = 1000;
  const int allocations = allocations_in([&] {
    for (int i = 0; i < kRounds; ++i) sum += round(i);
  });
  CHECK(allocations == 3 * kRounds * per_future);  // the promise, the continuation and the callback
  CHECK(sum == 3 * (45 + 499'500) + 1010);
}

TEST_CASE("ThreadPoolExecutor: submit and result need no memory but recycled blocks, on either side",
          "[thread_pool][cost]") {
  conc::ThreadPoolExecutor pool{1};
  const auto rounds = [&pool](int n) {
    int sum = 0;
    for (int i = 0; i < n; ++i) sum += pool.submit([](int m) { return m; }, i).result();
    std::vector<Future<int>>& several = *[] {
      static std::vector<Future<int>> all(100);
      return &all;
    }();
    for (int i = 0; i < n / 100; ++i) {
      for (Future<int>& future : several) future = pool.submit([i] { return i; });
      for (Future<int>& future : several) sum += std::move(future).result();
    }
    return sum;
  };
  constexpr int kRounds = 2000;
  rounds(kRounds);
  pool.submit([] { allocations_left.store(INT_MAX); }).wait();  // counts those of the worker
  int sum = 0;
  const int here = allocations_in([&] { sum = rounds(kRounds); });
  const int there = pool.submit([] { return INT_MAX - allocations_left.exchange(-1); }).result();
  CHECK(sum == 1'999'000 + 100 * 190);
  CHECK(here == 2 * kRounds * per_future);
  CHECK(there == 0);
}

namespace {

/// How many allocations the calling thread and the only worker of a pool make in `round`, again and again.
struct Allocations {
  int here;
  int there;
};
template <class F>
Allocations allocations_in_rounds(conc::ThreadPoolExecutor& pool, F round) {
  const auto rounds = [&round] {
    for (int i = 0; i < 1000; ++i) round();
  };
  rounds();
  pool.submit([] { allocations_left.store(INT_MAX); }).wait();
  const int here = allocations_in(rounds);
  return {here, pool.submit([] { return INT_MAX - allocations_left.exchange(-1); }).result()};
}

/// A callable of so many bytes.
template <std::size_t size>
struct Sized {
  int operator()() const { return bytes[0]; }
  std::array<char, size> bytes{};
};
template <class F>
constexpr std::size_t size_of_task = sizeof(conc::detail::CallState<int, conc::detail::Call<F>>);

}  // namespace

TEST_CASE("ThreadPoolExecutor: detach, TaskGroup and continuations need no memory but recycled blocks",
          "[thread_pool][cost]") {
  conc::ThreadPoolExecutor pool{1};
  int calls = 0;  // of the one worker
  const Allocations detached = allocations_in_rounds(pool, [&] {
    pool.detach([&calls] { ++calls; });
    pool.wait_idle();
  });
  CHECK(detached.here == 1000 * per_future);
  CHECK(detached.there == 0);
  const Allocations group = allocations_in_rounds(pool, [&] {
    conc::TaskGroup tasks{pool};
    for (int i = 0; i < 3; ++i) tasks.run([&calls] { ++calls; });
    tasks.wait();
  });
  CHECK(group.here == 3 * 1000 * per_future);
  CHECK(group.there == 0);
  const Allocations nested = allocations_in_rounds(pool, [&] {
    pool.submit([&] {
          conc::TaskGroup tasks{pool};
          for (int i = 0; i < 3; ++i) tasks.run([&calls] { ++calls; });
          tasks.wait();
          pool.submit([&calls] { ++calls; }).result();
        })
        .result();
  });
  CHECK(nested.here == 1000 * per_future);
  CHECK(nested.there == 4 * 1000 * per_future);
  const Allocations continued = allocations_in_rounds(pool, [&] {
    const Promise<int> promise;
    const Future<void> next = promise.get_future().then(pool, [&calls](int n) { calls += n; });
    promise.set_result(1);
    next.result();
    pool.wait_idle();  // so that each block is always given back by the same thread
  });
  CHECK(continued.here == 3 * 1000 * per_future);
  CHECK(continued.there == 0);
  const Allocations stoppable = allocations_in_rounds(pool, [&] {
    pool.submit([&calls](const conc::StopToken&) { ++calls; }).result();
    pool.wait_idle();
  });
  CHECK(stoppable.here == 2 * 1000 * per_future);
  CHECK(stoppable.there == 0);
  CHECK(calls == 2000 * (1 + 3 + 4 + 1 + 1));
}

TEST_CASE("ThreadPoolExecutor: tasks of up to 256 bytes are recycled, larger ones need memory each",
          "[thread_pool][cost]") {
  constexpr std::size_t most = 256 - (size_of_task<Sized<8>> - 8);
  static_assert(size_of_task<Sized<most>> == 256 && size_of_task<Sized<most + 1>> > 256);
  conc::ThreadPoolExecutor pool{1};
  int sum = 0;
  const Allocations small = allocations_in_rounds(pool, [&] { sum += pool.submit(Sized<most>{}).result(); });
  CHECK(small.here == 1000 * per_future);
  CHECK(small.there == 0);
  const Allocations large = allocations_in_rounds(pool, [&] { sum += pool.submit(Sized<most + 1>{}).result(); });
  CHECK(large.here == 1000);
  CHECK(large.there == 0);
  CHECK(sum == 0);
}
