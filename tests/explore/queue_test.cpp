// SPDX-License-Identifier: MIT
#include <conc/event.hpp>
#include <conc/queue.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>

#include "explore_type.hpp"

using namespace std::chrono_literals;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;
using conc_test::Tally;

namespace {

/// An item that the ring does not take, since its move might throw: its queues are always locked ones.
struct Careful {
  int value;
  Careful(int v) : value{v} {}
  Careful(Careful&& other) noexcept(false) : value{other.value} {}
  ~Careful() { value = 0; }  // not trivial: the queue has something to destroy
  operator int() const { return value; }
  friend bool operator<(const Careful& one, const Careful& other) { return one.value < other.value; }
};
static_assert(!std::is_nothrow_move_constructible_v<Careful>);

/// Gets items until the queue is shut down.
template <class Queue>
int drain(Queue& queue) {
  int sum = 0;
  for (typename Queue::value_type& item : queue) {
    const conc::TaskDone done{queue};
    sum += item;
  }
  return sum;
}

/// The programs for one kind of queue; `size` is its bound.
template <class Queue>
void explore_queue(const char* name, std::size_t size) {
  const auto title = [name](const char* what) { return std::string{name} + ", " + what; };

  explore_type(title("one producer, one consumer"), [size] {
    Queue queue{size};
    parallel(
        [&] {
          queue.put(1);
          queue.put(2);
        },
        [&] {
          const int first = queue.get();
          const int second = queue.get();
          // Only a LifoQueue may turn round what it has at the same time.
          const bool turned = std::is_same_v<Queue, conc::LifoQueue<typename Queue::value_type>> && first == 2;
          check(first == (turned ? 2 : 1) && second == (turned ? 1 : 2), "in order, and each once");
        });
    check(queue.empty() && queue.unfinished_tasks() == 2, "two were put, none is left");
  });

  explore_type(title("two producers, one consumer"), [size] {
    Queue queue{size};
    int sum = 0;
    parallel([&] { queue.put(1); }, [&] { queue.put(2); },
             [&] {
               sum += queue.get();
               sum += queue.get();
             });
    check(sum == 3 && queue.empty(), "each item came out once");
  });

  explore_type(title("one producer, two consumers"), [size] {
    Queue queue{size};
    Tally sum;
    parallel([&] { sum += queue.get(); }, [&] { sum += queue.get(); },
             [&] {
               queue.put(1);
               queue.put(2);
             });
    check(sum == 3 && queue.empty(), "each item came out once");
  });

  explore_type(title("task_done and join"), [size] {
    auto queue = std::make_unique<Queue>(size);
    int handled = 0;
    parallel(
        [&] {
          queue->put(1);
          queue->put(2);
          queue->join();
          check(handled == 2, "join() came before the last task_done()");
        },
        [&] {
          for (int i = 0; i < 2; ++i) {
            (void)queue->get();
            ++handled;
            queue->task_done();
          }
        });
  });

  explore_type(title("destroyed by the joiner"), [size] {
    auto queue = std::make_unique<Queue>(size);
    queue->put(1);
    (void)queue->get();
    parallel([&] { queue->task_done(); },
             [&] {
               queue->join();
               queue.reset();
             });
  });

  explore_type(title("shutdown against put and get"), [size] {
    Queue queue{size};
    int accepted = 0;
    int taken = 0;
    parallel(
        [&] {
          try {
            for (int i = 1; i <= 2; ++i) {
              queue.put(1);
              ++accepted;
            }
          } catch (const conc::QueueShutDown&) {
          }
        },
        [&] { taken = drain(queue); }, [&] { queue.shutdown(); });
    check(accepted == taken, "what was accepted comes out");
    check(queue.unfinished_tasks() == 0 && queue.join(0ms), "everything is done");
  });

  explore_type(title("immediate shutdown"), [size] {
    Queue queue{size};
    parallel(
        [&] {
          try {
            queue.put(1);
            queue.put(1);
          } catch (const conc::QueueShutDown&) {
          }
        },
        [&] { (void)drain(queue); }, [&] { queue.shutdown({.immediate = true}); });
    check(queue.empty() && queue.unfinished_tasks() == 0 && queue.join(0ms), "taken or dropped, and done");
  });

  explore_type(title("timed get against put"),
               [size] {
                 Queue queue{size};
                 Tally sum;
                 const auto get = [&](conc::Deadline deadline) {
                   try {
                     sum += queue.get(deadline);
                   } catch (const conc::QueueEmpty&) {
                   }
                 };
                 parallel([&] { get(1ms); }, [&] { get(2ms); },
                          [&] {
                            conc::Event nobody;
                            nobody.wait(1ms);
                            queue.put(1);
                          });
                 check(sum + static_cast<int>(queue.qsize()) == 1, "the item is with a consumer or in the queue");
               },
               {.mishaps = 0});
}

}  // namespace

