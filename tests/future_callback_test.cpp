// SPDX-License-Identifier: MIT
// add_done_callback, and what becomes of a task's callable.
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/future.hpp>
#include <conc/thread_pool.hpp>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "busy_pool.hpp"
#include "futures.hpp"
#include "support.hpp"
#include "worker.hpp"

namespace {

using conc::Future;
using conc::Promise;
using conc_test::boom;
using conc_test::core_of;
using conc_test::ending;
using conc_test::Hooks;
using conc_test::Worker;

/// Calls `look` when it is destroyed, but for what is left after a move.
template <class F>
class AtEnd {
 public:
  explicit AtEnd(F look) : look_{std::move(look)} {}
  AtEnd(AtEnd&& other) noexcept : look_{std::exchange(other.look_, std::nullopt)} {}
  AtEnd& operator=(AtEnd&&) = delete;
  ~AtEnd() {
    if (look_) (*look_)();
  }

 private:
  std::optional<F> look_;
};

/// What a coroutine sees that goes on in the worker that has run its task.
struct GoingOn {
  conc::Event go;          // of the task
  conc::Event stay;        // of the coroutine
  conc::Event here;        // it has made another future done
  conc::Event ended;       // it has ended
  conc::Event other_runs;  // what it has submitted
  bool same_block = false;
  std::size_t running = 0;
  bool other_ran = false;
};

/// Makes a future done in the block of memory in which the worker's task was.
conc_test::Detached make_another(conc::ThreadPoolExecutor& pool, GoingOn& seen) {
  Future<int> task = pool.submit([&seen] {
    seen.go.wait();
    return 1;
  });
  const void* const block = core_of(task);
  co_await std::move(task);
  {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    seen.same_block = core_of(future) == block;
    promise.set_result(2);
  }
  seen.running = pool.stats().running;
  seen.here.set();
  seen.stay.wait();
  pool.detach([&seen] { seen.other_runs.set(); });
  seen.other_ran = seen.other_runs.wait(std::chrono::seconds{30});
  seen.ended.set();
}

}  // namespace

TEST_CASE("Future: callbacks are called once each, in order of registration, with the future", "[future][F6]") {
  for (const int how : {0, 1, 2}) {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    std::string calls;
    for (const char name : {'a', 'b', 'c'}) {
      future.add_done_callback(
          [&calls, &future, name](const Future<int>& done) { calls += done == future && done.done() ? name : '?'; });
    }
    CHECK(calls.empty());
    if (how == 0) promise.set_result(1);
    if (how == 1) promise.set_exception(boom());
    if (how == 2) future.cancel();
    CHECK(calls == "abc");
    CHECK_FALSE(promise.try_set_result(2));
    CHECK(future.cancel() == (how == 2));
    CHECK(calls == "abc");
    CHECK(ending([&] { future.result(); }) == (how == 0 ? "returned" : how == 1 ? "boom" : "CancelledError"));
  }
}

TEST_CASE("Future: callbacks are called on the thread that finishes or cancels, or here if it is done",
          "[future][F6]") {
  for (const bool cancel : {false, true}) {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    std::thread::id caller;
    future.add_done_callback([&](const Future<int>&) { caller = std::this_thread::get_id(); });
    const auto finisher = conc_test::elsewhere([&] {
      cancel ? static_cast<void>(future.cancel()) : promise.set_result(1);
      return std::this_thread::get_id();
    });
    CHECK(caller == finisher);
    future.add_done_callback([&](const Future<int>&) { caller = std::this_thread::get_id(); });
    CHECK(caller == std::this_thread::get_id());
  }
}

TEST_CASE("Future: a callback that is added inside of one is called at once", "[future][F7][FM9]") {
  const Promise<int> promise;
  const Future<int> future = promise.get_future();
  std::string calls;
  future.add_done_callback([&](const Future<int>& outer) {
    calls += '1';
    outer.add_done_callback([&](const Future<int>& inner) {
      calls += '2';
      inner.add_done_callback([&](const Future<int>&) { calls += '3'; });
      calls += '4';
    });
    calls += '5';
  });
  future.add_done_callback([&](const Future<int>&) { calls += '6'; });
  promise.set_result(1);
  CHECK(calls == "123456");
}

