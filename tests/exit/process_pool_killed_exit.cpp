// SPDX-License-Identifier: MIT
// [P14][FW9][FW10] A program that ends in the middle, in whatever way: its workers, busy as they are, what they have
// started, and the fork server are gone soon after.
// stdout: SIGKILL: nothing is left
// stdout: abort: nothing is left
// stdout: _exit: nothing is left
// stdout: quick_exit: nothing is left
// stdout: SIGKILL while nothing is done: nothing is left
// stdout: SIGKILL of a program with spawned workers: nothing is left
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string>

#include "gate.hpp"
#include "say.hpp"
#include "worker_tasks.hpp"

namespace {

using namespace std::chrono_literals;

/// A task that has started a process and is busy.
void be_busy(const std::string& sign) {
  if (::fork() == 0) conc_test::wait_for_ever();
  conc_test::hang(sign);
}

/// The program that ends.
[[noreturn]] void live(int argc, char** argv, conc::StartMethod method, bool busy, const conc_test::Folder& folder,
                       void (*end)()) {
  conc::process_init(argc, argv);
  auto* const pool = new conc::ProcessPoolExecutor{{.max_workers = 3, .start_method = method}};
  for (int i = 0; i < 3; ++i) {
    if (busy) {
      pool->detach(&be_busy, folder.file(i));
    } else {
      pool->detach(&conc_test::make_file, folder.file(i));
    }
  }
  if (!folder.fills(3)) std::abort();
  end();
  ::_exit(1);
}

/// Whether this process has no child any more, nor an orphan of one.
bool is_alone() {
  for (;;) {
    const pid_t ended = ::waitpid(-1, nullptr, WNOHANG | __WALL);
    if (ended == 0) return false;
    if (ended < 0 && errno != EINTR) return errno == ECHILD;
  }
}

}  // namespace

int main(int argc, char** argv) {
  // A worker that was spawned goes on in process_init().
  if (argc > 1 && std::string{argv[1]}.starts_with("--conc-worker=")) conc::process_init(argc, argv);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // orphans become this process's children
  const struct {
    const char* name;
    void (*end)();
    conc::StartMethod method = conc::StartMethod::fork_server;
    bool busy = true;
  } ways[] = {
      {"SIGKILL", [] { ::raise(SIGKILL); }},
      {"abort", [] { std::abort(); }},
      {"_exit", [] { ::_exit(0); }},
      {"quick_exit", [] { std::quick_exit(0); }},
      {"SIGKILL while nothing is done", [] { ::raise(SIGKILL); }, conc::StartMethod::fork_server, false},
      {"SIGKILL of a program with spawned workers", [] { ::raise(SIGKILL); }, conc::StartMethod::spawn},
  };
  for (const auto& way : ways) {
    const conc_test::Folder folder;
    const pid_t child = ::fork();
    if (child == 0) live(1, argv, way.method, way.busy, folder, way.end);
    ::waitpid(child, nullptr, 0);
    // A second is what is promised; ten are waited for, as the machine may be busy.
    if (conc_test::eventually(&is_alone, 10s)) say(std::string{way.name} + ": nothing is left");
  }
}
