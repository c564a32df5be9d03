// SPDX-License-Identifier: MIT
#include <conc/queue.hpp>
#include <conc/thread.hpp>

namespace {
conc::Queue<int> queue{2};
}

/// Returns how many threads this module sees alive, its own among them.
extern "C" [[gnu::visibility("default")]] int use_conc(int value) {
  int alive = 0;
  conc::Thread thread{[&alive, value] {
    queue.put(value);
    alive = static_cast<int>(conc::active_count());
  }};
  thread.start();
  thread.join();
  return queue.get() == value ? alive : -1;
}
