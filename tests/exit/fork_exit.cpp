// SPDX-License-Identifier: MIT
// [T11][FR10] A child that was forked while threads run, by the main thread or by one of conc's, ends normally: it does
// not wait for threads that it does not have. The parent still waits for them.
// stdout: the child of the main thread ends
// stdout: the static is destroyed
// stdout: the child of a thread ends
// stdout: the static is destroyed
// stdout: the parent ends
// stdout: the thread ends
// stdout: the static is destroyed
#include <sys/wait.h>
#include <unistd.h>

#include <conc/event.hpp>
#include <conc/thread.hpp>
#include <cstdlib>

#include "say.hpp"

// LeakSanitizer looks for the threads of the parent in the child, and says that it finds none.
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }

namespace {

conc::Event parent_ends;
const SaysGoodbye object{"the static"};

/// Forks a child that ends normally, and waits for it. Returns whether its status was 7.
bool child_ends(const char* words) {
  const pid_t child = ::fork();
  if (child == 0) {
    say(words);
    std::exit(7);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 7;
}

}  // namespace

int main() {
  conc::Thread{[] {
    parent_ends.wait();
    say("the thread ends");
  }}.start();
  bool right = child_ends("the child of the main thread ends");
  conc::Thread forking{[&right] { right = child_ends("the child of a thread ends") && right; }};
  forking.start();
  forking.join();
  say("the parent ends");
  (void)std::atexit([] { parent_ends.set(); });
  return right ? 0 : 1;
}
