// SPDX-License-Identifier: MIT
// What goes on when a future is done: then() and co_await.
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/future.hpp>
#include <conc/thread_pool.hpp>

#include <any>
#include <catch2/catch_test_macros.hpp>
#include <coroutine>
#include <cstddef>
#include <deque>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "futures.hpp"
#include "support.hpp"
#include "worker.hpp"

namespace {

using conc::Future;
using conc::Promise;
using conc_test::boom;
using conc_test::cancelled_future;
using conc_test::Detached;
using conc_test::ending;
using conc_test::Hooks;
using conc_test::Travelled;

const std::string long_text = "a text that is too long for small strings";

/// Keeps what it is given until it is told to run it.
class LaterExecutor {
 public:
  template <class F>
  void detach(F&& fn) {
    if (refuses) throw conc::UsageError{"LaterExecutor: takes nothing"};
    struct Holder : Base {
      explicit Holder(F&& callable) : call{std::move(callable)} {}
      void run() override { call(); }
      F call;
    };
    calls_.push_back(std::make_unique<Holder>(std::forward<F>(fn)));
  }
  std::size_t size() const { return calls_.size(); }
  void run_all() {
    for (; !calls_.empty(); calls_.pop_front()) calls_.front()->run();
  }
  void drop_all() { calls_.clear(); }
  bool refuses = false;

 private:
  struct Base {
    virtual ~Base() = default;
    virtual void run() = 0;
  };
  std::deque<std::unique_ptr<Base>> calls_;
};

static_assert(std::is_same_v<decltype(std::declval<Future<int>>().then([](int) { return 'c'; })), Future<char>>);
static_assert(std::is_same_v<decltype(std::declval<Future<void>>().then([] {})), Future<void>>);
static_assert(
    std::is_same_v<decltype(std::declval<Future<int&>>().then([](int& i) -> int& { return i; })), Future<int&>>);
static_assert(std::is_same_v<decltype(std::declval<Future<int>>().then([](auto x) { return x; })), Future<int>>);

Detached await_into(std::string& how, Future<int> future) {
  try {
    how = std::to_string(co_await future);
  } catch (const std::exception&) {
    how = ending([] { throw; });
  }
}

}  // namespace

TEST_CASE("Future: then gives a future of what fn makes of the result", "[future][F17]") {
  const Promise<int> promise;
  const Future<std::string> text = promise.get_future().then([](int n) { return std::to_string(n); });
  const Future<std::size_t> length = text.then([](const std::string& s) { return s.size(); });
  const Future<void> nothing = length.then([](std::size_t) {});
  const Future<int> end = nothing.then([] { return 7; });
  CHECK_FALSE(text.done());
  CHECK_FALSE(end.done());
  promise.set_result(123);
  CHECK(text.result() == "123");
  CHECK(length.result() == 3);
  nothing.result();
  CHECK(end.result() == 7);
}

TEST_CASE("Future: then takes results of all kinds", "[future][F17]") {
  const Future<std::unique_ptr<int>> pointer = conc::make_ready_future(std::make_unique<int>(5));
  CHECK(pointer.then([](const std::unique_ptr<int>& p) { return *p + 1; }).result() == 6);
  CHECK(*pointer.result() == 5);
  int object = 1;
  const Promise<int&> reference;
  reference.set_result(object);
  CHECK(&reference.get_future().then([](int& i) -> int& { return i; }).result() == &object);
  CHECK(*conc::make_ready_future(3).then([](int i) { return std::make_unique<int>(i); }).result() == 3);
  CHECK(conc::make_ready_future(long_text).then(&std::string::size).result() == long_text.size());
}

TEST_CASE("Future: then gives the result to who could take either, a generic callable too", "[future][F17]") {
  CHECK(conc::make_ready_future(1).then([](auto x) { return x + 1; }).result() == 2);  // no future can be added to
  CHECK(conc::make_ready_future(long_text).then([](const auto& x) { return x.size(); }).result() == long_text.size());
  int object = 3;
  const Promise<int&> reference;
  reference.set_result(object);
  CHECK(reference.get_future().then([](auto& x) { return ++x; }).result() == 4);
  CHECK(conc::make_ready_future().then([](auto... nothing) { return sizeof...(nothing); }).result() == 0);
  CHECK(ending([] { conc::make_exceptional_future<int>(boom()).then([](auto x) { return x + 1; }).result(); }) ==
        "boom");

  // Whatever it is, a std::any can be made of it.
  const Future<std::any> any = conc::make_ready_future(std::any{42});
  CHECK(any.then([](const std::any& x) { return x.type() == typeid(int); }).result());
  CHECK(any.then([](std::any x) { return std::any_cast<int>(x); }).result() == 42);
  CHECK(conc::make_ready_future(5).then([](const std::any& x) { return std::any_cast<int>(x); }).result() == 5);
}

