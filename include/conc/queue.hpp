// SPDX-License-Identifier: MIT
/// @file
/// Queue: hands items from threads to threads, first in, first out.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/event_count.hpp>
#include <conc/detail/locked_items.hpp>
#include <conc/detail/ring.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/wait_point.hpp>
#include <conc/error.hpp>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI {

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
/// @par Exceptions      strong guarantee: when a move or copy of an item throws, the queue is as it was.
/// @par Cost            with a bound, and items that move without throwing: lock-free, about two atomic
///                      read-modify-writes each way; slots are allocated at construction (up to a MiB of them). Otherwise
///                      one short lock each way; memory follows what is in the queue. A system call only to sleep or to
///                      wake a sleeper.
/// @par Python          queue.Queue and, without a bound, queue.SimpleQueue. The bound is fixed at construction.
///                      put_nowait and get_nowait are try_put and try_get, which return instead of throwing. qsize(),
///                      empty() and full() are as out of date as there.
template <class T>
class Queue {
  static_assert(std::is_object_v<T> && std::is_same_v<T, std::remove_cv_t<T>> && std::is_move_constructible_v<T>,
                "Queue<T>: T must be a movable object type; for references use pointers");
  static_assert(std::is_nothrow_destructible_v<T>, "Queue<T>: destroying an item must not throw");

 public:
  using value_type = T;

  /// @param maxsize  how many items fit; 0: any number.
  explicit Queue(std::size_t maxsize = 0) : maxsize_{maxsize} {
    if constexpr (kRingPossible) {
      if (maxsize != 0 && maxsize <= kRingBytes && Ring::bytes(maxsize) <= kRingBytes) {
        ring_.emplace(maxsize);
        return;
      }
    }
    locked_.emplace(maxsize);
  }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  /// Puts an item in, waiting for room if need be.
  /// @throws QueueFull if `deadline` passed first; QueueShutDown after shutdown(). The item is not consumed then.
  void put(T&& item, Deadline deadline = never) { put_or_throw(std::move(item), deadline); }

  void put(const T& item, Deadline deadline = never) requires std::is_copy_constructible_v<T> {
    put_or_throw(copy_if_it_may_throw(item), deadline);
  }

  /// Puts an item in if there is room right now.
  /// @return whether it did. If not, the item was not consumed.
  /// @throws QueueShutDown after shutdown().
  [[nodiscard]] bool try_put(T&& item) { return put_or_not(std::move(item), kPoll, "Queue::try_put"); }

  [[nodiscard]] bool try_put(const T& item) requires std::is_copy_constructible_v<T> {
    return put_or_not(copy_if_it_may_throw(item), kPoll, "Queue::try_put");
  }

  /// Takes the oldest item, waiting for one if need be.
  /// @throws QueueEmpty if `deadline` passed first; QueueShutDown after shutdown() once every item is taken.
  [[nodiscard]] T get(Deadline deadline = never) {
    const Claim claim = claim_item(deadline, "Queue::get");
    if (claim.how != Attempt::done) [[unlikely]] {
      throw_no_item(claim.how, "Queue::get");
    }
    return take(claim, [](T& item) { return T(std::move(item)); });
  }

