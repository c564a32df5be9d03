// SPDX-License-Identifier: MIT
// EventLoop and LoopThread with callbacks; event_loop_coroutine_test has coroutines, event_loop_asio_test Asio's operations.
// First: it says how Asio is to be compiled.
#include <conc/event_loop.hpp>

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <asio/post.hpp>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/event.hpp>
#include <conc/future.hpp>
#include <cstddef>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "background.hpp"
#include "event_loops.hpp"

using namespace std::chrono_literals;
using conc::EventLoop;
using conc::LoopHandle;
using conc::LoopThread;
using conc::UsageError;
using conc_test::Counted;
using conc_test::elsewhere;
using conc_test::ending;
using conc_test::message_of;
using conc_test::on_loop;
using conc_test::one_pass;
using conc_test::Reports;
using conc_test::RunningLoop;
using conc_test::scaled;
using Order = std::vector<int>;
using Told = std::vector<std::string>;
using Clock = std::chrono::steady_clock;

namespace {

constexpr const char* kWrongThread = "Non-thread-safe operation invoked on an event loop other than the current one";

constexpr const char* kCannotClose = "EventLoop::close: Cannot close a running event loop";

bool closed_error(const std::string& message) { return message.ends_with(": Event loop is closed"); }
bool running_error(const std::string& message) { return message.ends_with(": This event loop is already running"); }

/// Each way to schedule a call.
template <class F>
void each_way(EventLoop& loop, F check) {
  check([&loop](auto fn) { return loop.call_soon(std::move(fn)); });
  check([&loop](auto fn) { return loop.call_later(0s, std::move(fn)); });
  check([&loop](auto fn) { return loop.call_at(Clock::now(), std::move(fn)); });
}

}  // namespace

// What call_soon() promises.

TEST_CASE("EventLoop: callbacks are called in order, once, in the next pass, and never at once", "[event_loop][V1]") {
  EventLoop loop;
  Order called;
  Order expected;
  for (int i = 0; i < 100; ++i) {
    const auto note = [&called, i] { called.push_back(i); };
    i % 2 == 0 ? loop.call_soon(note) : loop.call_soon_threadsafe(note);
    expected.push_back(i);
  }
  CHECK(called.empty());
  one_pass(loop);
  CHECK(called == expected);
  one_pass(loop);
  CHECK(called == expected);
}

TEST_CASE("EventLoop: what a callback schedules is called in the next pass, behind what was there",
          "[event_loop][V1]") {
  EventLoop loop;
  Order called;
  std::size_t at_once = 0;
  loop.call_soon([&] {
    called.push_back(1);
    loop.call_soon([&] {
      called.push_back(4);
      loop.call_soon([&] { called.push_back(6); });
    });
    loop.call_soon_threadsafe([&] { called.push_back(5); });
    at_once = called.size();
  });
  loop.call_soon([&] { called.push_back(2); });
  loop.call_soon([&] { called.push_back(3); });
  one_pass(loop);
  CHECK(at_once == 1);
  CHECK(called == Order{1, 2, 3});
  one_pass(loop);
  CHECK(called == Order{1, 2, 3, 4, 5});
  one_pass(loop);
  CHECK(called == Order{1, 2, 3, 4, 5, 6});
}

TEST_CASE("EventLoop: a timed call that is due belongs to the next pass too", "[event_loop][V1][V9]") {
  EventLoop loop;
  Order called;
  loop.call_soon([&] {
    loop.call_later(0s, [&] { called.push_back(1); });
    loop.call_at(EventLoop::time() - 1h, [&] { called.push_back(0); });
  });
  one_pass(loop);
  CHECK(called.empty());
  one_pass(loop);
  CHECK(called == Order{0, 1});
}

TEST_CASE("EventLoop: callables and arguments are kept as decayed copies, std::ref shares", "[event_loop][V1]") {
  EventLoop loop;
  int sum = 0;
  std::string text = "text";
  std::string seen;
  const auto note = [&seen](const std::string& what, const char* more) { seen += what + more; };
  loop.call_soon(note, text, "s");
  loop.call_soon(note, std::ref(text), "t");
  loop.call_soon([&sum, own = std::make_unique<int>(1)](const std::unique_ptr<int>& other) { sum += *own + *other; },
                 std::make_unique<int>(2));
  loop.call_soon(&std::string::push_back, &seen, '!');
  text = "other";
  one_pass(loop);
  CHECK(seen == "textsothert!");
  CHECK(sum == 3);
}

TEST_CASE("EventLoop: a callable is destroyed when its call has ended, also by an exception", "[event_loop][V1][V8]") {
  Reports reports;
  EventLoop loop{{.exception_handler = reports.handler()}};
  for (const bool fails : {false, true}) {
    std::atomic<int> alive{0};
    int during = 0;
    int after = -1;
    const LoopHandle handle = loop.call_soon([&, counted = Counted{alive}] {
      during = alive;
      if (fails) throw std::runtime_error{"boom"};
    });
    loop.call_soon([&] { after = alive; });
    one_pass(loop);
    CHECK(during == 1);
    CHECK(after == 0);
    CHECK_FALSE(handle.cancelled());
  }
}

// Handles.

TEST_CASE("LoopHandle: cancel prevents the call and destroys the callable at once", "[event_loop][V1][V9]") {
  EventLoop loop;
  each_way(loop, [&](auto schedule) {
    std::atomic<int> alive{0};
    int called = 0;
    const LoopHandle handle = schedule([&called, counted = Counted{alive}] { ++called; });
    const LoopHandle copy = handle;  // names the same call
    CHECK(alive == 1);
    CHECK_FALSE(copy.cancelled());
    CHECK(handle.cancel());
    CHECK(alive == 0);
    CHECK(copy.cancelled());
    CHECK(copy.cancel());
    one_pass(loop);
    one_pass(loop);
    CHECK(called == 0);
  });
}

