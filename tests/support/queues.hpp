// SPDX-License-Identifier: MIT
/// @file
/// Every kind of queue, for test cases whose rule holds for all, and what comes out of each.
#pragma once

#include <algorithm>
#include <conc/queue.hpp>
#include <type_traits>
#include <utility>
#include <vector>

#include "items.hpp"

namespace conc_test {

// The two engines of Queue, and the others with items that move without throwing and with items that may throw.
using RingQueue = conc::Queue<RingItem>;
using LockedQueue = conc::Queue<LockedItem>;
using Lifo = conc::LifoQueue<RingItem>;
using ThrowingLifo = conc::LifoQueue<LockedItem>;
using Priority = conc::PriorityQueue<RingItem>;
using ThrowingPriority = conc::PriorityQueue<LockedItem>;

/// The arguments of a TEMPLATE_TEST_CASE over every kind, and over those whose items throw when they are moved.
#define EVERY_QUEUE                                                                                            \
  conc_test::RingQueue, conc_test::LockedQueue, conc_test::Lifo, conc_test::ThrowingLifo, conc_test::Priority, \
      conc_test::ThrowingPriority
#define THROWING_QUEUES conc_test::LockedQueue, conc_test::ThrowingLifo, conc_test::ThrowingPriority

template <class Queue>
inline constexpr bool is_lifo = std::is_same_v<Queue, conc::LifoQueue<typename Queue::value_type>>;
template <class Queue>
inline constexpr bool is_fifo = std::is_same_v<Queue, conc::Queue<typename Queue::value_type>>;

/// What must come out of a Queue next, in numbers: the simplest thing that keeps its order. (The smallest first, where it
/// is neither first nor last in.)
template <class Queue>
class Model {
 public:
  void put(int number) { numbers_.push_back(number); }
  int get() {
    auto next = numbers_.begin();
    if constexpr (is_lifo<Queue>) {
      next = numbers_.end() - 1;
    } else if constexpr (!is_fifo<Queue>) {
      next = std::min_element(numbers_.begin(), numbers_.end());
    }
    const int number = *next;
    numbers_.erase(next);
    return number;
  }
  bool empty() const { return numbers_.empty(); }

 private:
  std::vector<int> numbers_;
};

/// The order in which a Queue gives `numbers` back that are put into it one after another.
template <class Queue>
std::vector<int> in_order_of(std::vector<int> numbers) {
  if constexpr (is_lifo<Queue>) {
    std::reverse(numbers.begin(), numbers.end());
  } else if constexpr (!is_fifo<Queue>) {
    std::sort(numbers.begin(), numbers.end());
  }
  return numbers;
}

/// The same for 0, 1, … count - 1.
template <class Queue>
std::vector<int> numbers_in_order_of(int count) {
  std::vector<int> numbers;
  for (int i = 0; i < count; ++i) numbers.push_back(i);
  return in_order_of<Queue>(std::move(numbers));
}

}  // namespace conc_test
