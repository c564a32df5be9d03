// SPDX-License-Identifier: MIT
// [P17] Where process_init() finds several threads there is no fork server, until there is one thread again. The program
// can be executed once more all the same.
// stdout: fork server: no fork server: call conc::process_init(argc, argv) first in main
// stdout: spawn: 3
// stdout: fork server: 3
#include <conc/event.hpp>
#include <conc/process.hpp>
#include <conc/thread.hpp>
#include <string>

#include "say.hpp"

namespace {

void run(const char* name, conc::StartMethod method) {
  conc::Process process{{.start_method = method}, [] { ::_exit(3); }};
  try {
    process.start();
    process.join();
    say(std::string{name} + ": " + std::to_string(process.exitcode().value_or(-1)));
  } catch (const conc::UsageError& error) {
    const std::string what = error.what();
    say(std::string{name} + ": " + what.substr(0, what.find(';')));
  }
}

}  // namespace

int main(int argc, char** argv) {
  conc::Event over;
  conc::Thread thread{[&over] { over.wait(); }};
  thread.start();
  conc::process_init(argc, argv);
  run("fork server", conc::StartMethod::fork_server);
  run("spawn", conc::StartMethod::spawn);
  over.set();
  thread.join();
  run("fork server", conc::StartMethod::fork_server);
}
