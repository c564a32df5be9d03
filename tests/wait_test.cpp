// SPDX-License-Identifier: MIT
#include <unistd.h>
#include <conc/event.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>

#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <deque>
#include <iterator>
#include <list>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include "background.hpp"
#include "futures.hpp"
#include "support.hpp"
#include "worker.hpp"

namespace {

using namespace std::chrono_literals;
using conc::as_completed;
using conc::Future;
using conc::Promise;
using conc::ReturnWhen;
using conc::wait;
using conc_test::Background;
using conc_test::boom;
using conc_test::cancelled_future;
using conc_test::core_of;
using conc_test::ending;
using conc_test::message_of;
using conc_test::Travelled;
using SteadyClock = std::chrono::steady_clock;

static_assert(std::ranges::input_range<conc::AsCompleted<int>>);
static_assert(!std::is_copy_constructible_v<conc::AsCompleted<int>>);

/// Promises with their futures.
struct Several {
  explicit Several(std::size_t n) : promises(n) {
    for (const Promise<int>& promise : promises) futures.push_back(promise.get_future());
  }

  /// The numbers of the given futures: "0 2 3".
  std::string names(const std::vector<Future<int>>& some) const {
    std::string text;
    for (const Future<int>& future : some) {
      std::size_t i = 0;
      while (i < futures.size() && futures[i] != future) ++i;
      text += (text.empty() ? "" : " ") + std::to_string(i);
    }
    return text;
  }
  std::string names(const conc::DoneAndNotDone<int>& sets) const {
    return names(sets.done) + " | " + names(sets.not_done);
  }

  std::vector<Promise<int>> promises;
  std::vector<Future<int>> futures;
};

/// A range that makes its handles as it is read, and whose end is of another type than its beginning.
struct Generated {
  struct iterator {
    Future<int> operator*() const { return all->at(place); }
    iterator& operator++() {
      ++place;
      return *this;
    }
    bool operator==(std::default_sentinel_t /*end*/) const { return place == all->size(); }

    const std::vector<Future<int>>* all;
    std::size_t place;
  };
  iterator begin() const { return {&all, 0}; }
  std::default_sentinel_t end() const { return {}; }

  std::vector<Future<int>> all;
};

/// The calls that wait for any one of several.
enum class Any { as_completed, first_completed, first_exception };

/// Waits so for `futures`, and says how that ended.
std::string ending_of(Any call, const std::vector<Future<void>>& futures, conc::Deadline deadline = conc::never) {
  return ending([&] {
    switch (call) {
      case Any::as_completed:
        for ([[maybe_unused]] const Future<void>& future : as_completed(futures, deadline)) {
        }
        break;
      case Any::first_completed:
        wait(futures, {.timeout = deadline, .return_when = ReturnWhen::first_completed});
        break;
      case Any::first_exception:
        wait(futures, {.timeout = deadline, .return_when = ReturnWhen::first_exception});
        break;
    }
  });
}

/// The numbers of the futures that as_completed() gives until it throws, and what it throws.
std::string completed(const Several& several, const std::vector<Future<int>>& futures,
                      conc::Deadline deadline = conc::never) {
  std::vector<Future<int>> seen;
  const std::string how = ending([&] {
    for (Future<int>& future : as_completed(futures, deadline)) seen.push_back(future);
  });
  return several.names(seen) + (how == "returned" ? "" : " " + how);
}

}  // namespace

TEST_CASE("wait: gives each future once, in the order of the range", "[wait][W1][FM6]") {
  const Several s{4};
  s.promises[3].set_result(3);
  s.promises[1].set_exception(boom());
  const auto [done, not_done] = wait(s.futures, 0s);
  CHECK(s.names(done) == "1 3");
  CHECK(s.names(not_done) == "0 2");
  std::vector<Future<int>> twice{s.futures[3], s.futures[0], s.futures[3], s.futures[1], s.futures[0], s.futures[1]};
  CHECK(s.names(wait(twice, 0s)) == "3 1 | 0");
  CHECK(s.names(wait(twice, {.timeout = 0s, .return_when = ReturnWhen::first_completed})) == "3 1 | 0");
  CHECK(twice[1] == s.futures[0]);  // the range is as it was
  CHECK(s.futures[1].exception() != nullptr);
}