TEST_CASE("Future: then gives the future itself to who can take it, however it ended", "[future][F17]") {
  const auto how = [](const Future<int>& done) { return ending([&] { done.result(); }); };
  CHECK(conc::make_ready_future(1).then(how).result() == "returned");
  CHECK(conc::make_exceptional_future<int>(boom()).then(how).result() == "boom");
  CHECK(cancelled_future<int>().then(how).result() == "CancelledError");
  const Promise<int> promise;
  const Future<int> future = promise.get_future();
  const Future<bool> same = future.then([future](const Future<int>& done) { return done == future; });
  promise.set_result(2);
  CHECK(same.result());
}

TEST_CASE("Future: where a future fails or is cancelled, fn is skipped and the next ones do likewise",
          "[future][F17]") {
  for (const bool done_before : {false, true}) {
    for (const bool cancel : {false, true}) {
      const auto token = std::make_shared<int>(0);
      const Promise<int> promise;
      const Future<int> future = promise.get_future();
      const auto finish = [&] { cancel ? static_cast<void>(future.cancel()) : promise.set_exception(boom()); };
      if (done_before) finish();
      bool called = false;
      const Future<int> next = future.then([&called, token](int n) {
        called = true;
        return n;
      });
      const Future<void> last = next.then([&called, token](int) { called = true; });
      if (!done_before) finish();
      CHECK_FALSE(called);
      CHECK(token.use_count() == 1);
      CHECK(next.cancelled() == cancel);
      CHECK(last.cancelled() == cancel);
      CHECK(ending([&] { next.result(); }) == (cancel ? "CancelledError" : "boom"));
      CHECK(ending([&] { last.result(); }) == (cancel ? "CancelledError" : "boom"));
    }
  }
}

TEST_CASE("Future: what fn throws is what its future gives", "[future][F17]") {
  const Hooks hooks;
  const Future<int> failed = conc::make_ready_future(1).then([](int) -> int { throw std::runtime_error{"in fn"}; });
  CHECK(ending([&] { failed.result(); }) == "in fn");
  CHECK(Hooks::take().empty());
}

TEST_CASE("Future: fn runs on the thread that makes the future done, or here if it is done", "[future][F17]") {
  const Promise<int> promise;
  const auto where = [](int) { return std::this_thread::get_id(); };
  const Future<std::thread::id> late = promise.get_future().then(where);
  const std::thread::id finisher = conc_test::elsewhere([&] {
    promise.set_result(1);
    return std::this_thread::get_id();
  });
  CHECK(late.result() == finisher);
  CHECK(promise.get_future().then(where).result() == std::this_thread::get_id());
}

TEST_CASE("Future: fn is run by the executor that then is given", "[future][F17]") {
  LaterExecutor executor;
  const Promise<int> promise;
  const Future<int> next = promise.get_future().then(executor, [](int n) { return n + 1; });
  CHECK(executor.size() == 0);
  promise.set_result(1);
  CHECK(executor.size() == 1);
  CHECK_FALSE(next.done());
  executor.run_all();
  CHECK(next.result() == 2);
  conc::ThreadPoolExecutor pool{1};
  CHECK(promise.get_future().then(pool, [&](int n) { return pool.worker_index() ? n + 2 : 0; }).result() == 3);
}

TEST_CASE("Future: the result lives until an executor has run what was made of it", "[future][F17][FR11]") {
  LaterExecutor executor;
  Future<std::string> next;
  {
    const Promise<std::string> promise;
    next = promise.get_future().then(executor, [](const std::string& s) { return s + "!"; });
    promise.set_result(long_text);
  }
  executor.run_all();
  CHECK(next.result() == long_text + "!");
}

