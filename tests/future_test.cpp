// SPDX-License-Identifier: MIT
// Handles of futures: what they say, and how they give the result. Callbacks and continuations have files of their own.
#include <conc/event.hpp>
#include <conc/future.hpp>

#include <array>
#include <atomic>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include "futures.hpp"
#include "items.hpp"
#include "support.hpp"
#include "worker.hpp"

namespace {

/// Says that it can be copied, but cannot.
struct Row {
  std::string name;
  std::vector<std::unique_ptr<int>> cells;
};

}  // namespace

template <>
constexpr bool conc::only_moved<Row> = true;

namespace {

using namespace std::chrono_literals;
using conc::Future;
using conc::Promise;
using conc_test::boom;
using conc_test::cancelled_future;
using conc_test::core_of;
using conc_test::ending;
using conc_test::Travelled;
using conc_test::Worker;
using SteadyClock = std::chrono::steady_clock;

static_assert(std::is_nothrow_default_constructible_v<Future<int>> &&
              std::is_nothrow_copy_constructible_v<Future<int>>);
static_assert(std::is_nothrow_move_constructible_v<Future<int>> && std::is_nothrow_copy_assignable_v<Future<int>>);
static_assert(sizeof(Future<std::array<int, 100>>) == sizeof(void*));
static_assert(std::is_same_v<Future<int&>::value_type, int&>);
static_assert(std::is_same_v<decltype(std::declval<const Future<int>&>().result()), const int&>);
static_assert(std::is_same_v<decltype(std::declval<Future<int>>().result()), int>);
static_assert(std::is_same_v<decltype(std::declval<const Future<int&>&>().result()), int&>);
static_assert(std::is_same_v<decltype(std::declval<Future<int&>>().result()), int&>);
static_assert(std::is_void_v<decltype(std::declval<const Future<void>&>().result())>);

/// Neither copied nor moved.
struct Fixed {
  explicit Fixed(int number) noexcept : value{number} {}
  Fixed(const Fixed&) = delete;
  Fixed& operator=(const Fixed&) = delete;
  ~Fixed() = default;
  int value;
};

/// The three calls that wait.
enum class Call { result, exception, wait };

template <class F>
concept try_result_of_an_lvalue = requires(F& future) {
  future.try_result();
};
template <class F>
concept try_result_of_a_temporary = requires(F future) {
  std::move(future).try_result();
};

// One of several handles cannot give a result away that can only be moved.
static_assert(!try_result_of_an_lvalue<const Future<std::unique_ptr<int>>>);
static_assert(!try_result_of_an_lvalue<const Future<std::vector<std::unique_ptr<int>>>>);
static_assert(!try_result_of_an_lvalue<const Future<Row>>);
static_assert(try_result_of_a_temporary<Future<std::unique_ptr<int>>> && try_result_of_a_temporary<Future<Row>>);
static_assert(std::is_same_v<decltype(std::declval<const Future<int>&>().try_result()), std::optional<int>>);
static_assert(std::is_same_v<decltype(std::declval<const Future<int&>&>().try_result()), int*>);
static_assert(std::is_same_v<decltype(std::declval<const Future<void>&>().try_result()), bool>);

std::string ending_of(Call call, const Future<int>& future, conc::Deadline deadline) {
  return ending([&] {
    switch (call) {
      case Call::result:
        if (future.result(deadline) != 5) throw std::runtime_error{"wrong"};
        break;
      case Call::exception:
        if (const std::exception_ptr exception = future.exception(deadline)) std::rethrow_exception(exception);
        break;
      case Call::wait:
        if (!future.wait(deadline)) throw std::runtime_error{"false"};
        break;
    }
  });
}

}  // namespace