TEST_CASE("LoopHandle: cancel is false once the call has begun", "[event_loop][V1][V9]") {
  EventLoop loop;
  each_way(loop, [&](auto schedule) {
    std::optional<LoopHandle> handle;
    bool cancelled_during = true;
    handle = schedule([&] { cancelled_during = handle->cancel() || handle->cancelled(); });
    one_pass(loop);
    CHECK_FALSE(cancelled_during);
    CHECK_FALSE(handle->cancel());
    CHECK_FALSE(handle->cancelled());
  });
}

TEST_CASE("LoopHandle: a callback cancels one of the same pass", "[event_loop][V1][V9]") {
  EventLoop loop;
  int called = 0;
  std::vector<LoopHandle> handles;
  loop.call_soon([&] {
    for (const LoopHandle& handle : handles) handle.cancel();
  });
  each_way(loop, [&](auto schedule) { handles.push_back(schedule([&] { ++called; })); });
  one_pass(loop);
  one_pass(loop);
  CHECK(called == 0);
}

TEST_CASE("LoopHandle: dropping it does not cancel, and it outlives its loop", "[event_loop][V1]") {
  std::optional<EventLoop> loop{std::in_place};
  int called = 0;
  (void)loop->call_soon([&] { ++called; });
  const LoopHandle soon = loop->call_soon([&] { ++called; });
  const LoopHandle later = loop->call_later(1h, [&] { ++called; });
  one_pass(*loop);
  const LoopHandle again = loop->call_soon([&] { ++called; });
  CHECK(called == 2);
  loop.reset();
  CHECK_FALSE(soon.cancel());
  CHECK(later.cancelled());
  CHECK(later.cancel());
  CHECK(again.cancelled());
  CHECK(called == 2);
}

TEST_CASE("LoopHandle: cancel may destroy the last handle with the callable", "[event_loop][V1][V9]") {
  struct Owner {
    conc::Event& begun;
    conc::Event& passed;
    std::optional<LoopHandle> handle;
    Owner(conc::Event& cancel_has_begun, conc::Event& loop_has_passed)
        : begun{cancel_has_begun}, passed{loop_has_passed} {}
    Owner(const Owner&) = delete;
    Owner& operator=(const Owner&) = delete;
    ~Owner() {
      begun.set();
      passed.wait();  // now the loop has no use for the call any more
    }
  };
  EventLoop loop{{.debug = false}};
  each_way(loop, [&](auto schedule) {
    conc::Event begun;
    conc::Event passed;
    const RunningLoop runs{loop};
    loop.call_soon([&] { begun.wait(); });
    auto owner = std::make_unique<Owner>(begun, passed);
    Owner& inside = *owner;
    inside.handle = schedule([own = std::move(owner)] {});
    loop.call_later(0s, [&] { loop.call_soon([&] { passed.set(); }); });
    CHECK(inside.handle->cancel());
  });
}

TEST_CASE("LoopHandle: when is the time of the call", "[event_loop][V9]") {
  EventLoop loop;
  const auto when = EventLoop::time() + 1h;
  CHECK(loop.call_at(when, [] {}).when() == when);
  CHECK(loop.call_soon([] {}).when() == Clock::time_point{});
  const auto before = Clock::now();
  const auto later = loop.call_later(1h, [] {}).when();
  CHECK(later >= before + 1h);
  CHECK(later <= EventLoop::time() + 1h);
  CHECK(loop.call_later(conc::never, [] {}).when() == (Clock::time_point::max)());
}

// Who runs, and where.

TEST_CASE("EventLoop: get_running_loop is the loop that runs the caller", "[event_loop][V4]") {
  const auto text = [] { return message_of<UsageError>([] { (void)conc::get_running_loop(); }); };
  CHECK(text() == "get_running_loop: no running event loop");
  EventLoop loop;
  CHECK_FALSE(loop.is_running());
  bool same = false;
  bool running = false;
  loop.call_soon([&] {
    same = &conc::get_running_loop() == &loop;
    running = loop.is_running();
  });
  one_pass(loop);
  CHECK(same);
  CHECK(running);
  CHECK_FALSE(loop.is_running());
  CHECK_FALSE(text().empty());
  const RunningLoop runs{loop};
  CHECK(loop.is_running());
  CHECK_FALSE(text().empty());  // this thread runs none
}

TEST_CASE("EventLoop: call_soon_threadsafe wakes a loop that sleeps", "[event_loop][V2]") {
  EventLoop loop;
  loop.call_later(1h, [] {});  // it sleeps with and without a time to wake at
  for (int round = 0; round < scaled(50); ++round) {
    const RunningLoop runs{loop};
    REQUIRE(runs.falls_asleep());
    conc::Event called;
    loop.call_soon_threadsafe([&] { called.set(); });
    called.wait();  // the watchdog ends a loop that sleeps on
    REQUIRE(runs.falls_asleep());
    CHECK(on_loop(loop, [&] { return &conc::get_running_loop() == &loop; }));
  }
}

TEST_CASE("EventLoop: stop wakes a loop that sleeps", "[event_loop][V5]") {
  EventLoop loop;
  for (int round = 0; round < scaled(50); ++round) {
    const RunningLoop runs{loop};
    REQUIRE(runs.falls_asleep());
  }
  CHECK_FALSE(loop.is_running());
}

