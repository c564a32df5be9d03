// SPDX-License-Identifier: MIT
// map on a pool of threads: what the suite of all executors cannot ask for.
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/queue.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <cstddef>
#include <forward_list>
#include <iterator>
#include <list>
#include <memory>
#include <optional>
#include <ranges>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "background.hpp"
#include "busy_pool.hpp"

using namespace std::chrono_literals;
using conc_test::BusyWorkers;
using conc_test::eventually;
using conc_test::message_of;
using conc_test::outcome;

namespace {

std::vector<int> numbers(int n) {
  std::vector<int> all;
  for (int i = 0; i < n; ++i) all.push_back(i);
  return all;
}

/// A range that can be iterated once and counts how far.
class Reads {
 public:
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    using pointer = const int*;
    using reference = int;
    iterator(Reads* reads, int at) : reads_{reads}, at_{at} {}
    int operator*() const {
      ++reads_->read;
      if (at_ == reads_->fails_at) throw std::runtime_error{"cannot read"};
      return at_;
    }
    iterator& operator++() {
      ++at_;
      return *this;
    }
    void operator++(int) { ++at_; }
    bool operator==(const iterator& other) const { return at_ == other.at_; }

   private:
    Reads* reads_;
    int at_;
  };

  explicit Reads(int n, int fails_at_item = -1) : fails_at{fails_at_item}, n_{n} {}
  iterator begin() { return {this, 0}; }
  iterator end() { return {this, n_}; }
  int read = 0;
  const int fails_at;

 private:
  int n_;
};

}  // namespace

TEST_CASE("map: takes any ranges, as they are or as copies", "[map][X10]") {
  conc::ThreadPoolExecutor pool{2};
  const std::list<std::string> words{"a", "b", "c"};
  const int array[3] = {1, 2, 3};
  std::string all;
  for (const std::string& word :
       pool.map([](const std::string&word, int n, char c) { return word + std::to_string(n) + c; }, words, array,
                std::forward_list<char>{'x', 'y', 'z', 'w'})) {
    all += word + " ";
  }
  CHECK(all == "a1x b2y c3z ");
  CHECK(words.size() == 3);
  Reads once{5};
  int sum = 0;
  for (const int x : conc::map(
           pool, [](int x) { return x; }, once))
    sum += x;
  CHECK(sum == 10);
  CHECK(once.read == 5);
}

TEST_CASE("map: keeps values of the items, also where a range gives proxies", "[map][X10]") {
  conc::ThreadPoolExecutor pool{1};
  std::atomic<int> yes{0};
  for (const std::size_t chunksize : {std::size_t{1}, std::size_t{7}}) {
    std::optional<BusyWorkers> busy{std::in_place, pool};
    pool.map(
        {.chunksize = chunksize}, [&yes](bool b) { yes += b ? 1 : 0; }, std::vector<bool>(100, true));
    std::vector<bool> flags(100, true);
    auto results = pool.map(
        {.chunksize = chunksize}, [](bool b) { return b ? 1 : 0; }, flags);
    flags.assign(100, false);
    busy.reset();
    int sum = 0;
    for (const int x : results) sum += x;
    CHECK(sum == 100);
  }
  CHECK(pool.wait_idle());
  CHECK(yes == 200);
}

TEST_CASE("ThreadPoolExecutor: submit_many keeps values of the items, also where a range gives proxies",
          "[thread_pool]") {
  conc::ThreadPoolExecutor pool{1};
  std::optional<BusyWorkers> busy{std::in_place, pool};
  std::vector<bool> flags(100, true);
  const auto futures = pool.submit_many([](bool b) { return b; }, flags);
  flags.assign(100, false);
  const auto others = pool.submit_many([](bool b) { return b; }, std::vector<bool>(100, true));
  busy.reset();
  int yes = 0;
  for (const auto& future : futures) yes += future.result() ? 1 : 0;
  for (const auto& future : others) yes += future.result() ? 1 : 0;
  CHECK(yes == 200);
}

TEST_CASE("map: takes ranges whose end is of another type", "[map][X10]") {
  conc::ThreadPoolExecutor pool{2};
  conc::Queue<int> queue;
  for (const int x : {4, 5, 6}) queue.put(x);
  queue.shutdown();
  int sum = 0;
  for (const int x : pool.map(
           {.chunksize = 2}, [](int x) { return x; }, queue))
    sum += x;
  CHECK(sum == 15);
}

#if !defined(__clang__)  // clang 14 does not compile the views of libstdc++ 12
TEST_CASE("map: takes views, and such as never end", "[map][X10]") {
  conc::ThreadPoolExecutor pool{2};
  const auto same = [](int x) { return x; };
  int sum = 0;
  for (const int x : pool.map({.buffersize = 4}, same, std::views::iota(0))) {
    if (x == 10) break;
    sum += x;
  }
  CHECK(sum == 45);
  sum = 0;
  for (const int x : pool.map([](int x, int y) { return x * y; }, std::vector{1, 2, 3}, std::views::iota(5))) sum += x;
  CHECK(sum == 5 + 12 + 21);
  std::istringstream text{"1 2 3"};
  sum = 0;
  for (const int x : pool.map(same, std::views::istream<int>(text))) sum += x;
  CHECK(sum == 6);
}
#endif