  /// Takes the oldest item if there is one right now.
  /// @throws QueueShutDown after shutdown() once every item is taken.
  [[nodiscard]] std::optional<T> try_get() {
    const Claim claim = claim_item(kPoll, "Queue::try_get");
    if (claim.how == Attempt::blocked) {
      return std::nullopt;
    }
    if (claim.how == Attempt::closed) [[unlikely]] {
      throw_no_item(claim.how, "Queue::try_get");
    }
    return take(claim, [](T& item) { return std::optional<T>(std::in_place, std::move(item)); });
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
        throw_shut_down("Queue::put_many");
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
  /// @return at least one item, oldest first; none only if max is 0.
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
        const Claim claim = claim_item(items.empty() ? deadline : kPoll, "Queue::get_many");
        if (claim.how != Attempt::done) {
          if (items.empty()) {
            throw_no_item(claim.how, "Queue::get_many");
          }
          break;
        }
        take(claim, [&items](T& item) { items.push_back(std::move(item)); });
      }
    } catch (...) {
      if (items.empty()) {
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
        detail::throw_usage_error("Queue::task_done: called " + std::to_string(done + wanted) + " times for " +
                                  std::to_string(done + unfinished) + " items");
      }
      return wanted;
    });
  }

  /// Waits until as many items are done as were put.
  /// @return true, always.
  bool join() noexcept { return join(never); }

  /// @return whether all items were done before `deadline`.
  bool join(Deadline deadline) noexcept {
    const auto attempt = [this](std::uint64_t value) { return value / kDone == put_count(); };  // as unfinished_tasks()
    return detail::await(done_, kJoiners, deadline, detail::Spin{}, {"Queue::join", this}, attempt) !=
           detail::Waited::timed_out;
  }

  /// Items put for which no task_done() came yet.
  [[nodiscard]] std::uint64_t unfinished_tasks() const noexcept {
    // acquire: pairs with release (1). Read before the count of puts, which is never smaller and only grows: the
    // difference is never negative, and it is 0 only if it was 0 at that moment.
    const std::uint64_t done = done_.load(detail::mo::acquire) / kDone;
    return put_count() - done;
  }

  /// Ends the queue: put() throws from now on, also where it waits already; get() goes on until every item is taken, then
  /// throws. With `immediate` the items in the queue are dropped and count as done; join() still waits for those taken
  /// before. May be called again; immediate may follow.
  void shutdown(ShutdownOptions options = {}) {
    std::uint64_t dropped = 0;
    on_items([&](auto& items) {
      if (options.immediate) {
        dropped = items.close_and_clear();
      } else {
        items.close();
      }
    });
    not_empty_.notify_all();
    not_full_.notify_all();
    if (dropped != 0) {  // last: a joiner may destroy *this now
      finish(dropped, [](std::uint64_t n, std::uint64_t unfinished, std::uint64_t /*done*/) {
        return n < unfinished ? n : unfinished;  // task_done() may have been called for items never taken
      });
    }
  }

  [[nodiscard]] bool is_shut_down() const noexcept {
    return on_items([](auto& items) { return items.closed(); });
  }

  /// Items in the queue; out of date as soon as it is known, as are empty() and full().
  [[nodiscard]] std::size_t qsize() const noexcept {
    return on_items([](auto& items) {
      const std::uint64_t claimed = items.claimed();
      const std::uint64_t put = items.tickets();
      return put < claimed ? 0 : static_cast<std::size_t>(put - claimed);
    });
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

  struct NoRing {};
  static constexpr bool kRingPossible = std::is_nothrow_move_constructible_v<T>;
  using Ring = std::conditional_t<kRingPossible, detail::Ring<T>, NoRing>;
  static constexpr std::size_t kRingBytes = std::size_t{1} << 20U;  // beyond, memory should follow what is in the queue
  static constexpr std::size_t kReserve = 64;
  static constexpr Deadline kPoll{std::chrono::nanoseconds{0}};

  // done_ = items done << 1 | kJoiners: somebody may be asleep in join(); see detail::await.
  static constexpr std::uint64_t kJoiners = 1;
  static constexpr std::uint64_t kDone = 2;

  /// Calls `use` with whichever of ring_ and locked_ holds the items.
  template <class Use>
  decltype(auto) on_items(Use use) const {
    if constexpr (kRingPossible) {
      if (ring_) {
        return use(*ring_);
      }
    }
    return use(*locked_);
  }

  std::uint64_t put_count() const noexcept {
    return on_items([](auto& items) { return items.tickets(); });
  }

  /// Counts items as done: as many as allow(n, unfinished, done so far) says. Whatever it throws changes nothing.
  template <class Allow>
  void finish(std::uint64_t n, Allow allow) {
    const void* const address = &done_;  // taken now: a joiner may destroy *this
    // acquire: pairs with release (1) of other calls, so that the count of puts is no older than what they knew of it.
    std::uint64_t old = done_.load(detail::mo::acquire);
    std::uint64_t next = 0;
    bool all_done = false;
    do {
      const std::uint64_t put = put_count();
      const std::uint64_t done = old / kDone;
      const std::uint64_t finished = done + allow(n, put - done, done);
      all_done = finished == put;
      next = finished * kDone | (all_done ? 0 : old & kJoiners);
      // release (1): pairs with the acquire loads here, in join() and in unfinished_tasks(); acquire: as above.
    } while (!done_.compare_exchange_weak(old, next, detail::mo::acq_rel, detail::mo::acquire));
    if (all_done && (old & kJoiners) != 0) {
      detail::sync::wake<std::uint64_t>(address, detail::sync::everybody);
    }
  }

  /// In a slot of the ring nothing may throw.
  static decltype(auto) copy_if_it_may_throw(const T& item) {
    if constexpr (kRingPossible && !std::is_nothrow_copy_constructible_v<T>) {
      return T(item);
    } else {
      return (item);
    }
  }

  template <class Item>
  Attempt put_item(Item&& item, Deadline deadline, const char* operation) {
    return on_items([&](auto& items) {
      Attempt how = items.put(std::forward<Item>(item));
      if (how == Attempt::blocked && !deadline.is_poll()) [[unlikely]] {
        const auto attempt = [&] {
          how = items.put(std::forward<Item>(item));
          return how != Attempt::blocked;
        };
        try {
          if (not_full_.await(deadline, detail::Spin{items.get_cpu()}, {operation, this}, attempt) ==
                  detail::Waited::slept &&
              items.has_room()) {
            not_full_.notify();
          }
        } catch (...) {  // from copying or moving the item: the room that woke this thread is for another one
          not_full_.notify();
          throw;
        }
      }
      if (how == Attempt::done) {
        not_empty_.notify();
      }
      return how;
    });
  }

  template <class Item>
  Attempt put_one_of_many(Item&& item, Deadline deadline) {
    // What is made without failing is made in its place, so that an item that is not put is not consumed either.
    if constexpr (std::is_nothrow_constructible_v<T, Item> ||
                  (!kRingPossible && std::is_same_v<std::remove_cvref_t<Item>, T>)) {
      return put_item(std::forward<Item>(item), deadline, "Queue::put_many");
    } else {
      return put_item(T(std::forward<Item>(item)), deadline, "Queue::put_many");
    }
  }

  template <class Item>
  bool put_or_not(Item&& item, Deadline deadline, const char* operation) {
    const Attempt how = put_item(std::forward<Item>(item), deadline, operation);
    if (how == Attempt::closed) [[unlikely]] {
      throw_shut_down(operation);
    }
    return how == Attempt::done;
  }

  template <class Item>
  void put_or_throw(Item&& item, Deadline deadline) {
    if (!put_or_not(std::forward<Item>(item), deadline, "Queue::put")) [[unlikely]] {
      throw QueueFull{"Queue::put: " + std::to_string(maxsize_) + " items are in the queue, no room came in time"};
    }
  }

  /// An item that this thread may and must take, if how is done.
  struct Claim {
    Attempt how;
    bool slept = false;
    std::uint64_t ticket = 0;
  };

  Claim claim_item(Deadline deadline, const char* operation) {
    return on_items([&](auto& items) {
      Claim claim{};
      claim.how = items.claim(claim.ticket);
      if (claim.how == Attempt::blocked && !deadline.is_poll()) [[unlikely]] {
        const auto attempt = [&] {
          claim.how = items.claim(claim.ticket);
          return claim.how != Attempt::blocked;
        };
        claim.slept = not_empty_.await(deadline, detail::Spin{items.put_cpu()}, {operation, this}, attempt) ==
                      detail::Waited::slept;
        if (claim.slept && claim.how == Attempt::closed) {
          not_empty_.notify();  // the others may have slept through shutdown(), for an item that somebody else took
        }
      }
      return claim;
    });
  }

  template <class Consume>
  decltype(auto) take(const Claim& claim, Consume consume) {
    return on_items([&](auto& items) -> decltype(auto) {
      using Items = std::remove_reference_t<decltype(items)>;
      struct PassOn {
        Queue& queue;
        Items& items;
        bool slept;
        ~PassOn() {  // once the slot is free; also where moving the item threw
          queue.not_full_.notify();
          if (slept && items.claimable()) {
            queue.not_empty_.notify();
          }
        }
      };
      const PassOn pass_on{*this, items, claim.slept};
      return items.take(claim.ticket, consume);
    });
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
  mutable std::optional<Ring> ring_;                      // one of these two has a value, for good;
  mutable std::optional<detail::LockedItems<T>> locked_;  // mutable: they are made to be shared
  alignas(detail::apart) detail::EventCount not_empty_;
  detail::EventCount not_full_;
  alignas(detail::apart) detail::sync::Atomic<std::uint64_t> done_{0};
};

/// What `for (Item& item : queue)` uses: holds the current item.
template <class T>
class Queue<T>::Iterator {
 public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;

  explicit Iterator(Queue& queue) : queue_{&queue} { advance(); }

  T& operator*() const noexcept { return *item_; }
  T* operator->() const noexcept { return &*item_; }
  Iterator& operator++() {
    advance();
    return *this;
  }
  void operator++(int) { advance(); }
  friend bool operator==(const Iterator& it, std::default_sentinel_t) noexcept { return !it.item_; }

 private:
  void advance() {
    item_.reset();
    const Claim claim = queue_->claim_item(never, "Queue::get");
    if (claim.how == Attempt::done) {
      queue_->take(claim, [this](T& item) { item_.emplace(std::move(item)); });
    }
  }

  Queue* queue_;
  mutable std::optional<T> item_;
};

/// A Queue without a bound.
template <class T>
using SimpleQueue = Queue<T>;

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

}  // namespace conc::inline CONC_ABI