TEST_CASE("EventLoop: on a closed loop nothing can be scheduled or run", "[event_loop][V2][V6][FM16]") {
  EventLoop loop;
  CHECK_FALSE(loop.is_closed());
  loop.close();
  CHECK(loop.is_closed());
  std::atomic<int> alive{0};
  const Counted counted{alive};
  const auto refused = [](auto fn) { return closed_error(message_of<UsageError>(fn)); };
  CHECK(refused([&] { loop.call_soon([counted] {}); }));
  CHECK(refused([&] { loop.call_soon_threadsafe([counted] {}); }));
  CHECK(refused([&] { loop.call_later(1s, [counted] {}); }));
  CHECK(refused([&] { loop.call_at(Clock::now(), [counted] {}); }));
  CHECK(refused([&] { loop.run_forever(); }));
  CHECK(refused([&] { loop.run_until_complete(conc::make_ready_future(1)); }));
  CHECK(elsewhere([&] { return refused([&] { loop.call_soon_threadsafe([counted] {}); }); }));
  CHECK(alive == 1);
  loop.stop();  // does nothing
  loop.close();
  CHECK(loop.is_closed());
  CHECK_FALSE(loop.is_running());
}

TEST_CASE("EventLoop: debug mode reports calls from a thread that does not run the loop", "[event_loop][V3]") {
  EventLoop loop{{.debug = true}};
  CHECK(loop.debug());
  std::atomic<int> called{0};
  const auto count = [&called] { ++called; };
  each_way(loop, [&](auto schedule) { schedule(count); });  // nobody runs it: legal
  EventLoop other;
  {
    const RunningLoop runs{loop};
    std::vector<std::string> texts;
    each_way(loop, [&](auto schedule) { texts.push_back(message_of<UsageError>([&] { schedule(count); })); });
    other.call_soon([&] {  // a loop runs here, but another one
      each_way(loop, [&](auto schedule) { texts.push_back(message_of<UsageError>([&] { schedule(count); })); });
    });
    one_pass(other);
    CHECK(texts == Told(6, kWrongThread));
    loop.call_soon_threadsafe(count);
    on_loop(loop, [&] {
      each_way(loop, [&](auto schedule) { schedule(count); });
      return 0;
    });
    loop.set_debug(false);
    CHECK_FALSE(loop.debug());
    each_way(loop, [&](auto schedule) { schedule(count); });
  }
  one_pass(loop);
  CHECK(called == 3 + 1 + 3 + 3);
}

TEST_CASE("EventLoop: without debug mode any thread may schedule", "[event_loop][V3]") {
#if defined(CONC_DEBUG)
  constexpr bool by_default = true;
#else
  constexpr bool by_default = false;
#endif
  CHECK(EventLoop{}.debug() == by_default);
  EventLoop loop{{.debug = false}};
  const RunningLoop runs{loop};
  each_way(loop, [&](auto schedule) {
    REQUIRE(runs.falls_asleep());
    conc::Event called;
    schedule([&] { called.set(); });
    called.wait();
  });
}

TEST_CASE("EventLoop: debug mode reports callbacks that are slow", "[event_loop][V3]") {
  Reports reports;
  EventLoop loop{{.debug = true, .slow_callback_duration = 1ns, .exception_handler = reports.handler()}};
  CHECK(loop.slow_callback_duration() == 1ns);
  const auto slow = [] {
    const auto end = Clock::now() + 2ms;
    while (Clock::now() < end) {
    }
  };
  loop.call_soon(slow);
  loop.call_later(0s, slow);
  one_pass(loop);
  const Told told = reports.take();
  REQUIRE(told.size() == 2);
  for (const std::string& text : told) {
    CHECK(text.starts_with("a callback"));
    CHECK(text.ends_with("ms: nothing"));
    CHECK(text.find("took 0 ms") == std::string::npos);
  }
  loop.set_slow_callback_duration(1h);
  CHECK(loop.slow_callback_duration() == 1h);
  loop.call_soon(slow);
  one_pass(loop);
  CHECK(reports.take().empty());
  loop.set_slow_callback_duration(1ns);
  loop.set_debug(false);
  loop.call_soon(slow);
  one_pass(loop);
  CHECK(reports.take().empty());
}

TEST_CASE("EventLoop: a loop that runs cannot be run again, and goes on", "[event_loop][V4]") {
  EventLoop loop;
  conc::Promise<int> promise;
  std::atomic<int> called{0};
  const auto tries = [&] {
    int refused = 0;
    refused += running_error(message_of<UsageError>([&] { loop.run_forever(); })) ? 1 : 0;
    refused += running_error(message_of<UsageError>([&] { loop.run_until_complete(promise.get_future()); })) ? 1 : 0;
    return refused;
  };
  {
    const RunningLoop runs{loop};
    CHECK(tries() == 2);  // on another thread
    CHECK(on_loop(loop, tries) == 2);
    CHECK(loop.is_running());
    promise.set_result(1);  // the rejected call has left nothing behind that would stop the loop
    for (int i = 0; i < 3; ++i) {
      CHECK(on_loop(loop, [&] { return ++called; }) == i + 1);
      REQUIRE(runs.falls_asleep());
    }
    CHECK(loop.is_running());
  }
  CHECK(loop.run_until_complete(promise.get_future()) == 1);
}