TEST_CASE("wait: duplicates collapse among many futures", "[wait][W1][FM6]") {
  const Several s{300};
  std::vector<Future<int>> all = s.futures;
  for (std::size_t i = 0; i < 1000; ++i) all.push_back(s.futures[i * 7919 % s.futures.size()]);
  for (std::size_t i = 0; i < s.futures.size(); i += 2) s.promises[i].set_result(1);
  const auto [done, not_done] = wait(all, 0s);
  REQUIRE(done.size() == 150);
  REQUIRE(not_done.size() == 150);
  for (std::size_t i = 0; i < 150; ++i) {
    CHECK(done[i] == s.futures[2 * i]);
    CHECK(not_done[i] == s.futures[2 * i + 1]);
  }
}

TEST_CASE("wait: an empty range returns at once", "[wait][W1][FM6]") {
  for (const ReturnWhen when : {ReturnWhen::all_completed, ReturnWhen::first_completed, ReturnWhen::first_exception}) {
    const auto [done, not_done] = wait(std::vector<Future<int>>{}, {.return_when = when});
    CHECK(done.empty());
    CHECK(not_done.empty());
  }
  CHECK(wait(std::vector<Future<int>>{}).done.empty());
}

TEST_CASE("wait: a handle that names no future is refused", "[wait][W1][G5]") {
  const std::vector<Future<int>> futures{conc::make_ready_future(1), Future<int>{}};
  CHECK(message_of<conc::UsageError>([&] { wait(futures); }) == "wait: one of the handles names no future");
  CHECK(message_of<conc::UsageError>([&] { as_completed(futures); }) ==
        "as_completed: one of the handles names no future");
}

TEST_CASE("wait: all_completed returns when the last one is done", "[wait][W1]") {
  for (const conc::Deadline deadline : {conc::never, conc::Deadline{1h}}) {
    const Several s{3};
    std::string names;
    Background waiter{[&] { names = s.names(wait(s.futures, deadline)); }};
    CHECK(waiter.falls_asleep());
    s.promises[1].set_exception(boom());
    s.promises[2].set_result(1);
    CHECK(waiter.falls_asleep());
    CHECK(names.empty());
    s.futures[0].cancel();
    CHECK(waiter.join() == "returned");
    CHECK(names == "0 1 2 | ");
    CHECK(s.futures[1].exception() != nullptr);
  }
}

TEST_CASE("wait: first_completed returns at once with all that are done, or when one is", "[wait][W3]") {
  const Several s{4};
  std::string names;
  Background waiter{[&] { names = s.names(wait(s.futures, {.return_when = ReturnWhen::first_completed})); }};
  CHECK(waiter.falls_asleep());
  s.promises[2].set_result(1);
  CHECK(waiter.join() == "returned");
  CHECK(names == "2 | 0 1 3");
  s.promises[0].set_exception(boom());
  CHECK(s.names(wait(s.futures, {.return_when = ReturnWhen::first_completed})) == "0 2 | 1 3");
  CHECK(s.futures[0].exception() != nullptr);
}

TEST_CASE("wait: first_exception returns at once where one has failed, or when one does", "[wait][W3]") {
  const Several s{5};
  s.promises[0].set_result(1);
  s.futures[1].cancel();  // is no exception
  std::string names;
  Background waiter{[&] { names = s.names(wait(s.futures, {.return_when = ReturnWhen::first_exception})); }};
  CHECK(waiter.falls_asleep());
  s.promises[4].set_result(1);
  s.promises[3].set_exception(boom());
  CHECK(waiter.join() == "returned");
  CHECK(names == "0 1 3 4 | 2");
  CHECK(s.names(wait(s.futures, {.return_when = ReturnWhen::first_exception})) == "0 1 3 4 | 2");
  CHECK(s.futures[3].exception() != nullptr);
}

