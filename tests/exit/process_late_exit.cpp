// SPDX-License-Identifier: MIT
// [P17] Without process_init() the fork server is started with the first process, while there is one thread; later there
// may be many. Executing the program once more needs process_init().
// stdout: several threads: no fork server: call conc::process_init(argc, argv) first in main
// stdout: spawn: StartMethod::spawn: call conc::process_init(argc, argv) first in main: the new process runs main, too
// stdout: a process runs
// stdout: one thread: 3
// stdout: several threads again: 3
#include <conc/event.hpp>
#include <conc/process.hpp>
#include <conc/thread.hpp>
#include <string>

#include "say.hpp"

namespace {

std::string run(conc::StartMethod method) {
  conc::Process process{{.start_method = method}, [] { ::_exit(3); }};
  try {
    process.start();
  } catch (const conc::UsageError& error) {
    const std::string what = error.what();
    return what.substr(0, what.find(';'));
  }
  process.join();
  return std::to_string(process.exitcode().value_or(-1));
}

}  // namespace

int main() {
  conc::Event over;
  conc::Thread thread{[&over] { over.wait(); }};
  thread.start();
  say("several threads: " + run(conc::StartMethod::fork_server));
  say("spawn: " + run(conc::StartMethod::spawn));
  over.set();
  thread.join();
  conc::Process process{[] { say("a process runs"); }};
  process.start();
  process.join();
  say("one thread: " + run(conc::StartMethod::fork_server));
  conc::Event over_again;
  conc::Thread another{[&over_again] { over_again.wait(); }};
  another.start();
  say("several threads again: " + run(conc::StartMethod::fork_server));
  over_again.set();
  another.join();
}
