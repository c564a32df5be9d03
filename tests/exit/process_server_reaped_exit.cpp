// SPDX-License-Identifier: MIT
// [P16][FW8][FW11] A program that exits leaves no fork server to process 1, which may not wait for it: whatever the program
// did, and also if the server is stopped or gone. A forked child that exits does not end its parent's.
// stdout: after process_init(): nothing is left
// stdout: after pools and processes: nothing is left
// stdout: with a static pool: nothing is left
// stdout: with pools and processes in workers: nothing is left
// stdout: with a server that is stopped: nothing is left
// stdout: with a server that was killed: nothing is left
// stdout: with a process that the exit starts: nothing is left
// stdout: the server of the parent works
// stdout: after children have exited: nothing is left
// stdout: while a thread waits for a server that is stopped: the program ends
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <conc/process.hpp>
#include <conc/process_pool.hpp>
#include <conc/thread.hpp>
#include <cstdlib>
#include <fstream>
#include <string>

#include "gate.hpp"
#include "say.hpp"
#include "worker_tasks.hpp"

// LeakSanitizer looks for threads by their process, and says that it finds none in a child.
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }

namespace {

pid_t server() { return conc::detail::fork_server.pid(); }

void use_pool() {
  conc::ProcessPoolExecutor pool{2};
  for (int i = 0; i < 10; ++i) pool.detach(&conc_test::twice, i);
  if (pool.submit(&conc_test::twice, 4).result() != 8) std::abort();
}

void run_process(bool daemon) {
  conc::Process process{{.daemon = daemon}, [] {}};
  process.start();
  if (!daemon) process.join();
}

void use_static_pool() {
  static conc::ProcessPoolExecutor pool{2};
  static auto* const leaked = new conc::ProcessPoolExecutor{1};
  pool.detach(&conc_test::twice, 1);
  leaked->detach(&conc_test::twice, 1);
}

void use_both() {
  use_pool();
  run_process(false);
  run_process(true);
}

void use_both_in_workers() {
  const auto use = [] {
    use_pool();
    run_process(false);
  };
  conc::ProcessPoolExecutor pool{2};
  for (int i = 0; i < 4; ++i) pool.submit(use).result();
  conc::Process process{use};
  process.start();
  process.join();
  if (process.exitcode() != 0) std::abort();
}

/// Ends as a process of its own that knows nothing of the other's functions for fork() and vfork().
void have_children_that_exit() {
  for (pid_t (*const make)() : {&::fork, &::_Fork}) {
    const pid_t child = make();
    if (child == 0) std::exit(0);
    ::waitpid(child, nullptr, 0);
    use_pool();
  }
  say("the server of the parent works");
}

/// Runs a program that does this and exits. @return its process number
pid_t run(void (*act)()) {
  const pid_t program = ::fork();
  if (program == 0) {
    char name[] = "program";
    char* arguments[] = {name, nullptr};
    conc::process_init(1, arguments);
    act();
    std::exit(0);
  }
  int status = 0;
  ::waitpid(program, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? program : 0;
}

/// Whether this process has no child, nor an orphan of one, not even one that is about to end.
bool is_alone() { return ::waitpid(-1, nullptr, WNOHANG | __WALL) < 0 && errno == ECHILD; }

}  // namespace

int main() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // as process 1 does, it gets what the programs leave
  const struct {
    const char* name;
    void (*act)();
  } programs[] = {
      {"after process_init()", [] {}},
      {"after pools and processes", &use_both},
      {"with a static pool", &use_static_pool},
      {"with pools and processes in workers", &use_both_in_workers},
      {"with a server that is stopped",
       [] {
         use_pool();
         ::kill(server(), SIGSTOP);
       }},
      {"with a server that was killed",
       [] {
         use_pool();
         ::kill(server(), SIGKILL);
       }},
      {"with a process that the exit starts", [] { (void)std::atexit(&use_both); }},
      {"after children have exited", &have_children_that_exit},
  };
  for (const auto& program : programs) {
    if (run(program.act) != 0 && is_alone()) say(std::string{program.name} + ": nothing is left");
  }
  // Nobody may take the lock from that thread: the server is left to end by itself.
  const pid_t program = run([] {
    conc_test::Gate never;
    ::kill(server(), SIGSTOP);
    static conc::Thread starter{{.daemon = true}, [] { conc::Process{[] {}}.start(); }};
    starter.start();
    const auto waits = [] {
      std::ifstream file{"/proc/self/task/" + std::to_string(starter.native_id()) + "/syscall"};
      std::string text;
      std::getline(file, text);
      return text.starts_with(std::to_string(SYS_recvfrom) + " ");
    };
    if (!conc_test::eventually(waits)) std::abort();
  });
  if (program != 0) say("while a thread waits for a server that is stopped: the program ends");
  siginfo_t left{};
  while (::waitid(P_ALL, 0, &left, WSTOPPED | WNOHANG | WNOWAIT | __WALL) == 0 && left.si_pid != 0) {
    ::kill(left.si_pid, SIGKILL);
    ::waitpid(left.si_pid, nullptr, __WALL);
  }
}