TEST_CASE("wait: first_exception without one returns when all are done", "[wait][W4][W8]") {
  const Several s{3};
  std::string names;
  Background waiter{[&] { names = s.names(wait(s.futures, {.return_when = ReturnWhen::first_exception})); }};
  CHECK(waiter.falls_asleep());
  s.promises[0].set_result(1);
  s.futures[1].cancel();
  CHECK(waiter.falls_asleep());
  CHECK(names.empty());
  s.promises[2].set_result(1);
  CHECK(waiter.join() == "returned");
  CHECK(names == "0 1 2 | ");
  CHECK(s.names(wait(s.futures, {.return_when = ReturnWhen::first_exception})) == "0 1 2 | ");
}

TEST_CASE("wait: when the deadline passes the sets are partial, and it was not earlier", "[wait][W5]") {
  const Several s{3};
  s.promises[1].set_result(1);
  const auto failing = [&](ReturnWhen when) {
    const auto start = SteadyClock::now();
    const std::string names = s.names(wait(s.futures, {.timeout = 20ms, .return_when = when}));
    return SteadyClock::now() - start >= 20ms ? names : "early";
  };
  CHECK(failing(ReturnWhen::all_completed) == "1 | 0 2");
  CHECK(failing(ReturnWhen::first_exception) == "1 | 0 2");
  const auto start = SteadyClock::now();
  CHECK(s.names(wait(s.futures, start + 20ms)) == "1 | 0 2");
  CHECK(SteadyClock::now() - start >= 20ms);
  const Several none{2};
  CHECK(none.names(wait(none.futures, {.timeout = 5ms, .return_when = ReturnWhen::first_completed})) == " | 0 1");
  for (const conc::Deadline poll : {conc::Deadline{0s}, conc::Deadline{-1s}, conc::Deadline{SteadyClock::now() - 1h}}) {
    for (const ReturnWhen when :
         {ReturnWhen::all_completed, ReturnWhen::first_completed, ReturnWhen::first_exception}) {
      CHECK(none.names(wait(none.futures, {.timeout = poll, .return_when = when})) == " | 0 1");
      CHECK(s.names(wait(s.futures, {.timeout = poll, .return_when = when})) == "1 | 0 2");
    }
  }
}

TEST_CASE("wait: a cancel ends the wait, whoever may have started the task", "[wait][W8][AC1]") {
  const Several s{2};
  std::string first;
  std::string all;
  std::string order;
  Background for_first{[&] { first = s.names(wait(s.futures, {.return_when = ReturnWhen::first_completed})); }};
  Background for_all{[&] { all = s.names(wait(s.futures)); }};
  Background in_order{[&] { order = completed(s, s.futures); }};
  CHECK(for_first.falls_asleep());
  CHECK(for_all.falls_asleep());
  CHECK(in_order.falls_asleep());
  s.futures[1].cancel();  // no set_running_or_notify_cancel() follows: CPython would wait for that
  CHECK(for_first.join() == "returned");
  s.futures[0].cancel();
  CHECK(for_all.join() == "returned");
  CHECK(in_order.join() == "returned");
  CHECK(first == "1 | 0");
  CHECK(all == "0 1 | ");
  CHECK(order == "1 0");
}

