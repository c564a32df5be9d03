// SPDX-License-Identifier: MIT
// [T11] A thread that calls std::exit is not waited for, though it is no daemon; the others are.
// stdout: the other thread ends
// stdout: the static is destroyed
// status: 3
#include <unistd.h>

#include <atomic>
#include <conc/event.hpp>
#include <conc/thread.hpp>
#include <cstdlib>

#include "background.hpp"
#include "say.hpp"

namespace {
conc::Event exiting;
std::atomic<pid_t> ender_id{0};
const SaysGoodbye object{"the static"};
}  // namespace

int main() {
  conc::Thread other{[] {
    exiting.wait();
    if (!conc_test::eventually([] { return conc_test::sleeps(ender_id.load()); })) return;  // it waits
    say("the other thread ends");
  }};
  other.start();
  conc::Thread ender{[] {
    ender_id.store(::gettid());
    (void)std::atexit([] { exiting.set(); });
    std::exit(3);
  }};
  ender.start();
  ender.join();  // does not return: the process ends
  say("the main thread goes on");
}
