// SPDX-License-Identifier: MIT
// [FW12] A pool whose user may have no more processes: without a worker its tasks fail with what the system said, and later
// it works again; with one that one does it all.
// stdout: fork_server: 3 of 3 tasks say that there is no process
// stdout: fork_server: 0 workers, 3 failed, 0 died
// stdout: fork_server: later it works: 8
// stdout: fork_server: one worker does it all: 30
// stdout: fork: 3 of 3 tasks say that there is no process
// stdout: fork: 0 workers, 3 failed, 0 died
// stdout: fork: later it works: 8
// stdout: fork: one worker does it all: 30
#include <sys/resource.h>
#include <unistd.h>

#include <conc/process_pool.hpp>
#include <cstdlib>
#include <string>
#include <system_error>
#include <vector>

#include "gate.hpp"
#include "say.hpp"
#include "worker_tasks.hpp"

namespace {

constexpr uid_t kUser = 65531;  // one that no other program has: what that runs would count

/// No process more for what this process, or another one, forks, as long as this lives.
class NoProcess {
 public:
  explicit NoProcess(pid_t process) : process_{process} {
    rlimit none{};
    if (::prlimit(process_, RLIMIT_NPROC, nullptr, &before_) != 0) std::abort();
    none.rlim_max = before_.rlim_max;
    if (::prlimit(process_, RLIMIT_NPROC, &none, nullptr) != 0) std::abort();
  }
  NoProcess(const NoProcess&) = delete;
  NoProcess& operator=(const NoProcess&) = delete;
  ~NoProcess() { ::prlimit(process_, RLIMIT_NPROC, &before_, nullptr); }

 private:
  pid_t process_;
  rlimit before_{};
};

bool fails_for_want_of_a_process(const conc::Future<int>& future) {
  try {
    future.result();
    return false;
  } catch (const std::system_error& error) {
    return error.code() == std::errc::resource_unavailable_try_again;
  }
}

void run(conc::StartMethod method, const std::string& name) {
  const pid_t forks = method == conc::StartMethod::fork_server ? conc::detail::fork_server.pid() : ::getpid();
  {
    conc::ProcessPoolExecutor pool{{.max_workers = 2, .max_tasks_per_child = 1, .start_method = method}};
    pool.submit(&conc_test::twice, 1).result();  // the pool's thread runs
    if (!conc_test::eventually([&] { return pool.worker_pids().empty(); })) return;
    {
      const NoProcess limit{forks};
      int failed = 0;
      for (int i = 0; i < 3; ++i) failed += fails_for_want_of_a_process(pool.submit(&conc_test::twice, i)) ? 1 : 0;
      say(name + ": " + std::to_string(failed) + " of 3 tasks say that there is no process");
    }
    const auto stats = pool.stats();
    say(name + ": " + std::to_string(stats.workers) + " workers, " + std::to_string(stats.failed) + " failed, " +
        std::to_string(stats.died) + " died");
    say(name + ": later it works: " + std::to_string(pool.submit(&conc_test::twice, 4).result()));
  }
  conc::ProcessPoolExecutor pool{{.max_workers = 2, .start_method = method}};
  conc_test::Gate gate;
  const auto held = pool.submit(&conc_test::hold, gate.path());
  if (!conc_test::eventually([&] { return held.running(); })) return;
  const NoProcess limit{forks};
  std::vector<conc::Future<int>> others;
  for (int i = 0; i < 6; ++i) others.push_back(pool.submit(&conc_test::twice, i));
  gate.open();
  int sum = 0;
  for (const auto& other : others) sum += other.result();
  if (pool.worker_pids().size() == 1) say(name + ": one worker does it all: " + std::to_string(sum));
}

}  // namespace

int main(int argc, char** argv) {
  // The limit is not for root. What this user may not read is no matter here.
  if (::getuid() == 0 && (::chdir("/") != 0 || ::setresuid(kUser, kUser, kUser) != 0)) return 1;
  conc::process_init(argc, argv);
  run(conc::StartMethod::fork_server, "fork_server");
  run(conc::StartMethod::fork, "fork");
}
