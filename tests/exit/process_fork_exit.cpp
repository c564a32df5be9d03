// SPDX-License-Identifier: MIT
// [FR10][P18] A forked child that ends normally neither waits for the processes of its parent nor ends them.
// stdout: the child ends
// stdout: the static is destroyed
// stdout: both run
// stdout: the static is destroyed
#include <sys/wait.h>
#include <unistd.h>

#include <conc/process.hpp>
#include <cstdlib>

#include "say.hpp"

// LeakSanitizer looks for threads by their process, and says that it finds none in the child.
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }

namespace {

const SaysGoodbye object{"the static"};

}  // namespace

int main(int argc, char** argv) {
  conc::process_init(argc, argv);
  conc::Process daemon{{.daemon = true}, [] { ::pause(); }};
  conc::Process process{[] { ::pause(); }};
  daemon.start();
  process.start();
  const pid_t child = ::fork();
  if (child == 0) {
    say("the child ends");
    std::exit(7);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 7) return 1;
  if (daemon.is_alive() && process.is_alive()) say("both run");
  process.kill();
}