TEST_CASE("Future: a continuation that its executor refuses or drops is cancelled", "[future][F17][F15]") {
  const Hooks hooks;
  const Promise<int> promise;
  LaterExecutor executor;
  const Future<void> dropped = promise.get_future().then(executor, [](int) {});
  LaterExecutor refusing;
  refusing.refuses = true;
  const Future<void> refused = promise.get_future().then(refusing, [](int) {});
  promise.set_result(1);
  CHECK(refused.cancelled());
  CHECK_FALSE(dropped.done());
  executor.drop_all();
  CHECK(dropped.cancelled());
  CHECK(Hooks::take().empty());
}

TEST_CASE("Future: a continuation can be cancelled until it is run", "[future][F17][F1]") {
  const auto token = std::make_shared<int>(0);
  LaterExecutor executor;
  const Promise<int> promise;
  bool called = false;
  const auto fn = [&called, token](int) { called = true; };
  const Future<void> here = promise.get_future().then(fn);
  const Future<void> there = promise.get_future().then(executor, fn);
  const Future<void> queued = promise.get_future().then(executor, fn);
  CHECK(here.cancel());
  CHECK(there.cancel());
  promise.set_result(1);  // not cancelled by that
  CHECK(queued.cancel());
  executor.run_all();
  CHECK_FALSE(called);
  CHECK(promise.get_future().result() == 1);
  CHECK(token.use_count() == 2);
}

TEST_CASE("Future: fn of then may drop the last handle of the future that it is called for", "[future][F17][FM9]") {
  for (const bool done_before : {false, true}) {
    for (const bool takes_future : {false, true}) {
      auto promise = std::make_unique<Promise<std::string>>();
      Future<std::string> future = promise->get_future();
      const auto finish = [&] {
        promise->set_result(long_text);
        promise.reset();
      };
      if (done_before) finish();
      Future<std::string> next;
      if (takes_future) {
        next = future.then([&](const Future<std::string>& done) {
          future = {};
          return done.result() + "!";
        });
      } else {
        next = future.then([&](const std::string& text) {
          future = {};
          return text + "!";
        });
      }
      if (!done_before) finish();
      CHECK(next.result() == long_text + "!");
      CHECK_FALSE(future.valid());
    }
  }
}

TEST_CASE("Future: then on a result that was moved out gives InvalidStateError", "[future][F17][F13]") {
  for (const bool takes_future : {false, true}) {
    const Promise<std::unique_ptr<int>> promise;
    const Future<std::unique_ptr<int>> future = promise.get_future();
    promise.set_result(std::make_unique<int>(5));
    CHECK(*promise.get_future().result() == 5);
    bool was_null = false;
    const Future<void> next =
        takes_future ? future.then([](const Future<std::unique_ptr<int>>& done) { done.result(); })
                     : future.then([&was_null](const std::unique_ptr<int>& p) { was_null = p == nullptr; });
    CHECK(ending([&] { next.result(); }) == "InvalidStateError");
    CHECK_FALSE(was_null);
  }
}

TEST_CASE("Future: continuations outlive the handle that then was called on", "[future][F17][F15]") {
  Future<std::string> next;
  Future<int> skipping;
  {
    const Promise<int> promise;
    next = promise.get_future().then([](const Future<int>& done) { return ending([&] { done.result(); }); });
    skipping = promise.get_future().then([](int n) { return n; });
  }
  CHECK(next.result() == "BrokenPromise");
  CHECK(ending([&] { skipping.result(); }) == "BrokenPromise");
}

TEST_CASE("Future: a long chain of continuations is run to its end", "[future][F17]") {
  constexpr int length = 2'000;  // each link takes some stack
  const Promise<int> promise;
  Future<int> last = promise.get_future();
  for (int i = 0; i < length; ++i) last = last.then([](int n) { return n + 1; });
  promise.set_result(0);
  CHECK(last.result() == length);
}

TEST_CASE("Future: co_await goes on at once when the future is done", "[future][F16]") {
  std::string how;
  await_into(how, conc::make_ready_future(5));
  CHECK(how == "5");
  await_into(how, conc::make_exceptional_future<int>(boom()));
  CHECK(how == "boom");
  await_into(how, cancelled_future<int>());
  CHECK(how == "CancelledError");
}

