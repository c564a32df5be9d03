// SPDX-License-Identifier: MIT
/// @file
/// What the LockGraph reports: circles of locks, with the calls that took them; as data and as text.
#pragma once

#include <conc/detail/backtrace.hpp>
#include <conc/detail/hold.hpp>
#include <conc/detail/sync.hpp>
#include <conc/error.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>

namespace conc::inline CONC_ABI::detail {

struct CallStack {
  static constexpr int kDepth = 24;
  [[gnu::noinline]] void capture() noexcept { count = note_calls(frames, kDepth); }
  void* frames[kDepth];
  int count = 0;
};

/// A lock, as reports name it.
struct LockLabel {
  const void* address = nullptr;
  char name[40] = {};
};

/// How a thread came to wait for one lock while it held another.
struct LockOrder {
  std::uint64_t thread = 0;
  Hold held = Hold::exclusive;
  Hold wanted = Hold::exclusive;
  CallStack taken;
  CallStack wants;
};

/// Locks that are taken in orders that can deadlock: each is held by somebody who waits for the next, the last one by
/// somebody who waits for the first. Of length one: a thread waits for a lock that it holds.
struct LockCircle {
  struct Step {
    LockLabel held;
    LockOrder order;
  };
  /// @return null if there is no memory; the caller frees what it gets.
  static LockCircle* make(std::size_t length) noexcept {
    void* const memory = std::malloc(sizeof(LockCircle) + length * sizeof(Step));
    if (memory == nullptr) {
      return nullptr;
    }
    auto* const circle = new (memory) LockCircle{length};
    for (std::size_t i = 0; i < length; ++i) {
      new (circle->steps() + i) Step;
    }
    return circle;
  }

  std::size_t length;
  Step* steps() noexcept { return reinterpret_cast<Step*>(this + 1); }
  static_assert(alignof(Step) <= sizeof(std::size_t));
};

inline std::string describe(const LockLabel& label) {
  char address[32];
  std::snprintf(address, sizeof address, "%p", label.address);
  std::string text = address;
  if (label.name[0] != '\0') {
    text.append(" (").append(label.name).append(")");
  }
  return text;
}

inline std::string thread_name(std::uint64_t thread) {
  return thread == sync::main_thread_id ? "The main thread" : "Thread " + std::to_string(thread);
}

inline std::string describe(const CallStack& stack) { return describe_frames(stack.frames, stack.count); }

inline const char* how(Hold hold) noexcept { return hold == Hold::shared ? " shared" : ""; }

inline std::string describe(LockCircle& circle) {
  const LockCircle::Step* const steps = circle.steps();
  std::string text;
  if (circle.length == 1) {
    const LockOrder& order = steps[0].order;
    text = thread_name(order.thread) + " waits for lock " + describe(steps[0].held) + ", which it holds itself.\n";
    text += std::string{"  It took it"} + how(order.held) + ":\n" + describe(order.taken);
    return text + "  It waits for it" + how(order.wanted) + ":\n" + describe(order.wants);
  }
  text = std::to_string(circle.length) + " locks are taken in orders that can deadlock:";
  for (std::size_t i = 0; i < circle.length; ++i) {
    text += (i == 0 ? " " : " -> ") + describe(steps[i].held);
  }
  text += " -> " + describe(steps[0].held) + "\n";
  for (std::size_t i = 0; i < circle.length; ++i) {
    const LockOrder& order = steps[i].order;
    const LockLabel& wanted = steps[(i + 1) % circle.length].held;
    text += "  " + thread_name(order.thread) + " took " + describe(steps[i].held) + how(order.held) + ":\n" +
            describe(order.taken);
    text +=
        "  and waited for " + describe(wanted) + how(order.wanted) + " while it held that:\n" + describe(order.wants);
  }
  return text;
}

inline void report(debug::LockProblem problem, const std::string& text) {
  report_lock_problem({problem, text.c_str()});
}

inline void report(LockCircle& circle) noexcept {
  try {
    report(circle.length == 1 ? debug::LockProblem::acquired_again : debug::LockProblem::order, describe(circle));
  } catch (...) {  // no memory for the text
  }
}

/// Of a thread that ends.
inline void report_still_held(std::uint64_t thread, const LockLabel& label, const CallStack& taken) noexcept {
  try {
    report(debug::LockProblem::held_at_thread_end, thread_name(thread) + " ends and still holds lock " +
                                                       describe(label) + ".\n  It took it:\n" + describe(taken));
  } catch (...) {  // no memory for the text
  }
}

}  // namespace conc::inline CONC_ABI::detail
