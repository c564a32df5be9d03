// SPDX-License-Identifier: MIT
/// @file
/// conc, the standard library and the peers, brought to one shape. Locks have lock() and unlock() everywhere already.
///
/// An Event has set(), wait() and clear().
/// A Queue is made with a capacity (0: no bound) and hands each thread a put(item) and a get() of its own, so that those
/// which want a token per thread can have it. Whatever the peer, put() waits for room and get() waits for an item.
#pragma once

#include <concurrentqueue/blockingconcurrentqueue.h>
#include <concurrentqueue/concurrentqueue.h>
#include <oneapi/tbb/concurrent_priority_queue.h>
#include <oneapi/tbb/concurrent_queue.h>

#include <atomic>
#include <conc/event.hpp>
#include <conc/queue.hpp>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <queue>
#include <stack>
#include <vector>

namespace bench {

/// std::atomic::wait.
class AtomicWaitEvent {
 public:
  void set() {
    flag_.store(1, std::memory_order_release);
    flag_.notify_all();
  }
  void wait() { flag_.wait(0, std::memory_order_acquire); }
  void clear() { flag_.store(0, std::memory_order_relaxed); }

 private:
  std::atomic<std::uint32_t> flag_{0};
};

/// std::mutex and std::condition_variable.
class ConditionEvent {
 public:
  void set() {
    const std::lock_guard guard{mutex_};
    flag_ = true;
    raised_.notify_all();
  }
  void wait() {
    std::unique_lock guard{mutex_};
    raised_.wait(guard, [this] { return flag_; });
  }
  void clear() {
    const std::lock_guard guard{mutex_};
    flag_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable raised_;
  bool flag_ = false;
};

using Item = std::uint64_t;

/// A queue of conc, used like the peers: nobody counts what is done.
template <class Queue>
class ConcQueueOf {
 public:
  explicit ConcQueueOf(std::size_t capacity) : queue_{capacity} {}
  auto producer() {
    return [this](Item item) { queue_.put(item); };
  }
  auto consumer() {
    return [this] { return queue_.get(); };
  }

 private:
  Queue queue_;
};
using ConcQueue = ConcQueueOf<conc::Queue<Item>>;
using ConcLifoQueue = ConcQueueOf<conc::LifoQueue<Item>>;
using ConcPriorityQueue = ConcQueueOf<conc::PriorityQueue<Item>>;

/// A queue of conc with a task_done() for every item.
template <class Queue>
class ConcCountedQueueOf {
 public:
  explicit ConcCountedQueueOf(std::size_t capacity) : queue_{capacity} {}
  auto producer() {
    return [this](Item item) { queue_.put(item); };
  }
  auto consumer() {
    return [this] {
      const Item item = queue_.get();
      queue_.task_done();
      return item;
    };
  }

 private:
  Queue queue_;
};
using ConcCountedQueue = ConcCountedQueueOf<conc::Queue<Item>>;
using ConcCountedLifoQueue = ConcCountedQueueOf<conc::LifoQueue<Item>>;
using ConcCountedPriorityQueue = ConcCountedQueueOf<conc::PriorityQueue<Item>>;

/// std::mutex, two std::condition_variable and a container: what one writes by hand.
template <class Items>
class StdQueueOf {
 public:
  explicit StdQueueOf(std::size_t capacity) : capacity_{capacity} {}
  auto producer() {
    return [this](Item item) { put(item); };
  }
  auto consumer() {
    return [this] { return get(); };
  }

 private:
  void put(Item item) {
    {
      std::unique_lock guard{mutex_};
      not_full_.wait(guard, [this] { return capacity_ == 0 || items_.size() < capacity_; });
      items_.push(item);
    }
    not_empty_.notify_one();
  }
  Item get() {
    Item item = 0;
    {
      std::unique_lock guard{mutex_};
      not_empty_.wait(guard, [this] { return !items_.empty(); });
      if constexpr (requires { items_.front(); }) {
        item = items_.front();
      } else {
        item = items_.top();
      }
      items_.pop();
    }
    if (capacity_ != 0) {
      not_full_.notify_one();
    }
    return item;
  }