TEST_CASE("EventLoop: a thread that runs one loop cannot run another", "[event_loop][V4]") {
  EventLoop loop;
  EventLoop other;
  conc::Promise<void> promise;
  int called = 0;
  other.call_soon([&] { ++called; });
  std::vector<std::string> texts;
  bool still = false;
  loop.call_soon([&] {
    texts.push_back(message_of<UsageError>([&] { other.run_forever(); }));
    texts.push_back(message_of<UsageError>([&] { other.run_until_complete(promise.get_future()); }));
    still = &conc::get_running_loop() == &loop && loop.is_running() && !other.is_running();
  });
  one_pass(loop);
  CHECK(texts == Told{"EventLoop::run_forever: Cannot run the event loop while another loop is running",
                      "EventLoop::run_until_complete: Cannot run the event loop while another loop is running"});
  CHECK(still);
  CHECK(called == 0);
  one_pass(other);  // nothing has changed
  CHECK(called == 1);
}

TEST_CASE("EventLoop: of two that run it at once exactly one wins", "[event_loop][V4]") {
  for (int round = 0; round < scaled(300); ++round) {
    EventLoop loop;
    std::atomic<int> ran{0};
    std::atomic<int> refused{0};
    std::atomic<int> here{0};
    conc_test::run_threads(2, [&](std::size_t) {
      for (++here; here != 2;) std::this_thread::yield();
      const std::string text = message_of<UsageError>([&] { loop.run_forever(); });
      if (running_error(text)) {
        ++refused;
        loop.stop();  // the other one
      } else if (text.empty()) {
        ++ran;
      }
    });
    REQUIRE(ran == 1);
    REQUIRE(refused == 1);
  }
}

TEST_CASE("EventLoop: a loop can be run by one thread after another", "[event_loop][V4]") {
  EventLoop loop;
  int called = 0;  // no atomic: who runs it next sees what was done before
  for (int i = 0; i < 10; ++i) {
    loop.call_soon([&called] { ++called; });
    conc_test::Worker worker{[&] { one_pass(loop); }};
    worker.join();
  }
  CHECK(called == 10);
}

// stop() and run_until_complete().

TEST_CASE("EventLoop: stop ends the run after the pass that is under way", "[event_loop][V5]") {
  EventLoop loop;
  Order called;
  loop.call_soon([&] {
    called.push_back(1);
    loop.stop();
    loop.call_soon([&] { called.push_back(3); });
  });
  loop.call_soon([&] { called.push_back(2); });
  loop.run_forever();
  CHECK(called == Order{1, 2});
  loop.call_soon([&] { called.push_back(4); });
  loop.call_soon([&] { loop.call_soon([&] { loop.stop(); }); });  // the former stop() is over
  loop.run_forever();
  CHECK(called == Order{1, 2, 3, 4});
}

TEST_CASE("EventLoop: stop before a run has it make one pass", "[event_loop][V5]") {
  EventLoop loop;
  Order called;
  loop.stop();
  loop.stop();
  loop.call_soon([&] {
    called.push_back(1);
    loop.call_soon([&] { called.push_back(2); });
  });
  loop.run_forever();
  CHECK(called == Order{1});
  loop.call_soon([&] { loop.call_soon([&] { loop.stop(); }); });
  loop.run_forever();  // two stops were one
  CHECK(called == Order{1, 2});
}

TEST_CASE("EventLoop: stop from another thread ends the run", "[event_loop][V5]") {
  EventLoop loop;
  for (int round = 0; round < scaled(300); ++round) {
    conc::Event begun;
    conc_test::Worker stopper{[&] {
      begun.wait();
      loop.stop();
    }};
    loop.call_soon([&] { begun.set(); });
    loop.run_forever();
    stopper.join();
    REQUIRE_FALSE(loop.is_running());
  }
}

TEST_CASE("EventLoop: run_until_complete gives the result of a future", "[event_loop][V7]") {
  EventLoop loop;
  conc::Promise<int> promise;
  loop.call_soon([&] { loop.call_soon([&] { promise.set_result(5); }); });
  CHECK(loop.run_until_complete(promise.get_future()) == 5);
  CHECK(promise.get_future().result() == 5);  // it is kept
  CHECK(loop.run_until_complete(promise.get_future()) == 5);
  CHECK_FALSE(loop.is_running());

  int value = 0;
  const conc::Promise<int&> reference;
  loop.call_later(1ms, [&] { reference.set_result(value); });
  CHECK(&loop.run_until_complete(reference.get_future()) == &value);

  const conc::Promise<void> from_elsewhere;
  conc_test::Worker worker{[&] { from_elsewhere.set_result(); }};
  loop.run_until_complete(from_elsewhere.get_future());
  worker.join();

  CHECK(ending([&] { loop.run_until_complete(conc::make_exceptional_future<int>(conc_test::boom())); }) == "boom");
  CHECK(ending([&] { loop.run_until_complete(conc_test::cancelled_future<int>()); }) == "CancelledError");
  CHECK_FALSE(loop.is_running());
}

TEST_CASE("EventLoop: run_until_complete finishes the pass in which the future is done", "[event_loop][V5][V7]") {
  EventLoop loop;
  Order called;
  const conc::Promise<void> promise;
  loop.call_soon([&] {
    promise.set_result();
    loop.call_soon([&] { called.push_back(2); });
  });
  loop.call_soon([&] { called.push_back(1); });
  loop.run_until_complete(promise.get_future());
  CHECK(called == Order{1});
  one_pass(loop);
  CHECK(called == Order{1, 2});
}

TEST_CASE("EventLoop: run_until_complete that stop ends is a misuse, and leaves nothing behind", "[event_loop][V7]") {
  EventLoop loop;
  const conc::Promise<int> promise;
  const conc::Future<int> future = promise.get_future();
  loop.call_soon([&] { loop.stop(); });
  CHECK(message_of<UsageError>([&] { loop.run_until_complete(future); }) ==
        "EventLoop::run_until_complete: Event loop stopped before Future completed");
  bool further = false;
  loop.call_soon([&] {
    promise.set_result(3);  // stops no run any more
    loop.call_soon([&] {
      further = true;
      loop.stop();
    });
  });
  loop.run_forever();
  CHECK(further);
  CHECK(loop.run_until_complete(future) == 3);
}

