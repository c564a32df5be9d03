// SPDX-License-Identifier: MIT
// when_all and when_any.
#include <conc/wait.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "background.hpp"
#include "futures.hpp"
#include "support.hpp"
#include "worker.hpp"

namespace {

using conc::Future;
using conc::Promise;
using conc::when_all;
using conc::when_any;
using conc_test::boom;
using conc_test::cancelled_future;
using conc_test::ending;
using conc_test::Hooks;
using conc_test::message_of;

}  // namespace

TEST_CASE("when_all: is done with all futures when the last one is, however they ended", "[wait][F17]") {
  const std::vector<Promise<int>> promises(4);
  std::vector<Future<int>> futures;
  for (const Promise<int>& promise : promises) futures.push_back(promise.get_future());
  futures.push_back(futures[0]);  // duplicates stay in their places
  const Future<std::vector<Future<int>>> all = when_all(futures);
  promises[2].set_result(1);
  promises[0].set_exception(boom());
  futures[3].cancel();
  CHECK_FALSE(all.done());
  promises[1].set_result(2);
  REQUIRE(all.done());
  CHECK(all.result() == futures);
  CHECK(ending([&] { all.result()[4].result(); }) == "boom");
  CHECK(all.result()[3].cancelled());
}

TEST_CASE("when_all: of nothing, or of what is done, is done at once", "[wait][F17]") {
  CHECK(when_all(std::vector<Future<int>>{}).result().empty());
  CHECK(when_all(std::vector{conc::make_ready_future(1), cancelled_future<int>()}).done());
}

TEST_CASE("when_all: gives the futures to each of its handles, those of void too", "[wait][F13][F17]") {
  const std::vector<Future<void>> futures{conc::make_ready_future(), cancelled_future<void>()};
  Future<std::vector<Future<void>>> all = when_all(futures);
  const Future<std::vector<Future<void>>> other = all;
  CHECK(std::move(all).result() == futures);
  CHECK(other.result() == futures);
  Future<std::tuple<Future<void>, Future<std::unique_ptr<int>>>> pair =
      when_all(futures[0], conc::make_ready_future(std::make_unique<int>(1)));
  const auto same = pair;
  CHECK(std::get<0>(std::move(pair).result()) == futures[0]);
  CHECK(*std::get<1>(same.result()).result() == 1);
}

TEST_CASE("when_all: of futures of several types gives a tuple", "[wait][F17]") {
  const Promise<int> number;
  const Promise<void> nothing;
  const Future<std::string> text = conc::make_ready_future(std::string{"text"});
  const auto all = when_all(number.get_future(), text, nothing.get_future());
  static_assert(
      std::is_same_v<decltype(all), const Future<std::tuple<Future<int>, Future<std::string>, Future<void>>>>);
  number.set_result(1);
  CHECK_FALSE(all.done());
  nothing.set_result();
  const auto& [a, b, c] = all.result();
  CHECK(a.result() == 1);
  CHECK(b == text);
  CHECK(c == nothing.get_future());
}

TEST_CASE("when_any: is done with the index of the first that is done", "[wait][F17]") {
  const std::vector<Promise<int>> promises(3);
  std::vector<Future<int>> futures;
  for (const Promise<int>& promise : promises) futures.push_back(promise.get_future());
  const Future<conc::WhenAny<int>> any = when_any(futures);
  CHECK_FALSE(any.done());
  promises[1].set_exception(boom());
  promises[0].set_result(1);
  CHECK(any.result().index == 1);
  CHECK(any.result().futures == futures);
  CHECK(ending([&] { any.result().futures[1].result(); }) == "boom");
  const Future<conc::WhenAny<int>> at_once = when_any(futures);
  CHECK(at_once.result().index == 0);
  CHECK(when_any(std::vector{promises[2].get_future(), cancelled_future<int>()}).result().index == 1);
}

TEST_CASE("when_any: keeps no handle of the others once it is done and dropped", "[wait][F17][F13]") {
  std::vector<Promise<conc_test::Travelled>> promises(2);
  {
    std::vector<Future<conc_test::Travelled>> futures;
    for (const auto& promise : promises) futures.push_back(promise.get_future());
    const auto any = when_any(futures);
    promises[0].set_result(0);
    CHECK(any.done());
  }
  Future<conc_test::Travelled> loser = promises[1].get_future();
  promises[1].set_result(1);
  CHECK(std::move(loser).result().copies == 0);
}

TEST_CASE("when_any: of nothing, and of handles that name no future, is refused", "[wait][F17][G5]") {
  CHECK(message_of<conc::UsageError>([] { when_any(std::vector<Future<int>>{}); }) ==
        "when_any: there are no futures to wait for");
  const Promise<int> promise;
  const std::vector<Future<int>> futures{promise.get_future(), Future<int>{}};
  CHECK(ending([&] { when_any(futures); }) == "UsageError");
  CHECK(ending([&] { when_all(futures); }) == "UsageError");
  CHECK(ending([&] { when_all(promise.get_future(), Future<char>{}); }) == "UsageError");
  promise.set_result(1);
}

TEST_CASE("when_all: its future and that of when_any are done on the thread that ends the wait", "[wait][F17]") {
  const Promise<int> promise;
  const auto where = [](const auto&) { return std::this_thread::get_id(); };
  const Future<std::thread::id> all = when_all(promise.get_future(), conc::make_ready_future()).then(where);
  const Future<std::thread::id> any = when_any(std::vector{promise.get_future()}).then(where);
  const std::thread::id finisher = conc_test::elsewhere([&] {
    promise.set_result(1);
    return std::this_thread::get_id();
  });
  CHECK(all.result() == finisher);
  CHECK(any.result() == finisher);
}

TEST_CASE("when_all: its future and that of when_any may be cancelled or dropped", "[wait][F17][F1]") {
  const Hooks hooks;
  const auto token = std::make_shared<int>(0);
  for (const bool cancel : {false, true}) {
    const std::vector<Promise<std::shared_ptr<int>>> promises(2);
    std::vector<Future<std::shared_ptr<int>>> futures;
    for (const auto& promise : promises) futures.push_back(promise.get_future());
    {
      const auto all = when_all(futures);
      const auto pair = when_all(futures[0], futures[1]);
      const auto any = when_any(futures);
      if (cancel) {
        CHECK(all.cancel());
        CHECK(pair.cancel());
        CHECK(any.cancel());
      }
    }
    for (const auto& promise : promises) promise.set_result(token);
    for (const auto& future : futures) CHECK_FALSE(future.cancelled());
  }
  CHECK(token.use_count() == 1);
  CHECK(Hooks::take().empty());
}

TEST_CASE("when_all: broken promises end the wait too", "[wait][F17][F15]") {
  Future<std::vector<Future<int>>> all;
  Future<conc::WhenAny<int>> any;
  {
    const std::vector<Promise<int>> promises(3);
    std::vector<Future<int>> futures;
    for (const Promise<int>& promise : promises) futures.push_back(promise.get_future());
    all = when_all(futures);
    any = when_any(futures);
  }
  CHECK(any.result().index == 0);
  for (const Future<int>& future : all.result()) CHECK(ending([&] { future.result(); }) == "BrokenPromise");
}
