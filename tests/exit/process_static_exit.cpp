// SPDX-License-Identifier: MIT
// A static object may have a process, before main. It is made again where the program is executed to be a worker, and is
// told there that this is no time for it.
// stdout: a process of the static
// stdout: the static: 3
// stdout: the static: a worker that is being started cannot start workers: make pools in main, after process_init()
// stdout: a spawned process
// stdout: main ends
#include <conc/process.hpp>
#include <string>

#include "say.hpp"

namespace {

struct Early {
  Early() {
    conc::Process process{[] {
      say("a process of the static");
      ::_exit(3);
    }};
    try {
      process.start();
      process.join();
      say("the static: " + std::to_string(process.exitcode().value_or(-1)));
    } catch (const conc::UsageError& error) {
      say(std::string{"the static: "} + error.what());
    }
  }
};
const Early early;

}  // namespace

int main(int argc, char** argv) {
  conc::process_init(argc, argv);
  conc::Process spawned{{.start_method = conc::StartMethod::spawn}, [] { say("a spawned process"); }};
  spawned.start();
  spawned.join();
  say("main ends");
}
