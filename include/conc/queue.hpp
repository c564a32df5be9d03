// SPDX-License-Identifier: MIT
/// @file
/// Queue, LifoQueue, PriorityQueue: hand items from threads to threads, the oldest, the newest or the smallest one first.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/block_list.hpp>
#include <conc/detail/channel.hpp>
#include <conc/detail/heap.hpp>
#include <conc/detail/stack.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/wait_point.hpp>
#include <conc/error.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI {

namespace detail {

/// What the operations of a queue are called in errors, and in reports of who waits for what.
struct QueueWords {
  const char* put;
  const char* try_put;
  const char* put_many;
  const char* get;
  const char* try_get;
  const char* get_many;
  const char* task_done;
  const char* join;
};

struct NoCompare {
  NoCompare() = delete;
};

/// The orders in which a queue gives its items back.
struct Fifo {
  template <class T>
  using Items = BlockList<T>;
  using Compare = NoCompare;
  static constexpr QueueWords words{"Queue::put",     "Queue::try_put",  "Queue::put_many",  "Queue::get",
                                    "Queue::try_get", "Queue::get_many", "Queue::task_done", "Queue::join"};
};

struct Lifo {
  template <class T>
  using Items = Stack<T>;
  using Compare = NoCompare;
  static constexpr QueueWords words{"LifoQueue::put",       "LifoQueue::try_put", "LifoQueue::put_many",
                                    "LifoQueue::get",       "LifoQueue::try_get", "LifoQueue::get_many",
                                    "LifoQueue::task_done", "LifoQueue::join"};
};

template <class Rule>
struct SmallestFirst {
  template <class T>
  using Items = Heap<T, Rule>;
  using Compare = Rule;
  static constexpr QueueWords words{"PriorityQueue::put",       "PriorityQueue::try_put", "PriorityQueue::put_many",
                                    "PriorityQueue::get",       "PriorityQueue::try_get", "PriorityQueue::get_many",
                                    "PriorityQueue::task_done", "PriorityQueue::join"};
};

/// Not so if the comparator cannot be made from nothing, or is a pointer, which would point nowhere.
template <class Items>
concept NeedsNoComparator = std::is_default_constructible_v<Items>;

}  // namespace detail

/// How Queue::shutdown ends the queue.
struct ShutdownOptions {
  bool immediate = false;  ///< drop what is in the queue instead of letting it be drained
};

/// A blocking queue for any number of producers and consumers, with the accounting of queue.Queue: every put() raises
/// the number of unfinished items, every task_done() lowers it, join() waits for zero.
///
/// @par Thread safety   every member from any thread at any time, but for constructor and destructor.
/// @par Memory ordering what a thread did before put() is visible to whoever gets the item; what it did before
///                      task_done() is visible to whoever join() lets go on.
/// @par Lifetime        all calls must have returned when it is destroyed (asserted where NDEBUG is not defined); a
///                      thread that join() let go on may destroy it even while that task_done() is returning. Items
///                      left are destroyed.
/// @par Exceptions      strong guarantee: when a move, copy or comparison of an item throws, the queue is as it was.
/// @par Cost            with a bound, and items that move without throwing: lock-free, about two atomic
///                      read-modify-writes each way; slots are allocated at construction (up to a MiB of them). Otherwise
///                      one short lock each way; memory follows what is in the queue. A system call only to sleep or to
///                      wake a sleeper.
/// @par Python          queue.Queue and, without a bound, queue.SimpleQueue. The bound is fixed at construction.
///                      put_nowait and get_nowait are try_put and try_get, which return instead of throwing. qsize(),
///                      empty() and full() are as out of date as there.
///
/// `Order` is for LifoQueue and PriorityQueue, which are described below.
template <class T, class Order = detail::Fifo>
class Queue {
  static_assert(std::is_object_v<T> && std::is_same_v<T, std::remove_cv_t<T>> && std::is_move_constructible_v<T>,
                "Queue<T>: T must be a movable object type; for references use pointers");
  static_assert(std::is_nothrow_destructible_v<T>, "Queue<T>: destroying an item must not throw");

 public:
  using value_type = T;

  /// @param maxsize  how many items fit; 0: any number.
  explicit Queue(std::size_t maxsize = 0) requires detail::NeedsNoComparator<typename Order::template Items<T>>
      : maxsize_{maxsize}, items_{maxsize} {}

  /// For a PriorityQueue whose comparator has something to remember.
  Queue(std::size_t maxsize, typename Order::Compare compare)
      : maxsize_{maxsize}, items_{maxsize, std::move(compare)} {}

  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  /// Puts an item in, waiting for room if need be.
  /// @throws QueueFull if `deadline` passed first; QueueShutDown after shutdown(). The item is not consumed then.
  void put(T&& item, Deadline deadline = never) { put_or_throw(std::move(item), deadline); }

