// SPDX-License-Identifier: MIT
// [V6][FR9] A callback of a loop of static storage exits the program: the loop is destroyed while it runs.
// stdout: a callback exits
// stdout: an early static is destroyed
#include <conc/event_loop.hpp>
#include <cstdlib>

#include "say.hpp"

namespace {

const SaysGoodbye early_static{"an early static"};
conc::EventLoop loop;

}  // namespace

int main() {
  loop.call_soon([] {
    say("a callback exits");
    std::exit(0);
  });
  loop.call_later(std::chrono::hours{1}, [] {});
  loop.run_forever();
  say("this is never said");
}
