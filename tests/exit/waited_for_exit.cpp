// SPDX-License-Identifier: MIT
// [FR8][G8] Destroying a queue on which a thread waits is caught by an assertion.
// stderr: destroyed while a thread waits on it
// status: -6
#include <conc/queue.hpp>
#include <conc/thread.hpp>
#include <optional>

#include "background.hpp"

int main() {
  static std::optional<conc::Queue<int>> queue{std::in_place};
  conc::Thread waiter{{.daemon = true}, [] { (void)queue->get(); }};
  waiter.start();
  if (!conc_test::eventually([&] { return conc_test::sleeps(static_cast<pid_t>(waiter.native_id())); })) return 1;
  queue.reset();
}