TEST_CASE("EventLoop: run_until_complete with a handle that names no future is a misuse", "[event_loop][V7]") {
  EventLoop loop;
  int called = 0;
  loop.call_soon([&] { ++called; });
  CHECK(ending([&] { loop.run_until_complete(conc::Future<int>{}); }) == "UsageError");
  CHECK_FALSE(loop.is_running());
  CHECK(called == 0);
  one_pass(loop);
  CHECK(called == 1);
}

TEST_CASE("EventLoop: run_until_complete after stop makes one pass", "[event_loop][V5][V7]") {
  EventLoop loop;
  const conc::Promise<int> promise;
  int called = 0;
  loop.stop();
  loop.call_soon([&] {
    ++called;
    loop.call_soon([&] {
      ++called;
      promise.set_result(1);
    });
  });
  CHECK(ending([&] { loop.run_until_complete(promise.get_future()); }) == "UsageError");
  CHECK(called == 1);
  CHECK(loop.run_until_complete(promise.get_future()) == 1);
}

// close().

TEST_CASE("EventLoop: a loop that runs cannot be closed", "[event_loop][V6][FM16]") {
  EventLoop loop;
  const auto text = [&] { return message_of<UsageError>([&] { loop.close(); }); };
  {
    const RunningLoop runs{loop};
    CHECK(text() == kCannotClose);
    CHECK(on_loop(loop, text) == kCannotClose);
    CHECK_FALSE(loop.is_closed());
    CHECK(on_loop(loop, [] { return true; }));
  }
  loop.close();
  CHECK(loop.is_closed());
}

TEST_CASE("EventLoop: close drops callbacks, timed calls and handlers of Asio", "[event_loop][V6]") {
  std::atomic<int> alive{0};
  int called = 0;
  const auto call = [&called, counted = Counted{alive}] { ++called; };
  std::vector<LoopHandle> handles;
  EventLoop loop;
  loop.call_soon([&, call] {
    handles.push_back(loop.call_later(1h, call));  // in the heap by the time of close(); the other three are not
    loop.call_soon([&, call] {
      loop.stop();
      handles.push_back(loop.call_soon(call));
      handles.push_back(loop.call_later(0s, call));
      handles.push_back(loop.call_soon_threadsafe(call));
      asio::post(loop.context(), call);
    });
  });
  loop.run_forever();
  CHECK(alive == 1 + 5);
  loop.close();
  CHECK(alive == 1);
  CHECK(called == 0);
  CHECK(handles.size() == 4);
  for (const LoopHandle& handle : handles) CHECK(handle.cancelled());
}

TEST_CASE("EventLoop: of several threads that close a loop each finds it closed, or running", "[event_loop][V6]") {
  for (int round = 0; round < scaled(300); ++round) {
    EventLoop loop;
    std::atomic<int> alive{0};
    std::atomic<int> closed{0};
    loop.call_soon([counted = Counted{alive}] {});
    conc_test::run_threads(3, [&](std::size_t) {
      try {
        loop.close();
        closed += loop.is_closed() ? 1 : 0;
      } catch (const UsageError& error) {  // another one is at it: until it has done the loop runs
        const std::string text = error.what();
        closed += running_error(text) || text == kCannotClose ? 1 : 0;
      }
    });
    REQUIRE(loop.is_closed());
    REQUIRE(closed == 3);
    REQUIRE(alive == 0);
  }
}

TEST_CASE("EventLoop: a callable may use its loop while close destroys it", "[event_loop][V6][FM16]") {
  struct Caller {
    EventLoop* loop;
    std::string* told;
    std::vector<LoopHandle> others;
    Caller(EventLoop* its, std::string* text, std::vector<LoopHandle> handles)
        : loop{its}, told{text}, others{std::move(handles)} {}
    Caller(Caller&& from) noexcept
        : loop{std::exchange(from.loop, nullptr)}, told{from.told}, others{std::move(from.others)} {}
    Caller& operator=(Caller&&) = delete;
    ~Caller() {
      if (loop == nullptr) {
        return;
      }
      for (const LoopHandle& other : others) {
        other.cancel();
      }
      loop->stop();
      *told += ending([this] { loop->call_soon_threadsafe([] {}); }) + " ";
    }
    void operator()() const {}
  };
  std::string told;
  {
    EventLoop loop;
    const LoopHandle other = loop.call_later(1h, [] {});
    one_pass(loop);
    loop.call_soon(Caller{&loop, &told, {other}});
    loop.call_later(1h, Caller{&loop, &told, {}});
    asio::post(loop.context(), Caller{&loop, &told, {}});
  }
  CHECK(told == "UsageError UsageError UsageError ");
}

TEST_CASE("EventLoop: a loop that is not run can be closed, and destroyed, inside another one", "[event_loop][V6]") {
  EventLoop loop;
  std::atomic<int> alive{0};
  bool same = false;
  bool closed = false;
  loop.call_soon([&] {
    {
      EventLoop other;
      other.call_soon([counted = Counted{alive}] {});
      EventLoop third;
      third.close();
      closed = third.is_closed();
    }
    same = &conc::get_running_loop() == &loop;
  });
  one_pass(loop);
  CHECK(closed);
  CHECK(same);
  CHECK(alive == 0);
}