TEST_CASE("Future: handles are equal if they name the same future, and can be hashed", "[future][F0]") {
  const Promise<int> one;
  const Promise<int> other;
  const Future<int> a = one.get_future();
  const Future<int> copy = a;  // NOLINT(performance-unnecessary-copy-initialization): that is what is tested
  const Future<int> b = other.get_future();
  CHECK(a == copy);
  CHECK(a == one.get_future());
  CHECK(a != b);
  CHECK(a != Future<int>{});
  CHECK(Future<int>{} == Future<int>{});
  const std::hash<Future<int>> hash;
  CHECK(hash(a) == hash(copy));
  CHECK(hash(Future<int>{}) == hash(Future<int>{}));
  const std::unordered_set<Future<int>> set{a, copy, b, one.get_future()};
  CHECK(set.size() == 2);
  CHECK(set.contains(b));
}

TEST_CASE("Future: a handle that names no future throws UsageError and names the operation", "[future][F0][G5]") {
  Promise<int> promise;
  Future<int> moved_from = promise.get_future();
  const Future<int> target = std::move(moved_from);
  CHECK(target.valid());
  // NOLINTNEXTLINE(bugprone-use-after-move): that is what is tested
  for (const Future<int>& future : {Future<int>{}, moved_from}) {
    CHECK_FALSE(future.valid());
    const auto complaint = [&future](auto call) -> std::string {
      try {
        call(future);
      } catch (const conc::UsageError& error) {
        return error.what();
      }
      return "none";
    };
    CHECK(complaint([](auto& f) { (void)f.done(); }) == "Future::done: this handle names no future");
    CHECK(complaint([](auto& f) { (void)f.running(); }) == "Future::running: this handle names no future");
    CHECK(complaint([](auto& f) { (void)f.cancelled(); }) == "Future::cancelled: this handle names no future");
    CHECK(complaint([](auto& f) { f.cancel(); }) == "Future::cancel: this handle names no future");
    CHECK(complaint([](auto& f) { f.request_stop(); }) == "Future::request_stop: this handle names no future");
    CHECK(complaint([](auto& f) { f.result(); }) == "Future::result: this handle names no future");
    CHECK(complaint([](auto&) { Future<int>{}.result(); }) == "Future::result: this handle names no future");
    CHECK(complaint([](auto& f) { (void)f.exception(); }) == "Future::exception: this handle names no future");
    CHECK(complaint([](auto& f) { f.wait(0s); }) == "Future::wait: this handle names no future");
    CHECK(complaint([](auto& f) { f.add_done_callback([](auto&) {}); }) ==
          "Future::add_done_callback: this handle names no future");
    CHECK(complaint([](auto& f) { f.then([](int) {}); }) == "Future::then: this handle names no future");
    CHECK(complaint([](auto& f) { f.operator co_await(); }) == "co_await Future: this handle names no future");
  }
}

TEST_CASE("Future: assignment and self-assignment keep count of the handles", "[future][F13][G6]") {
  using conc_test::RingItem;
  {
    Promise<RingItem> promise;
    Future<RingItem> future = promise.get_future();
    promise.set_result(7);
    promise = Promise<RingItem>{};
    Future<RingItem> other;
    other = future;
    future = *&future;  // itself
    CHECK(future.result().value == 7);
    future = std::move(other);
    CHECK(RingItem::alive == 1);
    CHECK(future.result().value == 7);
    future = Future<RingItem>{};
    CHECK(RingItem::alive == 0);
  }
  CHECK(RingItem::alive == 0);
}

TEST_CASE("Future: done, running and cancelled follow its task", "[future][F1][F2]") {
  const auto facts = [](const Future<int>& future) {
    return std::string{future.running() ? "running " : ""} + (future.done() ? "done " : "") +
           (future.cancelled() ? "cancelled " : "");
  };
  const Promise<int> promise;
  const Future<int> future = promise.get_future();
  CHECK(facts(future).empty());
  REQUIRE(promise.set_running_or_notify_cancel());
  CHECK(facts(future) == "running ");
  promise.set_result(1);
  CHECK(facts(future) == "done ");
  CHECK(facts(conc::make_exceptional_future<int>(boom())) == "done ");
  CHECK(facts(cancelled_future<int>()) == "done cancelled ");
  CHECK(conc_test::take_stderr() == "Future exception was never retrieved: std::runtime_error: boom\n");  // F14
}

