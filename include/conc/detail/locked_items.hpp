// SPDX-License-Identifier: MIT
/// @file
/// LockedItems: a queue of any size and for any item, under one lock.
#pragma once

#include <conc/detail/ring.hpp>
#include <conc/detail/sync.hpp>
#include <conc/error.hpp>
#include <conc/lock.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// Has the members of Ring, for items whose move may throw and for queues without a (small) bound. What claim() found is
/// taken under the same hold of the lock, so that a throwing move leaves everything as it was.
template <class T>
class LockedItems {
 public:
  /// @param capacity  0: no bound.
  explicit LockedItems(std::size_t capacity) : capacity_{capacity} {}

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
    items_.emplace_back(std::forward<U>(item));
    tickets_.fetch_add(1, mo::relaxed);  // relaxed: the lock orders it for those who were told of the item
    return Attempt::done;
  }

  /// On `done` there is an item and the lock is held: the caller must take() it.
  Attempt claim(std::uint64_t& /*ticket*/) noexcept {
    lock_.acquire();
    if (!items_.empty()) {
      return Attempt::done;
    }
    const Attempt why = closed_ ? Attempt::closed : Attempt::blocked;
    lock_.release();
    return why;
  }

  /// Hands the claimed item to `consume` as T&, returns what that returns, then drops the item and releases the lock.
  /// If consume throws, the item stays.
  template <class Consume>
  decltype(auto) take(std::uint64_t /*ticket*/, Consume consume) {
    struct Drop {
      LockedItems& all;
      const int exceptions = std::uncaught_exceptions();
      ~Drop() {
        if (std::uncaught_exceptions() == exceptions) {
          all.items_.pop_front();
          all.claimed_.fetch_add(1, mo::relaxed);  // relaxed: as tickets_
        }
        all.lock_.release();
      }
    };
    const Drop drop{*this};
    return consume(items_.front());
  }

  /// No item is put after this.
  void close() noexcept {
    const ScopedLock guard{lock_};
    closed_ = true;
  }

  /// Closes and destroys all items, without the lock. If there is no memory for that, nothing happens.
  /// @return how many.
  std::uint64_t close_and_clear() {
    std::deque<T> dropped;
    {
      const ScopedLock guard{lock_};
      closed_ = true;
      dropped.swap(items_);
      claimed_.fetch_add(dropped.size(), mo::relaxed);  // relaxed: as tickets_
    }
    return dropped.size();
  }

  bool claimable() const noexcept {
    const ScopedLock guard{lock_};
    return closed_ || !items_.empty();
  }
  bool has_room() const noexcept {
    const ScopedLock guard{lock_};
    return capacity_ == 0 || items_.size() < capacity_;
  }

  std::uint64_t tickets() const noexcept { return tickets_.load(mo::relaxed); }  // relaxed: as in put()
  std::uint64_t claimed() const noexcept { return claimed_.load(mo::relaxed); }  // relaxed: as in put()
  bool closed() const noexcept {
    const ScopedLock guard{lock_};
    return closed_;
  }

  static constexpr std::uint32_t put_cpu() noexcept { return sync::no_cpu; }
  static constexpr std::uint32_t get_cpu() noexcept { return sync::no_cpu; }

 private:
  mutable Lock lock_;
  bool closed_ = false;
  const std::size_t capacity_;
  std::deque<T> items_;
  sync::Atomic<std::uint64_t> tickets_{0};  // items put so far
  sync::Atomic<std::uint64_t> claimed_{0};  // items taken so far
};

}  // namespace conc::inline CONC_ABI::detail