TEST_CASE("map: takes the results of another one", "[map][X10]") {
  conc::ThreadPoolExecutor pool{1};
  for (const std::size_t chunksize : {std::size_t{1}, std::size_t{3}}) {
    for (const std::size_t buffersize : {std::size_t{0}, std::size_t{4}}) {
      const conc::MapOptions options{.chunksize = chunksize, .buffersize = buffersize};
      auto halves = pool.map(
          options, [](int x) { return x / 2; }, numbers(10));
      std::vector<int> seen;
      for (const int x : pool.map(
               options, [](int x) { return 10 * x; }, halves))
        seen.push_back(x);
      CHECK(seen == std::vector{0, 0, 10, 10, 20, 20, 30, 30, 40, 40});
    }
  }
}

TEST_CASE("map: takes a list of items in braces", "[map][X10]") {
  conc::ThreadPoolExecutor pool{2};
  std::vector<int> seen;
  for (const int x : pool.map([](int x) { return 2 * x; }, {1, 2, 3})) seen.push_back(x);
  for (const int x : pool.map({.chunksize = 2}, [](int x) { return 3 * x; }, {1, 2, 3})) seen.push_back(x);
  CHECK(seen == std::vector{2, 4, 6, 3, 6, 9});
  std::size_t letters = 0;
  for (const std::size_t size : pool.map(&std::string::size, {std::string{"a"}, std::string{"bc"}})) letters += size;
  CHECK(letters == 3);
}

