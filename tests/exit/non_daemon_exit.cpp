// SPDX-License-Identifier: MIT
// [T11] The exit waits for a thread that is no daemon, before it destroys the statics that were complete when the first
// thread was started. Nobody joins the thread or keeps its handle.
// stdout: main ends
// stdout: a later static is destroyed
// stdout: an exit handler runs
// stdout: the thread ends
// stdout: an early static is destroyed
#include <conc/event.hpp>
#include <conc/thread.hpp>
#include <cstdlib>

#include "background.hpp"
#include "say.hpp"

namespace {
conc::Event exiting;
const SaysGoodbye early{"an early static"};
}  // namespace

int main() {
  conc::Thread{[] {
    exiting.wait();
    if (!conc_test::eventually([] { return conc_test::sleeps(::getpid()); })) return;  // the main thread waits
    say("the thread ends");
  }}.start();
  if (std::atexit([] {
        say("an exit handler runs");
        exiting.set();
      }) != 0) {
    return 1;
  }
  static const SaysGoodbye later{"a later static"};
  say("main ends");
}