TEST_CASE("Queue: a ring of one slot loses nothing, in every schedule", "[queue][Q1][Q2]") {
  explore_queue<conc::Queue<int>>("Queue(1), ring", 1);
}

TEST_CASE("Queue: a ring of two slots loses nothing, in every schedule", "[queue][Q1][Q2]") {
  explore_queue<conc::Queue<int>>("Queue(2), ring", 2);
}

TEST_CASE("Queue: a locked queue with a bound loses nothing, in every schedule", "[queue][Q1][Q2]") {
  explore_queue<conc::Queue<Careful>>("Queue(1), locked", 1);
}

TEST_CASE("Queue: an unbounded queue loses nothing, in every schedule", "[queue][Q1][Q2]") {
  explore_queue<conc::Queue<int>>("Queue(), locked", 0);
}

TEST_CASE("LifoQueue: loses nothing, in every schedule", "[queue][Q1][Q2]") {
  explore_queue<conc::LifoQueue<Careful>>("LifoQueue(1)", 1);
}

TEST_CASE("PriorityQueue: loses nothing, in every schedule", "[queue][Q1][Q2]") {
  explore_queue<conc::PriorityQueue<Careful>>("PriorityQueue()", 0);
}

TEST_CASE("LifoQueue: gives back the newest of what is in it, in every schedule", "[queue][Q2]") {
  explore_type("LifoQueue(), a getter between two puts", [] {
    conc::LifoQueue<int> queue;
    queue.put(1);
    int got = 0;
    parallel([&] { queue.put(2); }, [&] { got = queue.get(); });
    check(got == 1 || got == 2, "something that was put");
    check(queue.get() == 3 - got && queue.empty(), "the other one is left");
  });
}

TEST_CASE("PriorityQueue: gives back the smallest of what is in it, in every schedule", "[queue][Q2]") {
  explore_type("PriorityQueue(), two puts against two gets", [] {
    conc::PriorityQueue<int> queue;
    queue.put(4);
    queue.put(2);
    int first = 0;
    int second = 0;
    parallel(
        [&] {
          queue.put(3);
          queue.put(1);
        },
        [&] {
          first = queue.get();
          second = queue.get();
        });
    check(first == 1 || first == 2, "2 was there");
    check(first == 1 ? second == 2 : second == 1 || second == 3 || second == 4, "what was the smallest then");
    int last = 0;
    while (!queue.empty()) {
      const int next = queue.get();
      check(next > last, "in order");
      last = next;
    }
  });
}

namespace {

struct Refused {};

/// Compares numbers; the comparison number `k` from the beginning throws.
struct ThrowsOnce {
  int* left;
  bool operator()(int one, int other) const {
    if ((*left)-- == 0) {
      throw Refused{};
    }
    return one < other;
  }
};
using ThrowingQueue = conc::PriorityQueue<int, ThrowsOnce>;

/// Puts `item`, also where a comparison throws.
void put_anyway(ThrowingQueue& queue, int item) {
  try {
    queue.put(item);
  } catch (const Refused&) {
    queue.put(item);
  }
}

}  // namespace

TEST_CASE("PriorityQueue: a comparator that throws in one getter loses no other getter its wake-up, in every schedule",
          "[queue][Q6][FM12]") {
  for (const int k : {0, 1, 2}) {
    explore_type("PriorityQueue(), two getters, comparison " + std::to_string(k) + " throws", [k] {
      int left = k;
      ThrowingQueue queue{0, ThrowsOnce{&left}};
      Tally sum;
      const auto get_or_leave = [&] {
        try {
          sum += queue.get();
        } catch (const Refused&) {  // there are items enough for the other one
        }
      };
      parallel(get_or_leave, get_or_leave, [&] {
        for (int i = 1; i <= 3; ++i) {
          put_anyway(queue, i);
        }
      });
      while (!queue.empty()) {
        sum += queue.get();
      }
      check(sum == 6 && queue.unfinished_tasks() == 3, "nothing was lost and nothing doubled");
    });
  }
}

