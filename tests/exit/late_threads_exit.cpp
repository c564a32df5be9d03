// SPDX-License-Identifier: MIT
// [T11] The exit also waits for threads that other threads start meanwhile.
// stdout: thread 1
// stdout: thread 2
// stdout: thread 3
// stdout: the static is destroyed
#include <conc/thread.hpp>
#include <string>

#include "background.hpp"
#include "say.hpp"

namespace {

const SaysGoodbye object{"the static"};

void next(int number) {
  if (!conc_test::eventually([] { return conc_test::sleeps(::getpid()); })) return;  // the main thread waits
  say("thread " + std::to_string(number));
  if (number < 3) conc::Thread{next, number + 1}.start();
}

}  // namespace

int main() { conc::Thread{next, 1}.start(); }
