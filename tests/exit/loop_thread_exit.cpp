// SPDX-License-Identifier: MIT
// [V12][FR9] Loops that still run when the program exits, one of static storage and one that is never destroyed: they are
// stopped, their coroutines are cancelled and run to their end, what waits is dropped, and their threads are joined before
// the statics are destroyed that were complete when the first thread was started.
// stdout: main ends
// stdout: a coroutine of the static loop ends
// stdout: a callable is destroyed
// stdout: a coroutine of the leaked loop ends
// stdout: a callable is destroyed
// stdout: the leaked loop: closed 1, future cancelled 1, schedule: UsageError
#include <conc/event_loop.hpp>
#include <memory>
#include <string>

#include "background.hpp"
#include "say.hpp"

namespace {

struct Leaked {
  conc::LoopThread* loop = nullptr;
  conc::Future<void> future;
  ~Leaked() {
    say("the leaked loop: closed " + std::to_string(loop->loop().is_closed()) + ", future cancelled " +
        std::to_string(future.cancelled()) +
        ", schedule: " + conc_test::outcome([this] { loop->loop().call_soon_threadsafe([] {}); }));
  }
};
Leaked leaked;

conc::LoopThread static_loop;

asio::awaitable<void> ends_slowly(const char* name) {
  bool cancelled = false;
  try {
    co_await conc::sleep(conc::never);
  } catch (const conc::CancelledError&) {
    cancelled = true;
  }
  co_await conc::sleep(std::chrono::milliseconds{5});
  say("a coroutine of the " + std::string{name} + (cancelled ? " ends" : " ends for no reason"));
}

conc::Future<void> begin(conc::LoopThread& loop, const char* name) {
  loop.loop().call_later(
      std::chrono::hours{1},
      [last = std::shared_ptr<void>{nullptr, [](void* /*none*/) { say("a callable is destroyed"); }}] {});
  const conc::Future<void> future = conc::run_coroutine_threadsafe(ends_slowly(name), loop);
  if (!conc_test::eventually([&] { return future.running(); })) say("it does not begin");
  return future;
}

}  // namespace

int main() {
  leaked.loop = new conc::LoopThread;
  leaked.future = begin(*leaked.loop, "leaked loop");
  (void)begin(static_loop, "static loop");
  say("main ends");
}
