// SPDX-License-Identifier: MIT
/// @file
/// WaitGraph: which tasks wait for which futures, to notice waits that would never end.
#pragma once

#include <conc/error.hpp>
#include <conc/lock.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace conc::inline CONC_ABI::detail {

class FutureCore;

/// For reports: what the task would call.
std::string name_of(const FutureCore& task);
/// The number of the executor or the event loop that runs the task.
std::uint32_t home_of(const FutureCore& task) noexcept;

/// A task that a thread is running now. `outer` is the one that waits for it on the same stack, or on the stack that
/// this one continues. Or an event loop that a thread runs: all of its coroutines have their steps there.
struct TaskFrame {
  [[nodiscard]] bool runs(const FutureCore& other) const noexcept {
    return task == &other || (loop != 0 && loop == home_of(other));
  }

  TaskFrame* outer;
  FutureCore* task;
  unsigned depth;          // of tasks on this stack
  std::uint32_t loop = 0;  // the number of the event loop; else 0
};

/// Which tasks wait for which futures, without a deadline: a wait that counts on itself alone would never end.
class WaitGraph {
 public:
  /// One wait of the thread that runs `frame`, for as long as it lives: for any one of `count` futures (null: not for that).
  struct Edge {
    Edge(WaitGraph& all, TaskFrame& innermost, FutureCore* const* futures, std::size_t n, const char* operation)
        : graph{all}, frame{innermost}, awaited{futures}, count{n} {
      graph.add(*this, operation);
    }
    Edge(const Edge&) = delete;
    Edge& operator=(const Edge&) = delete;
    ~Edge() { graph.remove(*this); }

    [[nodiscard]] bool waits_inside(const FutureCore& task) const noexcept {
      const TaskFrame* inner = &frame;
      while (inner != nullptr && !inner->runs(task)) {
        inner = inner->outer;
      }
      return inner != nullptr;
    }

    /// The first of the futures.
    [[nodiscard]] const FutureCore& target() const noexcept {
      FutureCore* const* future = awaited;
      while (*future == nullptr) {
        ++future;
      }
      return **future;
    }

    WaitGraph& graph;
    TaskFrame& frame;
    FutureCore* const* const awaited;
    const std::size_t count;
    Edge* previous = nullptr;
    Edge* next = nullptr;
    Edge* next_reached = nullptr;  // during a search
    bool reached = false;          // likewise
  };

  constexpr WaitGraph() noexcept = default;

 private:
  /// @throws DeadlockError if the wait would never end; then `edge` is not there.
  void add(Edge& edge, const char* operation);
  void remove(Edge& edge) noexcept {
    const ScopedLock guard{lock_};
    unlink(edge);
  }

  // With the lock held.
  void unlink(Edge& edge) noexcept {
    (edge.previous != nullptr ? edge.previous->next : first_) = edge.next;
    if (edge.next != nullptr) {
      edge.next->previous = edge.previous;
    }
  }
  /// Whether a future that nobody waits inside of is within reach of `start`.
  bool can_end(Edge& start) noexcept;
  Edge* wait_inside(const FutureCore& task) const noexcept;
  /// The names of tasks that wait for each other in a circle, which `start` leads into.
  std::string circle(const Edge& start) const;

  Lock lock_;
  Edge* first_ = nullptr;
};

[[gnu::visibility("default")]] inline constinit WaitGraph wait_graph{};

inline void WaitGraph::add(Edge& edge, const char* operation) {
  const ScopedLock guard{lock_};
  edge.next = first_;
  if (first_ != nullptr) {
    first_->previous = &edge;
  }
  first_ = &edge;
  if (can_end(edge)) {
    return;
  }
  struct Unlink {
    WaitGraph& graph;
    Edge& edge;
    ~Unlink() { graph.unlink(edge); }
  };
  const Unlink unlink_anyway{*this, edge};
  throw DeadlockError{std::string{operation} + ": the wait would never end: " + circle(edge)};
}

inline bool WaitGraph::can_end(Edge& start) noexcept {
  Edge* reached = &start;  // a list that grows at its end
  Edge* last = &start;
  start.reached = true;
  bool found = false;
  for (const Edge* edge = reached; edge != nullptr && !found; edge = edge->next_reached) {
    for (std::size_t i = 0; i < edge->count && !found; ++i) {
      if (edge->awaited[i] == nullptr) {
        continue;
      }
      Edge* const next = wait_inside(*edge->awaited[i]);
      found = next == nullptr;
      if (!found && !next->reached) {
        next->reached = true;
        last = last->next_reached = next;
      }
    }
  }
  while (reached != nullptr) {
    reached->reached = false;
    reached = std::exchange(reached->next_reached, nullptr);
  }
  return found;
}

inline WaitGraph::Edge* WaitGraph::wait_inside(const FutureCore& task) const noexcept {
  Edge* edge = first_;
  while (edge != nullptr && !edge->waits_inside(task)) {
    edge = edge->next;
  }
  return edge;
}

inline std::string WaitGraph::circle(const Edge& start) const {
  // Where every wait counts on others, following one of its futures each time ends in a circle, at the latest after as
  // many steps as there are waits. The new one, which closes it, is part of it unless it waits for several.
  const Edge* begin = &start;
  for (const Edge* step = first_; step != nullptr; step = step->next) {
    begin = wait_inside(begin->target());
    if (begin == &start) {
      break;
    }
  }
  const FutureCore* closing = &begin->target();
  for (const Edge* edge = wait_inside(*closing); edge != begin; edge = wait_inside(*closing)) {
    closing = &edge->target();
  }
  const std::string link = " waits for ";
  // `task`, and the tasks inside it on the same stack.
  const auto names = [&link](const TaskFrame& innermost, const FutureCore& task) {
    std::string text;
    for (const TaskFrame* frame = &innermost; frame != nullptr; frame = frame->outer) {
      if (frame->task != nullptr || frame->loop != 0) {
        const std::string name =
            frame->task != nullptr ? name_of(*frame->task) : "the event loop that runs " + name_of(task);
        text.insert(0, name + (text.empty() ? "" : link));
      }
      if (frame->runs(task)) {
        break;
      }
    }
    return text;
  };
  std::string text = names(begin->frame, *closing);
  for (const FutureCore* awaited = &begin->target(); awaited != closing;) {
    const Edge* const next = wait_inside(*awaited);
    text += link + names(next->frame, *awaited);
    awaited = &next->target();
  }
  return text + link + name_of(*closing);
}

}  // namespace conc::inline CONC_ABI::detail