TEST_CASE("Future: co_await suspends until the future is done, and goes on on the thread that makes it done",
          "[future][F16]") {
  const Promise<int> promise;
  std::string how;
  std::thread::id where;
  const auto await = [&](Future<int> future) -> Detached {
    how = std::to_string(co_await future);
    where = std::this_thread::get_id();
  };
  await(promise.get_future());
  CHECK(how.empty());
  const std::thread::id finisher = conc_test::elsewhere([&] {
    promise.set_result(7);
    return std::this_thread::get_id();
  });
  CHECK(how == "7");
  CHECK(where == finisher);
}

TEST_CASE("Future: co_await throws what the task threw, and CancelledError and BrokenPromise", "[future][F16][F15]") {
  std::string how;
  {
    const Promise<int> promise;
    await_into(how, promise.get_future());
    promise.set_exception(boom());
    CHECK(how == "boom");
  }
  {
    const Promise<int> promise;
    await_into(how, promise.get_future());
    promise.get_future().cancel();
    CHECK(how == "CancelledError");
  }
  {
    const Promise<int> promise;
    await_into(how, promise.get_future());
  }
  CHECK(how == "BrokenPromise");
}

TEST_CASE("Future: co_await of a temporary moves the result, of a handle it gives a reference", "[future][F16][F13]") {
  for (const bool suspends : {false, true}) {
    const Promise<Travelled> promise;
    const Promise<std::unique_ptr<int>> pointer;
    const Promise<int&> reference;
    const Promise<void> nothing;
    int copies = -1;
    bool same = false;
    int object = 0;
    const auto await = [&]() -> Detached {
      const Travelled value = co_await promise.get_future();
      copies = value.copies;
      Future<std::unique_ptr<int>> future = pointer.get_future();
      const std::unique_ptr<int>& in_future = co_await future;
      same = &in_future == &std::as_const(future).result();
      const std::unique_ptr<int> own = co_await std::move(future);
      same = same && own != nullptr && !future.valid();
      same = same && &co_await reference.get_future() == &object;
      co_await nothing.get_future();
      same = same && true;
    };
    if (suspends) await();
    promise.set_result(5);
    pointer.set_result(std::make_unique<int>(1));
    reference.set_result(object);
    nothing.set_result();
    if (!suspends) await();
    CHECK(copies == 0);
    CHECK(same);
  }
}

TEST_CASE("Future: what leaves a resumed coroutine goes to the hook, and the next callback is called",
          "[future][F16][F8]") {
  const Hooks hooks;
  const Promise<int> promise;
  const auto await = [](Future<int> future) -> Detached {
    const int number = co_await future;
    throw std::runtime_error{std::to_string(number)};
  };
  const Detached coroutine = await(promise.get_future());
  bool called = false;
  promise.get_future().add_done_callback([&](const Future<int>&) { called = true; });
  promise.set_result(3);
  CHECK(called);
  CHECK(Hooks::take() == "uncaught 3;");
  coroutine.handle.destroy();  // it stays where it ends in this way
}

TEST_CASE("Future: a coroutine may be destroyed where it waits", "[future][F16][FM16]") {
  const auto token = std::make_shared<int>(0);
  const Promise<int> promise;
  std::string calls;
  const auto await = [&calls](Future<int> future, std::shared_ptr<int>, char name) -> Detached {
    co_await future;
    calls += name;
  };
  const Detached first = await(promise.get_future(), token, 'a');
  await(promise.get_future(), token, 'b');
  const Detached third = await(promise.get_future(), token, 'c');
  CHECK(token.use_count() == 4);
  first.handle.destroy();
  CHECK(token.use_count() == 3);
  third.handle.destroy();
  promise.set_result(1);
  CHECK(calls == "b");
  CHECK(token.use_count() == 1);
}

TEST_CASE("Future: a coroutine may destroy others that wait for the same future", "[future][F16][FM16]") {
  const Promise<int> promise;
  std::string calls;
  std::vector<std::coroutine_handle<>> others;
  const auto await = [&](Future<int> future, char name) -> Detached {
    co_await future;
    calls += name;
    for (const std::coroutine_handle<> other : std::exchange(others, {})) other.destroy();
  };
  await(promise.get_future(), 'a');
  others.push_back(await(promise.get_future(), 'b').handle);
  await(promise.get_future(), 'c');
  others.push_back(await(promise.get_future(), 'd').handle);
  promise.set_result(1);
  CHECK(calls == "ac");
}
