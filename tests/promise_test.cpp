// SPDX-License-Identifier: MIT
// Where results come from, and what becomes of exceptions that nobody asks for.
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/future.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "futures.hpp"
#include "items.hpp"
#include "support.hpp"
#include "worker.hpp"

namespace {

using conc::Future;
using conc::Promise;
using conc_test::boom;
using conc_test::cancelled_future;
using conc_test::core_of;
using conc_test::ending;
using conc_test::Hooks;
using conc_test::Worker;

static_assert(!std::is_copy_constructible_v<Promise<int>> && !std::is_copy_assignable_v<Promise<int>>);
static_assert(std::is_nothrow_move_constructible_v<Promise<int>> && std::is_nothrow_move_assignable_v<Promise<int>>);

/// What comes next while it is asked: the constructor of the result that Promise::set_result makes.
struct Constructed {
  template <class F>
  explicit Constructed(F&& during) {
    during();
  }
};

}  // namespace

TEST_CASE("Promise: all handles name its one future", "[promise][F0]") {
  const Promise<int> promise;
  const Future<int> first = promise.get_future();
  CHECK(first == promise.get_future());
  promise.set_result(1);
  CHECK(first == promise.get_future());
  CHECK(promise.get_future().result() == 1);
}

TEST_CASE("Promise: a second result or exception throws InvalidStateError and changes nothing", "[promise][F4][FM7]") {
  const auto is_finished = [](const Promise<int>& promise, const std::string& result) {
    CHECK(ending([&] { promise.set_result(2); }) == "InvalidStateError");
    CHECK(ending([&] { promise.set_exception(boom("second")); }) == "InvalidStateError");
    CHECK_FALSE(promise.try_set_result(2));
    CHECK_FALSE(promise.try_set_exception(boom("second")));
    CHECK(ending([&] {
            const Future<int> future = promise.get_future();
            if (future.result() != 1) throw std::runtime_error{"changed"};
          }) == result);
  };
  for (const bool running : {false, true}) {
    const Promise<int> succeeded;
    const Promise<int> failed;
    const Promise<int> tried;
    if (running) {
      REQUIRE(succeeded.set_running_or_notify_cancel());
      REQUIRE(failed.set_running_or_notify_cancel());
      REQUIRE(tried.set_running_or_notify_cancel());
    }
    succeeded.set_result(1);
    is_finished(succeeded, "returned");
    failed.set_exception(boom());
    is_finished(failed, "boom");
    CHECK(tried.try_set_result(1));
    is_finished(tried, "returned");
  }
  const Promise<int> cancelled;
  cancelled.get_future().cancel();
  is_finished(cancelled, "CancelledError");
  const Promise<int> tried;
  CHECK(tried.try_set_exception(boom()));
  is_finished(tried, "boom");
}

TEST_CASE("Promise: its errors name the operation", "[promise][F4][F5][G5]") {
  const Promise<int> promise;
  promise.set_result(1);
  const auto message = [](auto call) -> std::string {
    try {
      call();
    } catch (const std::exception& error) {
      return error.what();
    }
    return "none";
  };
  CHECK(message([&] { promise.set_result(1); }) == "Promise::set_result: the future is finished or cancelled");
  CHECK(message([&] { promise.set_exception(boom()); }) ==
        "Promise::set_exception: the future is finished or cancelled");
  CHECK(message([&] { (void)promise.set_running_or_notify_cancel(); }) ==
        "Promise::set_running_or_notify_cancel: the future runs or is finished");
  CHECK(message([&] { promise.set_exception(nullptr); }) == "Promise::set_exception: the exception is null");
}

TEST_CASE("Promise: set_running_or_notify_cancel keeps the future from being cancelled, once", "[promise][F5]") {
  const Promise<int> promise;
  const Future<int> future = promise.get_future();
  CHECK(promise.set_running_or_notify_cancel());
  CHECK(future.running());
  CHECK_FALSE(future.cancel());
  CHECK(ending([&] { (void)promise.set_running_or_notify_cancel(); }) == "InvalidStateError");
  CHECK(future.running());
  promise.set_result(1);
  CHECK(ending([&] { (void)promise.set_running_or_notify_cancel(); }) == "InvalidStateError");
  const Promise<int> failed;
  failed.set_exception(boom());
  CHECK(ending([&] { (void)failed.set_running_or_notify_cancel(); }) == "InvalidStateError");
  CHECK(ending([&] { failed.get_future().result(); }) == "boom");
  const Promise<int> cancelled;
  cancelled.get_future().cancel();
  CHECK_FALSE(cancelled.set_running_or_notify_cancel());
  CHECK_FALSE(cancelled.set_running_or_notify_cancel());
}

TEST_CASE("Promise: an exception that is null is refused", "[promise][F4][G5]") {
  const Promise<int> promise;
  CHECK(ending([&] { promise.set_exception(nullptr); }) == "UsageError");
  CHECK(ending([&] { (void)promise.try_set_exception(nullptr); }) == "UsageError");
  promise.set_result(1);
  CHECK(promise.get_future().result() == 1);
}

