// SPDX-License-Identifier: MIT
// [X11][FR9] A thread_local of a worker owns the last handle of its pool, which nobody has shut down: the exit does, and
// the worker destroys the pool as it ends.
// stdout: main ends
// stdout: the worker drops the last handle
// stdout: the pool is gone
// stdout: the static is destroyed
#include <conc/thread_pool.hpp>
#include <memory>

#include "say.hpp"

namespace {

const SaysGoodbye object{"the static"};

struct Holder {
  std::shared_ptr<conc::ThreadPoolExecutor> pool;
  ~Holder() {
    if (pool == nullptr) return;
    say(pool.use_count() == 1 ? "the worker drops the last handle" : "there are other handles");
    pool.reset();
    say("the pool is gone");
  }
};
thread_local Holder holder;

}  // namespace

int main() {
  auto pool = std::make_shared<conc::ThreadPoolExecutor>(2);
  pool->submit([pool] { holder.pool = pool; }).result();
  pool.reset();
  say("main ends");
}