  void put(const T& item, Deadline deadline = never) requires std::is_copy_constructible_v<T> {
    put_or_throw(Items::copy_if_it_may_throw(item), deadline);
  }

  /// Puts an item in if there is room right now.
  /// @return whether it did. If not, the item was not consumed.
  /// @throws QueueShutDown after shutdown().
  [[nodiscard]] bool try_put(T&& item) { return put_or_not(std::move(item), kPoll, kWords.try_put); }

  [[nodiscard]] bool try_put(const T& item) requires std::is_copy_constructible_v<T> {
    return put_or_not(Items::copy_if_it_may_throw(item), kPoll, kWords.try_put);
  }

  /// Takes the item that is due (the oldest one, the newest one or the smallest one), waiting for one if need be.
  /// @throws QueueEmpty if `deadline` passed first; QueueShutDown after shutdown() once every item is taken.
  [[nodiscard]] T get(Deadline deadline = never) {
    const Claim claim = items_.claim(deadline, {kWords.get, this});
    if (claim.how != Attempt::done) [[unlikely]] {
      throw_no_item(claim.how, kWords.get);
    }
    return items_.take(claim, [](T& item) { return T(std::move(item)); });
  }

  /// Takes the item that is due if there is one right now.
  /// @throws QueueShutDown after shutdown() once every item is taken.
  [[nodiscard]] std::optional<T> try_get() {
    const Claim claim = items_.claim(kPoll, {kWords.try_get, this});
    if (claim.how == Attempt::blocked) {
      return std::nullopt;
    }
    if (claim.how == Attempt::closed) [[unlikely]] {
      throw_no_item(claim.how, kWords.try_get);
    }
    return items_.take(claim, [](T& item) { return std::optional<T>(std::in_place, std::move(item)); });
  }

  /// Puts the items from `first` to `last` in, in order, waiting for room as need be. They are copied; std::move_iterator
  /// moves them. Items of other producers may come between them.
  /// @return how many were put: all, unless `deadline` passed or the queue was shut down meanwhile. The others were not
  ///         consumed (but where converting an item to T may throw, the next one was).
  /// @throws QueueShutDown if not even the first could be put because of shutdown(); what copying or moving an item
  ///         throws, with those before it put.
  template <std::input_iterator I, std::sentinel_for<I> S>
  std::size_t put_many(I first, S last, Deadline deadline = never) {
    const Deadline until = deadline.is_poll() ? deadline : Deadline::after(deadline);
    std::size_t count = 0;
    for (; first != last; ++first, ++count) {
      const Attempt how = put_one_of_many(*first, until);
      if (how == Attempt::closed && count == 0) {
        throw_shut_down(kWords.put_many);
      }
      if (how != Attempt::done) {
        break;
      }
    }
    return count;
  }

  /// All items of a range, copied.
  template <class Range>
    requires requires(const Range& range) { std::begin(range) != std::end(range); }
  std::size_t put_many(const Range& items, Deadline deadline = never) {
    return put_many(std::begin(items), std::end(items), deadline);
  }

  /// Takes up to `max` items: waits for the first, and takes what else is there.
  /// @return at least one item, in the order of get(); none only if max is 0.
  /// @throws as get(), with nothing taken. What a later item or the room for it throws only ends the call: that item
  ///         stays in the queue. (Items that can only be moved, and throw then, may be lost when the room grows.)
  [[nodiscard]] std::vector<T> get_many(std::size_t max, Deadline deadline = never) {
    std::vector<T> items;
    try {
      while (items.size() < max) {
        // The room first: an item claimed from the ring must not meet a failing allocation.
        if (items.size() == items.capacity()) {
          items.reserve(items.empty() ? (max < kReserve ? max : kReserve) : items.size() * 2);
        }
        const Claim claim = items_.claim(items.empty() ? deadline : kPoll, {kWords.get_many, this});
        if (claim.how != Attempt::done) {
          if (items.empty()) {
            throw_no_item(claim.how, kWords.get_many);
          }
          break;
        }
        items_.take(claim, [&items](T& item) { items.push_back(std::move(item)); });
      }
    } catch (...) {
      if (items.empty() || detail::must_go_on()) {
        throw;
      }
    }
    return items;
  }

  /// Says that `n` items which were taken are dealt with.
  /// @throws UsageError if more items would be done than were put; the count is unchanged then.
  void task_done(std::uint64_t n = 1) {
    finish(n, [](std::uint64_t wanted, std::uint64_t unfinished, std::uint64_t done) {
      if (wanted > unfinished) [[unlikely]] {
        throw_too_many_done(done + wanted, done + unfinished);
      }
      return wanted;
    });
  }

  /// Waits until as many items are done as were put.
  /// @return true, always.
  bool join() noexcept { return join(never); }

