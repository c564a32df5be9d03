// SPDX-License-Identifier: MIT
/// @file
/// LockedItems: a queue of any size, for any item and in any order, under one lock.
#pragma once

#include <conc/annotations.hpp>
#include <conc/detail/ring.hpp>
#include <conc/detail/sync.hpp>
#include <conc/error.hpp>
#include <conc/lock.hpp>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// Has the members of Ring, for items whose move may throw and for queues without a (small) bound, or with an order of
/// their own. What claim() found is taken under the same hold of the lock, so that a throwing move leaves everything as it
/// was. `Items` (BlockList, Stack, Heap) holds them and has the order: which one leaves next it finds out in prepare_pop(),
/// which may throw and changes nothing; pop() does what was found, and does not throw.
template <class T, class Items>
class LockedItems {
 public:
  /// @param capacity  0: no bound.
  /// @param rule      what Items is made of.
  template <class... Rule>
  explicit LockedItems(std::size_t capacity, Rule&&... rule)
      : capacity_{capacity}, items_(std::forward<Rule>(rule)...) {}

  /// Makes a T of `item`, unless there is no room.
  template <class U>
  Attempt put(U&& item) {
    const ScopedLock guard{lock_};
    if (closed_) {
      return Attempt::closed;
    }
    if (capacity_ != 0 && items_.size() >= capacity_) {
      return Attempt::blocked;
    }
    items_.push(std::forward<U>(item));
    raise(tickets_, 1);
    return Attempt::done;
  }

  /// On `done` there is an item and the lock is held: the caller must take(ticket) it.
  /// @throws what comparing items throws; then nothing is claimed.
  Attempt claim(std::uint64_t& ticket) noexcept(noexcept(std::declval<Items&>().prepare_pop()))
      CONC_NO_THREAD_SAFETY_ANALYSIS {
    struct Unlock {
      Lock* lock;
      ~Unlock() CONC_NO_THREAD_SAFETY_ANALYSIS {
        if (lock != nullptr) {
          lock->release();
        }
      }
    };
    lock_.acquire();
    Unlock unlock{&lock_};
    if (items_.size() == 0) {
      return closed_ ? Attempt::closed : Attempt::blocked;
    }
    ticket = items_.prepare_pop();
    unlock.lock = nullptr;  // take() will release it
    return Attempt::done;
  }

  /// Hands the claimed item to `consume` as T&, returns what that returns; then releases the lock and destroys what is
  /// left of the item. If consume throws, the item stays.
  template <class Consume>
  decltype(auto) take(std::uint64_t ticket, Consume consume) {
    struct Leave {
      LockedItems& all;
      const std::uint64_t ticket;
      bool threw = false;
      ~Leave() {
        if (threw) {
          all.lock_.release();
          return;
        }
        const auto popped = all.items_.pop(ticket);
        raise(all.claimed_, 1);
        all.lock_.release();
        all.items_.destroy(popped);
      }
    };
    Leave leave{*this, ticket};
    try {
      return consume(items_.front());
    } catch (...) {  // also a forced unwind, which is no exception to std::uncaught_exceptions()
      leave.threw = true;
      throw;
    }
  }

  /// No item is put after this.
  void close() noexcept {
    const ScopedLock guard{lock_};
    closed_ = true;
  }

  /// Closes and destroys all items, without the lock.
  /// @return how many.
  std::uint64_t close_and_clear() noexcept {
    lock_.acquire();
    closed_ = true;
    const auto dropped = items_.take_all();
    raise(claimed_, dropped.size());
    lock_.release();
    return dropped.size();
  }

  bool claimable() const noexcept {
    const ScopedLock guard{lock_};
    return closed_ || items_.size() != 0;
  }
  bool has_room() const noexcept {
    const ScopedLock guard{lock_};
    return capacity_ == 0 || items_.size() < capacity_;
  }

  // acquire, twice: pairs with release (1); who sees n items claimed sees no fewer tickets.
  std::uint64_t tickets() const noexcept { return tickets_.load(mo::acquire); }
  std::uint64_t claimed() const noexcept { return claimed_.load(mo::acquire); }
  bool closed() const noexcept {
    const ScopedLock guard{lock_};
    return closed_;
  }

  static constexpr std::uint32_t put_cpu() noexcept { return sync::no_cpu; }
  static constexpr std::uint32_t get_cpu() noexcept { return sync::no_cpu; }

 private:
  /// The lock is held, so the counter needs no atomic addition.
  static void raise(sync::Atomic<std::uint64_t>& counter, std::uint64_t n) noexcept {
    // relaxed: the lock orders the changes. release (1): pairs with the acquire loads in tickets() and claimed().
    counter.store(counter.load(mo::relaxed) + n, mo::release);
  }

  mutable Lock lock_;
  bool closed_ = false;
  const std::size_t capacity_;
  Items items_;
  sync::Atomic<std::uint64_t> tickets_{0};  // items put so far
  sync::Atomic<std::uint64_t> claimed_{0};  // items taken so far
};

}  // namespace conc::inline CONC_ABI::detail