TEST_CASE("EventLoop: what is scheduled and posted while it is stopped waits for the next run",
          "[event_loop][V5][FM16]") {
  EventLoop loop;
  one_pass(loop);
  int called = 0;
  loop.call_soon([&] { ++called; });
  asio::post(loop.context(), [&] { ++called; });
  loop.call_later(1ms, [&] {
    ++called;
    loop.stop();
  });
  CHECK(called == 0);
  loop.run_forever();
  CHECK(called == 3);
}

TEST_CASE("EventLoop: a call for which there is no memory is not made", "[event_loop][V1][G4][FR2]") {
  EventLoop loop;
  std::atomic<int> alive{0};
  int called = 0;
  int accepted = 0;
  {
    const auto call = [&called, counted = Counted{alive}, block = std::array<char, 300>{}] {
      (void)block;
      ++called;
    };
    const int allocations = conc_test::fail_each_allocation(
        [&] {
          loop.call_soon(call);
          ++accepted;
          loop.call_later(0s, call);
          ++accepted;
        },
        [](bool /*got_through*/) {});
    CHECK(allocations >= 2);
  }
  CHECK(accepted >= 3);
  one_pass(loop);
  CHECK(called == accepted);
  CHECK(alive == 0);
}

// Exceptions.

TEST_CASE("EventLoop: an exception in a callback goes to the handler, and the loop goes on", "[event_loop][V8]") {
  Reports reports;
  EventLoop loop{{.exception_handler = reports.handler()}};
  Order called;
  loop.call_soon([] { throw std::runtime_error{"boom"}; });
  loop.call_soon([&] { called.push_back(1); });
  loop.call_later(0s, [] { throw 42; });
  loop.call_later(0s, [&] { called.push_back(2); });
  one_pass(loop);
  CHECK(called == Order{1, 2});
  CHECK(reports.take() == Told{"exception in a callback: boom", "exception in a callback: something else"});
  loop.call_soon([&] {
    loop.stop();
    throw std::runtime_error{"late"};
  });
  loop.run_forever();
  CHECK(reports.take() == Told{"exception in a callback: late"});
}

TEST_CASE("EventLoop: an exception in a handler of Asio goes to the handler, and the loop goes on",
          "[event_loop][V8]") {
  Reports reports;
  EventLoop loop{{.exception_handler = reports.handler()}};
  Order called;
  asio::post(loop.context(), [] { throw std::runtime_error{"boom"}; });
  asio::post(loop.context(), [] { throw 42; });
  asio::post(loop.context(), [&] {
    called.push_back(1);
    loop.call_soon([&] {
      called.push_back(2);
      loop.stop();
    });
  });
  loop.run_forever();
  CHECK(called == Order{1, 2});
  CHECK(reports.take() == Told{"exception in a handler: boom", "exception in a handler: something else"});
}

TEST_CASE("EventLoop: the exception handler can be replaced, also by itself", "[event_loop][V8]") {
  Reports first;
  Reports second;
  EventLoop loop{{.exception_handler = first.handler()}};
  const auto fail = [] { throw std::runtime_error{"boom"}; };
  bool on_thread = false;
  loop.set_exception_handler([&](const conc::EventLoopReport& report) {
    on_thread = &conc::get_running_loop() == &loop;
    loop.set_exception_handler(second.handler());  // no lock is held
    loop.call_soon([] {});
    second.handler()(report);
  });
  loop.call_soon(fail);
  loop.call_soon(fail);
  one_pass(loop);
  CHECK(on_thread);
  CHECK(first.take().empty());
  CHECK(second.take() == Told(2, "exception in a callback: boom"));
}

TEST_CASE("EventLoop: what the exception handler throws is dropped", "[event_loop][V8]") {
  EventLoop loop;
  int told = 0;
  loop.set_exception_handler([&](const conc::EventLoopReport& /*report*/) {
    ++told;
    throw std::runtime_error{"the handler"};
  });
  int called = 0;
  loop.call_soon([] { throw std::runtime_error{"boom"}; });
  loop.call_soon([&] { ++called; });
  asio::post(loop.context(), [] { throw std::runtime_error{"boom"}; });
  asio::post(loop.context(), [&] {
    ++called;
    loop.stop();
  });
  loop.run_forever();
  CHECK(told == 2);
  CHECK(called == 2);
}

TEST_CASE("EventLoop: the default handler prints a line to stderr", "[event_loop][V8]") {
  const auto fail = [] { throw std::runtime_error{"boom"}; };
  {
    EventLoop loop;
    loop.call_soon(fail);
    one_pass(loop);
    const std::string printed = conc_test::take_stderr();
    CHECK(printed.starts_with("EventLoop: exception in a callback: "));
    CHECK(printed.find("boom") != std::string::npos);
    CHECK(printed.find('\n') == printed.size() - 1);
    Reports reports;
    loop.set_exception_handler(reports.handler());
    loop.set_exception_handler({});
    loop.call_soon(fail);
    one_pass(loop);
    CHECK(conc_test::take_stderr() == printed);
    CHECK(reports.take().empty());
  }
  conc::default_exception_handler({"a message", nullptr});
  CHECK(conc_test::take_stderr() == "EventLoop: a message\n");
}

// Timed calls.

