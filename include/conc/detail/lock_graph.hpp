// SPDX-License-Identifier: MIT
/// @file
/// LockGraph: in which orders locks are taken, to report orders that can deadlock before they do. Locks tell it through
/// their Tracker, which includes this with CONC_DEBUG only.
///
/// Locks are nodes, and an edge A -> B says that some thread waited for B while it held A. A circle of edges is a
/// deadlock that needs nothing but bad luck. The idea is that of the lock dependency validator of the Linux kernel (Ingo
/// Molnar, Arjan van de Ven, 2006); here each lock is a node, not each class of locks.
///
/// What makes an edge, and what does not:
///   * Only a wait without a deadline does. One that gives up ends the deadlock itself; so does an attempt that does not
///     wait. What was taken that way is held like any other lock and counts for the edges that follow.
///   * Holding a lock shared counts as holding it: where writers wait, readers wait behind them.
///   * Further levels of an RLock do not wait, so they make none.
///   * A circle whose orders a further lock keeps apart is reported as well: that lock may go one day.
///   * Orders are kept as long as both locks exist. A new lock at an old address is another lock.
#pragma once

#include <pthread.h>

#include <conc/detail/hold.hpp>
#include <conc/detail/lock_report.hpp>
#include <conc/detail/sync.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

namespace conc::inline CONC_ABI::detail {

class LockNode;

/// A lock's way to its node. Guarded by the graph. Null until the lock is first taken or named. A lock with static storage
/// may be used after its destruction, at exit, so this may be stale: it counts only if the node says that it belongs here.
struct LockSlot {
  LockNode* node = nullptr;
};

/// While it lives, what the thread does with locks is not looked at.
class UntrackedThread {
 public:
  UntrackedThread() noexcept : before_{std::exchange(sync::this_thread().untracked, true)} {}
  UntrackedThread(const UntrackedThread&) = delete;
  UntrackedThread& operator=(const UntrackedThread&) = delete;
  ~UntrackedThread() { sync::this_thread().untracked = before_; }

 private:
  bool before_;
};

/// The place of an item in a Chain.
template <class T>
struct ChainLink {
  T* next = nullptr;
  T** at = nullptr;  // what points to this item
};

/// Items that are linked through their member `Link`.
template <class T, ChainLink<T> T::*Link>
struct Chain {
  T* first = nullptr;

  void push(T& item) noexcept {
    (item.*Link).next = first;
    (item.*Link).at = &first;
    if (first != nullptr) {
      (first->*Link).at = &(item.*Link).next;
    }
    first = &item;
  }
  static void remove(T& item) noexcept {
    *(item.*Link).at = (item.*Link).next;
    if ((item.*Link).next != nullptr) {
      ((item.*Link).next->*Link).at = (item.*Link).at;
    }
  }
};

/// A lock that a thread holds, and where it was taken.
struct HeldLock {
  LockNode* node = nullptr;
  std::uint64_t thread = 0;
  Hold hold = Hold::exclusive;
  bool waited = false;  // with no deadline
  CallStack taken;
  ChainLink<HeldLock> of_thread;  // those whose threads share a bucket
  ChainLink<HeldLock> of_lock;
};

struct LockEdge {
  LockNode* from = nullptr;
  LockNode* to = nullptr;
  LockOrder order;
  ChainLink<LockEdge> out;
  ChainLink<LockEdge> in;
};

/// What is known of one lock. Nodes are used again and never freed, so that a stale pointer to one is harmless.
class LockNode {
 public:
  LockLabel label;
  const LockSlot* owner = nullptr;  // null: the node is free
  bool told_again = false;          // that a thread waited for it while it held it
  Chain<LockEdge, &LockEdge::out> out;
  Chain<LockEdge, &LockEdge::in> in;
  std::size_t outs = 0;
  std::size_t ins = 0;
  Chain<HeldLock, &HeldLock::of_lock> held;
  LockNode* next_free = nullptr;
  // During a search: its number, how the node was reached, and what is looked at next.
  std::uint64_t search = 0;
  LockEdge* reached_by = nullptr;
  LockNode* next_reached = nullptr;
};

/// One for the whole process, guarded by one lock of its own, which is no scheduling point of the explorer. That makes
/// threads synchronize that otherwise would not: look for data races in a build without CONC_DEBUG.
///
/// Nothing here throws or fails: where memory is short, something goes unnoticed. Memory comes from malloc, since a
/// replaced operator new may take locks of conc; stacks are captured and reports are written outside the lock.
class LockGraph {
 public:
  constexpr LockGraph() noexcept = default;

