// SPDX-License-Identifier: MIT
// [FW8] The fork server is killed while a pool works: all tasks come to their ends, nothing hangs, no zombie is left, and
// later there is another server.
// stdout: break_pool: 2 of 2 running, 10 of 10 queued are broken; submit: broken
// stdout: break_pool: no child is left
// stdout: break_pool: the next pool works: 8
// stdout: respawn: 2 of 2 running, 10 of 10 queued are broken; submit: broken
// stdout: respawn: no child is left
// stdout: respawn: the next pool works: 8
// stdout: idle: 0 of 0 running, 10 of 10 queued are broken; submit: broken
// stdout: idle: no child is left
// stdout: idle: the next pool works: 8
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <string>
#include <vector>

#include "gate.hpp"
#include "say.hpp"
#include "worker_tasks.hpp"

namespace {

using conc_test::broken_by;
using Futures = std::vector<conc::Future<int>>;

std::string broken(const Futures& futures) {
  std::size_t count = 0;
  for (const auto& future : futures) {
    const std::string how = broken_by(future);
    if (how != "returned" && !conc_test::contains(how, "another exception")) {
      ++count;
    } else {
      say(how);
    }
  }
  return std::to_string(count) + " of " + std::to_string(futures.size());
}

bool is_alone() {
  for (;;) {
    const pid_t ended = ::waitpid(-1, nullptr, WNOHANG | __WALL);
    if (ended == 0) return false;
    if (ended < 0 && errno != EINTR) return errno == ECHILD;
  }
}

void lose_server(const std::string& name, conc::OnWorkerDeath policy, bool busy) {
  {
    const conc_test::Folder folder;
    conc::ProcessPoolExecutor pool{{.max_workers = 2, .on_worker_death = policy}};
    Futures running;
    for (int i = 0; busy && i < 2; ++i) running.push_back(pool.submit(&conc_test::hang, folder.file(i)));
    if (!folder.fills(running.size())) return;
    if (busy) {
      Futures queued;
      for (int i = 0; i < 10; ++i) queued.push_back(pool.submit(&conc_test::twice, i));
      ::kill(conc::detail::fork_server.pid(), SIGKILL);
      const std::string text = broken(running) + " running, " + broken(queued) + " queued are broken; submit: ";
      say(name + ": " + text +
          (broken_by(conc_test::submitted(pool, &conc_test::twice, 1)) != "returned" ? "broken" : "works"));
    } else {
      if (pool.submit(&conc_test::twice, 1).result() != 2) return;
      ::kill(conc::detail::fork_server.pid(), SIGKILL);
      if (!conc_test::eventually([&] { return pool.worker_pids().empty(); })) return;
      Futures queued;
      for (int i = 0; i < 10; ++i) queued.push_back(conc_test::submitted(pool, &conc_test::twice, i));
      const std::string text = broken(running) + " running, " + broken(queued) + " queued are broken; submit: ";
      say(name + ": " + text +
          (broken_by(conc_test::submitted(pool, &conc_test::twice, 1)) != "returned" ? "broken" : "works"));
    }
  }
  // The workers were children of the server; as orphans they are this process's now.
  if (conc_test::eventually(&is_alone)) say(name + ": no child is left");
  conc::ProcessPoolExecutor next{1};
  say(name + ": the next pool works: " + std::to_string(next.submit(&conc_test::twice, 4).result()));
}

}  // namespace

int main(int argc, char** argv) {
  conc::process_init(argc, argv);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  lose_server("break_pool", conc::OnWorkerDeath::break_pool, true);
  lose_server("respawn", conc::OnWorkerDeath::respawn, true);
  lose_server("idle", conc::OnWorkerDeath::respawn, false);
}
