// SPDX-License-Identifier: MIT
// [X11][FR9] The exit waits for tasks of a pool that still run, for what is queued behind them, for a pool that was
// dropped by its own task, and for groups and claims inside.
// stdout: main ends
// stdout: a task ends
// stdout: its group is done: 10
// stdout: what was queued: 5
// stdout: the dropped pool ends
// stdout: the static is destroyed
#include <atomic>
#include <conc/event.hpp>
#include <conc/task_group.hpp>
#include <conc/thread_pool.hpp>
#include <cstdlib>
#include <memory>
#include <string>

#include "background.hpp"
#include "say.hpp"

namespace {

conc::Event exiting;
conc::Event dropped_by_main;
conc::Event dropped_goes;
const SaysGoodbye object{"the static"};

}  // namespace

int main() {
  static auto* const pool = new conc::ThreadPoolExecutor{1};
  auto dropped = std::make_shared<conc::ThreadPoolExecutor>(1);
  dropped->detach([mine = dropped]() mutable {
    dropped_by_main.wait();
    mine.reset();
    dropped_goes.wait();
    say("the dropped pool ends");
  });
  static auto* const queued = new conc::Future<int>{};
  pool->detach([] {
    exiting.wait();
    if (!conc_test::eventually([] { return conc_test::sleeps(::getpid()); })) return;  // the main thread waits
    say("a task ends");
    std::atomic<int> ran{0};
    conc::TaskGroup group{*pool};
    for (int i = 0; i < 10; ++i) group.run([&ran] { ++ran; });
    group.wait();
    say("its group is done: " + std::to_string(ran));
    say("what was queued: " + std::to_string(queued->result()));  // it claims it
    dropped_goes.set();
  });
  *queued = pool->submit([] { return 5; });
  dropped.reset();
  dropped_by_main.set();
  (void)std::atexit([] { exiting.set(); });
  say("main ends");
}