  /// Whoever forks holds the lock of the graph meanwhile: otherwise a thread that does not exist in the child might hold it
  /// there for ever.
  static int survive_forks() noexcept;

  /// @param certain   the thread will wait even if it holds the lock already
  void waits(LockSlot& slot, const void* lock, Hold hold, bool certain) noexcept {
    const UntrackedThread untracked;
    const std::uint64_t me = sync::this_thread_id();
    if (!tells_news(slot, lock, me, certain)) {
      return;
    }
    CallStack here;
    here.capture();
    while (LockCircle* const circle = next_circle(slot, lock, me, hold, here)) {
      report(*circle);
      std::free(circle);
    }
  }

  /// @param waited   there was a call of waits(), so it is known that the lock comes after all that the thread holds
  void took(LockSlot& slot, const void* lock, Hold hold, bool waited) noexcept {
    const UntrackedThread untracked;
    watch_end_of_thread();
    auto* const held = make<HeldLock>();
    if (held == nullptr) {
      return;
    }
    held->thread = sync::this_thread_id();
    held->hold = hold;
    held->waited = waited;
    held->taken.capture();
    const Guard guard{*this};
    held->node = node_of(slot, lock);
    if (held->node == nullptr) {
      std::free(held);
      return;
    }
    if (hold == Hold::exclusive) {
      // Whoever held it before has let go, also where that was not seen: a release by another thread may come before
      // the news that the lock was taken.
      drop_all_held(*held->node);
    }
    bucket_of(held->thread).push(*held);
    held->node->held.push(*held);
  }

  void releases(const LockSlot& slot, Hold hold) noexcept {
    const UntrackedThread untracked;
    const std::uint64_t me = sync::this_thread_id();
    const Guard guard{*this};
    const LockNode* const node = known_node_of(slot);
    HeldLock* found = nullptr;
    for (HeldLock* held = node == nullptr ? nullptr : node->held.first; held != nullptr; held = held->of_lock.next) {
      if (held->hold == hold) {
        found = held;  // if it is not the caller's own, the oldest one
        if (held->thread == me) {
          break;
        }
      }
    }
    if (found != nullptr) {
      drop(*found);
    }
  }

  /// The main thread's end is that of the program: whatever it holds may be released by the destructors of statics.
  void watch_end_of_thread() noexcept {
    if (!sync::exploring() && sync::this_thread_id() != sync::main_thread_id) {
      static thread_local const EndOfThread end{*this};
    }
  }

  void name(LockSlot& slot, const void* lock, const char* name) noexcept {
    const Guard guard{*this};
    if (LockNode* const node = node_of(slot, lock)) {
      std::size_t length = 0;
      for (; length + 1 < sizeof node->label.name && name[length] != '\0'; ++length) {
        node->label.name[length] = name[length];
      }
      node->label.name[length] = '\0';
    }
  }

  void forget(const LockSlot& slot) noexcept {
    const Guard guard{*this};
    LockNode* const node = known_node_of(slot);
    if (node == nullptr) {
      return;
    }
    drop_all_held(*node);
    while (node->out.first != nullptr) {
      drop(*node->out.first);
    }
    while (node->in.first != nullptr) {
      drop(*node->in.first);
    }
    *node = LockNode{};
    node->next_free = std::exchange(free_nodes_, node);
  }

 private:
  // The lock of the graph: a futex mutex after Ulrich Drepper's "Futexes Are Tricky" (2011), native in every build.
  static constexpr std::uint32_t kHeld = 1;
  static constexpr std::uint32_t kWanted = 2;  // held, and somebody may be asleep

  void lock() noexcept {
    std::uint32_t free = 0;
    // acquire: pairs with the release in unlock().
    if (!word_.compare_exchange_strong(free, kHeld, mo::acquire, mo::relaxed)) {
      while (word_.exchange(kWanted, mo::acquire) != 0) {  // likewise
        sync::native::wait(word_, kWanted, sync::forever);
      }
    }
  }
  void unlock() noexcept {
    // release: pairs with the acquires in lock().
    if (word_.exchange(0, mo::release) == kWanted) {
      sync::native::wake(&word_, 1);
    }
  }

