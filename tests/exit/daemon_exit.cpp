// SPDX-License-Identifier: MIT
// [T7] The exit does not wait for daemons: neither for those that sleep in every kind of wait on objects that still
// exist, nor for one that goes on using conc while the statics are destroyed.
// stdout: main ends
// stdout: the static is destroyed
#include <conc/conc.hpp>
#include <cstdlib>

#include "background.hpp"
#include "say.hpp"

namespace {

/// Objects that are never destroyed.
struct World {
  conc::Queue<int> empty{1};
  conc::Queue<int> full{1};
  conc::Lock held;
  conc::RLock held_too;
  conc::Event clear;
  conc::Semaphore none{0};
  conc::Condition<> condition;
  conc::Thread sleeper{{.daemon = true}, [this] { clear.wait(); }};
};
World& world = *new World;

const SaysGoodbye object{"the static"};

template <class F>
void fall_asleep(F wait) {
  conc::Thread thread{{.daemon = true}, wait};
  thread.start();
  if (!conc_test::eventually([&] { return conc_test::sleeps(static_cast<pid_t>(thread.native_id())); })) std::abort();
}

void sleep_in_everything() {
  world.full.put(1);
  world.held.acquire();
  world.held_too.acquire();
  fall_asleep([] { (void)world.empty.get(); });
  fall_asleep([] { world.full.put(2); });
  fall_asleep([] { world.full.join(); });
  fall_asleep([] { world.held.acquire(); });
  fall_asleep([] { world.held_too.acquire(); });
  fall_asleep([] { world.clear.wait(); });
  fall_asleep([] { world.none.acquire(); });
  fall_asleep([] {
    conc::ScopedLock guard{world.condition};
    world.condition.wait();
  });
  world.sleeper.start();
  fall_asleep([] { world.sleeper.join(); });
}

}  // namespace

int main() {
  sleep_in_everything();
  conc::Event runs;
  conc::Thread{{.daemon = true},
               [&runs] {
                 runs.set();
                 for (;;) {
                   (void)conc::current_thread();
                   (void)conc::active_count();
                 }
               }}
      .start();
  runs.wait();
  say("main ends");
}