TEST_CASE("Future: cancel is true until its task was started, and again when it is cancelled", "[future][F1]") {
  const Promise<int> promise;
  const Future<int> future = promise.get_future();
  int called = 0;
  future.add_done_callback([&](const Future<int>&) { ++called; });
  CHECK(future.cancel());
  CHECK(future.cancelled());
  CHECK(future.cancel());
  CHECK(promise.get_future().cancel());
  CHECK(called == 1);
}

TEST_CASE("Future: cancel is false and changes nothing when its task runs or is finished", "[future][F1]") {
  const Promise<int> running;
  REQUIRE(running.set_running_or_notify_cancel());
  CHECK_FALSE(running.get_future().cancel());
  CHECK_FALSE(running.get_future().cancelled());
  CHECK(running.get_future().running());
  const Future<int> finished = conc::make_ready_future(5);
  CHECK_FALSE(finished.cancel());
  CHECK(finished.result() == 5);
  const Future<int> failed = conc::make_exceptional_future<int>(boom());
  CHECK_FALSE(failed.cancel());
  CHECK(ending([&] { failed.result(); }) == "boom");
}

TEST_CASE("Future: result, exception and wait say the same every time", "[future][F3]") {
  struct Row {
    Future<int> future;
    std::string result, exception, wait;
  };
  for (const Row& row : {Row{conc::make_ready_future(5), "returned", "returned", "returned"},
                         Row{conc::make_exceptional_future<int>(boom()), "boom", "boom", "returned"},
                         Row{cancelled_future<int>(), "CancelledError", "CancelledError", "returned"}}) {
    for (const conc::Deadline deadline : {conc::never, conc::Deadline{0s}, conc::Deadline{-1s}, conc::Deadline{1h},
                                          conc::Deadline{SteadyClock::now() - 1h}}) {
      CHECK(ending_of(Call::result, row.future, deadline) == row.result);
      CHECK(ending_of(Call::exception, row.future, deadline) == row.exception);
      CHECK(ending_of(Call::wait, row.future, deadline) == row.wait);
    }
  }
}

TEST_CASE("Future: waiting calls give up when the deadline has passed, not earlier", "[future][F3][G2]") {
  const Promise<int> promise;
  const Future<int> future = promise.get_future();
  for (const conc::Deadline poll : {conc::Deadline{0s}, conc::Deadline{-1s}, conc::Deadline{SteadyClock::now() - 1h}}) {
    CHECK(ending_of(Call::result, future, poll) == "TimeoutError");
    CHECK(ending_of(Call::exception, future, poll) == "TimeoutError");
    CHECK(ending_of(Call::wait, future, poll) == "false");
  }
  for (const Call call : {Call::result, Call::exception, Call::wait}) {
    const auto start = SteadyClock::now();
    CHECK(ending_of(call, future, 20ms) == (call == Call::wait ? "false" : "TimeoutError"));
    CHECK(SteadyClock::now() - start >= 20ms);
  }
  CHECK(ending([&] { Future<int>{future}.result(1ms); }) == "TimeoutError");
  try {
    future.result(0s);
  } catch (const conc::TimeoutError& error) {
    CHECK(std::string{error.what()} == "Future::result: not done before the deadline");
  }
  promise.set_result(5);
  CHECK(future.result(0s) == 5);
}

