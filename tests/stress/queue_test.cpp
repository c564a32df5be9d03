// SPDX-License-Identifier: MIT
// Queues with many producers and consumers at once. Every kind of queue, with room and without.
#include <atomic>
#include <catch2/catch_get_random_seed.hpp>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/queue.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "background.hpp"

using namespace std::chrono_literals;
using conc_test::outcome;
using conc_test::run_threads;

namespace {

/// The item number `number` of a producer. A bounded queue of those that may throw when moved is no ring.
template <bool move_may_throw>
struct Numbered {
  std::size_t producer;
  std::size_t number;
  Numbered(std::size_t from, std::size_t count) noexcept : producer{from}, number{count} {}
  Numbered(const Numbered& other) noexcept = default;
  Numbered(Numbered&& other) noexcept(!move_may_throw) : producer{other.producer}, number{other.number} {}
  Numbered& operator=(const Numbered&) = delete;
  ~Numbered() = default;
  // A PriorityQueue of them keeps the order of each producer, as a Queue does.
  friend bool operator<(const Numbered& one, const Numbered& other) { return one.number < other.number; }
};
using InRing = Numbered<false>;
using Locked = Numbered<true>;

#define EVERY_QUEUE conc::Queue<InRing>, conc::Queue<Locked>, conc::LifoQueue<Locked>, conc::PriorityQueue<InRing>
/// Whether what a producer puts comes out in that order.
template <class Queue>
inline constexpr bool keeps_order = !std::is_same_v<Queue, conc::LifoQueue<typename Queue::value_type>>;

class Random {
 public:
  explicit Random(std::size_t thread) : engine_{Catch::getSeed() + static_cast<std::uint32_t>(thread)} {}
  std::size_t below(std::size_t limit) { return engine_() % limit; }
  std::chrono::nanoseconds short_time() { return std::chrono::nanoseconds{below(20'000)}; }

 private:
  std::mt19937 engine_;
};

/// What happened to all items. Threads note; the main thread judges.
class Ledger {
 public:
  Ledger(std::size_t producers, std::size_t items) : items_{items}, seen_(producers * items) {}

  /// Notes an item that was taken by a consumer that has so far seen up to `last` of each producer.
  template <class Item>
  void take(const Item& item, std::vector<std::size_t>& last) {
    taken_.fetch_add(1);
    if (seen_[item.producer * items_ + item.number].fetch_add(1) != 0) doubled_.fetch_add(1);
    if (last[item.producer] > item.number) out_of_order_.fetch_add(1);
    last[item.producer] = item.number + 1;
  }

  std::size_t taken() const { return taken_.load(); }
  bool once() const { return doubled_.load() == 0; }
  bool in_order() const { return out_of_order_.load() == 0; }

 private:
  std::size_t items_;
  std::vector<std::atomic<int>> seen_;
  std::atomic<std::size_t> taken_{0};
  std::atomic<std::size_t> doubled_{0};
  std::atomic<std::size_t> out_of_order_{0};
};

/// Puts one item in one of all the ways there are. @throws QueueShutDown
template <class Queue, class Item>
void put_somehow(Queue& queue, Item item, Random& random) {
  switch (random.below(4)) {
    case 0:
      queue.put(item);
      return;
    case 1:
      while (queue.put_many(&item, &item + 1, random.short_time()) == 0) continue;
      return;
    case 2:
      while (!queue.try_put(item)) std::this_thread::yield();
      return;
    default:
      for (;;) {
        try {
          queue.put(std::move(item), random.short_time());
          return;
        } catch (const conc::QueueFull&) {
          continue;
        }
      }
  }
}

/// Takes some items in one of all the ways there are, and gives each to `use`. @throws QueueShutDown
template <class Queue, class Use>
void get_somehow(Queue& queue, Use use, Random& random) {
  try {
    switch (random.below(4)) {
      case 0:
        use(queue.get());
        return;
      case 1:
        for (const auto& item : queue.get_many(1 + random.below(8), random.short_time())) use(item);
        return;
      case 2:
        if (const auto item = queue.try_get()) use(*item);
        return;
      default:
        use(queue.get(random.short_time()));
    }
  } catch (const conc::QueueEmpty&) {
    return;
  }
}

}  // namespace

TEMPLATE_TEST_CASE(
    "Queue: every item comes out once, in its producer's order, and never more fit than the bound allows",
    "[queue][Q1][Q2][Q4]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  constexpr std::size_t producers = 3;
  constexpr std::size_t consumers = 3;
  const std::size_t items = conc_test::scaled<std::size_t>(3000);
  for (const std::size_t maxsize : {0U, 1U, 2U, 3U, 7U, 64U}) {
    INFO("maxsize " << maxsize);
    TestType queue{maxsize};
    Ledger ledger{producers, items};
    std::atomic<std::int64_t> put{0};         // puts that have returned
    std::atomic<std::int64_t> gets_begun{0};  // items that may have been taken, and perhaps more
    std::atomic<std::size_t> overfull{0};
    std::atomic<std::size_t> producing{producers};
    run_threads(producers + consumers, [&](std::size_t index) {
      Random random{index};
      if (index < producers) {
        for (std::size_t i = 0; i < items; ++i) {
          put_somehow(queue, Item{index, i}, random);
          const std::int64_t in_queue = put.fetch_add(1) + 1 - gets_begun.load();
          if (maxsize != 0 && in_queue > static_cast<std::int64_t>(maxsize)) overfull.fetch_add(1);
        }
        if (producing.fetch_sub(1) == 1) queue.shutdown();
        return;
      }
      std::vector<std::size_t> last(producers);
      (void)outcome([&] {
        for (;;) {
          std::int64_t got = 0;
          gets_begun.fetch_add(8);  // the most that get_somehow takes
          get_somehow(
              queue, [&](const Item& item) { ++got, ledger.take(item, last), queue.task_done(); }, random);
          gets_begun.fetch_sub(8 - got);
        }
      });
    });
    CHECK(ledger.taken() == producers * items);
    CHECK(ledger.once());
    if (keeps_order<TestType>) CHECK(ledger.in_order());
    CHECK(overfull == 0);
    CHECK(queue.unfinished_tasks() == 0);
    CHECK(queue.join(0ms));
    CHECK(queue.qsize() == 0);
  }
}

TEMPLATE_TEST_CASE("Queue: the bound holds while everybody puts and one takes", "[queue][Q1]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (const std::size_t maxsize : {1U, 2U, 3U, 4U, 5U, 6U, 7U, 8U, 9U, 1023U, 1024U, 1025U}) {
    INFO("maxsize " << maxsize);
    TestType queue{maxsize};
    const std::size_t rounds = conc_test::scaled<std::size_t>(200);
    std::atomic<std::int64_t> in_queue{0};  // at least so many are in it
    std::atomic<std::int64_t> most{0};
    run_threads(4, [&](std::size_t index) {
      if (index == 0) {
        for (std::size_t i = 0; i < rounds; ++i) {
          in_queue.fetch_sub(1);
          (void)queue.get();
          std::this_thread::yield();
        }
        queue.shutdown();
        return;
      }
      (void)outcome([&] {
        for (std::size_t i = 0;; ++i) {
          queue.put(Item{index, i});
          const std::int64_t now = in_queue.fetch_add(1) + 1;
          for (std::int64_t old = most.load(); old < now && !most.compare_exchange_weak(old, now);) continue;
        }
      });
    });
    CHECK(most <= static_cast<std::int64_t>(maxsize));
    CHECK(most > 0);
    CHECK(queue.unfinished_tasks() == rounds + queue.qsize());
  }
}

TEMPLATE_TEST_CASE("Queue: after a shutdown at any moment every accepted item comes out exactly once", "[queue][Q7]",
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  constexpr std::size_t producers = 2;
  constexpr std::size_t consumers = 2;
  constexpr std::size_t items = 2000;
  Random moments{99};
  for (int round = 0; round < conc_test::scaled(150); ++round) {
    const std::size_t maxsize = std::vector<std::size_t>{0, 1, 2, 3, 16}[moments.below(5)];
    TestType queue{maxsize};
    Ledger ledger{producers, items};
    const std::size_t end_after = moments.below(100);
    std::atomic<std::size_t> accepted{0};
    run_threads(producers + consumers + 1, [&](std::size_t index) {
      Random random{index};
      if (index < producers) {
        (void)outcome([&] {
          for (std::size_t i = 0; i < items; ++i) {
            put_somehow(queue, Item{index, i}, random);
            accepted.fetch_add(1);
          }
        });
      } else if (index < producers + consumers) {
        std::vector<std::size_t> last(producers);
        (void)outcome([&] {
          for (;;) {
            get_somehow(
                queue, [&](const Item& item) { ledger.take(item, last), queue.task_done(); }, random);
          }
        });
      } else {
        while (ledger.taken() < end_after) std::this_thread::yield();
        queue.shutdown();
        queue.join();
      }
    });
    REQUIRE(ledger.taken() == accepted);
    REQUIRE(ledger.once());
    if (keeps_order<TestType>) REQUIRE(ledger.in_order());
    REQUIRE(queue.unfinished_tasks() == 0);
    REQUIRE(queue.empty());
  }
}

TEMPLATE_TEST_CASE("Queue: after an immediate shutdown at any moment accepted items are taken or dropped",
                   "[queue][Q8]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  constexpr std::size_t producers = 2;
  constexpr std::size_t consumers = 2;
  constexpr std::size_t items = 2000;
  Random moments{98};
  for (int round = 0; round < conc_test::scaled(150); ++round) {
    const std::size_t maxsize = std::vector<std::size_t>{0, 1, 2, 3, 16}[moments.below(5)];
    TestType queue{maxsize};
    Ledger ledger{producers, items};
    const std::size_t end_after = moments.below(100);
    std::atomic<std::size_t> accepted{0};
    run_threads(producers + consumers + 2, [&](std::size_t index) {
      Random random{index};
      if (index < producers) {
        (void)outcome([&] {
          for (std::size_t i = 0; i < items; ++i) {
            put_somehow(queue, Item{index, i}, random);
            accepted.fetch_add(1);
          }
        });
      } else if (index < producers + consumers) {
        std::vector<std::size_t> last(producers);
        (void)outcome([&] {
          while (round % 2 == 0 || ledger.taken() < end_after) {  // or the rest is left to be dropped
            get_somehow(
                queue, [&](const Item& item) { ledger.take(item, last), queue.task_done(); }, random);
          }
        });
      } else {
        while (ledger.taken() < end_after) std::this_thread::yield();
        queue.shutdown({.immediate = true});  // by two threads
        queue.join();
      }
    });
    REQUIRE(ledger.taken() <= accepted);
    REQUIRE(ledger.once());
    if (keeps_order<TestType>) REQUIRE(ledger.in_order());
    REQUIRE(queue.unfinished_tasks() == 0);
    REQUIRE(queue.empty());
  }
}

TEMPLATE_TEST_CASE("Queue: join lets go exactly when all that its caller put is done", "[queue][Q4]", EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  constexpr std::size_t joiners = 3;
  constexpr std::size_t workers = 2;
  const std::size_t rounds = conc_test::scaled<std::size_t>(500);
  for (const std::size_t maxsize : {0U, 2U}) {
    TestType queue{maxsize};
    std::vector<std::atomic<std::size_t>> done(joiners);
    std::atomic<std::size_t> too_early{0};
    std::atomic<std::size_t> joining{joiners};
    run_threads(joiners + workers, [&](std::size_t index) {
      if (index < joiners) {
        Random random{index};
        std::size_t put = 0;
        for (std::size_t round = 0; round < rounds; ++round) {
          for (std::size_t i = 0; i < 1 + random.below(3); ++i) queue.put(Item{index, put++});
          if (random.below(2) == 0) {
            queue.join();
          } else {
            while (!queue.join(random.short_time())) continue;
          }
          if (done[index].load() != put) too_early.fetch_add(1);
        }
        if (joining.fetch_sub(1) == 1) queue.shutdown();
        return;
      }
      for (const Item& item : queue) {
        conc::TaskDone task{queue};
        done[item.producer].fetch_add(1);
      }
    });
    CHECK(too_early == 0);
    CHECK(queue.unfinished_tasks() == 0);
  }
}

TEMPLATE_TEST_CASE("Queue: whom join lets go may destroy the queue while task_done is returning", "[queue][G8]",
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  for (int round = 0; round < conc_test::scaled(3000); ++round) {
    auto queue = std::make_unique<TestType>(2U);
    queue->put(Item{0, 0});
    queue->put(Item{0, 1});
    const auto work = [raw = queue.get()] {
      (void)raw->get();
      raw->task_done();
    };
    conc_test::Background first{work};
    conc_test::Background second{work};
    if (round % 2 == 0) {
      queue->join();
    } else {
      while (!queue->join(1ms)) continue;
    }
    queue.reset();
  }
}

TEMPLATE_TEST_CASE("Queue: nobody sleeps for ever while waits come and go with short deadlines", "[queue][Q3][FT3]",
                   EVERY_QUEUE) {
  using Item = typename TestType::value_type;
  // Two threads wait without a deadline and must never be forgotten; others get in their way with deadlines.
  const std::size_t items = conc_test::scaled<std::size_t>(3000);
  TestType queue{1};
  std::atomic<bool> over{false};
  std::atomic<std::size_t> stolen{0};
  std::size_t got = 0;
  run_threads(5, [&](std::size_t index) {
    Random random{index};
    if (index == 0) {
      for (std::size_t i = 0; i < items; ++i) queue.put(Item{0, i});
      over.store(true);
      queue.shutdown();
    } else if (index == 1) {
      (void)outcome([&] {
        for (;; ++got) (void)queue.get();
      });
    } else {
      while (!over.load()) {
        const std::string how = outcome([&] { (void)queue.get(random.short_time()); });
        if (how == "returned") stolen.fetch_add(1);
        (void)outcome([&] {
          Item item{1, 0};
          queue.put(std::move(item), random.short_time());
          stolen.fetch_sub(1);
        });
      }
    }
  });
  CHECK(got + stolen.load() == items);
}