TEST_CASE("PriorityQueue: a comparator that throws in one putter loses no other putter its room, in every schedule",
          "[queue][Q6][FM12]") {
  for (const int k : {1, 2}) {
    explore_type("PriorityQueue(2), two blocked putters, comparison " + std::to_string(k) + " throws", [k] {
      int left = k;
      ThrowingQueue queue{2, ThrowsOnce{&left}};
      queue.put(3);
      queue.put(4);  // comparison 0
      int sum = 0;
      Tally refused;
      const auto put_or_leave = [&] {
        try {
          queue.put(1);
        } catch (const Refused&) {
          ++refused;
        }
      };
      parallel(put_or_leave, put_or_leave, [&] { sum += queue.get() + queue.get(); });
      while (!queue.empty()) {
        sum += queue.get();
      }
      check(sum == 9 - refused && refused <= 1, "nothing was lost and nothing doubled");
      check(queue.unfinished_tasks() == static_cast<std::uint64_t>(4 - refused), "what was put counts");
    });
  }
}

TEST_CASE("Queue: blocked putters go on one after another, in every schedule", "[queue][Q3]") {
  explore_type("Queue(1), ring, two blocked putters", [] {
    conc::Queue<int> queue{1};
    queue.put(1);
    int sum = 0;
    parallel([&] { queue.put(2); }, [&] { queue.put(3); },
             [&] {
               for (int i = 0; i < 3; ++i) {
                 sum += queue.get();
               }
             });
    check(sum == 6 && queue.empty(), "an item was lost");
  });
  explore_type("Queue(2), ring, two putters wait while two items are taken", [] {
    conc::Queue<int> queue{2};
    queue.put(1);
    queue.put(1);
    parallel([&] { queue.put(1); }, [&] { queue.put(1); },
             [&] {
               (void)queue.get();
               (void)queue.get();
             });
    check(queue.qsize() == 2 && queue.unfinished_tasks() == 4, "an item was lost");
  });
  explore_type("Queue(3), ring, wraps around", [] {
    conc::Queue<int> queue{3};
    int sum = 0;
    parallel(
        [&] {
          for (int i = 1; i <= 5; ++i) {
            queue.put(i);
          }
        },
        [&] {
          for (int i = 1; i <= 5; ++i) {
            check(queue.qsize() <= 3, "more than fits");
            sum += queue.get();
          }
        });
    check(sum == 15, "an item was lost");
  });
}

TEST_CASE("Queue: shutdown releases blocked putters and getters, in every schedule", "[queue][Q7][Q10]") {
  explore_type("Queue(1), ring, blocked putters, shutdown", [] {
    conc::Queue<int> queue{1};
    queue.put(0);
    Tally refused;
    const auto put = [&] {
      try {
        queue.put(1);
      } catch (const conc::QueueShutDown&) {
        ++refused;
      }
    };
    parallel(put, put, [&] { queue.shutdown(); });
    check(refused == 2, "both were refused");
  });
  explore_type("Queue(2), ring, two getters, a put and a shutdown", [] {
    conc::Queue<int> queue{2};
    Tally sum;
    int accepted = 0;
    parallel([&] { sum += drain(queue); }, [&] { sum += drain(queue); },
             [&] {
               try {
                 queue.put(1);
                 accepted = 1;
               } catch (const conc::QueueShutDown&) {
               }
             },
             [&] {
               queue.shutdown();
               try {
                 if (const auto item = queue.try_get()) {  // perhaps the one that a getter was woken for
                   sum += *item;
                   queue.task_done();
                 }
               } catch (const conc::QueueShutDown&) {
               }
             });
    check(sum == accepted && queue.unfinished_tasks() == 0, "the item came out if it was accepted");
  });
  explore_type("Queue(), locked, blocked getters, shutdown", [] {
    conc::Queue<int> queue;
    Tally sums;
    parallel([&] { sums += drain(queue); }, [&] { sums += drain(queue); },
             [&] {
               queue.put(1);
               queue.shutdown();
             });
    check(sums == 1 && queue.unfinished_tasks() == 0, "the item came out");
  });
}