TEST_CASE("Promise: the result is made of any arguments that make one", "[promise][F4]") {
  const Promise<std::vector<int>> vector;
  vector.set_result(3U, 7);
  CHECK(vector.get_future().result() == std::vector{7, 7, 7});
  const Promise<std::string> text;
  text.set_result("text");
  CHECK(text.get_future().result() == "text");
  const Promise<std::pair<int, std::unique_ptr<int>>> pair;
  pair.set_result(1, std::make_unique<int>(2));
  CHECK(*pair.get_future().result().second == 2);
  const Promise<int> nothing;
  nothing.set_result();
  CHECK(nothing.get_future().result() == 0);
  struct Derived : std::string {};
  Derived derived;
  const Promise<const std::string&> base;
  base.set_result(derived);
  CHECK(&base.get_future().result() == &derived);
}

TEST_CASE("Promise: numbers become numbers of another type, and no compiler warns", "[promise][F4]") {
  const Promise<std::size_t> size;
  size.set_result(1);
  CHECK(size.get_future().result() == 1);
  const Promise<float> real;
  real.set_result(1.5);
  CHECK(real.get_future().result() == 1.5F);
  const Promise<unsigned char> byte;
  CHECK(byte.try_set_result(7L));
  CHECK(byte.get_future().result() == 7);
  const Promise<int> whole;
  whole.set_result(std::size_t{8});
  CHECK(whole.get_future().result() == 8);
  const Promise<bool> flag;
  flag.set_result(1);
  CHECK(flag.get_future().result());
}

TEST_CASE("Promise: is as it was when the constructor of the result throws", "[promise][F4][G4]") {
  for (const bool running : {false, true}) {
    const Promise<conc_test::LockedItem> promise;
    const Future<conc_test::LockedItem> future = promise.get_future();
    if (running) REQUIRE(promise.set_running_or_notify_cancel());
    const conc_test::LockedItem item{5};
    conc_test::LockedItem::trip_at(0);
    CHECK(ending([&] { promise.set_result(item); }) == "Tripped");
    conc_test::LockedItem::trip_at(0);
    CHECK(ending([&] { (void)promise.try_set_result(item); }) == "Tripped");
    CHECK_FALSE(future.done());
    CHECK(future.running() == running);
    if (running) {
      CHECK_FALSE(future.cancel());
      promise.set_result(item);
      CHECK(future.result() == 5);
    } else {
      CHECK(future.cancel());
    }
  }
  CHECK(conc_test::LockedItem::alive == 0);
}

TEST_CASE("Promise: while a result is being made the future can neither be cancelled nor get another one",
          "[promise][F4][F1]") {
  const Promise<Constructed> promise;
  const Future<Constructed> future = promise.get_future();
  std::string facts;
  promise.set_result([&] {
    facts += future.done() ? "done " : "";
    facts += future.running() ? "running " : "";
    facts += future.cancel() ? "cancelled " : "";
    facts += promise.try_set_exception(boom()) ? "failed " : "";
    facts += ending([&] { (void)promise.set_running_or_notify_cancel(); });
  });
  CHECK(facts == "running InvalidStateError");
  CHECK(future.done());
  CHECK(future.exception() == nullptr);
}

TEST_CASE("Promise: one that is dropped without a result leaves BrokenPromise", "[promise][F15][FR11]") {
  for (const bool running : {false, true}) {
    Future<int> future;
    std::string seen;
    {
      const Promise<int> promise;
      future = promise.get_future();
      if (running) REQUIRE(promise.set_running_or_notify_cancel());
      future.add_done_callback([&seen](const Future<int>& done) { seen = ending([&] { done.result(); }); });
    }
    CHECK(seen == "BrokenPromise");
    CHECK(ending([&] { future.result(); }) == "BrokenPromise");
    CHECK(future.exception() != nullptr);
    CHECK_FALSE(future.cancelled());
  }
}

TEST_CASE("Promise: who waits wakes when the promise is dropped", "[promise][F15]") {
  for (const bool running : {false, true}) {
    auto promise = std::make_unique<Promise<int>>();
    const Future<int> future = promise->get_future();
    if (running) REQUIRE(promise->set_running_or_notify_cancel());
    std::string how;
    Worker waiter{[&] { how = ending([&] { future.result(); }); }};
    CHECK(waiter.falls_asleep_on(core_of(future)));
    promise.reset();
    waiter.join();
    CHECK(how == "BrokenPromise");
  }
}

TEST_CASE("Promise: a result or a cancel is what remains when the promise is dropped", "[promise][F15][FR11]") {
  Future<int> future;
  {
    const Promise<int> promise;
    future = promise.get_future();
    promise.set_result(1);
  }
  CHECK(future.result() == 1);
  {
    const Promise<int> promise;
    future = promise.get_future();
    future.cancel();
  }
  CHECK(future.cancelled());
}