TEST_CASE("Future: whoever waits wakes when there is a result, an exception or a cancel", "[future][F3]") {
  struct Row {
    void (*finish)(const Promise<int>&);
    std::string result, exception;
  };
  for (const Row& row :
       {Row{[](const Promise<int>& p) { p.set_result(5); }, "returned", "returned"},
        Row{[](const Promise<int>& p) { p.set_exception(boom()); }, "boom", "boom"},
        Row{[](const Promise<int>& p) { p.get_future().cancel(); }, "CancelledError", "CancelledError"}}) {
    for (const conc::Deadline deadline : {conc::never, conc::Deadline{1h}}) {
      const Promise<int> promise;
      const Future<int> future = promise.get_future();
      std::array<std::string, 6> endings;
      std::deque<Worker> workers;
      for (std::size_t i = 0; i < endings.size(); ++i) {
        workers.emplace_back([&, i] { endings[i] = ending_of(static_cast<Call>(i % 3), future, deadline); });
      }
      for (Worker& worker : workers) CHECK(worker.falls_asleep_on(core_of(future)));
      row.finish(promise);
      for (Worker& worker : workers) worker.join();
      for (std::size_t i = 0; i < endings.size(); i += 3) {
        CHECK(endings[i] == row.result);
        CHECK(endings[i + 1] == row.exception);
        CHECK(endings[i + 2] == "returned");
      }
    }
  }
}

TEST_CASE("Future: a result reaches who waits although another waiter gave up", "[future][F3]") {
  for (int round = 0; round < conc_test::scaled(30); ++round) {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    int seen = 0;
    Worker patient{[&] { seen = future.result(); }};
    CHECK(patient.falls_asleep_on(core_of(future)));
    CHECK_FALSE(future.wait(100us));
    promise.set_result(3);
    patient.join();
    CHECK(seen == 3);
  }
}

TEST_CASE("Future: any exception comes out as it went in, as often as it is asked for", "[future][F3]") {
  const Future<int> number = conc::make_exceptional_future<int>(std::make_exception_ptr(42));
  for (int i = 0; i < 3; ++i) {
    int caught = 0;
    try {
      number.result();
    } catch (int thrown) {
      caught = thrown;
    }
    CHECK(caught == 42);
  }
  const std::exception_ptr original = boom();
  const Future<void> failed = conc::make_exceptional_future<void>(original);
  CHECK(failed.exception() == original);
  CHECK(Future<void>{failed}.exception() == original);
}

TEST_CASE("Future: result gives a reference to the one value that all handles share", "[future][F13]") {
  const Promise<std::string> promise;
  const Future<std::string> future = promise.get_future();
  promise.set_result("text");
  const std::string& text = future.result();
  const Future<std::string> other = promise.get_future();
  CHECK(&text == &other.result(0s));
  CHECK(text == "text");
}

TEST_CASE("Future: the last handle gives the result away, moved", "[future][F13]") {
  const Promise<Travelled> promise;  // does not count
  Future<Travelled> future = promise.get_future();
  promise.set_result(5);
  const Travelled value = std::move(future).result();
  CHECK(value.value == 5);
  CHECK(value.copies == 0);
  CHECK_FALSE(future.valid());  // NOLINT(bugprone-use-after-move): that is what is tested
  CHECK(ending([&] { promise.get_future().result(); }) == "InvalidStateError");
}

TEST_CASE("Future: one of several handles gets a copy of the result", "[future][F13]") {
  const Promise<Travelled> promise;
  Future<Travelled> future = promise.get_future();
  const Future<Travelled> other = future;
  promise.set_result(5);
  const Travelled value = std::move(future).result();
  CHECK(value.value == 5);
  CHECK(value.copies == 1);
  CHECK_FALSE(future.valid());  // NOLINT(bugprone-use-after-move): that is what is tested
  CHECK(other.result().value == 5);
  CHECK(other.result().copies == 0);
}

TEST_CASE("Future: a result that can only be moved is there once", "[future][F13]") {
  const Promise<std::unique_ptr<int>> promise;
  Future<std::unique_ptr<int>> future = promise.get_future();
  Future<std::unique_ptr<int>> other = future;
  promise.set_result(std::make_unique<int>(5));
  CHECK(*other.result() == 5);
  const std::unique_ptr<int> value = std::move(future).result();
  REQUIRE(value != nullptr);
  CHECK(*value == 5);
  CHECK_FALSE(future.valid());  // NOLINT(bugprone-use-after-move): that is what is tested
  CHECK(ending([&] { other.result(); }) == "InvalidStateError");
  CHECK(ending([&] { std::move(other).result(); }) == "InvalidStateError");
  CHECK(other.valid());
  CHECK(other.done());
  CHECK(other.wait());
  CHECK(other.exception() == nullptr);
}