TEST_CASE("EventLoop: timed calls are made in the order of their times, not before", "[event_loop][V9]") {
  EventLoop loop;
  constexpr int calls = 200;
  const auto base = EventLoop::time() + 2ms;
  Order called;
  int early = 0;
  for (int i = 0; i < calls; ++i) {
    const int place = i * 77 % calls;  // a permutation
    const auto when = base + place * 20us;
    loop.call_at(when, [&called, &early, place, when] {
      early += Clock::now() < when ? 1 : 0;
      called.push_back(place);
    });
  }
  loop.call_at(base + 1s, [&] { called.push_back(-2); });
  loop.call_at(base + calls * 20us, [&] { loop.stop(); });
  loop.call_at((Clock::time_point::max)(), [&] { called.push_back(-1); });
  loop.call_later(conc::never, [&] { called.push_back(-1); });
  loop.run_forever();
  Order expected;
  for (int i = 0; i < calls; ++i) expected.push_back(i);
  if (called.back() == -2) called.pop_back();  // this machine was busy for a second
  CHECK(called == expected);
  CHECK(early == 0);
}

TEST_CASE("EventLoop: timed calls of the same time are made in the order in which they came", "[event_loop][V9]") {
  EventLoop loop;
  Order called;
  Order expected;
  const auto when = EventLoop::time() + 2ms;
  for (int i = 0; i < 500; ++i) {
    loop.call_at(when, [&called, i] { called.push_back(i); });
    expected.push_back(i);
  }
  loop.call_at(when, [&] { loop.stop(); });
  loop.run_forever();
  CHECK(called == expected);
}

TEST_CASE("EventLoop: times in the past, zero and the clock's epoch are due at once", "[event_loop][V9]") {
  EventLoop loop;
  Order called;
  loop.call_later(0s, [&] { called.push_back(3); });
  loop.call_later(-1h, [&] { called.push_back(4); });  // from now
  loop.call_at(Clock::time_point{}, [&] { called.push_back(2); });
  loop.call_at((Clock::time_point::min)(), [&] { called.push_back(1); });
  one_pass(loop);
  CHECK(called == Order{1, 2, 3, 4});
}

TEST_CASE("EventLoop: a loop that sleeps until a time hears of an earlier one", "[event_loop][V9]") {
  EventLoop loop{{.debug = false}};
  loop.call_later(1h, [] {});
  const RunningLoop runs{loop};
  const LoopHandle cancelled = loop.call_later(10min, [] {});
  for (int i = 0; i < 5; ++i) {
    REQUIRE(runs.falls_asleep());
    conc::Event called;
    const auto before = Clock::now();
    loop.call_later(2ms, [&] { called.set(); });
    cancelled.cancel();
    called.wait();
    CHECK(Clock::now() - before >= 2ms);
  }
}