  /// @return whether all items were done before `deadline`.
  bool join(Deadline deadline) noexcept {
    // As unfinished_tasks().
    const auto attempt = [this](std::uint64_t value) { return value / kDone == items_.put_count(); };
    return detail::await(done_, kJoiners, deadline, detail::Spin{}, {kWords.join, this}, attempt) !=
           detail::Waited::timed_out;
  }

  /// Items put for which no task_done() came yet.
  [[nodiscard]] std::uint64_t unfinished_tasks() const noexcept {
    // acquire: pairs with release (1). Read before the count of puts, which is never smaller and only grows: the
    // difference is never negative, and it is 0 only if it was 0 at that moment.
    const std::uint64_t done = done_.load(detail::mo::acquire) / kDone;
    return items_.put_count() - done;
  }

  /// Ends the queue: put() throws from now on, also where it waits already; get() goes on until every item is taken, then
  /// throws. With `immediate` the items in the queue are dropped and count as done; join() still waits for those taken
  /// before. May be called again; immediate may follow.
  void shutdown(ShutdownOptions options = {}) {
    const std::uint64_t dropped = items_.close(options.immediate);
    if (dropped != 0) {  // last: a joiner may destroy *this now
      finish(dropped, [](std::uint64_t n, std::uint64_t unfinished, std::uint64_t /*done*/) {
        return n < unfinished ? n : unfinished;  // task_done() may have been called for items never taken
      });
    }
  }

  [[nodiscard]] bool is_shut_down() const noexcept { return items_.closed(); }

  /// Items in the queue; out of date as soon as it is known, as are empty() and full().
  [[nodiscard]] std::size_t qsize() const noexcept {
    const std::uint64_t claimed = items_.claim_count();
    const auto size = static_cast<std::size_t>(items_.put_count() - claimed);  // read last, and never smaller
    return maxsize_ != 0 && size > maxsize_ ? maxsize_ : size;                 // puts that came in between
  }
  [[nodiscard]] bool empty() const noexcept { return qsize() == 0; }
  [[nodiscard]] bool full() const noexcept { return maxsize_ != 0 && qsize() >= maxsize_; }
  [[nodiscard]] std::size_t maxsize() const noexcept { return maxsize_; }

  class Iterator;

  /// `for (Item& item : queue)` gets item after item and ends on shutdown. Each lives until the loop asks for the next.
  [[nodiscard]] Iterator begin() { return Iterator{*this}; }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  using Attempt = detail::Attempt;
  using Claim = detail::Claim;
  using Items = detail::Channel<T, typename Order::template Items<T>>;

  static constexpr detail::QueueWords kWords = Order::words;

  static constexpr std::size_t kReserve = 64;
  static constexpr Deadline kPoll{std::chrono::nanoseconds{0}};

  // done_ = items done << 1 | kJoiners: somebody may be asleep in join(); see detail::await.
  static constexpr std::uint64_t kJoiners = 1;
  static constexpr std::uint64_t kDone = 2;

  /// Counts items as done: as many as allow(n, unfinished, done so far) says. Whatever it throws changes nothing.
  template <class Allow>
  void finish(std::uint64_t n, Allow allow) {
    const void* const address = &done_;  // taken now: a joiner may destroy *this
    // acquire: pairs with release (1) of other calls, so that the count of puts is no older than what they knew of it.
    std::uint64_t old = done_.load(detail::mo::acquire);
    std::uint64_t next = 0;
    bool all_done = false;
    do {
      const std::uint64_t done = old / kDone;
      const bool joiners = (old & kJoiners) != 0;
      // What was claimed was put. That number is at hand where items are taken; the count of puts changes all the time
      // elsewhere, so it is looked at only where it matters.
      std::uint64_t put = items_.claim_count();
      if (joiners || put < done || n > put - done) {
        put = items_.put_count();
      }
      const std::uint64_t finished = done + allow(n, put - done, done);
      all_done = joiners && finished == put;
      next = finished * kDone | (all_done ? 0 : old & kJoiners);
      // release (1): pairs with the acquire loads here, in join() and in unfinished_tasks(); acquire: as above.
    } while (!done_.compare_exchange_weak(old, next, detail::mo::acq_rel, detail::mo::acquire));
    if (all_done) {
      detail::sync::wake<std::uint64_t>(address, detail::sync::everybody);
    }
  }

  template <class Item>
  Attempt put_one_of_many(Item&& item, Deadline deadline) {
    if constexpr (Items::template makes_in_place<Item>) {
      return items_.put(std::forward<Item>(item), deadline, {kWords.put_many, this});
    } else {
      return items_.put(T(std::forward<Item>(item)), deadline, {kWords.put_many, this});
    }
  }

  template <class Item>
  bool put_or_not(Item&& item, Deadline deadline, const char* operation) {
    const Attempt how = items_.put(std::forward<Item>(item), deadline, {operation, this});
    if (how == Attempt::closed) [[unlikely]] {
      throw_shut_down(operation);
    }
    return how == Attempt::done;
  }