TEST_CASE("Future: what a callback throws goes to the hook, and the next one is called", "[future][F8][FM9]") {
  const Hooks hooks;
  const Promise<int> promise;
  const Future<int> future = promise.get_future();
  std::string calls;
  future.add_done_callback([&](const Future<int>&) {
    calls += 'a';
    throw std::runtime_error{"first"};
  });
  future.add_done_callback([&](const Future<int>&) {
    calls += 'b';
    throw 42;
  });
  future.add_done_callback([&](const Future<int>&) { calls += 'c'; });
  promise.set_result(1);
  CHECK(calls == "abc");
  CHECK(Hooks::take() == "uncaught first;uncaught something else;");
  future.add_done_callback(
      [](const Future<int>&) { throw std::runtime_error{"late"}; });  // here, and not to the caller
  CHECK(Hooks::take() == "uncaught late;");
}

TEST_CASE("Future: the default hook prints what a callback throws", "[future][F8]") {
  conc::make_ready_future().add_done_callback([](const Future<void>&) { throw std::runtime_error{"text"}; });
  CHECK(conc_test::take_stderr() == "Exception in thread MainThread: std::runtime_error: text\n");
}

TEST_CASE("Future: callbacks may call anything on the future", "[future][F9][G3]") {
  for (const bool cancel : {false, true}) {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    std::string facts;
    future.add_done_callback([&](const Future<int>& done) {
      facts += done.done() ? 'd' : '-';
      facts += done.running() ? 'r' : '-';
      facts += done.cancelled() ? 'c' : '-';
      facts += done.cancel() ? 'c' : '-';
      facts += done.wait() ? 'w' : '-';
      facts += done.request_stop() ? 's' : '-';
      facts += " " + ending([&] { done.result(); });
      facts += " " + ending([&] { (void)done.exception(); });
      facts += " " + ending([&] { (void)Future<int>{done}.result(); });
      facts += " " + ending([&] { promise.set_result(2); });
      facts += promise.get_future() == done ? " same" : " other";
      done.then([&](const Future<int>&) { facts += " then"; });
    });
    cancel ? static_cast<void>(future.cancel()) : promise.set_result(1);
    CHECK(facts == (cancel ? "d-ccw- CancelledError CancelledError CancelledError InvalidStateError same then"
                           : "d---w- returned returned returned InvalidStateError same then"));
  }
}

TEST_CASE("Future: result may return before the callbacks have run", "[future][F9]") {
  const Promise<int> promise;
  const Future<int> future = promise.get_future();
  conc::Event got;
  bool in_time = false;
  future.add_done_callback([&](const Future<int>&) { in_time = got.wait(std::chrono::seconds{30}); });
  Worker finisher{[&] { promise.set_result(1); }};
  CHECK(future.result() == 1);
  got.set();
  finisher.join();
  CHECK(in_time);
}

TEST_CASE("Future: the last handle gives a copy of the result while a callback may look at it", "[future][F9][F13]") {
  Promise<std::string> promise;
  Future<std::string> future = promise.get_future();
  const std::string text = "a text that is too long for small strings";
  conc::Event called;
  conc::Event got;
  std::string seen;
  future.add_done_callback([&](const Future<std::string>& done) {
    called.set();
    got.wait();
    seen = done.result();
  });
  Worker finisher{[&] {
    promise.set_result(text);
    promise = Promise<std::string>{};
  }};
  called.wait();
  CHECK(std::move(future).result() == text);
  got.set();
  finisher.join();
  CHECK(seen == text);
}

