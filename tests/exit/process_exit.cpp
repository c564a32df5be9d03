// SPDX-License-Identifier: MIT
// [P19][FW10] At exit the program tells processes that are daemons to end, and waits for the others, handles or not, before
// it destroys its statics.
// stdout: main ends
// stdout: the daemon has ended
// stdout: the process ends
// stdout: the static is destroyed
#include <poll.h>
#include <unistd.h>

#include <conc/process.hpp>

#include "say.hpp"

namespace {

const SaysGoodbye object{"the static"};

}  // namespace

int main(int argc, char** argv) {
  conc::process_init(argc, argv);
  const conc::Process daemon = [] {
    conc::Process made{{.daemon = true}, [] { ::pause(); }};
    made.start();
    return made;
  }();
  conc::Process{[](int daemon_pid) {
                  const conc::detail::Descriptor pidfd = conc::detail::pidfd_of(daemon_pid);
                  if (pidfd.is_open() && conc::detail::await_end(pidfd.number(), conc::detail::sync::forever)) {
                    say("the daemon has ended");
                  }
                  say("the process ends");
                },
                daemon.pid()}
      .start();
  say("main ends");
}
