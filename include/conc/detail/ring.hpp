// SPDX-License-Identifier: MIT
/// @file
/// Ring: a bounded lock-free queue of tickets.
///
/// After Dmitry Vyukov's bounded MPMC queue (2010). Changed: capacities need not be powers of two and one is allowed;
/// the put counter carries the closed flag, so that no ticket is given out after close(); a slot is published by a
/// read-modify-write, so that no fence is needed before looking for sleepers.
#pragma once

#include <bit>
#include <conc/detail/sync.hpp>
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// How an attempt to put or get ended.
enum class Attempt : std::uint8_t {
  done,
  blocked,  // full; or empty, or the item of the next ticket is still being written
  closed,   // put: closed. get: closed and every ticket is taken
};

/// Size of what two threads must not share if they are not to disturb each other: two lines on x86, which fetches pairs.
inline constexpr std::size_t apart = 128;

template <class T>
class Ring {
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
                "a ticket that was taken must be served: moving an item must not throw");

 public:
  /// The bytes that a ring for `capacity` items takes.
  static constexpr std::size_t bytes(std::size_t capacity) noexcept { return std::bit_ceil(capacity) * sizeof(Slot); }

  explicit Ring(std::size_t capacity)
      : mask_{std::bit_ceil(capacity) - 1}, slack_{mask_ + 1 - capacity}, slots_{new Slot[mask_ + 1]} {
    for (std::size_t i = 0; i <= mask_; ++i) {
      slots_[i].turn.store(free_for(i), mo::relaxed);  // relaxed: nobody else knows the ring yet
    }
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() {
    close_and_clear();
    delete[] slots_;
  }

  /// Makes a T of `item`, unless there is no room.
  template <class U>
  Attempt put(U&& item) noexcept {
    static_assert(std::is_nothrow_constructible_v<T, U>);
    std::uint64_t tail = tail_.load(mo::relaxed);  // relaxed: a guess; the exchange checks it
    for (;;) {
      if ((tail & kClosed) != 0) {
        return Attempt::closed;
      }
      const std::uint64_t ticket = tail / kTicket;
      if (room_for(ticket)) {
        // relaxed: the slot's turn publishes the item, not the counter.
        if (tail_.compare_exchange_weak(tail, tail + kTicket, mo::relaxed, mo::relaxed)) {
          note_cpu(put_cpu_);
          Slot& slot = at(ticket);
          ::new (static_cast<void*>(slot.bytes)) T(static_cast<T>(std::forward<U>(item)));
          // seq_cst, release (1): pairs with the load in claim(); a read-modify-write, so that a following look for
          // sleepers comes after it.
          slot.turn.exchange(free_for(ticket) + 1, mo::seq_cst);
          return Attempt::done;
        }
        continue;
      }
      const std::uint64_t again = tail_.load(mo::relaxed);  // relaxed: as above
      if (again == tail) {
        return Attempt::blocked;
      }
      tail = again;
    }
  }

  /// Claims the oldest item. On `done` the caller must take(ticket) it.
  Attempt claim(std::uint64_t& ticket) noexcept {
    std::uint64_t head = head_.load(mo::relaxed);  // relaxed: a guess; the exchange checks it
    for (;;) {
      // seq_cst: pairs with release (1), and as in put().
      if (at(head).turn.load(mo::seq_cst) == free_for(head) + 1) {
        // release (2): pairs with the acquire load in claimed(). relaxed: as in put().
        if (head_.compare_exchange_weak(head, head + 1, mo::release, mo::relaxed)) {
          note_cpu(get_cpu_);
          ticket = head;
          return Attempt::done;
        }
        continue;
      }
      const std::uint64_t again = head_.load(mo::relaxed);  // relaxed: as above
      if (again == head) {
        return drained(head) ? Attempt::closed : Attempt::blocked;
      }
      head = again;
    }
  }

  /// Hands the claimed item to `consume` as T&, returns what that returns, then frees the slot.
  template <class Consume>
  decltype(auto) take(std::uint64_t ticket, Consume consume) noexcept {
    struct FreeSlot {
      Slot& slot;
      std::uint32_t next;
      ~FreeSlot() {
        slot.item().~T();
        // seq_cst, release: pairs with the loads in put(), as release (1) does with claim().
        slot.turn.exchange(next, mo::seq_cst);
      }
    };
    const FreeSlot free_slot{at(ticket), free_for(ticket + mask_ + 1)};
    return consume(free_slot.slot.item());
  }

  /// Whether claim() would not be blocked.
  bool claimable() const noexcept {
    std::uint64_t head = head_.load(mo::relaxed);  // relaxed: looked at again below
    for (;;) {
      if (at(head).turn.load(mo::seq_cst) == free_for(head) + 1) {  // seq_cst: as in claim()
        return true;
      }
      const std::uint64_t again = head_.load(mo::relaxed);  // relaxed: who freed the slot had moved the counter before
      if (again == head) {
        return drained(head);
      }
      head = again;
    }
  }

  /// Whether put() would find room.
  bool has_room() const noexcept {
    std::uint64_t tail = tail_.load(mo::relaxed);  // relaxed: looked at again below
    for (;;) {
      if (room_for(tail / kTicket)) {
        return true;
      }
      const std::uint64_t again = tail_.load(mo::relaxed);  // relaxed: who filled the slot had moved the counter before
      if (again == tail) {
        return false;
      }
      tail = again;
    }
  }

  /// Closes and destroys all items for which there are tickets.
  /// @return how many.
  std::uint64_t close_and_clear() noexcept {
    close();
    std::uint64_t dropped = 0;
    for (std::uint64_t ticket = 0;;) {
      switch (claim(ticket)) {
        case Attempt::done:
          take(ticket, [](T&) {});
          ++dropped;
          break;
        case Attempt::blocked:
          sync::yield();  // the item is being written right now
          break;
        case Attempt::closed:
          return dropped;
      }
    }
  }

  /// No ticket is given out after this.
  void close() noexcept {
    tail_.fetch_or(kClosed, mo::seq_cst);
    closing_.exchange(true, mo::seq_cst);  // seq_cst: before the caller's look for sleepers
  }

  /// How many tickets were given to items so far.
  std::uint64_t tickets() const noexcept {
    return tail_.load(mo::relaxed) / kTicket;  // relaxed: what a caller must see, it has been told about already
  }

  /// How many items were claimed so far.
  std::uint64_t claimed() const noexcept {
    return head_.load(mo::acquire);  // acquire: pairs with release (2); who sees n here sees no fewer tickets
  }

  bool closed() const noexcept { return (tail_.load(mo::relaxed) & kClosed) != 0; }  // relaxed: as tickets()

  std::uint32_t put_cpu() const noexcept { return put_cpu_.get(); }
  std::uint32_t get_cpu() const noexcept { return get_cpu_.get(); }

 private:
  // A slot's turn is twice the ticket it is free for, plus one when it holds that ticket's item; modulo 2^32, which is
  // far more than the tickets that can be under way.
  struct Slot {
    sync::Atomic<std::uint32_t> turn{0};
    alignas(T) std::byte bytes[sizeof(T)];
    T& item() noexcept { return *std::launder(reinterpret_cast<T*>(bytes)); }
  };

  // tail_ = tickets given out << 1 | kClosed
  static constexpr std::uint64_t kClosed = 1;
  static constexpr std::uint64_t kTicket = 2;

  /// Room means that the item `capacity` tickets ago has been taken; if the capacity is no power of two, that one was in
  /// another slot than this ticket's, which must be free as well.
  bool room_for(std::uint64_t ticket) const noexcept {
    // seq_cst, twice: pairs with the exchange in take(); and, where the caller is about to sleep, comes after the
    // sleepers bit that it raised.
    return at(ticket).turn.load(mo::seq_cst) == free_for(ticket) &&
           at(ticket + slack_).turn.load(mo::seq_cst) == free_for(ticket + slack_);
  }

  /// Whether no ticket is left from `head` on, and none will come.
  bool drained(std::uint64_t head) const noexcept {
    // seq_cst, twice: pairs with close(); and, where the caller is about to sleep, comes after the sleepers bit that it
    // raised.
    return closing_.load(mo::seq_cst) && tail_.load(mo::seq_cst) == (head * kTicket | kClosed);
  }

  static std::uint32_t free_for(std::uint64_t ticket) noexcept { return static_cast<std::uint32_t>(ticket * 2); }

  static void note_cpu(sync::Hint& hint) noexcept {
    if (const std::uint32_t cpu = sync::this_cpu(); hint.get() != cpu) {  // a look is cheaper than dirtying the line
      hint.set(cpu);
    }
  }

  Slot& at(std::uint64_t ticket) const noexcept { return slots_[ticket & mask_]; }

  const std::uint64_t mask_;
  const std::uint64_t slack_;  // slots beyond the capacity
  Slot* const slots_;
  // kClosed is raised. Apart from it, so that consumers who wait do not keep looking at tail_: each look
  // takes the cache line away from the producers.
  sync::Atomic<bool> closing_{false};
  alignas(apart) sync::Atomic<std::uint64_t> tail_{0};
  alignas(apart) sync::Atomic<std::uint64_t> head_{0};
  alignas(apart) sync::Hint put_cpu_{sync::no_cpu};  // where the last put ran; here looking does not disturb the others
  sync::Hint get_cpu_{sync::no_cpu};
};

}  // namespace conc::inline CONC_ABI::detail