TEST_CASE("Promise: moves leave nothing behind, and an assignment drops what was there", "[promise][F15]") {
  Promise<int> promise;
  const Future<int> first = promise.get_future();
  Promise<int> target{std::move(promise)};
  // NOLINTBEGIN(bugprone-use-after-move): that is what is tested
  CHECK(ending([&] { (void)promise.get_future(); }) == "UsageError");
  CHECK(ending([&] { promise.set_result(1); }) == "UsageError");
  CHECK(ending([&] { promise.set_exception(boom()); }) == "UsageError");
  CHECK(ending([&] { (void)promise.try_set_result(1); }) == "UsageError");
  CHECK(ending([&] { (void)promise.set_running_or_notify_cancel(); }) == "UsageError");
  // NOLINTEND(bugprone-use-after-move)
  CHECK_FALSE(first.done());
  Promise<int> other;
  const Future<int> second = other.get_future();
  Promise<int>& itself = target;
  target = std::move(itself);
  CHECK(target.get_future() == first);
  target = std::move(other);
  CHECK(ending([&] { first.result(); }) == "BrokenPromise");
  target.set_result(2);
  CHECK(second.result() == 2);
}

TEST_CASE("Future: an exception that nobody retrieved is reported once, when the last handle is gone",
          "[promise][F14]") {
  const Hooks hooks;
  {
    const Future<int> last = conc::make_exceptional_future<int>(boom());
    {
      const Future<int> other = last;
      CHECK(other.done());
      CHECK(other.wait());
      CHECK_FALSE(other.cancel());
      other.add_done_callback([](const Future<int>&) {});
    }
    CHECK(Hooks::take().empty());
  }
  CHECK(Hooks::take() == "unretrieved boom;");
  {
    const Promise<int> promise;
    { const Future<int> handle = promise.get_future(); }
    promise.set_exception(boom("second"));
    CHECK(Hooks::take().empty());  // it could still be asked for
  }
  CHECK(Hooks::take() == "unretrieved second;");
  conc::spawn([] { throw std::runtime_error{"third"}; });
  CHECK(conc_test::eventually([told = std::string{}]() mutable {
    told += Hooks::take();
    return told == "unretrieved third;";
  }));
}

TEST_CASE("Future: an exception that somebody was given is not reported", "[promise][F14]") {
  const Hooks hooks;
  const auto failed = [] { return conc::make_exceptional_future<int>(boom()); };
  CHECK(ending([&] { failed().result(); }) == "boom");
  CHECK(failed().exception() != nullptr);
  {
    const Future<int> future = failed();
    CHECK(ending([&] { Future<int>{future}.result(); }) == "boom");
  }
  CHECK(ending([&] { failed().then([](int) {}).result(); }) == "boom");
  cancelled_future<int>();
  { const Promise<int> promise; }  // nobody could have asked
  { (void)Promise<int>{}.get_future().valid(); }
  CHECK(Hooks::take().empty());
}

TEST_CASE("Future: a BrokenPromise is reported if somebody had a handle, and did not ask", "[promise][F14][F15]") {
  const Hooks hooks;
  {
    Future<int> future;
    {
      const Promise<int> promise;
      future = promise.get_future();
    }
    CHECK(future.done());
  }
  CHECK(Hooks::take() == "unretrieved BrokenPromise;");
}

TEST_CASE("Future: an exception that a dropped continuation inherited is reported", "[promise][F14][F17]") {
  const Hooks hooks;
  {
    const Promise<int> promise;
    promise.get_future().then([](int) {});
    promise.set_exception(boom("on the way"));
  }
  CHECK(Hooks::take() == "unretrieved on the way;");
  conc::make_exceptional_future<int>(boom("here")).then([](int) {});
  CHECK(Hooks::take() == "unretrieved here;");
}

TEST_CASE("Future: the default hook for unretrieved exceptions prints one line", "[promise][F14]") {
  CHECK(conc::set_unretrieved_exception_hook(nullptr) == &conc::default_unretrieved_exception_hook);
  (void)conc::make_exceptional_future<int>(boom("some text"));
  (void)conc::make_exceptional_future<int>(std::make_exception_ptr(42));
  CHECK(conc_test::take_stderr() ==
        "Future exception was never retrieved: std::runtime_error: some text\n"
        "Future exception was never retrieved: int\n");
}

TEST_CASE("Future: a hook for unretrieved exceptions may throw", "[promise][F14]") {
  const auto before = conc::set_unretrieved_exception_hook(
      [](const std::exception_ptr& exception) { std::rethrow_exception(exception); });
  (void)conc::make_exceptional_future<int>(boom());
  CHECK(conc::set_unretrieved_exception_hook(before) != before);
  CHECK(conc_test::take_stderr().empty());
}
