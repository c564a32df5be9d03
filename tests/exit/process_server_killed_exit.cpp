// SPDX-License-Identifier: MIT
// [FW8] A program with several threads whose fork server was killed is told so each time, its processes are gone, and
// there is none left to wait for at exit.
// stdout: first: the fork server was killed by signal 9 (SIGKILL)
// stdout: then: the fork server has ended, and no other can be started while the program has several threads
// stdout: lost
// stdout: the static is destroyed
#include <signal.h>
#include <unistd.h>

#include <conc/event.hpp>
#include <conc/process.hpp>
#include <conc/thread.hpp>
#include <string>

#include "say.hpp"

namespace {

const SaysGoodbye object{"the static"};
conc::Event over;

/// Numbers differ from run to run.
std::string without(std::string text, const char* from, const char* to, const char* instead) {
  const std::size_t begin = text.find(from);
  const std::size_t end = text.find(to, begin);
  return begin == text.npos || end == text.npos ? text : text.replace(begin, end - begin, instead);
}

std::string words_of_start() {
  try {
    conc::Process{[] {}}.start();
    return "it was started";
  } catch (const conc::BrokenProcessPool& error) {
    return error.what();
  }
}

}  // namespace

int main(int argc, char** argv) {
  conc::process_init(argc, argv);
  conc::Thread thread{[] { over.wait(); }};
  thread.start();
  conc::Process process{[] { ::pause(); }};
  process.start();
  ::kill(conc::detail::fork_server.pid(), SIGKILL);
  say("first: " + without(words_of_start(), " (process", " was", ""));
  say("then: " + without(words_of_start(), "program has ", "threads", "program has several "));
  process.join();
  if (process.exitcode() == conc::subprocess::status_lost) say("lost");
  over.set();
}