TEST_CASE("Future: a callback may destroy all handles and the promise", "[future][F9][FM9]") {
  struct Owner {
    std::optional<Promise<std::string>> promise{std::in_place};
    Future<std::string> future = promise->get_future();
  };
  for (const bool done_before : {false, true}) {
    auto owner = std::make_unique<Owner>();
    const std::string text = "a text that is too long for small strings";
    std::string seen;
    const auto callback = [&](const Future<std::string>& done) {
      owner.reset();
      seen += done.result();
    };
    if (done_before) {
      owner->promise->set_result(text);
      owner->promise.reset();
      owner->future.add_done_callback(callback);
    } else {
      owner->future.add_done_callback(callback);
      owner->future.add_done_callback(
          [&seen](const Future<std::string>& done) { seen += std::to_string(done.result().size()); });
      owner->promise->set_result(text);
    }
    CHECK(seen == text + (done_before ? "" : std::to_string(text.size())));
    CHECK(owner == nullptr);
  }
}

TEST_CASE("Future: a callback may destroy the pool that runs it", "[future][FM9]") {
  std::optional<conc::ThreadPoolExecutor> pool{1};
  conc::Event registered;
  conc::Event destroyed;
  const Future<int> future = pool->submit([&] {
    registered.wait();
    return 1;
  });
  future.add_done_callback([&](const Future<int>&) {
    pool.reset();  // a worker of its own: it does not wait
    destroyed.set();
  });
  registered.set();
  destroyed.wait();
  CHECK(future.result() == 1);
}

TEST_CASE("Future: a worker on which a coroutine goes on is busy, also when it has made another future done",
          "[future][F16][X2]") {
  GoingOn seen;
  conc::ThreadPoolExecutor pool{2};
  make_another(pool, seen);
  seen.go.set();
  seen.here.wait();
  // AddressSanitizer wants to see every block come and go.
  CHECK(seen.same_block == (conc_test::sanitizer() != conc_test::Sanitizer::address));
  CHECK(seen.running == 1);
  CHECK(pool.stats().running == 1);
  CHECK(pool.stats().workers == 1);
  CHECK_FALSE(pool.wait_idle(std::chrono::seconds{0}));
  seen.stay.set();
  seen.ended.wait();
  CHECK(seen.other_ran);  // by a worker that was started for it
}

TEST_CASE("Future: tasks from outside are run while a coroutine goes on on a worker", "[future][F16][X2]") {
  GoingOn seen;
  conc::ThreadPoolExecutor pool{3};
  { const conc_test::BusyWorkers two{pool, 2}; }
  CHECK(pool.wait_idle());
  make_another(pool, seen);
  seen.go.set();
  seen.here.wait();
  CHECK(seen.running == 1);
  CHECK(pool.submit([] { return 1; }).wait(std::chrono::seconds{30}));
  seen.stay.set();
  seen.ended.wait();
  CHECK(seen.other_ran);
}

TEST_CASE("Future: a callback may drop the handle through which a worker runs the task and waits for it",
          "[future][F9][G6][X16]") {
  for (const int how : {0, 1, 2, 3, 4, 5}) {
    conc::ThreadPoolExecutor pool{2};
    conc::Event go;
    Future<std::string> inner;
    const auto task = [&] {
      // The other worker meets this task in the queue, which is claimed, and lets go of it.
      go.set();
      conc::Event met;
      pool.detach([&met] { met.set(); });
      met.wait();
      if (how == 3 || how == 5) throw std::runtime_error{"boom"};
      return std::string(100, 'x');
    };
    const auto outer = [&] {
      inner = pool.submit(task);
      inner.add_done_callback([&](const Future<std::string>&) { inner = {}; });
      if (how == 0) return ending([&] { (void)inner.result(); });
      if (how >= 4) return ending([&] { (void)std::move(inner).result(); });
      if (how == 1) return std::string{inner.wait() ? "returned" : "false"};
      const std::exception_ptr exception = inner.exception();
      return exception == nullptr ? "returned" : ending([&] { std::rethrow_exception(exception); });
    };
    const Future<void> other = pool.submit([&go] { go.wait(); });
    const Future<std::string> ended = pool.submit(outer);
    CHECK(ended.result() == (how == 3 || how == 5 ? "boom" : "returned"));
    CHECK(inner.valid() == (how == 5));  // where result() of a temporary throws the handle stays
    other.result();
  }
}

