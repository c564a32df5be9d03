// SPDX-License-Identifier: MIT
// [FR10][X11] Pools that a program with one thread makes before it forks work in the child and in the parent, and are
// destroyed there: used, and unused too.
// stdout: the child: 7
// stdout: the child: 8
// stdout: the child ends
// stdout: the parent: 7
// stdout: the parent: 8
// stdout: the parent ends
#include <sys/wait.h>
#include <unistd.h>

#include <conc/thread_pool.hpp>
#include <cstdlib>
#include <optional>
#include <string>

#include "say.hpp"

// LeakSanitizer looks for threads by their process, and says that it finds none in the child.
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }

namespace {

conc::ThreadPoolExecutor of_the_program{1};

void use(const std::string& who, std::optional<conc::ThreadPoolExecutor>& pool) {
  say(who + ": " + std::to_string(pool->submit([&pool] { return pool->submit([] { return 7; }).result(); }).result()));
  pool.reset();
  say(who + ": " + std::to_string(of_the_program.submit([] { return 8; }).result()));
}

}  // namespace

int main() {
  std::optional<conc::ThreadPoolExecutor> pool{std::in_place, 2};
  std::optional<conc::ThreadPoolExecutor> unused{std::in_place, 2};
  const pid_t child = ::fork();
  if (child == 0) {
    use("the child", pool);
    unused.reset();
    say("the child ends");
    std::exit(7);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 7) return 1;
  use("the parent", pool);
  unused->shutdown();
  unused.reset();
  say("the parent ends");
}