TEST_CASE("map: a task makes as many calls as chunksize says", "[map][X10]") {
  for (const auto& [chunksize, tasks] : {std::pair{1U, 1000U}, {100U, 10U}, {300U, 4U}, {5000U, 1U}}) {
    conc::ThreadPoolExecutor pool{2};
    int sum = 0;
    for (const int x : pool.map(
             {.chunksize = chunksize}, [](int x) { return x; }, numbers(1000)))
      sum += x;
    CHECK(sum == 499'500);
    CHECK(pool.wait_idle());
    CHECK(pool.stats().done == tasks);
  }
}

TEST_CASE("map: results may be nothing, references, and movable only", "[map][X10]") {
  conc::ThreadPoolExecutor pool{2};
  std::atomic<int> calls{0};
  int count = 0;
  auto nothings = pool.map([&calls](int) { ++calls; }, numbers(5));
  for (auto& nothing : nothings) {
    (void)nothing;
    ++count;
  }
  CHECK(count == 5);
  CHECK(calls == 5);
  std::vector<int> values = numbers(5);
  for (int& value : pool.map([&values](int i) -> int& { return values[static_cast<std::size_t>(i)]; }, numbers(5))) {
    value *= 2;
  }
  CHECK(values == std::vector<int>{0, 2, 4, 6, 8});
  std::vector<std::unique_ptr<int>> kept;
  for (std::unique_ptr<int>& only : pool.map([](int i) { return std::make_unique<int>(i); }, numbers(3))) {
    kept.push_back(std::move(only));
  }
  REQUIRE(kept.size() == 3);
  CHECK(*kept[2] == 2);
  int yes = 0;
  for (const bool result : pool.map(
           {.chunksize = 3}, [](int i) { return i % 2 == 0; }, numbers(7)))
    yes += result;
  CHECK(yes == 4);
}

TEST_CASE("map: the function is copied, and gone with the tasks", "[map][X10]") {
  const auto captured = std::make_shared<int>(1);
  {
    conc::ThreadPoolExecutor pool{2};
    int sum = 0;
    for (const int x : pool.map(
             {.chunksize = 2}, [captured](int i) { return i + *captured; }, numbers(9)))
      sum += x;
    CHECK(sum == 45);
    pool.map([captured](int) {}, numbers(9));
  }
  CHECK(captured.use_count() == 1);
}

TEST_CASE("map: all calls are submitted at once, or no more than buffersize ahead", "[map][X10]") {
  conc::ThreadPoolExecutor pool{1};
  for (const std::size_t chunksize : {std::size_t{1}, std::size_t{2}}) {
    Reads all{20};
    {
      auto results = pool.map(
          {.chunksize = chunksize}, [](int x) { return x; }, all);
      CHECK(all.read == 20);
      Reads some{20};
      auto buffered = pool.map(
          {.chunksize = chunksize, .buffersize = 4}, [](int x) { return x; }, some);
      CHECK(some.read == 4);
      int seen = 0;
      bool ahead = true;
      for (const int x : buffered) {
        ahead = ahead && some.read <= x + 1 + 4 + static_cast<int>(chunksize) && x == seen;
        ++seen;
      }
      CHECK(ahead);
      CHECK(seen == 20);
      CHECK(some.read == 20);
    }
  }
}

TEST_CASE("map: an exception is thrown where it is reached, and ends the iteration", "[map][X10]") {
  std::atomic<int> calls{0};  // above the pool: a call that has begun goes on when the iteration ends
  conc::ThreadPoolExecutor pool{2};
  const auto failing = [&calls](int i) -> int {
    ++calls;
    if (i == 2 || i == 5) throw std::runtime_error{std::to_string(i)};
    return i;
  };
  for (const std::size_t chunksize : {std::size_t{1}, std::size_t{3}, std::size_t{100}}) {
    auto results = pool.map({.chunksize = chunksize}, failing, numbers(8));
    std::vector<int> seen;
    CHECK(message_of<std::runtime_error>([&] {
            for (const int x : results) seen.push_back(x);
          }) == "2");
    CHECK(seen == numbers(2));
    int after = 0;
    for (const int x : results) after += 1 + x;
    CHECK(after == 0);
  }
  CHECK(outcome([&] {
          for (auto& nothing : pool.map([](int) { throw 42; }, numbers(2))) (void)nothing;
        }) == "something else");
}

TEST_CASE("map: leaving the iteration early cancels the calls that have not started", "[map][X10]") {
  conc::ThreadPoolExecutor pool{1};
  std::atomic<int> calls{0};
  conc::Event first_was_left;
  for (const int x : pool.map(
           [&](int i) {
             ++calls;
             if (i == 1) first_was_left.wait();
             return i;
           },
           numbers(1000))) {
    if (x == 0) break;
  }
  // The result is gone: what had not started is cancelled.
  first_was_left.set();
  CHECK(pool.wait_idle());
  CHECK(calls <= 2);
  CHECK(pool.stats().cancelled >= 998);
}

TEST_CASE("map: a range that fails while it is read, and a pool that is full, leave nothing behind", "[map][X10][G4]") {
  conc::ThreadPoolExecutor pool{{.max_workers = 1, .max_queued = 5, .when_full = conc::WhenFull::raise}};
  std::atomic<int> calls{0};
  const auto call = [&calls](int) { ++calls; };
  std::optional<BusyWorkers> busy{std::in_place, pool};
  CHECK(outcome([&] { pool.map(call, Reads{10, 3}); }) == "cannot read");
  CHECK(outcome([&] { pool.map(call, numbers(10)); }) == "QueueFull");
  busy.reset();
  CHECK(pool.wait_idle());
  CHECK(calls == 0);
  // With a buffer the range is read while the results are iterated.
  int seen = 0;
  auto results = pool.map(
      {.buffersize = 2}, [](int x) { return x; }, Reads{10, 6});
  CHECK(outcome([&] {
          for (const int x : results) seen += x >= 0 ? 1 : 0;
        }) == "cannot read");
  CHECK(seen >= 3);
  CHECK(seen <= 6);
}

TEST_CASE("map: a timeout counts from the call, for the whole iteration", "[map][X10]") {
  conc::ThreadPoolExecutor pool{1};
  std::optional<BusyWorkers> busy{std::in_place, pool};
  const auto begin = std::chrono::steady_clock::now();
  auto results = pool.map(
      {.timeout = 30ms}, [](int x) { return x; }, numbers(5));
  CHECK(message_of<conc::TimeoutError>([&] {
          for (const int x : results) (void)x;
        }) == "map: 5 tasks are not done before the deadline");
  CHECK(std::chrono::steady_clock::now() - begin >= 30ms);
  busy.reset();
  CHECK(pool.wait_idle());
  CHECK(pool.stats().cancelled == 5);
  // What is done already is given, however late.
  auto late = pool.map(
      {.timeout = 0s}, [](int x) { return x; }, numbers(5));
  CHECK(pool.wait_idle());
  int sum = 0;
  for (const int x : late) sum += x;
  CHECK(sum == 10);
}

TEST_CASE("map: may be iterated by a task of the same pool", "[map][X10][X16]") {
  conc::ThreadPoolExecutor pool{1};
  const auto sum = [&pool](int n) {
    int all = 0;
    for (const int x : pool.map(
             {.chunksize = 3, .buffersize = 6}, [](int x) { return x; }, numbers(n)))
      all += x;
    return all;
  };
  CHECK(pool.submit(sum, 100).result() == 4950);
}

TEST_CASE("map: a shutdown while it is iterated gives what was accepted", "[map][X10][X5]") {
  conc::ThreadPoolExecutor pool{1};
  std::optional<BusyWorkers> busy{std::in_place, pool};
  auto results = pool.map([](int x) { return x; }, numbers(10));
  pool.shutdown({.wait = false});
  busy->let_go();
  int sum = 0;
  for (const int x : results) sum += x;
  CHECK(sum == 45);
}

TEST_CASE("map: shutdown with cancel_futures ends the iteration with CancelledError", "[map][X10][X6]") {
  conc::ThreadPoolExecutor pool{1};
  BusyWorkers busy{pool};
  auto results = pool.map([](int x) { return x; }, numbers(10));
  pool.shutdown({.wait = false, .cancel_futures = true});
  CHECK(message_of<conc::CancelledError>([&] {
          for (const int x : results) (void)x;
        }) != "");
}
