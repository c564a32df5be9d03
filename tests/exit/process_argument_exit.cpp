// SPDX-License-Identifier: MIT
// The argument that makes a program a worker is no harm where somebody else gives it.
// stdout: 2
// stdout: the words are right
#include <unistd.h>

#include <conc/process.hpp>
#include <string>

#include "say.hpp"

int main(int argc, char** argv) {
  conc::process_init(argc, argv);
  const auto done = conc::subprocess::run({"/proc/self/exe", "--conc-worker=1"}, {.capture_output = true});
  say(std::to_string(done.returncode));
  say(done.err == "/proc/self/exe: --conc-worker=1 is for conc's own use\n" ? "the words are right" : done.err);
}
