// SPDX-License-Identifier: MIT
#include <array>
#include <conc/detail/work_deque.hpp>
#include <conc/event.hpp>
#include <cstddef>
#include <exception>

#include "explore_type.hpp"

using conc::detail::Task;
using conc::detail::WorkDeque;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;

namespace {

/// A task that knows how often it was taken.
class Parcel final : public Task {
 public:
  conc::detail::Outcome run() override {
    check(++taken == 1, "taken twice");
    return conc::detail::Outcome::succeeded;
  }
  conc::detail::Outcome refuse(const std::exception_ptr& /*why*/) noexcept override { return run(); }

  int taken = 0;
};

/// A deque, and the tasks that go through it, numbered.
struct Post {
  static constexpr std::size_t kParcels = 8;

  bool push(std::size_t number) {
    deque.make_room(1);
    return deque.push(&parcels[number]);
  }

  std::size_t number_of(const Task& task) const noexcept {
    std::size_t number = 0;
    while (number < kParcels && &parcels[number] != &task) {
      ++number;
    }
    return number;
  }

  bool pop() {
    Task* const task = deque.pop();
    return task != nullptr && count(*task);
  }

  bool steal() {
    Task* const task = deque.steal();
    return task != nullptr && count(*task);
  }

  bool count(Task& task) {
    check(number_of(task) < kParcels, "taken from nowhere");
    task.run();
    return true;
  }

  /// That the first `n` have been taken, and no others.
  void check_taken(std::size_t n) {
    for (std::size_t i = 0; i < kParcels; ++i) {
      check(parcels[i].taken == (i < n ? 1 : 0), "a task was lost");
    }
    check(deque.empty() && deque.size() == 0, "nothing is left");
  }

  std::array<Parcel, kParcels> parcels;
  WorkDeque deque;
};

}  // namespace

TEST_CASE("WorkDeque: the last task goes to the owner or to a thief, in every schedule", "[work_deque]") {
  explore_type("WorkDeque, one task, a pop and a steal", [] {
    Post post;
    parallel(
        [&] {
          post.push(0);
          post.pop();
        },
        [&] { post.steal(); });
    while (post.pop()) {
    }
    post.check_taken(1);
  });
  explore_type("WorkDeque, one task, a pop and two thieves", [] {
    Post post;
    post.push(0);
    int taken = 0;
    const auto steal = [&] { taken += post.steal() ? 1 : 0; };
    parallel([&] { taken += post.pop() ? 1 : 0; }, steal, steal);
    check(taken == 1, "somebody must get it: who fails has lost to another");
    post.check_taken(1);
  });
}

TEST_CASE("WorkDeque: loses no task and gives none twice, in every schedule", "[work_deque]") {
  explore_type("WorkDeque, two tasks, two pops, two steals", [] {
    Post post;
    parallel(
        [&] {
          post.push(0);
          post.push(1);
          post.pop();
          post.pop();
        },
        [&] {
          post.steal();
          post.steal();
        });
    while (post.pop()) {
    }
    post.check_taken(2);
  });
  explore_type("WorkDeque, pushed and popped in turns, and two thieves", [] {
    Post post;
    const auto steal = [&] {
      post.steal();
      post.steal();
    };
    parallel(
        [&] {
          post.push(0);
          post.pop();
          post.push(1);
          post.push(2);
          while (post.pop()) {
          }
        },
        steal, steal);
    post.check_taken(3);
  });
}

TEST_CASE("WorkDeque: grows while tasks are stolen, in every schedule", "[work_deque]") {
  static_assert(WorkDeque::kFirstSize == 2, "the third task needs a larger array");
  explore_type("WorkDeque, grows once against two steals", [] {
    Post post;
    parallel(
        [&] {
          for (std::size_t i = 0; i < 3; ++i) {
            post.push(i);
          }
          while (post.pop()) {
          }
        },
        [&] {
          post.steal();
          post.steal();
        });
    post.check_taken(3);
  });
  explore_type("WorkDeque, grows twice against two thieves", [] {
    Post post;
    post.push(0);
    post.push(1);
    parallel(
        [&] {
          for (std::size_t i = 2; i < 6; ++i) {
            post.push(i);
          }
          while (post.pop()) {
          }
        },
        [&] { post.steal(); },
        [&] {
          post.steal();
          post.steal();
        });
    post.check_taken(6);
  });
  explore_type("WorkDeque, goes round the array, and is stolen from", [] {
    Post post;
    parallel(
        [&] {
          for (std::size_t i = 0; i < 6; i += 2) {
            post.push(i);
            post.push(i + 1);
            post.pop();
          }
          while (post.pop()) {
          }
        },
        [&] {
          for (int i = 0; i < 4; ++i) {
            post.steal();
          }
        });
    post.check_taken(6);
  });
}

TEST_CASE("WorkDeque: what is dealt is taken in order, in every schedule", "[work_deque]") {
  explore_type("WorkDeque, two dealt tasks, taken at the thieves' end by the owner and a thief", [] {
    Post post;
    std::size_t last[2] = {0, 0};
    const auto take = [&](std::size_t& mine) {
      while (!post.deque.empty()) {
        if (Task* const task = post.deque.steal(); task != nullptr) {
          task->run();
          const std::size_t number = post.number_of(*task) + 1;
          check(number > mine, "oldest first");
          mine = number;
        }
      }
    };
    parallel(
        [&] {
          for (std::size_t i = 0; i < 4; i += 2) {
            Task* chain = &post.parcels[i];
            chain->next = &post.parcels[i + 1];
            post.deque.push_some(chain, 2);
            check(chain == nullptr, "both fit");
            take(last[0]);
          }
        },
        [&] { take(last[1]); });
    post.check_taken(4);
  });
  explore_type("WorkDeque, more are dealt than fit in one go", [] {
    Post post;
    for (std::size_t i = 0; i + 1 < 3; ++i) {
      post.parcels[i].next = &post.parcels[i + 1];
    }
    Task* chain = &post.parcels[0];
    const auto take = [&] {
      while (!post.deque.empty()) {
        post.steal();
      }
    };
    parallel(
        [&] {
          while (chain != nullptr) {
            post.deque.push_some(chain, 2);
            take();
          }
        },
        take, take);
    post.check_taken(3);
  });
}

TEST_CASE("WorkDeque: who finds it empty and says so before is told of a push, in every schedule", "[work_deque]") {
  // The two halves of the protocol in scheduler.hpp, with an event in the place of the lobby.
  explore_type("WorkDeque, a thief that sleeps, and an owner that calls it where a push says so", [] {
    Post post;
    conc::Event called;
    parallel(
        [&] {
          for (std::size_t i = 0; i < 2; ++i) {
            if (post.push(i)) {
              called.set();
            }
          }
        },
        [&] {
          for (int stolen = 0; stolen < 2;) {
            called.clear();
            while (!post.deque.empty()) {
              stolen += post.steal() ? 1 : 0;
            }
            if (stolen < 2) {
              called.wait();
            }
          }
        });
    post.check_taken(2);
  });
}