TEST_CASE("Future: a callback is destroyed when it has been called, whatever becomes of the future", "[future][F6]") {
  const auto token = std::make_shared<int>(0);
  Promise<int> promise;
  Future<int> future = promise.get_future();
  future.add_done_callback([token](const Future<int>&) {});
  CHECK(token.use_count() == 2);
  promise.set_result(1);
  CHECK(token.use_count() == 1);
  future.add_done_callback([token](const Future<int>&) {});
  CHECK(token.use_count() == 1);
}

TEST_CASE("Future: callbacks outlive the handle that registered them", "[future][F6][F15][FR11]") {
  for (const int how : {0, 1, 2}) {
    const auto token = std::make_shared<int>(0);
    std::string seen;
    {
      const Promise<int> promise;
      promise.get_future().add_done_callback(
          [token, &seen](const Future<int>& done) { seen += ending([&] { done.result(); }); });
      if (how == 0) promise.set_result(1);
      if (how == 1) promise.get_future().cancel();
    }
    CHECK(seen == (how == 0 ? "returned" : how == 1 ? "CancelledError" : "BrokenPromise"));
    CHECK(token.use_count() == 1);
  }
}

TEST_CASE("Future: callbacks may be members, references and things that only move", "[future][F6]") {
  const Promise<int> promise;
  const Future<int> future = promise.get_future();
  int sum = 0;
  auto counter = [&sum](const Future<int>& done) { sum += done.result(); };
  future.add_done_callback(std::ref(counter));
  future.add_done_callback([&sum, one = std::make_unique<int>(1)](const Future<int>&) mutable { sum += *one; });
  future.add_done_callback([&sum](Future<int> copy) { sum += std::move(copy).result(); });
  future.add_done_callback(&Future<int>::done);
  promise.set_result(10);
  CHECK(sum == 21);
}

TEST_CASE("Future: callable and arguments are destroyed before it becomes done, on the thread that ran the task",
          "[future][F12][T14]") {
  for (const bool fails : {false, true}) {
    conc::Event go;
    Future<int> future;
    std::vector<std::pair<bool, std::thread::id>> ends;  // of the callable and of one argument
    const auto look = [&] { ends.emplace_back(future.done(), std::this_thread::get_id()); };
    std::thread::id runner;
    {
      conc::ThreadPoolExecutor pool{1};
      future = pool.submit(
          [&, end = AtEnd{look}](const auto&) {
            go.wait();
            runner = std::this_thread::get_id();
            if (fails) throw std::runtime_error{"boom"};
            return 1;
          },
          AtEnd{look});
      std::size_t ends_seen = 0;
      future.add_done_callback([&](const Future<int>&) { ends_seen = ends.size(); });
      go.set();
      CHECK(ending([&] { future.result(); }) == (fails ? "boom" : "returned"));
      pool.shutdown();
      CHECK(ends_seen == 2);
    }
    REQUIRE(ends.size() == 2);
    for (const auto& [was_done, where] : ends) {
      CHECK_FALSE(was_done);
      CHECK(where == runner);
    }
  }
}

TEST_CASE("Future: callable and arguments are destroyed by cancel, before it becomes done", "[future][F12]") {
  conc::Event go;
  conc::ThreadPoolExecutor pool{1};
  pool.detach([&] { go.wait(); });
  Future<void> future;
  std::vector<std::pair<bool, std::thread::id>> ends;
  const auto look = [&] { ends.emplace_back(future.done(), std::this_thread::get_id()); };
  future = pool.submit([end = AtEnd{look}](const auto&) {}, AtEnd{look});
  std::size_t ends_seen = 0;
  future.add_done_callback([&](const Future<void>&) { ends_seen = ends.size(); });
  CHECK(ends.empty());
  CHECK(future.cancel());
  CHECK(ends == std::vector(2, std::pair{false, std::this_thread::get_id()}));
  CHECK(ends_seen == 2);
  go.set();
}

