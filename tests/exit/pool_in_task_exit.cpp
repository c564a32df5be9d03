// SPDX-License-Identifier: MIT
// [X11][T11][FR9] A task calls std::exit: its own worker is not waited for, the other workers and what is queued for them
// are.
// stdout: another task ends
// stdout: the static is destroyed
// status: 3
#include <conc/event.hpp>
#include <conc/thread_pool.hpp>
#include <cstdlib>

#include "say.hpp"

namespace {
conc::Event exiting;
conc::Event other_runs;
const SaysGoodbye object{"the static"};
}  // namespace

int main() {
  auto* const pool = new conc::ThreadPoolExecutor{2};
  pool->detach([] {
    other_runs.set();
    exiting.wait();
    say("another task ends");
  });
  other_runs.wait();
  const conc::Future<void> ender = pool->submit([] {
    (void)std::atexit([] { exiting.set(); });
    std::exit(3);
  });
  ender.result();  // does not return: the process ends
  say("the main thread goes on");
}
