// SPDX-License-Identifier: MIT
// [FR9] Destructors of thread_locals that use pools: of a worker, which is none of its pool's any more then, and of the
// main thread.
// stdout: worker: number none, submit to its own pool: UsageError, to another: 1
// stdout: main: submit: 2
#include <conc/thread_pool.hpp>
#include <string>

#include "background.hpp"
#include "say.hpp"

namespace {

conc::ThreadPoolExecutor& other() {
  static auto* const pool = new conc::ThreadPoolExecutor{1};
  return *pool;
}
conc::ThreadPoolExecutor* own = nullptr;

struct AtTheEnd {
  int who = 0;
  ~AtTheEnd() {
    if (who == 1) {
      say(std::string{"worker: number "} + (own->worker_index() ? "known" : "none") +
          ", submit to its own pool: " + conc_test::outcome([] { own->submit([] {}); }) +
          ", to another: " + std::to_string(other().submit([] { return 1; }).result()));
    } else if (who == 2) {
      say("main: submit: " + std::to_string(other().submit([] { return 2; }).result()));
    }
  }
};
thread_local AtTheEnd at_the_end;

}  // namespace

int main() {
  {
    conc::ThreadPoolExecutor pool{1};
    own = &pool;
    pool.submit([] { at_the_end.who = 1; }).result();
  }
  at_the_end.who = 2;
}
