// SPDX-License-Identifier: MIT
// With CONC_DEBUG: locks with static storage are used after their destruction, by the destructor of an earlier static and
// by a daemon that never ends; orders among them are still seen.
// stdout: main ends
// stdout: reported after the end of main
#define CONC_DEBUG
#include <conc/event.hpp>
#include <conc/lock.hpp>
#include <conc/thread.hpp>

#include <cstdio>

namespace {

bool reported = false;

// Destroyed last: the locks below are gone by then. Their memory is not.
struct TakesLocksLate {
  ~TakesLocksLate();
} const takes_locks_late;

constinit conc::Lock first;
constinit conc::Lock second;
constinit conc::Lock daemons_lock;
constinit conc::Event daemon_runs;

TakesLocksLate::~TakesLocksLate() {
  conc::debug::set_lock_hook([](const conc::debug::LockReport&) { reported = true; });
  for (int round = 0; round < 2; ++round) {
    {
      const conc::ScopedLock outer{first};
      const conc::ScopedLock inner{second};
    }
    const conc::ScopedLock outer{second};
    const conc::ScopedLock inner{first};
  }
  if (reported) std::puts("reported after the end of main");
}

}  // namespace

int main() {
  {
    const conc::ScopedLock outer{first};
    const conc::ScopedLock inner{second};
  }
  conc::Thread{{.daemon = true},
               [] {
                 for (;;) {
                   const conc::ScopedLock guard{daemons_lock};
                   daemon_runs.set();
                 }
               }}
      .start();
  daemon_runs.wait();
  std::puts("main ends");
}
