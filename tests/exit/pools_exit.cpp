// SPDX-License-Identifier: MIT
// [FR9][X11] Pools of static storage, made before main and later, and pools that are never destroyed: the exit shuts them
// down, their tasks are run, and their workers are joined before the statics are destroyed that were complete when the
// first worker was started. A pool that is made later is destroyed earlier, and waits for its tasks.
// stdout: main ends
// stdout: the later pool is destroyed
// stdout: an exit handler runs
// stdout: the early pool ran 100, the leaked pool 100, the later pool 100
// stdout: submit to the early pool: UsageError
// stdout: submit to the leaked pool: UsageError
// stdout: an early static is destroyed
#include <atomic>
#include <conc/event.hpp>
#include <conc/thread_pool.hpp>
#include <cstdlib>
#include <string>

#include "background.hpp"
#include "say.hpp"

namespace {

conc::Event exiting;
constinit std::atomic<int> early_ran{0};
constinit std::atomic<int> leaked_ran{0};
constinit std::atomic<int> later_ran{0};

conc::ThreadPoolExecutor* leaked = nullptr;
const SaysGoodbye early_static{"an early static"};
conc::ThreadPoolExecutor early{2};

/// Destroyed before `early` is, but after the threads were joined.
struct Reports {
  ~Reports() {
    say("the early pool ran " + std::to_string(early_ran) + ", the leaked pool " + std::to_string(leaked_ran) +
        ", the later pool " + std::to_string(later_ran));
    say("submit to the early pool: " + conc_test::outcome([] { early.submit([] {}); }));
    say("submit to the leaked pool: " + conc_test::outcome([] { leaked->detach([] {}); }));
  }
};
const Reports reports;

/// A task first holds a worker until the exit, then there are some that nobody waits for.
void use(conc::ThreadPoolExecutor& pool, std::atomic<int>& ran, bool hold) {
  if (hold) pool.detach([] { exiting.wait(); });
  for (int i = 0; i < 50; ++i) {
    pool.detach([&pool, &ran] {
      ++ran;
      try {
        pool.detach([&ran] { ++ran; });
      } catch (const conc::UsageError&) {  // the exit has come
        ++ran;
      }
    });
  }
}

}  // namespace

int main() {
  leaked = new conc::ThreadPoolExecutor{1};
  use(*leaked, leaked_ran, true);
  use(early, early_ran, true);
  (void)std::atexit([] {
    say("an exit handler runs");
    exiting.set();
  });
  struct Later {
    conc::ThreadPoolExecutor pool{2};
    ~Later() {
      pool.shutdown();
      say("the later pool is destroyed");
    }
  };
  static Later later;
  use(later.pool, later_ran, false);
  say("main ends");
}
