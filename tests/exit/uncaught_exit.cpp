// SPDX-License-Identifier: MIT
// [T10] An exception that leaves the target of a thread is printed, and the program goes on; also while it ends.
// stdout: main ends
// stdout: the thread fails
// stderr: Exception in thread failing: std::runtime_error: on the way out
#include <conc/event.hpp>
#include <conc/thread.hpp>
#include <cstdlib>
#include <stdexcept>

#include "background.hpp"
#include "say.hpp"

namespace {
conc::Event exiting;
}  // namespace

int main() {
  conc::Thread{{.name = "failing"},
               [] {
                 exiting.wait();
                 if (!conc_test::eventually([] { return conc_test::sleeps(::getpid()); }))
                   return;  // the main thread waits
                 say("the thread fails");
                 throw std::runtime_error{"on the way out"};
               }}
      .start();
  (void)std::atexit([] { exiting.set(); });
  say("main ends");
}