TEST_CASE("spawn: gives what the call returns or throws, on a thread of its own", "[future][spawn][T17]") {
  const Future<std::thread::id> where = conc::spawn([] { return std::this_thread::get_id(); });
  CHECK(where.result() != std::this_thread::get_id());
  CHECK(conc::spawn([](int a, const std::string& b) { return b + std::to_string(a); }, 5, "text").result() == "text5");
  CHECK(ending([] { conc::spawn([] { throw std::runtime_error{"boom"}; }).result(); }) == "boom");
  int object = 1;
  CHECK(&conc::spawn([](int& shared) -> int& { return ++shared, shared; }, std::ref(object)).result() == &object);
  CHECK(object == 2);
  CHECK(*conc::spawn([](std::unique_ptr<int> only) { return only; }, std::make_unique<int>(3)).result() == 3);
  CHECK(conc::spawn(conc::ThreadOptions{.name = "own name"}, [] { return conc::current_thread().name(); }).result() ==
        "own name");
}

TEST_CASE("spawn: a task that takes a StopToken first gets one, and request_stop asks it to end",
          "[future][spawn][F18][T17]") {
  conc::Event runs;
  const Future<int> future = conc::spawn(
      [&](const conc::StopToken& token, int number) {
        conc::Event stopped;
        const conc::StopCallback callback{token, [&] { stopped.set(); }};
        runs.set();
        stopped.wait();
        return number;
      },
      7);
  runs.wait();
  CHECK(future.running());
  CHECK_FALSE(future.cancel());
  CHECK(future.request_stop());
  CHECK_FALSE(future.request_stop());
  CHECK(future.result() == 7);
  CHECK_FALSE(future.cancelled());
  CHECK_FALSE(future.request_stop());
  CHECK_FALSE(conc::spawn([](auto...) {}).request_stop());  // can be called without one
}

TEST_CASE("Future: a stop may be requested before the task is started, and cancel still works", "[future][F18]") {
  conc::Event go;
  conc::ThreadPoolExecutor pool{1};
  pool.detach([&] { go.wait(); });
  const auto asked = [](const conc::StopToken& token) { return token.stop_requested(); };
  const Future<bool> early = pool.submit(asked);
  const Future<bool> cancelled = pool.submit(asked);
  CHECK(early.request_stop());
  CHECK(cancelled.request_stop());
  CHECK(cancelled.cancel());
  go.set();
  CHECK(early.result());
}

TEST_CASE("Future: a task that waits for itself gets DeadlockError, or TimeoutError with a deadline",
          "[future][FM11][F3]") {
  conc::Event known;
  Future<std::string> self;
  self = conc::spawn([&] {
    known.wait();
    std::string endings = ending([&] { self.result(); });
    endings += " " + ending([&] { (void)self.exception(); });
    endings += " " + ending([&] { self.wait(); });
    endings += " " + ending([&] { self.result(std::chrono::milliseconds{1}); });
    return endings;
  });
  known.set();
  CHECK(self.result() == "DeadlockError DeadlockError DeadlockError TimeoutError");
}

TEST_CASE("Future: two tasks that wait for each other: one gets DeadlockError", "[future][FM11]") {
  conc::Event known;
  Future<int> one;
  Future<int> other;
  one = conc::spawn([&] {
    known.wait();
    return other.result();
  });
  other = conc::spawn([&] {
    known.wait();
    return one.result();
  });
  known.set();
  CHECK(ending([&] { one.result(); }) == "DeadlockError");
  CHECK(ending([&] { other.result(); }) == "DeadlockError");
}
