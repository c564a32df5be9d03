// SPDX-License-Identifier: MIT
// [FR9][X4][X13] Who submits while the program ends: exit handlers and destructors of statics. Until the exit has come to
// the threads pools work as ever; then those that exist are shut down, and new ones work.
// stdout: exit handler before the join: 42
// stdout: exit handler after the join: UsageError
// stdout: static: submit: UsageError
// stdout: static: a new pool: 43
// stdout: static: parallel_for on a new pool: 10
#include <atomic>
#include <conc/executor.hpp>
#include <conc/thread_pool.hpp>
#include <cstdlib>
#include <string>

#include "background.hpp"
#include "say.hpp"

namespace {

conc::ThreadPoolExecutor pool{2};

struct UsesPools {
  ~UsesPools() {
    say("static: submit: " + conc_test::outcome([] { pool.submit([] {}); }));
    conc::ThreadPoolExecutor fresh{2};
    say("static: a new pool: " + std::to_string(fresh.submit([] { return 43; }).result()));
    std::atomic<int> calls{0};
    conc::parallel_for(fresh, 10, [&calls](std::size_t) { ++calls; });
    say("static: parallel_for on a new pool: " + std::to_string(calls));
  }
};
const UsesPools uses_pools;

}  // namespace

int main() {
  (void)std::atexit([] { say("exit handler after the join: " + conc_test::outcome([] { pool.submit([] {}); })); });
  pool.submit([] {}).result();  // the first thread: from here on exit handlers come before the join
  (void)std::atexit(
      [] { say("exit handler before the join: " + std::to_string(pool.submit([] { return 42; }).result())); });
}