TEST_CASE("Future: a container of what cannot be copied is moved too", "[future][F13]") {
  const Promise<std::vector<std::unique_ptr<int>>> promise;
  Future<std::vector<std::unique_ptr<int>>> future = promise.get_future();
  const Future<std::vector<std::unique_ptr<int>>> other = future;
  std::vector<std::unique_ptr<int>> numbers;
  numbers.push_back(std::make_unique<int>(5));
  promise.set_result(std::move(numbers));
  CHECK(*std::move(future).result().at(0) == 5);
  CHECK(ending([&] { other.result(); }) == "InvalidStateError");
}

TEST_CASE("Future: a pair or a tuple with what cannot be copied is moved too", "[future][F13]") {
  using Pair = std::pair<int, std::vector<std::unique_ptr<int>>>;
  const Promise<Pair> promise;
  Future<Pair> future = promise.get_future();
  const Future<Pair> other = future;
  Pair pair;
  pair.first = 5;
  pair.second.push_back(std::make_unique<int>(6));
  promise.set_result(std::move(pair));
  const Pair got = std::move(future).result();
  CHECK(got.first == 5);
  CHECK(*got.second.at(0) == 6);
  CHECK(ending([&] { other.result(); }) == "InvalidStateError");

  using Tuple = std::tuple<std::string, std::array<std::vector<std::unique_ptr<int>>, 2>>;
  Tuple made;
  std::get<0>(made) = "text";
  Future<Tuple> tuple = conc::make_ready_future(std::move(made));
  const Future<Tuple> same = tuple;
  CHECK(std::get<0>(std::move(tuple).result()) == "text");
  CHECK(ending([&] { same.result(); }) == "InvalidStateError");
}

TEST_CASE("Future: a type that is said to be only moved is moved", "[future][F13]") {
  const Promise<Row> promise;
  Future<Row> future = promise.get_future();
  const Future<Row> other = future;
  Row row{"name", {}};
  row.cells.push_back(std::make_unique<int>(7));
  promise.set_result(std::move(row));
  CHECK(*other.result().cells.at(0) == 7);
  const Row got = std::move(future).result();
  CHECK(got.name == "name");
  CHECK(*got.cells.at(0) == 7);
  CHECK_FALSE(future.valid());  // NOLINT(bugprone-use-after-move): that is what is tested
  CHECK(ending([&] { other.result(); }) == "InvalidStateError");
}

TEST_CASE("Future: futures as results, and containers of them, are copied", "[future][F13]") {
  const Promise<Future<void>> promise;
  Future<Future<void>> future = promise.get_future();
  const Future<Future<void>> other = future;
  const Future<void> inner = conc::make_ready_future();
  promise.set_result(inner);
  CHECK(std::move(future).result() == inner);
  CHECK(other.result() == inner);

  const std::vector<Future<void>> several{inner, cancelled_future<void>()};
  Future<std::vector<Future<void>>> all = conc::make_ready_future(several);
  const Future<std::vector<Future<void>>> same = all;
  CHECK(std::move(all).result() == several);
  CHECK(same.result() == several);
  Future<std::vector<Future<std::unique_ptr<int>>>> movable =
      conc::make_ready_future(std::vector{conc::make_ready_future(std::make_unique<int>(3))});
  const Future<std::vector<Future<std::unique_ptr<int>>>> still = movable;
  CHECK(*std::move(movable).result().at(0).result() == 3);
  CHECK(*still.result().at(0).result() == 3);
}