TEST_CASE("wait: takes any range of handles", "[wait][W1][AC5]") {
  const std::array<Future<int>, 2> array{conc::make_ready_future(1), conc::make_ready_future(2)};
  const Future<int> plain[] = {array[0], array[1]};
  const std::list<Future<int>> list{array.begin(), array.end()};
  const std::unordered_set<Future<int>> set{array.begin(), array.end()};
  std::deque<Future<int>> deque{array.begin(), array.end()};
  const auto all_ways = [](auto&& range) {
    CHECK(wait(range).done.size() == 2);
    CHECK(wait(range, {.return_when = ReturnWhen::first_completed}).done.size() == 2);
    int sum = 0;
    for (const Future<int>& future : as_completed(range)) sum += future.result();
    CHECK(sum == 3);
    CHECK(conc::when_all(range).result().size() == 2);
    CHECK(conc::when_any(range).result().index == 0);
  };
  all_ways(array);
  all_ways(plain);
  all_ways(list);
  all_ways(set);
  all_ways(deque);
  all_ways(Generated{{array[0], array[1]}});
  CHECK(wait(std::vector<Future<void>>(3, conc::make_ready_future())).done.size() == 1);
  CHECK(wait({array[0], array[1], array[0]}).done.size() == 2);
  CHECK(wait({array[0]}, 0s).done.size() == 1);
  CHECK(wait({array[0], array[1]}, {.return_when = ReturnWhen::first_completed}).done.size() == 2);
  int listed = 0;
  for (const Future<int>& future : as_completed({array[0], array[1]})) listed += future.result();
  for (const Future<int>& future : as_completed({array[0], array[1], array[0]}, 0s)) listed += future.result();
  CHECK(listed == 6);
  int object = 0;
  const Promise<int&> reference;
  reference.set_result(object);
  CHECK(&wait(std::vector{reference.get_future()}).done[0].result() == &object);
  const Promise<std::unique_ptr<int>> pointer;
  pointer.set_result(std::make_unique<int>(4));
  for (Future<std::unique_ptr<int>>& future : as_completed(std::vector{pointer.get_future()})) {
    CHECK(*std::move(future).result() == 4);
  }
}

TEST_CASE("as_completed: gives what is done first, then the others as they become done, each once",
          "[wait][AC1][FM6]") {
  const Several s{5};
  s.promises[3].set_result(1);
  s.promises[1].set_exception(boom());
  std::vector<Future<int>> twice = s.futures;
  twice.insert(twice.end(), s.futures.begin(), s.futures.end());
  std::vector<Future<int>> seen;
  std::size_t before_others = 0;
  for (const Future<int>& future : as_completed(twice)) {
    CHECK(future.done());
    seen.push_back(future);
    if (seen.size() == 2) {
      before_others = seen.size();
      s.promises[4].set_result(1);
      s.promises[0].set_result(1);
      s.futures[2].cancel();
    }
  }
  CHECK(before_others == 2);
  CHECK(s.names(seen) == "1 3 4 0 2");
  CHECK(s.futures[1].exception() != nullptr);
}

TEST_CASE("as_completed: sleeps until the next one is done", "[wait][AC1]") {
  const Several s{3};
  std::string order;
  Background loop{[&] { order = completed(s, s.futures); }};
  for (const std::size_t i : {2U, 0U, 1U}) {
    CHECK(loop.falls_asleep());
    s.promises[i].set_result(1);
  }
  CHECK(loop.join() == "returned");
  CHECK(order == "2 0 1");
}

TEST_CASE("as_completed: of nothing gives nothing", "[wait][AC1][FM6]") {
  CHECK(completed(Several{0}, {}).empty());
  CHECK(completed(Several{0}, {}, 0s).empty());
}

TEST_CASE("as_completed: copies the handles at the call", "[wait][AC1]") {
  const Several s{3};
  std::vector<Future<int>> futures = s.futures;
  auto all = as_completed(futures);
  futures.clear();
  for (const std::size_t i : {1U, 2U, 0U}) s.promises[i].set_result(1);
  std::vector<Future<int>> seen;
  for (const Future<int>& future : all) seen.push_back(future);
  CHECK(s.names(seen) == "1 2 0");
}

