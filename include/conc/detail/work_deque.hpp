// SPDX-License-Identifier: MIT
/// @file
/// WorkDeque: the tasks of one worker. The worker pushes and pops at one end, everybody else steals at the other.
///
/// After Chase and Lev, "Dynamic Circular Work-Stealing Deque" (2005). Changed: no fences; where a store must be seen
/// before a load, the store is a seq_cst read-modify-write.
#pragma once

#include <conc/detail/ring.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/task.hpp>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI::detail {

class WorkDeque {
 public:
  static constexpr std::int64_t kFirstSize = sync::spin_limit == 0 ? 2 : 256;  // small where it is explored

 private:
  // top_     counts the tasks that have left at the thieves' end. Grows only.
  // bottom_  counts the tasks at the owner's end; written by the owner alone.
  // slots_   the tasks [top_, bottom_), each at its number modulo the size. Replaced by a larger array by the owner; old
  //          ones are kept, for a slow thief may still read there. What it reads is used only if top_ has not moved on.
  // The last task is the owner's or a thief's: whoever moves top_ has it.
 public:
  WorkDeque() : slots_{new Slots{kFirstSize, nullptr}} {}
  WorkDeque(const WorkDeque&) = delete;
  WorkDeque& operator=(const WorkDeque&) = delete;
  ~WorkDeque() {
    for (Slots* slots = slots_.load(mo::relaxed); slots != nullptr;) {  // relaxed: nobody else knows the deque any more
      delete std::exchange(slots, slots->smaller);
    }
  }

  /// By the owner: makes sure that the next n push() find room. @throws std::bad_alloc
  void make_room(std::int64_t n) {
    const std::int64_t bottom = bottom_.load(mo::relaxed);  // relaxed, twice: written by this thread alone
    while (bottom + n - oldest_ > slots_.load(mo::relaxed)->size) {
      // acquire (1): the slots that thieves have emptied may be used again; pairs with their exchange of top_.
      oldest_ = top_.load(mo::acquire);
      if (bottom + n - oldest_ > slots_.load(mo::relaxed)->size) {  // relaxed: as above
        grow(bottom);
      }
    }
  }

  /// By the owner, after make_room().
  /// @return whether it is the only task now
  bool push(Task* task) noexcept {
    const std::int64_t bottom = bottom_.load(mo::relaxed);  // relaxed, twice: written by this thread alone
    Slots* const slots = slots_.load(mo::relaxed);
    slots->at(bottom).store(task, mo::relaxed);  // relaxed: published by bottom_
    // seq_cst: publishes the task, and comes before the caller's look for idle workers. Each of those looks here after
    // it has said that it is idle, so one of the two sees the other.
    bottom_.exchange(bottom + 1, mo::seq_cst);
    return top_.load(mo::seq_cst) ==
           bottom;  // seq_cst: after the exchange; a thief that emptied it looks for more then
  }

  /// By the owner: takes up to `most` tasks off the list at `chain`, in order. They must fit in the first array.
  void push_some(Task*& chain, unsigned most) noexcept {
    const std::int64_t bottom = bottom_.load(mo::relaxed);  // relaxed, thrice: as in push()
    Slots& slots = *slots_.load(mo::relaxed);
    std::int64_t end = bottom;
    for (; chain != nullptr && end < bottom + most; ++end) {
      slots.at(end).store(chain, mo::relaxed);
      chain = chain->next;
    }
    bottom_.exchange(end, mo::seq_cst);  // seq_cst: as in push()
  }

  /// By the owner: the task pushed last, or null.
  Task* pop() {
    const std::int64_t bottom = bottom_.load(mo::relaxed) - 1;  // relaxed: written by this thread alone
    // relaxed: top_ only grows, so an empty deque stays empty.
    if (top_.load(mo::relaxed) > bottom) {
      return nullptr;
    }
    // seq_cst, twice: a thief that does not see this store has moved top_ before the load below.
    bottom_.exchange(bottom, mo::seq_cst);
    std::int64_t top = top_.load(mo::seq_cst);
    if (top < bottom) {
      return slots_.load(mo::relaxed)->at(bottom).load(mo::relaxed);  // relaxed, twice: this thread wrote both
    }
    Task* task = nullptr;
    if (top == bottom) {                                              // the last one
      task = slots_.load(mo::relaxed)->at(bottom).load(mo::relaxed);  // relaxed, twice: as above
      // seq_cst: one order of all who want the last task. acquire: the store below comes after the thief's exchange.
      if (!top_.compare_exchange_strong(top, top + 1, mo::seq_cst, mo::acquire)) {
        task = nullptr;
      }
    }
    bottom_.store(bottom + 1, mo::relaxed);  // relaxed: empty either way; no thief finds a task between the two values
    return task;
  }

  /// By anybody: the oldest task; null if there is none, or if somebody else was faster.
  Task* steal() {
    // seq_cst, twice: top_ before bottom_, in the one order that pop() relies on.
    std::int64_t top = top_.load(mo::seq_cst);
    const std::int64_t bottom = bottom_.load(mo::seq_cst);
    if (top >= bottom) {
      return nullptr;
    }
    // acquire: pairs with the release in grow(). relaxed: bottom_ published it; wrong only if top_ has moved on.
    Task* const task = slots_.load(mo::acquire)->at(top).load(mo::relaxed);
    // seq_cst: as in pop(); the release in it pairs with acquire (1).
    return top_.compare_exchange_strong(top, top + 1, mo::seq_cst, mo::relaxed) ? task : nullptr;
  }

  /// seq_cst: whoever is about to sleep looks here after having said so; see push().
  [[nodiscard]] bool empty() const noexcept { return top_.load(mo::seq_cst) >= bottom_.load(mo::seq_cst); }

  /// A guess.
  [[nodiscard]] std::size_t size() const noexcept {
    const std::int64_t top = top_.load(mo::relaxed);  // relaxed, twice: for statistics
    const std::int64_t bottom = bottom_.load(mo::relaxed);
    return bottom > top ? static_cast<std::size_t>(bottom - top) : 0;
  }

 private:
  struct Slots {
    Slots(std::int64_t n, Slots* former) : size{n}, smaller{former}, tasks(static_cast<std::size_t>(n)) {}
    sync::Atomic<Task*>& at(std::int64_t number) noexcept {
      return tasks[static_cast<std::size_t>(number & (size - 1))];
    }

    const std::int64_t size;  // a power of two
    Slots* const smaller;     // the array that this one replaced
    std::vector<sync::Atomic<Task*>> tasks;
  };

  [[gnu::noinline]] void grow(std::int64_t bottom) {
    Slots* const slots = slots_.load(mo::relaxed);  // relaxed: written by this thread alone
    auto* const larger = new Slots{2 * slots->size, slots};
    for (std::int64_t number = oldest_; number < bottom; ++number) {
      // relaxed, twice: this thread wrote them; published below.
      larger->at(number).store(slots->at(number).load(mo::relaxed), mo::relaxed);
    }
    slots_.store(larger, mo::release);  // release: pairs with the acquire in steal()
  }

  alignas(apart) sync::Atomic<std::int64_t> top_{0};
  alignas(apart) sync::Atomic<std::int64_t> bottom_{0};
  std::int64_t oldest_ = 0;  // the owner's memory of top_, which may have moved on
  sync::Atomic<Slots*> slots_;
};

}  // namespace conc::inline CONC_ABI::detail
