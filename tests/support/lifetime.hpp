// SPDX-License-Identifier: MIT
/// @file
/// Rule G8: whoever was released may destroy the object, even while the call that released him is still returning.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/sync.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>

#include "support.hpp"

namespace conc_test {

/// In each round one thread makes an Object and prepares it, so that `wait(object, deadline)` has to wait; then it calls
/// `release(object)`. The other thread waits, looking or asleep, and deletes the object as soon as it may.
/// A sanitizer reports a release() that touches the object afterwards.
/// @return how many objects were deleted.
template <class Object, class Prepare, class Release, class Wait>
int destroy_while_releasing(int rounds, Prepare prepare, Release release, Wait wait) {
  using conc::detail::sync::pause;
  using conc::detail::sync::ThreadRecord;
  std::atomic<Object*> next{nullptr};
  std::atomic<const ThreadRecord*> waiter{nullptr};
  std::atomic<int> deleted{0};
  run_threads(2, [&](std::size_t thread) {
    if (thread == 1) waiter = &conc::detail::sync::this_thread();
    for (int round = 1; round <= rounds; ++round) {
      if (thread == 0) {
        auto* const object = new Object;
        prepare(*object);
        next = object;
        if (round % 3 == 0) {
          while (waiter == nullptr || waiter.load()->waits_for != object) std::this_thread::yield();
        } else {
          for (int i = 0; i < round % 64 * 16; ++i) pause();
        }
        release(*object);
        while (deleted != round) std::this_thread::yield();
      } else {
        Object* object = nullptr;
        while ((object = next.exchange(nullptr)) == nullptr) std::this_thread::yield();
        if (round % 3 == 1) {
          while (!wait(*object, std::chrono::seconds{0})) pause();
        } else {
          wait(*object, conc::never);
        }
        delete object;
        deleted = round;
      }
    }
  });
  return deleted;
}

}  // namespace conc_test