TEST_CASE("Future: results may be void, references, or of types that neither move nor have a default",
          "[future][F13]") {
  const Promise<void> nothing;
  Future<void> done = nothing.get_future();
  nothing.set_result();
  done.result();
  CHECK(done.exception() == nullptr);
  std::move(done).result();
  CHECK_FALSE(done.valid());  // NOLINT(bugprone-use-after-move): that is what is tested

  int object = 1;
  const Promise<int&> reference;
  Future<int&> named = reference.get_future();
  reference.set_result(object);
  named.result() = 2;
  CHECK(object == 2);
  CHECK(&std::move(named).result() == &object);
  CHECK_FALSE(named.valid());  // NOLINT(bugprone-use-after-move): that is what is tested

  const Promise<Fixed> fixed;
  fixed.set_result(3);
  CHECK(fixed.get_future().valid());
  const Future<Fixed> here = fixed.get_future();
  CHECK(here.result().value == 3);

  const Future<Future<int>> nested = conc::make_ready_future(conc::make_ready_future(4));
  CHECK(nested.result().result() == 4);
  const Future<std::exception_ptr> exception = conc::make_ready_future(boom());  // a value like any other
  CHECK(exception.exception() == nullptr);
  CHECK(exception.result() != nullptr);
}

TEST_CASE("Future: a handle stays as it was when result of a temporary throws", "[future][F13][G4]") {
  const Promise<int> promise;
  Future<int> future = promise.get_future();
  CHECK(ending([&] { std::move(future).result(0s); }) == "TimeoutError");
  // NOLINTBEGIN(bugprone-use-after-move): that is what is tested
  CHECK(future.valid());
  CHECK_FALSE(future.done());
  promise.set_exception(boom());
  CHECK(ending([&] { std::move(future).result(); }) == "boom");
  CHECK(ending([&] { std::move(future).result(); }) == "boom");
  CHECK(future.valid());
  Future<void> cancelled = cancelled_future<void>();
  CHECK(ending([&] { std::move(cancelled).result(); }) == "CancelledError");
  CHECK(cancelled.cancelled());
  // NOLINTEND(bugprone-use-after-move)
}

TEST_CASE("Future: the result stays where it is when its copy or its move throws", "[future][F13][G4]") {
  using conc_test::LockedItem;
  for (const bool promise_lives : {true, false}) {
    for (const bool one_handle : {true, false}) {
      Promise<LockedItem> promise;
      Future<LockedItem> future = promise.get_future();
      const Future<LockedItem> other = one_handle ? Future<LockedItem>{} : future;
      promise.set_result(5);
      if (!promise_lives) promise = Promise<LockedItem>{};
      int failures = 0;
      for (int k = 0; future.valid(); ++k) {
        LockedItem::trip_at(k);
        int got = 0;
        const std::string how = ending([&] { got = std::move(future).result().value; });
        LockedItem::trip_at(-1);
        if (how == "returned") {
          CHECK(got == 5);
          break;
        }
        ++failures;
        REQUIRE(how == "Tripped");
        REQUIRE(future.valid());  // NOLINT(bugprone-use-after-move): that is what is tested
        REQUIRE(future.result() == 5);
      }
      CHECK(failures > 0);
      CHECK_FALSE(future.valid());
    }
  }
  CHECK(LockedItem::alive == 0);
}

TEST_CASE("Future: make_ready_future and make_exceptional_future are done", "[future][F13]") {
  int object = 7;
  const Future<int> copied = conc::make_ready_future(object);
  object = 8;
  CHECK(copied.result() == 7);
  CHECK(*conc::make_ready_future(std::make_unique<int>(9)).result() == 9);
  conc::make_ready_future().result();
  CHECK(conc::make_ready_future("text").result() == std::string{"text"});
  CHECK(ending([] { conc::make_exceptional_future<std::string>(boom()).result(); }) == "boom");
  CHECK(ending([] { (void)conc::make_exceptional_future<int>(nullptr); }) == "UsageError");
}