TEST_CASE("EventLoop: other threads cancel timed calls while the loop runs them", "[event_loop][V9]") {
  const int calls = scaled(20'000);
  EventLoop loop{{.debug = false}};
  std::atomic<int> alive{0};
  std::atomic<int> called{0};
  int cancelled = 0;
  {
    const RunningLoop runs{loop};
    for (int i = 0; i < calls; ++i) {
      const LoopHandle handle =
          loop.call_later(std::chrono::microseconds{i % 50}, [&called, counted = Counted{alive}] { ++called; });
      if (i % 3 == 0) conc_test::eventually([&] { return called % 2 == 0; }, 10us);
      cancelled += handle.cancel() ? 1 : 0;
    }
    conc::Event last;
    loop.call_later(1ms, [&] { last.set(); });
    last.wait();
  }
  CHECK(called + cancelled == calls);
  CHECK(alive == 0);
}

TEST_CASE("EventLoop: timed calls that were cancelled long before their time take no memory", "[event_loop][V9]") {
  const int calls = scaled(100'000);
  EventLoop loop;
  std::atomic<int> alive{0};
  one_pass(loop);
  std::size_t most = 0;
  const std::size_t before = conc_test::live_bytes;
  for (int i = 0; i < calls; i += 1000) {
    std::vector<LoopHandle> handles;
    for (int k = 0; k < 1000; ++k) {
      handles.push_back(
          loop.call_later(1h, [counted = Counted{alive}, block = std::array<char, 300>{}] { (void)block; }));
    }
    if (i % 2000 == 0) one_pass(loop);  // else they have not come further than where threads leave them
    for (const LoopHandle& handle : handles) handle.cancel();
    one_pass(loop);
    handles.clear();
    CHECK(alive == 0);
    most = std::max<std::size_t>(most, conc_test::live_bytes - before);
  }
  CHECK(most < 3000U * 512U);  // not of all of them
}

TEST_CASE("EventLoop: where most timed calls were cancelled, the others are made in order", "[event_loop][V9]") {
  EventLoop loop;
  constexpr int calls = 3000;
  const auto base = EventLoop::time() + 50ms;
  Order called;
  Order expected;
  std::vector<LoopHandle> handles;
  for (int place = 0; place < calls; ++place) {
    handles.push_back(
        loop.call_at(base + place * 77 % calls * 2us, [&called, place] { called.push_back(place * 77 % calls); }));
  }
  one_pass(loop);  // now they are in the heap
  for (int place = 0; place < calls; ++place) {
    const bool cancelled = place % 3 != 0 && handles[static_cast<std::size_t>(place)].cancel();
    if (!cancelled) expected.push_back(place * 77 % calls);
  }
  loop.call_at(base + calls * 2us, [&] { loop.stop(); });
  loop.run_forever();
  std::sort(expected.begin(), expected.end());
  CHECK(called == expected);
  CHECK(called.size() < calls);
}

// LoopThread.

TEST_CASE("LoopThread: the loop runs as soon as there is one", "[event_loop][V12]") {
  for (int i = 0; i < scaled(200); ++i) {
    LoopThread thread;
    REQUIRE(thread.loop().is_running());
  }
}

TEST_CASE("LoopThread: its thread has a name, and runs its loop", "[event_loop][V12]") {
  LoopThread unnamed;
  LoopThread named{{.name = "my loop", .loop = {.debug = true, .slow_callback_duration = 1h}}};
  CHECK(unnamed.thread().name() == "LoopThread");
  CHECK(named.thread().name() == "my loop");
  EventLoop& loop = named;
  CHECK(&loop == &named.loop());
  CHECK(loop.debug());
  CHECK(loop.slow_callback_duration() == 1h);
  CHECK(on_loop(loop, [] { return conc::current_thread().name(); }) == "my loop");
  CHECK(on_loop(loop, [&] { return &conc::get_running_loop() == &loop; }));
  CHECK(named.thread().is_alive());
}

TEST_CASE("LoopThread: stop closes the loop and waits for the thread, once and for all", "[event_loop][V12]") {
  LoopThread thread;
  thread.stop();
  CHECK(thread.loop().is_closed());
  CHECK_FALSE(thread.loop().is_running());
  CHECK_FALSE(thread.thread().is_alive());
  thread.stop();
  CHECK(closed_error(message_of<UsageError>([&] { thread.loop().call_soon_threadsafe([] {}); })));
  for (int round = 0; round < scaled(100); ++round) {
    LoopThread other;
    std::atomic<int> closed{0};
    conc_test::run_threads(3, [&](std::size_t) {
      other.stop();
      closed += other.loop().is_closed() ? 1 : 0;
    });
    REQUIRE(closed == 3);
  }
}

TEST_CASE("LoopThread: stop on its own thread is a misuse", "[event_loop][V12]") {
  LoopThread thread;
  const std::string text = on_loop(thread.loop(), [&] { return message_of<UsageError>([&] { thread.stop(); }); });
  CHECK(text == "LoopThread::stop: called on the loop's own thread, which would wait for itself");
  CHECK(on_loop(thread.loop(), [] { return true; }));
}

TEST_CASE("LoopThread: EventLoop::stop ends its thread too, and closes the loop", "[event_loop][V12]") {
  LoopThread thread;
  thread.loop().stop();
  CHECK(conc::Thread{thread.thread()}.join());
  CHECK(thread.loop().is_closed());
}

TEST_CASE("LoopThread: may be destroyed on its own thread", "[event_loop][V12]") {
  std::atomic<int> alive{0};
  auto thread = std::make_unique<LoopThread>();
  conc::Thread underneath = thread->thread();
  EventLoop& loop = thread->loop();
  bool still = false;
  conc::Event handed_over;
  loop.call_soon_threadsafe([&, own = std::unique_ptr<LoopThread>{}]() mutable {
    handed_over.wait();
    own = std::move(thread);
    own.reset();
    still = loop.is_running();
    loop.call_soon([counted = Counted{alive}] {});
  });
  handed_over.set();
  CHECK(underneath.join());
  CHECK(still);
  CHECK(alive == 0);
}

TEST_CASE("LoopThread: what is left is dropped, with its callables, on the loop's thread", "[event_loop][V12]") {
  std::atomic<int> alive{0};
  std::atomic<int> called{0};
  {
    LoopThread thread;
    on_loop(thread.loop(), [&] {
      thread.loop().call_later(1h, [&, counted = Counted{alive}] { ++called; });
      return 0;
    });
    thread.loop().call_soon_threadsafe([&] {
      thread.loop().stop();
      thread.loop().call_soon([&, counted = Counted{alive}] { ++called; });
    });
  }
  CHECK(alive == 0);
  CHECK(called == 0);
}

TEST_CASE("LoopThread: exceptions go to the handler of its options", "[event_loop][V8][V12]") {
  Reports reports;
  LoopThread thread{{.loop = {.exception_handler = reports.handler()}}};
  thread.loop().call_soon_threadsafe([] { throw std::runtime_error{"boom"}; });
  CHECK(on_loop(thread.loop(), [] { return true; }));
  CHECK(reports.take() == Told{"exception in a callback: boom"});
}

TEST_CASE("LoopThread: 1,000 of them come and go", "[event_loop][V12]") {
  std::atomic<int> alive{0};
  std::atomic<int> called{0};
  const int rounds = conc_test::long_form() ? 10'000 : 1'000;  // under sanitizers too
  for (int i = 0; i < rounds; ++i) {
    LoopThread thread{{.loop = {.debug = false}}};
    if (i % 2 == 0) on_loop(thread.loop(), [&] { return ++called; });
    thread.loop().call_soon_threadsafe([counted = Counted{alive}] {});
    thread.loop().call_later(1h, [counted = Counted{alive}] {});
  }
  CHECK(called == (rounds + 1) / 2);
  CHECK(alive == 0);
}

TEST_CASE("LoopThread: says so when the system has no thread to give", "[event_loop][V12][FR1]") {
  if (conc_test::sanitizer() != conc_test::Sanitizer::none) SKIP("a sanitizer does not live with a limit on addresses");
  { const LoopThread warm_up; }
  std::size_t pages = 0;
  std::ifstream{"/proc/self/statm"} >> pages;
  rlimit old{};
  ::getrlimit(RLIMIT_AS, &old);
  rlimit little = old;
  little.rlim_cur = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + 4'000'000;  // less than a stack
  int error = 0;
  std::vector<std::unique_ptr<LoopThread>> threads;
  ::setrlimit(RLIMIT_AS, &little);
  try {
    for (int i = 0; i < 10; ++i) threads.push_back(std::make_unique<LoopThread>());  // stacks are kept for a while
  } catch (const std::system_error& failure) {
    error = failure.code().value();
  }
  ::setrlimit(RLIMIT_AS, &old);
  CHECK(error == EAGAIN);
  threads.clear();
  LoopThread again;
  CHECK(again.loop().is_running());
}
