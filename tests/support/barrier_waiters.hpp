// SPDX-License-Identifier: MIT
/// @file
/// What the tests of Barrier share: threads that wait at one, and a barrier whose action takes its time.
#pragma once

#include <conc/barrier.hpp>
#include <conc/event.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <deque>
#include <optional>
#include <string>

#include "background.hpp"
#include "support.hpp"

namespace conc_test {

/// How wait() of a barrier ends that is broken, or breaks meanwhile.
inline const std::string kBrokenBarrier = "Barrier::wait: the barrier is broken, or was reset";

/// How it ends for who gave up.
inline std::string late(int parties) {
  return "Barrier::wait: not all of the " + std::to_string(parties) + " parties came before the deadline";
}

/// How a wait() ended: "returned", or the text of what it threw.
inline std::string wait_at(conc::Barrier& barrier, conc::Deadline deadline = conc::never) {
  return outcome([&] { barrier.wait(deadline); });
}

/// Threads that wait at a barrier, all of them inside.
class Waiters {
 public:
  Waiters(conc::Barrier& barrier, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) threads_.emplace_back([&barrier] { barrier.wait(); });
    CHECK(eventually([&] { return barrier.n_waiting() == count; }));
  }
  /// Whether all of them end so.
  bool all(const std::string& end) {
    bool same = true;
    for (Background& thread : threads_) same = thread.join() == end && same;
    return same;
  }

 private:
  std::deque<Background> threads_;
};

/// An action that begins and then waits until it may end.
struct SlowAction {
  auto call() {
    return [this] {
      begun.set();
      may_end.wait();
    };
  }
  conc::Event begun;
  conc::Event may_end;
};

/// A barrier with two parties that runs its action, which lasts until end().
class Acting {
 public:
  Acting() {
    CHECK(eventually([this] { return barrier.n_waiting() == 1; }));
    last_.emplace([this] { barrier.wait(); });
    action_.begun.wait();
  }
  /// Lets the action end. @return how the wait() of both ended, the same for both
  std::string end() {
    action_.may_end.set();
    const std::string first = first_.join();
    const std::string last = last_->join();
    return first == last ? first : first + " | " + last;
  }

 private:
  SlowAction action_;

 public:
  conc::Barrier barrier{2, action_.call()};

 private:
  Background first_{[this] { barrier.wait(); }};
  std::optional<Background> last_;
};

}  // namespace conc_test