TEST_CASE("Future: handles may be dropped before and after the result comes", "[future][G6][FR11]") {
  using conc_test::RingItem;
  {
    const Promise<RingItem> promise;
    { const Future<RingItem> early = promise.get_future(); }
    promise.set_result(1);
    { const Future<RingItem> late = promise.get_future(); }
    CHECK(RingItem::alive == 1);
  }
  {
    Future<RingItem> future;
    {
      const Promise<RingItem> promise;
      future = promise.get_future();
      promise.set_result(2);
    }
    CHECK(future.result() == 2);
  }
  CHECK(RingItem::alive == 0);
}

TEST_CASE("Future: request_stop is false where no task takes a token", "[future][F18]") {
  const Promise<int> promise;
  CHECK_FALSE(promise.get_future().request_stop());
  CHECK_FALSE(conc::make_ready_future().request_stop());
}

TEST_CASE("Future: try_result gives a copy of the result, or nothing while there is none", "[future][F3][G1]") {
  const Promise<std::string> promise;
  const Future<std::string> future = promise.get_future();
  CHECK(future.try_result() == std::nullopt);
  REQUIRE(promise.set_running_or_notify_cancel());
  CHECK(future.try_result() == std::nullopt);
  promise.set_result("text");
  for (int i = 0; i < 2; ++i) CHECK(future.try_result() == "text");
  CHECK(future.result() == "text");
  CHECK(ending([] { (void)conc::make_exceptional_future<int>(boom()).try_result(); }) == "boom");
  CHECK(ending([] { (void)cancelled_future<int>().try_result(); }) == "CancelledError");
  CHECK(ending([] { (void)Future<int>{}.try_result(); }) == "UsageError");
}

TEST_CASE("Future: try_result of void and of references says whether there is a result", "[future][F3][F13]") {
  const Promise<void> nothing;
  const Future<void> done = nothing.get_future();
  CHECK_FALSE(done.try_result());
  nothing.set_result();
  CHECK(done.try_result());
  CHECK(ending([] { (void)conc::make_exceptional_future<void>(boom()).try_result(); }) == "boom");
  CHECK(ending([] { (void)cancelled_future<void>().try_result(); }) == "CancelledError");

  int object = 1;
  const Promise<int&> reference;
  const Future<int&> named = reference.get_future();
  CHECK(named.try_result() == nullptr);
  reference.set_result(object);
  CHECK(named.try_result() == &object);
  CHECK(ending([] { (void)conc::make_exceptional_future<int&>(boom()).try_result(); }) == "boom");
  CHECK(ending([] { (void)cancelled_future<int&>().try_result(); }) == "CancelledError");
}

TEST_CASE("Future: try_result of a temporary empties the handle where it gives the result", "[future][F13][G4]") {
  const Promise<std::unique_ptr<int>> promise;
  Future<std::unique_ptr<int>> future = promise.get_future();
  const Future<std::unique_ptr<int>> other = future;
  // NOLINTBEGIN(bugprone-use-after-move): that is what is tested
  CHECK_FALSE(std::move(future).try_result().has_value());
  CHECK(future == other);
  promise.set_result(std::make_unique<int>(5));
  const std::optional<std::unique_ptr<int>> value = std::move(future).try_result();
  REQUIRE(value.has_value());
  CHECK(**value == 5);
  CHECK_FALSE(future.valid());
  CHECK(ending([&] { (void)Future<std::unique_ptr<int>>{other}.try_result(); }) == "InvalidStateError");

  Future<Travelled> travelled = [] {
    const Promise<Travelled> made;
    made.set_result(6);
    return made.get_future();
  }();
  const std::optional<Travelled> alone = std::move(travelled).try_result();
  REQUIRE(alone.has_value());
  CHECK(alone->value == 6);
  CHECK(alone->copies == 0);
  Future<int> failed = conc::make_exceptional_future<int>(boom());
  CHECK(ending([&] { (void)std::move(failed).try_result(); }) == "boom");
  CHECK(failed.valid());
  Future<int> cancelled = cancelled_future<int>();
  CHECK(ending([&] { (void)std::move(cancelled).try_result(); }) == "CancelledError");
  CHECK(cancelled.valid());
  // NOLINTEND(bugprone-use-after-move)
}