  struct Guard {
    explicit Guard(LockGraph& all) noexcept : graph{all} { graph.lock(); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard() { graph.unlock(); }
    LockGraph& graph;
  };

  template <class T>
  static T* make() noexcept {
    void* const memory = std::malloc(sizeof(T));
    return memory == nullptr ? nullptr : new (memory) T;
  }

  // What follows is called with the lock held, or takes it.

  using Bucket = Chain<HeldLock, &HeldLock::of_thread>;
  Bucket& bucket_of(std::uint64_t thread) noexcept { return held_[thread % kBuckets]; }

  static LockNode* known_node_of(const LockSlot& slot) noexcept {
    return slot.node != nullptr && slot.node->owner == &slot ? slot.node : nullptr;
  }

  /// @return null if there is no memory
  LockNode* node_of(LockSlot& slot, const void* lock) noexcept {
    LockNode* node = known_node_of(slot);
    if (node == nullptr) {
      node = free_nodes_ != nullptr ? std::exchange(free_nodes_, free_nodes_->next_free) : make<LockNode>();
      if (node != nullptr) {
        node->next_free = nullptr;
        node->owner = &slot;
        node->label.address = lock;
      }
      slot.node = node;
    }
    return node;
  }

  static void drop(HeldLock& held) noexcept {
    Bucket::remove(held);
    Chain<HeldLock, &HeldLock::of_lock>::remove(held);
    std::free(&held);
  }

  static void drop_all_held(LockNode& node) noexcept {
    while (node.held.first != nullptr) {
      drop(*node.held.first);
    }
  }

  static void drop(LockEdge& edge) noexcept {
    Chain<LockEdge, &LockEdge::out>::remove(edge);
    Chain<LockEdge, &LockEdge::in>::remove(edge);
    --edge.from->outs;
    --edge.to->ins;
    std::free(&edge);
  }

  /// Looks along the shorter of the two lists, so that a lock that is taken before thousands of others costs nothing.
  static bool is_known(const LockNode& from, const LockNode& to) noexcept {
    if (from.outs <= to.ins) {
      const LockEdge* edge = from.out.first;
      while (edge != nullptr && edge->to != &to) {
        edge = edge->out.next;
      }
      return edge != nullptr;
    }
    const LockEdge* edge = to.in.first;
    while (edge != nullptr && edge->from != &from) {
      edge = edge->in.next;
    }
    return edge != nullptr;
  }

  /// What the thread holds, in a loop: the next after `held`, or the first.
  HeldLock* next_of(std::uint64_t thread, const HeldLock* held = nullptr) noexcept {
    HeldLock* next = held == nullptr ? bucket_of(thread).first : held->of_thread.next;
    while (next != nullptr && next->thread != thread) {
      next = next->of_thread.next;
    }
    return next;
  }

  /// The one before `held` from which an edge is to be noted, after `edges` others. A thread may hold thousands of locks:
  /// beyond some, it is enough that each lock it has waited for comes after all that it held before.
  const HeldLock* next_to_note(std::uint64_t thread, const HeldLock& held, unsigned edges) noexcept {
    return edges >= kMostEdges && held.waited ? nullptr : next_of(thread, &held);
  }

  const HeldLock* find_held(std::uint64_t thread, const LockNode& node) noexcept {
    const HeldLock* held = next_of(thread);
    while (held != nullptr && held->node != &node) {
      held = next_of(thread, held);
    }
    return held;
  }

  /// Whether waiting for the lock says something that is not known yet.
  bool tells_news(LockSlot& slot, const void* lock, std::uint64_t me, bool certain) noexcept {
    const Guard guard{*this};
    const HeldLock* held = next_of(me);
    const LockNode* const to = held == nullptr ? nullptr : node_of(slot, lock);
    if (to == nullptr) {
      return false;
    }
    if (find_held(me, *to) != nullptr) {
      return certain && !to->told_again;
    }
    for (unsigned edges = 0; held != nullptr; held = next_to_note(me, *held, ++edges)) {
      if (!is_known(*held->node, *to)) {
        return true;
      }
    }
    return false;
  }