  template <class Item>
  void put_or_throw(Item&& item, Deadline deadline) {
    if (!put_or_not(std::forward<Item>(item), deadline, kWords.put)) [[unlikely]] {
      throw_full();
    }
  }

  [[noreturn, gnu::cold, gnu::noinline]] static void throw_too_many_done(std::uint64_t done, std::uint64_t put) {
    detail::throw_usage_error(std::string{kWords.task_done} + ": called " + std::to_string(done) + " times for " +
                              std::to_string(put) + " items");
  }

  [[noreturn, gnu::cold, gnu::noinline]] void throw_full() const {
    throw QueueFull{std::string{kWords.put} + ": " + std::to_string(maxsize_) +
                    " items are in the queue, no room came in time"};
  }

  [[noreturn, gnu::cold, gnu::noinline]] static void throw_shut_down(const char* operation) {
    throw QueueShutDown{std::string{operation} + ": the queue is shut down"};
  }

  [[noreturn, gnu::cold, gnu::noinline]] static void throw_no_item(Attempt how, const char* operation) {
    if (how == Attempt::closed) {
      throw QueueShutDown{std::string{operation} + ": the queue is shut down and empty"};
    }
    throw QueueEmpty{std::string{operation} + ": the queue is empty, no item came in time"};
  }

  const std::size_t maxsize_;
  Items items_;
  alignas(detail::apart) detail::sync::Atomic<std::uint64_t> done_{0};
};

/// What `for (Item& item : queue)` uses: holds the current item.
template <class T, class Order>
class Queue<T, Order>::Iterator {
 public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;

  explicit Iterator(Queue& queue) : queue_{&queue} { advance(); }

  T& operator*() const noexcept { return *item_; }
  T* operator->() const noexcept { return item_.operator->(); }
  Iterator& operator++() {
    advance();
    return *this;
  }
  void operator++(int) { advance(); }
  friend bool operator==(const Iterator& it, std::default_sentinel_t) noexcept { return !it.item_; }

 private:
  void advance() {
    item_.reset();
    const Claim claim = queue_->items_.claim(never, {kWords.get, queue_});
    if (claim.how == Attempt::done) {
      queue_->items_.take(claim, [this](T& item) { item_.emplace(std::move(item)); });
    }
  }

  Queue* queue_;
  mutable std::optional<T> item_;
};

/// A Queue without a bound.
template <class T>
using SimpleQueue = Queue<T>;

/// A Queue that gives back the newest item first; all else is as there.
///
/// @par Cost            one short lock each way, with a bound or without; an allocation for each item that is not a small
///                      and trivially copyable one.
/// @par Python          queue.LifoQueue.
template <class T>
using LifoQueue = Queue<T, detail::Lifo>;

/// A Queue that gives back the smallest item first, and of equal ones the oldest; all else is as there.
/// `Compare` says which of two items comes first: std::greater<T> gives the largest one first. Unlike std::priority_queue,
/// which gives the largest one first unless told otherwise.
///
/// **The comparator runs with the queue's lock held**: it must be quick, must not use the queue, and must not wait for a
/// thread that does. It may throw: then the call that compared throws that, and the queue is as it was. A comparator with
/// state is given to the constructor: `PriorityQueue<Job, ByAge> queue{0, ByAge{now}}`. Calls of it never overlap.
///
/// @par Exceptions      get() and put() compare, so they may throw what the comparator throws. When put_many() converts
///                      items to T and the comparator or an allocation throws, the next one was consumed.
/// @par Cost            one lock each way, under which about log2(n) comparisons are made, fewer in put() on average; an
///                      allocation for each item that is not a small and trivially copyable one.
/// @par Python          queue.PriorityQueue. Items that are equal come out in the order they were put; Python's in any
///                      order. Items that cannot be compared do not compile.
template <class T, class Compare = std::less<T>>
using PriorityQueue = Queue<T, detail::SmallestFirst<Compare>>;

/// Calls task_done() at the end of the scope, also when it is left by an exception:
/// `for (Item& item : queue) { conc::TaskDone done{queue}; handle(item); }`.
///
/// @throws UsageError at the end of the scope, as task_done(); if that end is an exception's, std::terminate is called.
template <class Q>
class [[nodiscard]] TaskDone {
 public:
  [[nodiscard]] explicit TaskDone(Q& queue) noexcept : queue_{queue} {}
  TaskDone(const TaskDone&) = delete;
  TaskDone& operator=(const TaskDone&) = delete;
  ~TaskDone() noexcept(false) { queue_.task_done(); }

 private:
  Q& queue_;
};

template <class Q>
TaskDone(Q&) -> TaskDone<Q>;

}  // namespace conc::inline CONC_ABI
