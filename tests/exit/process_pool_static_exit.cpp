// SPDX-License-Identifier: MIT
// [X11][FR9][FW10] A static pool of processes, one that is never destroyed, and one whose owner has shut it down without
// waiting: the exit waits for their tasks, and then there are no workers any more.
// stdout: main ends
// stdout: static pool: 8
// stdout: pool that is never destroyed: 8
// stdout: pool that was shut down: 8
// stdout: no worker is left
#include <cstdlib>
#include <string>

#include "gate.hpp"
#include "say.hpp"
#include "worker_tasks.hpp"

namespace {

/// Destroyed last: looks for workers that are left.
struct Watcher {
  Watcher() = default;
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;
  ~Watcher() {
    if (conc_test::eventually([] { return conc_test::count_workers() == 0; })) say("no worker is left");
  }
};

const Watcher watcher;
conc::ProcessPoolExecutor pool{1};

int tell_behind(const std::string& gate, const std::string& after, const std::string& sign, const std::string& name) {
  conc_test::hold(gate);
  conc_test::hold(after);
  say(name + ": " + std::to_string(conc_test::twice(4)));
  conc_test::make_file(sign);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  conc::process_init(argc, argv);
  static auto* const folder = new conc_test::Folder;
  static auto* const gates = new conc_test::Gate[3];
  static auto* const leaked = new conc::ProcessPoolExecutor{1};
  static auto* const closed = new conc::ProcessPoolExecutor{1};
  conc::ProcessPoolExecutor* const pools[] = {&pool, leaked, closed};
  const char* const names[] = {"static pool", "pool that is never destroyed", "pool that was shut down"};
  for (int i = 0; i < 3; ++i) {
    pools[i]->detach(&tell_behind, gates[i].path(), gates[i].path(), folder->file(i), std::string{names[i]});
  }
  closed->shutdown({.wait = false});
  (void)std::atexit([] {
    for (int i = 0; i < 3; ++i) {
      gates[i].open();
      if (!folder->fills(static_cast<std::size_t>(i) + 1)) std::abort();
    }
  });
  (void)std::atexit([] { say("main ends"); });
}