  /// Notes what is new about waiting for the lock, up to the first thing that is to be reported.
  /// @return null if there is nothing more; the caller frees what it gets.
  LockCircle* next_circle(LockSlot& slot, const void* lock, std::uint64_t me, Hold hold,
                          const CallStack& here) noexcept {
    const Guard guard{*this};
    LockNode* const to = node_of(slot, lock);
    if (to == nullptr) {
      return nullptr;
    }
    if (const HeldLock* const held = find_held(me, *to)) {  // it makes no edges: it will never get there
      LockCircle* const circle = std::exchange(to->told_again, true) ? nullptr : LockCircle::make(1);
      if (circle != nullptr) {
        circle->steps()[0] = {to->label, {me, held->hold, hold, held->taken, here}};
      }
      return circle;
    }
    unsigned edges = 0;
    for (const HeldLock* held = next_of(me); held != nullptr; held = next_to_note(me, *held, ++edges)) {
      auto* const edge = is_known(*held->node, *to) ? nullptr : make<LockEdge>();
      if (edge == nullptr) {
        continue;
      }
      edge->from = held->node;
      edge->to = to;
      edge->order = {me, held->hold, hold, held->taken, here};
      const std::size_t distance = distance_between(*to, *edge->from);
      edge->from->out.push(*edge);
      edge->to->in.push(*edge);
      ++edge->from->outs;
      ++edge->to->ins;
      LockCircle* const circle = distance == 0 ? nullptr : circle_of(*edge, distance);
      if (circle != nullptr) {
        return circle;
      }
    }
    return nullptr;
  }

  /// How many edges lead from `start` to `goal`, on the shortest way; 0 if none does. `reached_by` then shows the way back.
  std::size_t distance_between(LockNode& start, const LockNode& goal) noexcept {
    start.search = ++searches_;
    start.next_reached = nullptr;
    LockNode* last = &start;
    for (LockNode* node = &start; node != nullptr; node = node->next_reached) {
      for (LockEdge* edge = node->out.first; edge != nullptr; edge = edge->out.next) {
        LockNode* const next = edge->to;
        if (next->search == searches_) {
          continue;
        }
        next->search = searches_;
        next->reached_by = edge;
        next->next_reached = nullptr;
        last = last->next_reached = next;
        if (next == &goal) {
          std::size_t distance = 0;
          for (const LockNode* step = next; step != &start; step = step->reached_by->from) {
            ++distance;
          }
          return distance;
        }
      }
    }
    return 0;
  }

  /// The circle that `edge` closes, right after the search that has found it.
  static LockCircle* circle_of(const LockEdge& edge, std::size_t distance) noexcept {
    LockCircle* const circle = LockCircle::make(distance + 1);
    if (circle != nullptr) {
      circle->steps()[0] = {edge.from->label, edge.order};
      const LockNode* node = edge.from;
      for (std::size_t i = distance; i > 0; --i) {
        const LockEdge& step = *node->reached_by;
        circle->steps()[i] = {step.from->label, step.order};
        node = step.from;
      }
    }
    return circle;
  }

  // The end of a thread.

  struct EndOfThread {
    explicit EndOfThread(LockGraph& all) noexcept : graph{all} {}
    EndOfThread(const EndOfThread&) = delete;
    EndOfThread& operator=(const EndOfThread&) = delete;
    ~EndOfThread() { graph.thread_ends(thread); }
    LockGraph& graph;
    const std::uint64_t thread = sync::this_thread_id();
  };

  void thread_ends(std::uint64_t thread) noexcept {
    const UntrackedThread untracked;
    for (;;) {
      LockLabel label;
      CallStack taken;
      {
        const Guard guard{*this};
        HeldLock* const held = next_of(thread);
        if (held == nullptr) {
          return;
        }
        held->thread = kNobody;
        label = held->node->label;
        taken = held->taken;
      }
      report_still_held(thread, label, taken);
    }
  }

  static constexpr unsigned kMostEdges = 32;
  static constexpr std::uint64_t kNobody = 0;
  static constexpr std::size_t kBuckets = 256;

  sync::native::Atomic<std::uint32_t> word_{0};  // of its lock
  LockNode* free_nodes_ = nullptr;
  std::uint64_t searches_ = 0;
  Bucket held_[kBuckets];
};

[[gnu::visibility("default")]] inline constinit LockGraph lock_graph{};

inline int LockGraph::survive_forks() noexcept {
  constexpr auto unlock = [] { lock_graph.unlock(); };
  return pthread_atfork([] { lock_graph.lock(); }, unlock, unlock);
}
[[gnu::visibility("default")]] inline const int lock_graph_survives_forks = LockGraph::survive_forks();

}  // namespace conc::inline CONC_ABI::detail