  const std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable not_empty_;
  std::condition_variable not_full_;
  Items items_;
};
using StdQueue = StdQueueOf<std::queue<Item>>;
using StdStack = StdQueueOf<std::stack<Item>>;
/// Equal items come out in any order.
using StdPriorityQueue = StdQueueOf<std::priority_queue<Item, std::vector<Item>, std::greater<Item>>>;

/// tbb::concurrent_bounded_queue, which can do without a bound too.
class TbbQueue {
 public:
  explicit TbbQueue(std::size_t capacity) {
    if (capacity != 0) {
      queue_.set_capacity(static_cast<std::ptrdiff_t>(capacity));
    }
  }
  auto producer() {
    return [this](Item item) { queue_.push(item); };
  }
  auto consumer() {
    return [this] {
      Item item = 0;
      queue_.pop(item);
      return item;
    };
  }

 private:
  oneapi::tbb::concurrent_bounded_queue<Item> queue_;
};

/// tbb::concurrent_queue, which cannot wait: only where an item is always there.
class TbbTryQueue {
 public:
  explicit TbbTryQueue(std::size_t /*capacity*/) {}
  auto producer() {
    return [this](Item item) { queue_.push(item); };
  }
  auto consumer() {
    return [this] {
      Item item = 0;
      queue_.try_pop(item);
      return item;
    };
  }

 private:
  oneapi::tbb::concurrent_queue<Item> queue_;
};

/// tbb::concurrent_priority_queue, which cannot wait: only where an item is always there. Equal items come out in any
/// order.
class TbbTryPriorityQueue {
 public:
  explicit TbbTryPriorityQueue(std::size_t /*capacity*/) {}
  auto producer() {
    return [this](Item item) { queue_.push(item); };
  }
  auto consumer() {
    return [this] {
      Item item = 0;
      queue_.try_pop(item);
      return item;
    };
  }

 private:
  oneapi::tbb::concurrent_priority_queue<Item, std::greater<Item>> queue_;
};

/// moodycamel::BlockingConcurrentQueue, each thread finding its own sub-queue.
class MoodycamelQueue {
 public:
  explicit MoodycamelQueue(std::size_t /*capacity*/) {}
  auto producer() {
    return [this](Item item) { queue_.enqueue(item); };
  }
  auto consumer() {
    return [this] {
      Item item = 0;
      queue_.wait_dequeue(item);
      return item;
    };
  }

 private:
  moodycamel::BlockingConcurrentQueue<Item> queue_;
};

/// The same with a token per thread.
class MoodycamelTokenQueue {
 public:
  explicit MoodycamelTokenQueue(std::size_t /*capacity*/) {}
  auto producer() {
    return [this, token = moodycamel::ProducerToken{queue_}](Item item) { queue_.enqueue(token, item); };
  }
  auto consumer() {
    return [this, token = moodycamel::ConsumerToken{queue_}]() mutable {
      Item item = 0;
      queue_.wait_dequeue(token, item);
      return item;
    };
  }

 private:
  moodycamel::BlockingConcurrentQueue<Item> queue_;
};

/// moodycamel::ConcurrentQueue, which cannot wait: only where an item is always there.
class MoodycamelTryQueue {
 public:
  explicit MoodycamelTryQueue(std::size_t /*capacity*/) {}
  auto producer() {
    return [this](Item item) { queue_.enqueue(item); };
  }
  auto consumer() {
    return [this] {
      Item item = 0;
      queue_.try_dequeue(item);
      return item;
    };
  }

 private:
  moodycamel::ConcurrentQueue<Item> queue_;
};

/// The same with tokens.
class MoodycamelTryTokenQueue {
 public:
  explicit MoodycamelTryTokenQueue(std::size_t /*capacity*/) {}
  auto producer() {
    return [this, token = moodycamel::ProducerToken{queue_}](Item item) { queue_.enqueue(token, item); };
  }
  auto consumer() {
    return [this, token = moodycamel::ConsumerToken{queue_}]() mutable {
      Item item = 0;
      queue_.try_dequeue(token, item);
      return item;
    };
  }

 private:
  moodycamel::ConcurrentQueue<Item> queue_;
};

}  // namespace bench
