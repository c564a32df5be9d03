// SPDX-License-Identifier: MIT
/// @file
/// Channel: items on their way from thread to thread. Chooses the engine that holds them, waits, and passes wakes on.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/block_list.hpp>
#include <conc/detail/event_count.hpp>
#include <conc/detail/locked_items.hpp>
#include <conc/detail/ring.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/wait_point.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// An item that a thread may and must take, if how is done.
struct Claim {
  Attempt how = Attempt::blocked;
  bool slept = false;
  std::uint64_t ticket = 0;
};

/// `Items` holds them where they need a lock, and has their order. Only first in, first out can do without.
template <class T, class Items>
class Channel {
  static constexpr bool kRingPossible = std::is_nothrow_move_constructible_v<T> && std::is_same_v<Items, BlockList<T>>;

 public:
  /// @param maxsize  0: no bound.
  /// @param rule     what Items is made of.
  template <class... Rule>
  explicit Channel(std::size_t maxsize, Rule&&... rule) {
    if constexpr (kRingPossible) {
      if (maxsize != 0 && maxsize <= kRingBytes && Ring::bytes(maxsize) <= kRingBytes) {
        ring_.emplace(maxsize);
        return;
      }
    }
    locked_.emplace(maxsize, std::forward<Rule>(rule)...);
  }

  /// `item`, or a copy of it where copying may throw: in a slot of the ring nothing may.
  static decltype(auto) copy_if_it_may_throw(const T& item) {
    if constexpr (kRingPossible && !std::is_nothrow_copy_constructible_v<T>) {
      return T(item);
    } else {
      return (item);
    }
  }

  /// Whether put(item) makes the T in its place, so that an item that is not put is not consumed either.
  template <class Item>
  static constexpr bool makes_in_place = std::is_nothrow_constructible_v<T, Item> ||
                                         (!kRingPossible && std::is_same_v<std::remove_cvref_t<Item>, T>);

  /// Puts an item in, waiting for room until `deadline`. Only where the result is done it was consumed.
  template <class Item>
  Attempt put(Item&& item, Deadline deadline, sync::Why why) {
    return on_items([&](auto& items) {
      Attempt how = items.put(std::forward<Item>(item));
      if (how == Attempt::blocked && !deadline.is_poll()) [[unlikely]] {
        how = wait_to_put(items, std::forward<Item>(item), deadline, why);
      }
      if (how == Attempt::done) {
        not_empty_.notify();
      }
      return how;
    });
  }

  /// Claims the next item, waiting for one until `deadline`. Where that is done, take() must follow.
  /// @throws what comparing items throws; then nothing is claimed.
  Claim claim(Deadline deadline, sync::Why why) {
    return on_items([&](auto& items) {
      Claim claim;
      claim.how = items.claim(claim.ticket);
      if (claim.how == Attempt::blocked && !deadline.is_poll()) [[unlikely]] {
        return wait_to_claim(items, deadline, why);
      }
      return claim;
    });
  }

  /// Hands the claimed item to `consume` as T& and returns what that returns. If consume throws, the item stays.
  template <class Consume>
  decltype(auto) take(const Claim& claim, Consume consume) {
    return on_items([&](auto& items) -> decltype(auto) {
      const PassOn<std::remove_reference_t<decltype(items)>> pass_on{*this, items, claim.slept};
      return items.take(claim.ticket, consume);
    });
  }

  /// Ends it: no item is put after this, and every waiter looks again. With `drop` the items are destroyed.
  /// @return how many were dropped.
  std::uint64_t close(bool drop) noexcept {
    on_items([](auto& items) { items.close(); });
    not_full_.notify_all();  // first: the destructor of an item may wait for who puts
    const std::uint64_t dropped = drop ? on_items([](auto& items) { return items.close_and_clear(); }) : 0;
    not_empty_.notify_all();
    return dropped;
  }

  bool closed() const noexcept {
    return on_items([](auto& items) { return items.closed(); });
  }

  /// How many items were put so far.
  std::uint64_t put_count() const noexcept {
    return on_items([](auto& items) { return items.tickets(); });
  }

  /// How many items were claimed so far. Who knows of n claims knows of no fewer puts.
  std::uint64_t claim_count() const noexcept {
    return on_items([](auto& items) { return items.claimed(); });
  }

 private:
  struct NoRing {};
  using Ring = std::conditional_t<kRingPossible, detail::Ring<T>, NoRing>;
  static constexpr std::size_t kRingBytes = std::size_t{1} << 20U;  // beyond, memory should follow what is in the queue

  /// Passes wakes on when an item was taken: once its place is free, and where moving it threw.
  template <class Engine>
  struct PassOn {
    Channel& channel;
    Engine& items;
    bool slept;
    ~PassOn() {
      channel.not_full_.notify();
      if (slept && items.claimable()) {
        channel.not_empty_.notify();
      }
    }
  };

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

  template <class Engine, class Item>
  [[gnu::cold, gnu::noinline]] Attempt wait_to_put(Engine& items, Item&& item, Deadline deadline, sync::Why why) {
    Attempt how = Attempt::blocked;
    const auto attempt = [&] {
      how = items.put(std::forward<Item>(item));
      return how != Attempt::blocked;
    };
    try {
      if (not_full_.await(deadline, Spin{items.get_cpu()}, why, attempt) == Waited::slept && items.has_room()) {
        not_full_.notify();
      }
    } catch (...) {  // from copying, moving or comparing the item: the room that woke this thread is for another one
      not_full_.notify();
      throw;
    }
    return how;
  }

  template <class Engine>
  [[gnu::cold, gnu::noinline]] Claim wait_to_claim(Engine& items, Deadline deadline, sync::Why why) {
    Claim claim;
    const auto attempt = [&] {
      claim.how = items.claim(claim.ticket);
      return claim.how != Attempt::blocked;
    };
    try {
      claim.slept = not_empty_.await(deadline, Spin{items.put_cpu()}, why, attempt) == Waited::slept;
    } catch (...) {  // from comparing items: the one that woke this thread is for another one
      not_empty_.notify();
      throw;
    }
    if (claim.slept && claim.how == Attempt::closed) {
      not_empty_.notify();  // the others may have slept through close(), for an item that somebody else took
    }
    return claim;
  }

  mutable std::optional<Ring> ring_;                     // one of these two has a value, for good;
  mutable std::optional<LockedItems<T, Items>> locked_;  // mutable: they are made to be shared
  alignas(apart) EventCount not_empty_;
  EventCount not_full_;
};

}  // namespace conc::inline CONC_ABI::detail