TEST_CASE("as_completed: throws TimeoutError with the numbers, counted from the call", "[wait][AC2]") {
  const Several s{4};
  s.promises[0].set_result(1);
  s.promises[3].set_result(1);
  int seen = 0;
  CHECK(message_of<conc::TimeoutError>([&] {
          for ([[maybe_unused]] const Future<int>& future : as_completed(s.futures, 0s)) ++seen;
        }) == "as_completed: 2 (of 4) futures unfinished");
  CHECK(seen == 2);
  CHECK(completed(s, s.futures, -1s) == "0 3 TimeoutError");
  const auto start = SteadyClock::now();
  CHECK(completed(s, s.futures, 20ms) == "0 3 TimeoutError");
  CHECK(SteadyClock::now() - start >= 20ms);
  auto all = as_completed(s.futures, 20ms);
  CHECK_FALSE(s.futures[1].wait(40ms));  // the deadline passes before the iteration begins
  const auto late = SteadyClock::now();
  CHECK(ending([&] {
          for ([[maybe_unused]] const Future<int>& future : all) {
          }
        }) == "TimeoutError");
  CHECK(SteadyClock::now() - late < 15s);
}

TEST_CASE("as_completed: keeps no handle of what it has given", "[wait][AC3]") {
  std::vector<Promise<Travelled>> promises(3);
  std::vector<Future<Travelled>> futures;
  for (const Promise<Travelled>& promise : promises) {
    futures.push_back(promise.get_future());
    promise.set_result(1);
  }
  auto all = as_completed(std::exchange(futures, {}));
  int copies = 0;
  int seen = 0;
  for (Future<Travelled>& future : all) {
    copies += std::move(future).result().copies;  // moved, for nobody else has a handle
    ++seen;
  }
  CHECK(seen == 3);
  CHECK(copies == 0);

  const auto token = std::make_shared<int>(0);
  std::vector<Future<std::shared_ptr<int>>> pointers;
  for (int i = 0; i < 3; ++i) pointers.push_back(conc::make_ready_future(token));
  long left = 4;
  for ([[maybe_unused]] const auto& future : as_completed(std::exchange(pointers, {}))) {
    CHECK(token.use_count() == left);  // what was given before is gone
    --left;
  }
  CHECK(token.use_count() == 1);
}

TEST_CASE("as_completed: leaving early leaves nothing behind", "[wait][AC4]") {
  const auto token = std::make_shared<int>(0);
  Several s{3};
  s.promises[1].set_result(1);
  for (int round = 0; round < 3; ++round) {
    for (const Future<int>& future : as_completed(s.futures)) {
      CHECK(future == s.futures[1]);
      break;
    }
    (void)wait(s.futures, {.return_when = ReturnWhen::first_completed});
    auto never_iterated = as_completed(s.futures);
  }
  // Futures that become done later, or never, find nobody.
  s.promises[0].set_result(2);
  s.promises.clear();
  CHECK(s.futures[0].result() == 2);
  CHECK(ending([&] { s.futures[2].result(); }) == "BrokenPromise");
  const Promise<Travelled> last;
  {
    const std::vector<Future<Travelled>> one{last.get_future()};
    (void)wait(one, 0s);
    auto loop = as_completed(one);
  }
  Future<Travelled> future = last.get_future();
  last.set_result(1);
  CHECK(std::move(future).result().copies == 0);
}

TEST_CASE("wait: waits for futures of several executors", "[wait][AC5][FM6]") {
  conc::ThreadPoolExecutor one{1};
  conc::ThreadPoolExecutor other{2};
  conc::Event go;
  const Promise<int> promise;
  const auto task = [&go](int n) {
    go.wait();
    return n;
  };
  const std::vector<Future<int>> futures{one.submit(task, 1), other.submit(task, 2), promise.get_future(),
                                         conc::spawn(task, 4), conc::make_ready_future(8)};
  CHECK(wait(futures, 0s).done.size() == 1);
  go.set();
  promise.set_result(16);
  int sum = 0;
  for (const Future<int>& future : as_completed(futures)) sum += future.result();
  CHECK(sum == 31);
  CHECK(wait(futures).not_done.empty());
}

