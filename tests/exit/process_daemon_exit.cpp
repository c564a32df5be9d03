// SPDX-License-Identifier: MIT
// [P19][FW10] A daemon that does not care for SIGTERM does not hold up the exit.
// stdout: the daemon does not end
// stdout: main ends
// stdout: the static is destroyed
#include <signal.h>
#include <unistd.h>

#include <conc/process.hpp>

#include "say.hpp"

namespace {

const SaysGoodbye object{"the static"};

}  // namespace

int main(int argc, char** argv) {
  conc::process_init(argc, argv);
  int ends[2];
  if (::pipe(ends) != 0 || ::dup2(ends[1], STDERR_FILENO) < 0) return 1;
  conc::Process daemon{{.daemon = true}, [] {
                         ::signal(SIGTERM, SIG_IGN);
                         say("the daemon does not end");
                         (void)!::write(STDERR_FILENO, "", 1);
                         for (;;) ::pause();
                       }};
  daemon.start();
  char byte = 0;
  if (::read(ends[0], &byte, 1) != 1) return 2;
  say("main ends");
}
