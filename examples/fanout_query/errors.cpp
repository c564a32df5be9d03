// SPDX-License-Identifier: MIT
#include "errors.hpp"

#include <conc/event_loop.hpp>
#include <cstdio>
#include <exception>

namespace fanout_query {
namespace {

asio::awaitable<int> answer() { co_return 42; }

/// Calls what is wrong. @return whether it threw an exception of the type that it should.
template <class Expected, class F>
bool show(const char* mistake, const char* type, const F& make_mistake, const char* advice) {
  try {
    make_mistake();
    std::printf("%s\n  was not noticed\n", mistake);
  } catch (const Expected& e) {
    std::printf("%s\n  %s: %s\n  %s\n", mistake, type, e.what(), advice);
    return true;
  } catch (const std::exception& e) {
    std::printf("%s\n  was mistaken for something else: %s\n", mistake, e.what());
  }
  return false;
}

bool run_twice() {
  conc::LoopThread thread;
  return show<conc::UsageError>(
      "A loop that runs already is run again", "UsageError", [&] { thread.loop().run_forever(); },
      "One thread runs a loop. All others hand it work with run_coroutine_threadsafe(), and wait for the future.");
}

bool call_from_wrong_thread() {
  conc::LoopThread thread;
  thread.loop().set_debug(true);  // without it the call is made all the same
  return show<conc::UsageError>(
      "Another thread uses call_soon(), in debug mode", "UsageError", [&] { thread.loop().call_soon([] {}); },
      "Other threads use call_soon_threadsafe(). call_soon() is for what runs on the loop itself.");
}

/// The coroutine keeps the thread busy that would have to run what it waits for.
asio::awaitable<int> wait_for_own_loop() {
  co_return conc::run_coroutine_threadsafe(answer(), conc::get_running_loop()).result();
}

bool wait_on_loop() {
  conc::LoopThread thread;
  return show<conc::DeadlockError>(
      "A coroutine asks for result() of another one on its own loop", "DeadlockError",
      [&] { conc::run_coroutine_threadsafe(wait_for_own_loop(), thread).result(); },
      "A coroutine waits with co_await: co_await answer(), or co_await conc::awaitable(future).");
}

bool call_after_close() {
  conc::LoopThread thread;
  thread.stop();  // closes the loop, too
  return show<conc::UsageError>(
      "A coroutine is handed to a loop that is closed", "UsageError",
      [&] { conc::run_coroutine_threadsafe(answer(), thread); },
      "Stop a loop after all that uses it: declare its LoopThread before the threads and the pools that do.");
}

}  // namespace

bool show_errors() {
  bool good = true;
  for (bool (*const make_mistake)() : {run_twice, call_from_wrong_thread, wait_on_loop, call_after_close}) {
    good = make_mistake() && good;
  }
  return good;
}

}  // namespace fanout_query