TEST_CASE("wait: a task that waits for futures of its pool runs those that nobody has started", "[wait][X16][FR6]") {
  conc::ThreadPoolExecutor pool{1};
  const auto waits = [&pool](int how) {
    std::vector<Future<int>> futures;
    for (int i = 1; i <= 4; ++i) futures.push_back(pool.submit([i] { return i; }));
    int sum = 0;
    if (how == 0) {
      for (const Future<int>& future : wait(futures).done) sum += future.result();
    } else if (how == 1) {
      sum = wait(futures, {.return_when = ReturnWhen::first_completed}).done.empty() ? 0 : 10;
    } else {
      for (const Future<int>& future : as_completed(futures)) sum += future.result();
    }
    return sum;
  };
  for (const int how : {0, 1, 2}) CHECK(pool.submit(waits, how).result() == 10);
}

TEST_CASE("wait: a task that waits for any of several, all of which wait for it, gets DeadlockError",
          "[wait][AC1][W3][X16][FM11]") {
  for (const Any call : {Any::as_completed, Any::first_completed, Any::first_exception}) {
    conc::Event known;
    std::vector<Future<void>> self;
    std::string how;
    std::string with_deadline;
    self.push_back(conc::spawn([&] {
      known.wait();
      how = ending_of(call, self);
      with_deadline = ending_of(call, self, 1ms);
    }));
    known.set();
    self[0].result();
    CHECK(how == "DeadlockError");
    CHECK(with_deadline == (call == Any::as_completed ? "TimeoutError" : "returned"));
  }
  const Promise<Future<void>> promise;
  const Future<void> itself = conc::spawn([promised = promise.get_future()] {
    for ([[maybe_unused]] const Future<void>& future : as_completed({promised.result()})) {
    }
  });
  promise.set_result(itself);
  CHECK(message_of<conc::DeadlockError>([&] {
          itself.result();
        }).starts_with("as_completed: the wait would never end: "));
}

TEST_CASE("wait: of tasks that wait for each other through any of several, one gets DeadlockError",
          "[wait][AC1][W3][X16][FM11]") {
  for (const Any call : {Any::as_completed, Any::first_completed, Any::first_exception}) {
    for (const bool both : {true, false}) {
      for (const bool of_a_pool : {false, true}) {
        conc::ThreadPoolExecutor pool{2};
        conc::Event known;
        std::vector<Future<void>> one;
        std::vector<Future<void>> other;
        std::array<std::string, 2> how;
        const auto start = [&](auto task) { return of_a_pool ? pool.submit(task) : conc::spawn(task); };
        one.push_back(start([&] {
          known.wait();
          how[0] = ending_of(call, other);
        }));
        other.push_back(start([&] {
          known.wait();
          how[1] = both ? ending_of(call, one) : ending([&] { one[0].result(); });
        }));
        known.set();
        one[0].result();
        other[0].result();
        CHECK((how[0] == "DeadlockError") != (how[1] == "DeadlockError"));
        CHECK((how[0] == "returned") != (how[1] == "returned"));
      }
    }
  }
}

TEST_CASE("wait: it is no deadlock where one of several can still become done", "[wait][AC1][W3][X16]") {
  for (const Any call : {Any::as_completed, Any::first_completed, Any::first_exception}) {
    const Promise<void> promise;
    conc::Event known;
    std::atomic<pid_t> waiter{0};
    std::vector<Future<void>> futures;
    std::string how;
    futures.push_back(conc::spawn([&] {
      known.wait();
      waiter = ::gettid();
      how = ending_of(call, futures);
    }));
    futures.push_back(promise.get_future());
    known.set();
    CHECK(conc_test::eventually([&] { return conc_test::sleeps(waiter); }));
    promise.set_exception(boom());
    futures[0].result();
    CHECK(how == (call == Any::as_completed ? "DeadlockError" : "returned"));  // only the task itself is left then
    CHECK(futures[1].exception() != nullptr);
  }
}
