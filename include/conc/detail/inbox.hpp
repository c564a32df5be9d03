// SPDX-License-Identifier: MIT
/// @file
/// Inbox: where threads leave tasks for an executor. One compare-and-swap each; closed by whoever takes.
#pragma once

#include <conc/detail/sync.hpp>
#include <conc/detail/task.hpp>
#include <cstdint>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// The tasks that a thread has queued last; never looked at, only counted from.
struct FormerTasks {
  static constexpr unsigned kKept = 8;  // about as many lines as a CPU fetches at once

  void push(Task& task) noexcept { task.remember_former(std::exchange(tasks[next++ % kKept], &task)); }

  const Task* tasks[kKept];
  unsigned next;
};
[[gnu::visibility("default")]] inline thread_local constinit FormerTasks former_tasks{};

/// A list that grows at its head (Treiber's stack) and is taken as a whole, oldest first. It is never popped, so a block
/// that comes back at the same address does no harm.
class Inbox {
 public:
  enum class Pushed : std::uint8_t { closed, first, more };

  /// Leaves the tasks from `last` on, each linked to the one before it, up to `first`.
  /// @return whether the inbox was empty; or closed: then they were not left
  Pushed push(Task* first, Task* last) noexcept {
    if (!sync::exploring()) {  // where threads share their thread_locals
      former_tasks.push(*last);
    }
    Task* head = head_.load(mo::relaxed);  // relaxed: a guess; the exchange checks it
    do {
      if (head == closed_mark()) {
        first->next = nullptr;  // it may be linked to tasks of others by now
        return Pushed::closed;
      }
      first->next = head;
      // seq_cst: publishes the tasks, pairs with the acquire of the one who takes, and comes before the caller's look
      // for idle workers, who look here after they have said that they are idle.
    } while (!head_.compare_exchange_weak(head, last, mo::seq_cst, mo::relaxed));
    return head == nullptr ? Pushed::first : Pushed::more;
  }

  /// Takes all there is, oldest first; null if there is nothing. One thread at a time, by the caller's lock.
  Task* take(bool close = false) noexcept {
    if (head_.load(mo::relaxed) == closed_mark()) {  // relaxed: only set under the caller's lock
      return nullptr;
    }
    // acquire: pairs with the release in push(). seq_cst where it closes: comes before the look of who was told so.
    Task* newest = head_.exchange(close ? closed_mark() : nullptr, mo::seq_cst);
    Task* oldest = nullptr;
    while (newest != nullptr) {
      Task* const older = newest->next;
      newest->fetch_former();
      newest->next = oldest;
      oldest = newest;
      newest = older;
    }
    return oldest;
  }

  [[nodiscard]] bool closed() const noexcept { return head_.load(mo::acquire) == closed_mark(); }  // acquire: a fact

  [[nodiscard]] bool empty() const noexcept {
    // seq_cst: whoever is about to sleep looks here after having said so; see push().
    const Task* const head = head_.load(mo::seq_cst);
    return head == nullptr || head == closed_mark();
  }

  /// How many there are. With the caller's lock, so that nobody takes them meanwhile.
  [[nodiscard]] std::size_t count() const noexcept {
    std::size_t tasks = 0;
    const Task* task = head_.load(mo::acquire);  // acquire: pairs with the release in push()
    for (task = task == closed_mark() ? nullptr : task; task != nullptr; task = task->next) {
      ++tasks;
    }
    return tasks;
  }

 private:
  /// An address that no task has.
  Task* closed_mark() const noexcept { return reinterpret_cast<Task*>(const_cast<Inbox*>(this)); }

  sync::Atomic<Task*> head_{nullptr};
};

}  // namespace conc::inline CONC_ABI::detail
