// SPDX-License-Identifier: MIT
// Coroutines on an event loop: how they run, end and are cancelled, and what they may await.
// First: it says how Asio is to be compiled.
#include <conc/event_loop.hpp>

#include <algorithm>
#include <asio/dispatch.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/event.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "background.hpp"
#include "busy_pool.hpp"
#include "event_loops.hpp"
#include "futures.hpp"

using namespace std::chrono_literals;
using asio::awaitable;
using conc::CancelledError;
using conc::EventLoop;
using conc::Future;
using conc::LoopThread;
using conc::run_coroutine_threadsafe;
using conc::UsageError;
using conc_test::boom;
using conc_test::Counted;
using conc_test::ending;
using conc_test::message_of;
using conc_test::on_loop;
using conc_test::one_pass;
using conc_test::scaled;
using Clock = std::chrono::steady_clock;
using Told = std::vector<std::string>;

namespace {

/// Waits until the threads of to_thread() have nothing to do with loops any more.
void all_threads_return() {
  const conc_test::BusyWorkers all{conc::detail::shared_pool(), conc::detail::shared_pool().max_workers()};
}

// The threads of to_thread() live as long as the process: they are there before the first case.
const bool threads_started = (all_threads_return(), true);

awaitable<int> value_of(int value) { co_return value; }
awaitable<int> after_a_sleep(int value) {
  co_await conc::sleep(1ms);
  co_return value;
}
awaitable<void> fails(const char* text = "boom") {
  throw std::runtime_error{text};
  co_return;
}
awaitable<void> fails_after_a_sleep(const char* text = "boom") {
  co_await conc::sleep(1ms);
  throw std::runtime_error{text};
}

/// Waits for ever; notes how that ended, and ends so too.
awaitable<void> waits(std::string& told) {
  try {
    co_await conc::sleep(conc::never);
  } catch (const std::exception& error) {
    told += std::string{error.what()} + ";";
    throw;
  }
}
constexpr const char* kSleepCancelled = "sleep: the coroutine was cancelled;";

/// The same, but some time passes before its end.
awaitable<void> ends_slowly(std::string& told) {
  bool cancelled = false;
  try {
    co_await conc::sleep(conc::never);
  } catch (const CancelledError&) {
    cancelled = true;
  }
  for (int i = 0; i < 3; ++i) co_await conc::sleep(1ms);
  told += cancelled ? "cancelled, and then over;" : "over;";
  if (cancelled) throw CancelledError{"that is it"};
}

awaitable<std::string> how_it_ends(awaitable<void> body) {
  try {
    co_await std::move(body);
  } catch (...) {
    co_return ending([] { throw; });
  }
  co_return "returned";
}

/// Lets everything run that needs no time to pass.
void settle(EventLoop& loop) {
  for (int i = 0; i < 20; ++i) one_pass(loop);
}

/// A result that cannot be made without a number, or copied.
struct Number {
  explicit Number(int number) : value{number} {}
  Number(Number&& other) noexcept : value{std::exchange(other.value, -1)} {}
  Number& operator=(Number&&) = delete;
  int value;
};

/// A result whose move throws, once it was told to.
struct Explosive {
  Explosive() = default;
  Explosive(const Explosive&) = default;
  Explosive(Explosive&& other) : armed{other.armed} {
    if (armed) throw std::runtime_error{"moved"};
  }
  Explosive& operator=(const Explosive&) = delete;
  bool armed = false;
};

}  // namespace

// run_coroutine_threadsafe().

TEST_CASE("run_coroutine_threadsafe: results and exceptions arrive in the future", "[event_loop][V10]") {
  LoopThread loop;
  CHECK(run_coroutine_threadsafe(value_of(5), loop).result() == 5);
  CHECK(run_coroutine_threadsafe(after_a_sleep(6), loop).result() == 6);
  CHECK(ending([&] { run_coroutine_threadsafe(fails(), loop).result(); }) == "boom");
  CHECK(ending([&] { run_coroutine_threadsafe(fails_after_a_sleep(), loop).result(); }) == "boom");
  const auto no_exception = []() -> awaitable<int> {
    throw 42;
    co_return 0;
  };
  CHECK(ending([&] { (void)run_coroutine_threadsafe(no_exception(), loop).result(); }) == "something else");
  run_coroutine_threadsafe(conc::sleep(0s), loop).result();
  const auto pointer = [](int value) -> awaitable<std::unique_ptr<int>> { co_return std::make_unique<int>(value); };
  CHECK(*run_coroutine_threadsafe(pointer(7), loop).result() == 7);
  const auto number = [](int value) -> awaitable<Number> { co_return Number{value}; };
  CHECK(run_coroutine_threadsafe(number(8), loop).result().value == 8);
}

TEST_CASE("run_coroutine_threadsafe: a result whose move throws gives that exception", "[event_loop][V10][G4]") {
  EventLoop loop;
  const auto explosive = []() -> awaitable<std::shared_ptr<Explosive>> { co_return std::make_shared<Explosive>(); };
  CHECK_FALSE(loop.run_until_complete(explosive())->armed);
  const auto moved = []() -> awaitable<Explosive> {
    Explosive result;
    result.armed = true;
    co_return result;
  };
  CHECK(ending([&] { (void)loop.run_until_complete(moved()); }) == "moved");
}

TEST_CASE("run_coroutine_threadsafe: the coroutine begins in the next pass, in its turn", "[event_loop][V1][V10]") {
  EventLoop loop;
  std::string order;
  const auto note = [&order](const char* text) -> awaitable<void> {
    order += text;
    co_return;
  };
  bool running_before = true;
  bool running_inside = false;
  std::optional<Future<void>> task;
  loop.call_soon([&] { order += "a"; });
  task = run_coroutine_threadsafe(
      [&]() -> awaitable<void> {
        order += "b";
        running_inside = task->running();
        run_coroutine_threadsafe(note("d"), conc::get_running_loop());  // as asyncio.create_task()
        co_return;
      },
      loop);
  running_before = task->running();
  loop.call_soon([&] { order += "c"; });
  CHECK(order.empty());
  one_pass(loop);
  CHECK(order == "abc");
  CHECK_FALSE(running_before);
  CHECK(running_inside);
  CHECK(task->done());
  CHECK_FALSE(task->running());
  one_pass(loop);
  CHECK(order == "abcd");
}

TEST_CASE("run_coroutine_threadsafe: running is true from the first step to the end", "[event_loop][V10]") {
  EventLoop loop;
  const conc::Promise<void> gate;
  const Future<void> task = run_coroutine_threadsafe(conc::awaitable(gate.get_future()), loop);
  CHECK_FALSE(task.running());
  settle(loop);
  CHECK(task.running());
  CHECK_FALSE(task.done());
  gate.set_result();
  CHECK(task.running());
  loop.run_until_complete(task);
  CHECK_FALSE(task.running());
  CHECK(task.done());
}

TEST_CASE("run_coroutine_threadsafe: a loop that sleeps is woken", "[event_loop][V2][V10]") {
  EventLoop loop;
  const conc_test::RunningLoop runs{loop};
  for (int i = 0; i < scaled(50); ++i) {
    REQUIRE(runs.falls_asleep());
    CHECK(run_coroutine_threadsafe(value_of(i), loop).result() == i);
  }
}

TEST_CASE("run_coroutine_threadsafe: a closed loop refuses, and the coroutine is destroyed", "[event_loop][V2][V10]") {
  EventLoop loop;
  loop.close();
  std::atomic<int> alive{0};
  const auto body = [](Counted /*kept*/) -> awaitable<void> { co_return; };
  CHECK(message_of<UsageError>([&] { run_coroutine_threadsafe(body(Counted{alive}), loop); }) ==
        "run_coroutine_threadsafe: Event loop is closed");
  CHECK(message_of<UsageError>([&] {
          run_coroutine_threadsafe([counted = Counted{alive}]() -> awaitable<void> { co_return; }, loop);
        }) == "run_coroutine_threadsafe: Event loop is closed");
  CHECK(
      message_of<UsageError>([&] { loop.run_until_complete(body(Counted{alive})); }).ends_with("Event loop is closed"));
  CHECK(alive == 0);
}

TEST_CASE("run_coroutine_threadsafe: a lambda lives as long as its coroutine", "[event_loop][V10][F12]") {
  EventLoop loop;
  std::atomic<int> alive{0};
  int during = 0;
  int when_done = -1;
  const Future<int> task = run_coroutine_threadsafe(
      [&during, &alive, counted = Counted{alive}, number = std::make_unique<int>(4)]() mutable -> awaitable<int> {
        co_await conc::sleep(1ms);
        during = alive;
        co_return ++*number;
      },
      loop);
  task.add_done_callback([&](const Future<int>& /*done*/) { when_done = alive; });
  CHECK(loop.run_until_complete(task) == 5);
  CHECK(during == 1);
  CHECK(when_done == 0);
}

TEST_CASE("run_coroutine_threadsafe: callbacks of the future run on the loop", "[event_loop][V10][F6]") {
  EventLoop loop;
  bool on_it = false;
  const Future<int> task = run_coroutine_threadsafe(after_a_sleep(1), loop);
  task.add_done_callback([&](const Future<int>&) { on_it = &conc::get_running_loop() == &loop; });
  loop.run_until_complete(task);
  CHECK(on_it);
}

TEST_CASE("run_coroutine_threadsafe: a future that is dropped drops no coroutine", "[event_loop][V10][G6]") {
  EventLoop loop;
  bool ended = false;
  (void)run_coroutine_threadsafe(
      [&]() -> awaitable<void> {
        co_await conc::sleep(1ms);
        ended = true;
        loop.stop();
      },
      loop);
  loop.run_forever();
  CHECK(ended);
}

TEST_CASE("run_coroutine_threadsafe: an exception that nobody retrieves is reported once", "[event_loop][V10][F14]") {
  const conc_test::Hooks hooks;
  EventLoop loop;
  (void)run_coroutine_threadsafe(fails("dropped"), loop);
  settle(loop);
  CHECK(conc_test::Hooks::take() == "unretrieved dropped;");
  {
    const Future<void> kept = run_coroutine_threadsafe(fails("kept"), loop);
    settle(loop);
    CHECK(conc_test::Hooks::take().empty());
  }
  CHECK(conc_test::Hooks::take() == "unretrieved kept;");
  const auto asked = run_coroutine_threadsafe(fails("asked"), loop);
  CHECK(ending([&] { loop.run_until_complete(asked); }) == "asked");
  CHECK(ending([&] { loop.run_until_complete(fails("main")); }) == "main");
  CHECK(conc_test::Hooks::take().empty());
}

TEST_CASE("run_coroutine_threadsafe: a coroutine that throws CancelledError is cancelled", "[event_loop][V10]") {
  EventLoop loop;
  const auto gives_up = []() -> awaitable<void> {
    throw CancelledError{"enough"};
    co_return;
  };
  const Future<void> task = run_coroutine_threadsafe(gives_up(), loop);
  CHECK(ending([&] { loop.run_until_complete(task); }) == "CancelledError");
  CHECK(task.cancelled());
}

// run_until_complete() of a coroutine.

TEST_CASE("EventLoop: run_until_complete gives what a coroutine returns or throws", "[event_loop][V7][V10]") {
  EventLoop loop;
  CHECK(loop.run_until_complete(after_a_sleep(3)) == 3);
  loop.run_until_complete(conc::sleep(1ms));
  const auto pointer = []() -> awaitable<std::unique_ptr<int>> { co_return std::make_unique<int>(9); };
  CHECK(*loop.run_until_complete(pointer()) == 9);
  CHECK(ending([&] { loop.run_until_complete(fails_after_a_sleep()); }) == "boom");
  CHECK_FALSE(loop.is_running());
}

TEST_CASE("EventLoop: run_until_complete that is refused destroys the coroutine, and changes nothing",
          "[event_loop][V4]") {
  EventLoop loop;
  EventLoop other;
  std::atomic<int> alive{0};
  int begun = 0;
  const auto body = [&begun](Counted /*kept*/) -> awaitable<void> {
    ++begun;
    co_return;
  };
  const auto refused = [&](EventLoop& which) {
    return message_of<UsageError>([&] { which.run_until_complete(body(Counted{alive})); });
  };
  {
    const conc_test::RunningLoop runs{loop};
    CHECK(refused(loop) == "EventLoop::run_until_complete: This event loop is already running");
    CHECK(on_loop(loop, [&] { return refused(loop); }) ==
          "EventLoop::run_until_complete: This event loop is already running");
    CHECK(on_loop(loop, [&] { return refused(other); }) ==
          "EventLoop::run_until_complete: Cannot run the event loop while another loop is running");
    CHECK(alive == 0);
    CHECK(run_coroutine_threadsafe(value_of(1), loop).result() == 1);
    CHECK(loop.is_running());
  }
  settle(loop);
  settle(other);
  CHECK(begun == 0);
}

TEST_CASE("EventLoop: run_until_complete that is stopped leaves the coroutine to close", "[event_loop][V7][V12]") {
  std::string told;
  {
    EventLoop loop;
    loop.call_later(1ms, [&] { loop.stop(); });
    CHECK(message_of<UsageError>([&] { loop.run_until_complete(waits(told)); }) ==
          "EventLoop::run_until_complete: Event loop stopped before Future completed");
    CHECK(told.empty());
  }
  CHECK(told == kSleepCancelled);
}

// cancel().

TEST_CASE("run_coroutine_threadsafe: one that is cancelled before it begins never does", "[event_loop][V10][F1]") {
  EventLoop loop;
  std::atomic<int> alive{0};
  bool begun = false;
  const Future<void> task = run_coroutine_threadsafe(
      [&begun, counted = Counted{alive}]() -> awaitable<void> {
        begun = true;
        co_return;
      },
      loop);
  CHECK(alive == 1);
  CHECK(task.cancel());
  CHECK(alive == 0);
  CHECK(task.cancelled());
  CHECK(task.cancel());
  CHECK(ending([&] { loop.run_until_complete(task); }) == "CancelledError");
  settle(loop);
  CHECK_FALSE(begun);
}

TEST_CASE("run_coroutine_threadsafe: cancel of a suspended one is told at its co_await, once",
          "[event_loop][V10][V13]") {
  EventLoop loop;
  std::string told;
  bool on_loop_thread = false;
  const Future<int> task = run_coroutine_threadsafe(
      [&]() -> awaitable<int> {
        try {
          co_await conc::sleep(conc::never);
        } catch (const CancelledError& error) {
          told += error.what();
          on_loop_thread = &conc::get_running_loop() == &loop;
        }
        for (int i = 0; i < 3; ++i) co_await conc::sleep(1ms);  // goes on, and is not told again
        co_await asio::post(loop.context(), asio::use_awaitable);
        told += "; went on";
        loop.stop();
        co_return 1;
      },
      loop);
  settle(loop);
  int callbacks = 0;
  task.add_done_callback([&](const Future<int>& done) { callbacks += done.cancelled() ? 1 : 0; });
  CHECK(task.cancel());
  CHECK(callbacks == 1);
  CHECK(task.cancelled());  // at once
  CHECK_FALSE(task.running());
  CHECK(task.cancel());
  CHECK(told.empty());
  CHECK(ending([&] { (void)task.result(); }) == "CancelledError");
  loop.run_forever();
  CHECK(told == "sleep: the coroutine was cancelled; went on");
  CHECK(on_loop_thread);
  CHECK(task.cancelled());  // of what it returned nobody hears
  CHECK(callbacks == 1);
}

TEST_CASE("run_coroutine_threadsafe: cancel is told at operations of Asio as operation_aborted", "[event_loop][V10]") {
  EventLoop loop;
  std::error_code told;
  const Future<void> task = run_coroutine_threadsafe(
      [&]() -> awaitable<void> {
        asio::steady_timer timer{loop.context(), 1h};
        try {
          co_await timer.async_wait(asio::use_awaitable);
        } catch (const std::system_error& error) {
          told = error.code();
          throw;
        }
      },
      loop);
  settle(loop);
  CHECK(task.cancel());
  settle(loop);
  CHECK(told == asio::error::operation_aborted);
  CHECK(task.cancelled());
}

TEST_CASE("run_coroutine_threadsafe: cancel from another thread", "[event_loop][V10]") {
  struct Seen {
    std::string told;
    conc::Event ended;
  };
  LoopThread loop{{.loop = {.debug = false}}};
  for (int i = 0; i < scaled(500); ++i) {
    const auto seen = std::make_shared<Seen>();  // the coroutine may end later than this round
    const Future<void> task = run_coroutine_threadsafe(
        [seen, i]() -> awaitable<void> {
          seen->told =
              co_await how_it_ends(conc::sleep(i % 2 == 0 ? conc::Deadline{conc::never} : conc::Deadline{1us}));
          seen->ended.set();
        },
        loop);
    if (i % 3 != 0) REQUIRE(conc_test::eventually([&] { return task.running() || task.done(); }));
    const bool cancelled = task.cancel();
    task.wait();  // where it came too late, the result may be on its way
    REQUIRE(cancelled == task.cancelled());
    // One that was cancelled before it began never ends.
    conc::Event looked;
    loop.loop().call_later(1ms, [&] { looked.set(); });
    looked.wait();
    if (seen->ended.is_set() && i % 2 == 0) REQUIRE(seen->told == "CancelledError");
    if (!cancelled) REQUIRE(seen->told == "returned");
  }
}

TEST_CASE("run_coroutine_threadsafe: cancel when the wait was just over is told once too", "[event_loop][V10][V13]") {
  // The time of the sleep has come, but its coroutine has not had its turn.
  EventLoop loop;
  std::vector<std::string> told;
  const Future<void> task = run_coroutine_threadsafe(
      [&]() -> awaitable<void> {
        for (int i = 0; i < 4; ++i) {
          std::string ended = co_await how_it_ends(conc::sleep(i == 0 ? 0s : 1ms));
          told.push_back(std::move(ended));
        }
        loop.stop();
      },
      loop);
  loop.call_soon([&] {
    const auto begin = Clock::now();
    while (Clock::now() - begin < 1ms) {
    }
    task.cancel();
  });
  loop.run_forever();
  REQUIRE(told.size() == 4);
  CHECK(std::count(told.begin(), told.end(), "CancelledError") == 1);
  CHECK(std::count(told.begin(), told.end(), "returned") == 3);
}

TEST_CASE("run_coroutine_threadsafe: a future that is just done, and a cancellation, at the same time",
          "[event_loop][V10]") {
  EventLoop loop;
  const conc::Promise<int> promise;
  std::vector<std::string> told;
  const Future<void> task = run_coroutine_threadsafe(
      [&]() -> awaitable<void> {
        for (int i = 0; i < 2; ++i) {
          try {
            (void)co_await conc::awaitable(promise.get_future());
            told.push_back("result");
          } catch (const CancelledError&) {
            told.push_back("cancelled");
          }
        }
      },
      loop);
  settle(loop);
  promise.set_result(1);
  CHECK(task.cancel());
  settle(loop);
  REQUIRE(told.size() == 2);
  CHECK(std::count(told.begin(), told.end(), "cancelled") <= 1);
  CHECK(told[1] == "result");
  CHECK(promise.get_future().result() == 1);
}

TEST_CASE("run_coroutine_threadsafe: a coroutine may cancel itself", "[event_loop][V10]") {
  EventLoop loop;
  std::string told;
  std::optional<Future<void>> task;
  task = run_coroutine_threadsafe(
      [&]() -> awaitable<void> {
        told += task->cancel() ? "cancel " : "";
        told += task->cancelled() ? "cancelled " : "";
        co_await waits(told);
      },
      loop);
  settle(loop);
  CHECK(told == std::string{"cancel cancelled "} + kSleepCancelled);
}

TEST_CASE("run_coroutine_threadsafe: a coroutine that is done cannot be cancelled", "[event_loop][V10][F1]") {
  EventLoop loop;
  const Future<int> task = run_coroutine_threadsafe(value_of(1), loop);
  loop.run_until_complete(task);
  CHECK_FALSE(task.cancel());
  CHECK(task.result() == 1);
  loop.close();
  CHECK_FALSE(task.cancel());
}

TEST_CASE("EventLoop: debug mode reports steps of coroutines that are slow", "[event_loop][V3][V10]") {
  conc_test::Reports reports;
  EventLoop loop{{.debug = true, .slow_callback_duration = 1ms, .exception_handler = reports.handler()}};
  const auto slow = []() -> awaitable<void> {
    co_await conc::sleep(0s);
    const auto end = Clock::now() + 2ms;
    while (Clock::now() < end) {
    }
    co_await conc::sleep(0s);
  };
  const auto about_steps = [&] {
    const Told told = reports.take();
    return std::count_if(told.begin(), told.end(), [](const std::string& text) {
      return text.find("a step of a coroutine took ") != std::string::npos && text.ends_with(" ms: nothing");
    });
  };
  loop.run_until_complete(slow());
  CHECK(about_steps() >= 1);
  loop.set_slow_callback_duration(1h);
  loop.run_until_complete(slow());
  CHECK(about_steps() == 0);
  loop.set_slow_callback_duration(1ms);
  loop.set_debug(false);
  loop.run_until_complete(slow());
  CHECK(about_steps() == 0);
}

// Waiting on the loop's own thread.

TEST_CASE("run_coroutine_threadsafe: waiting on the loop's own thread is a deadlock", "[event_loop][V10]") {
  EventLoop loop;
  const auto run = [&](auto wait) {
    const Future<int> inner = run_coroutine_threadsafe(after_a_sleep(3), loop);
    std::vector<std::string> ends;
    loop.call_soon([&] { ends.push_back(ending([&] { wait(inner); })); });
    const auto outer = [&]() -> awaitable<int> {
      ends.push_back(ending([&] { wait(inner); }));
      co_return co_await conc::awaitable(inner);
    };
    CHECK(loop.run_until_complete(outer()) == 3);
    ends.push_back(ending([&] { wait(inner); }));  // it is done
    loop.call_soon([&] { ends.push_back(ending([&] { wait(inner); })); });
    one_pass(loop);
    return ends;
  };
  const Told deadlock{"DeadlockError", "DeadlockError", "returned", "returned"};
  CHECK(run([](const auto& future) { (void)future.result(); }) == deadlock);
  CHECK(run([](const auto& future) { (void)future.exception(); }) == deadlock);
  CHECK(run([](const auto& future) { (void)future.wait(); }) == deadlock);
  CHECK(run([](const auto& future) { (void)conc::wait(std::vector{future}); }) == deadlock);
  CHECK(run([](const auto& future) {
          for (const auto& done : conc::as_completed(std::vector{future})) (void)done;
        }) == deadlock);
  // With a deadline it times out.
  CHECK(run([](const auto& future) { (void)future.result(1ms); }) ==
        Told{"TimeoutError", "TimeoutError", "returned", "returned"});
  CHECK(run([](const auto& future) {
          if (!future.wait(1ms)) throw std::runtime_error{"false"};
        }) == Told{"false", "false", "returned", "returned"});
}

TEST_CASE("run_coroutine_threadsafe: the deadlock says who waits for whom", "[event_loop][V10]") {
  EventLoop loop;
  std::string text;
  const Future<int> inner = run_coroutine_threadsafe(after_a_sleep(1), loop);
  loop.call_soon([&] { text = message_of<conc::DeadlockError>([&] { (void)inner.result(); }); });
  loop.run_until_complete(inner);
  CHECK(text.find("the wait would never end: the event loop that runs ") != std::string::npos);
}

TEST_CASE("run_coroutine_threadsafe: a deadlock by way of a pool is noticed", "[event_loop][V10]") {
  conc::ThreadPoolExecutor pool{1};
  LoopThread loop;
  // The task waits for the coroutine, which cannot go on while the loop's thread waits for the task.
  const conc::Promise<void> gate;
  const Future<void> coroutine = run_coroutine_threadsafe(conc::awaitable(gate.get_future()), loop);
  conc::Event task_runs;
  const Future<std::string> task = pool.submit([&] {
    task_runs.set();
    return ending([&] { coroutine.result(); });
  });
  task_runs.wait();
  const std::string of_loop = on_loop(loop.loop(), [&] {
    std::string ended = ending([&] { (void)task.result(); });
    gate.set_result();
    return ended;
  });
  // Who comes second closes the circle, and is told.
  if (of_loop == "DeadlockError") {
    CHECK(task.result() == "returned");
  } else {
    CHECK(of_loop == "returned");
    CHECK(task.result() == "DeadlockError");
  }
}

TEST_CASE("run_coroutine_threadsafe: by way of a pool, with a deadline, it times out", "[event_loop][V10]") {
  conc::ThreadPoolExecutor pool{1};
  LoopThread loop;
  const conc::Promise<void> gate;
  const Future<void> coroutine = run_coroutine_threadsafe(conc::awaitable(gate.get_future()), loop);
  const Future<std::string> task = pool.submit([&] { return ending([&] { coroutine.result(); }); });
  CHECK(on_loop(loop.loop(), [&] { return ending([&] { (void)task.result(2ms); }); }) == "TimeoutError");
  gate.set_result();
  CHECK(task.result() == "returned");
}

TEST_CASE("run_coroutine_threadsafe: one loop may wait for another", "[event_loop][V10]") {
  LoopThread one;
  LoopThread other;
  const int result = on_loop(one.loop(), [&] { return run_coroutine_threadsafe(after_a_sleep(8), other).result(); });
  CHECK(result == 8);
}

// Closing.

TEST_CASE("EventLoop: close cancels coroutines and runs them to their end", "[event_loop][V12]") {
  std::string told;
  std::optional<EventLoop> loop{std::in_place};
  const Future<void> waiting = run_coroutine_threadsafe(waits(told), *loop);
  const Future<void> slow = run_coroutine_threadsafe(ends_slowly(told), *loop);
  const Future<int> stubborn = run_coroutine_threadsafe(
      [&]() -> awaitable<int> {
        (void)co_await how_it_ends(conc::sleep(conc::never));
        co_await conc::sleep(1ms);
        told += "went on;";
        co_return 1;
      },
      *loop);
  settle(*loop);
  bool begun = false;
  const Future<void> late = run_coroutine_threadsafe(
      [&]() -> awaitable<void> {
        begun = true;
        co_return;
      },
      *loop);
  CHECK(told.empty());
  loop.reset();
  CHECK(told.starts_with(kSleepCancelled));
  CHECK(told.find("cancelled, and then over;") != std::string::npos);
  CHECK(told.find("went on;") != std::string::npos);
  CHECK(waiting.cancelled());
  CHECK(slow.cancelled());
  CHECK(stubborn.cancelled());
  CHECK(late.cancelled());
  CHECK_FALSE(begun);
}

TEST_CASE("EventLoop: close tells a coroutine again that was cancelled before, and went on", "[event_loop][V12]") {
  std::string told;
  EventLoop loop;
  const Future<void> task = run_coroutine_threadsafe(
      [&]() -> awaitable<void> {
        told += co_await how_it_ends(conc::sleep(conc::never));
        told += co_await how_it_ends(conc::sleep(conc::never));
      },
      loop);
  settle(loop);
  CHECK(task.cancel());
  settle(loop);
  CHECK(told == "CancelledError");
  loop.close();
  CHECK(told == "CancelledErrorCancelledError");
}

TEST_CASE("EventLoop: close tells those again that gather waits for", "[event_loop][V12][V13]") {
  std::string told;
  EventLoop loop;
  const auto goes_on = [&]() -> awaitable<void> {
    for (int i = 0; i < 2; ++i) told += co_await how_it_ends(conc::sleep(conc::never)) + ";";
  };
  const auto main = [&]() -> awaitable<void> { (void)co_await conc::gather(goes_on(), goes_on()); };
  const Future<void> task = run_coroutine_threadsafe(main(), loop);
  settle(loop);
  CHECK(task.cancel());
  settle(loop);
  CHECK(told == "CancelledError;CancelledError;");
  loop.close();
  CHECK(told == "CancelledError;CancelledError;CancelledError;CancelledError;");
}

TEST_CASE("EventLoop: close tells those once that gather waits for", "[event_loop][V12][V13]") {
  std::string told;
  {
    EventLoop loop;
    const auto main = [&]() -> awaitable<void> { (void)co_await conc::gather(waits(told), ends_slowly(told)); };
    (void)run_coroutine_threadsafe(main(), loop);
    settle(loop);
  }
  CHECK(told == std::string{kSleepCancelled} + "cancelled, and then over;");
}

TEST_CASE("EventLoop: what a coroutine begins while the loop closes is cancelled", "[event_loop][V12]") {
  EventLoop loop;
  bool begun = false;
  std::optional<Future<void>> late;
  (void)run_coroutine_threadsafe(
      [&]() -> awaitable<void> {
        (void)co_await how_it_ends(conc::sleep(conc::never));
        late = run_coroutine_threadsafe(
            [&]() -> awaitable<void> {
              begun = true;
              co_return;
            },
            loop);
      },
      loop);
  settle(loop);
  loop.close();
  REQUIRE(late.has_value());
  CHECK(late->cancelled());
  CHECK_FALSE(begun);
}

TEST_CASE("LoopThread: coroutines that are left are cancelled and run to their end", "[event_loop][V12]") {
  for (int round = 0; round < scaled(100); ++round) {
    std::string told;
    std::string slowly;
    std::vector<Future<void>> tasks;
    {
      LoopThread loop;
      tasks.push_back(run_coroutine_threadsafe(waits(told), loop));
      tasks.push_back(run_coroutine_threadsafe(ends_slowly(slowly), loop));
      if (round % 2 == 0) on_loop(loop.loop(), [] { return 0; });
    }
    for (const Future<void>& task : tasks) REQUIRE(task.cancelled());
    REQUIRE((told.empty() || told == kSleepCancelled));  // it may not have begun
    if (round % 2 == 0) {
      REQUIRE_FALSE(told.empty());
      REQUIRE(slowly == "cancelled, and then over;");
    }
  }
}

// awaitable().

TEST_CASE("awaitable: gives the result of a future, on the loop", "[event_loop][V13]") {
  EventLoop loop;
  conc::ThreadPoolExecutor pool{1};
  const auto main = [&]() -> awaitable<void> {
    const auto on_it = [&loop] {
      if (&conc::get_running_loop() != &loop) throw std::runtime_error{"elsewhere"};
    };
    const int number = co_await conc::awaitable(pool.submit([] { return 4; }));
    on_it();
    if (number != 4) throw std::runtime_error{"another result"};
    co_await conc::awaitable(pool.submit([] {}));
    on_it();
    std::unique_ptr<int> moved = co_await conc::awaitable(pool.submit([] { return std::make_unique<int>(5); }));
    if (*moved != 5) throw std::runtime_error{"another result"};
    int value = 0;
    std::reference_wrapper<int> same = co_await conc::awaitable(pool.submit([&value]() -> int& { return value; }));
    if (&same.get() != &value) throw std::runtime_error{"another reference"};
    on_it();
  };
  for (int i = 0; i < scaled(200); ++i) loop.run_until_complete(main());
}

TEST_CASE("awaitable: a result is moved out of the last handle, else copied", "[event_loop][V13][F13]") {
  using conc_test::Travelled;
  EventLoop loop;
  const auto made = [] { return conc::make_ready_future(Travelled{3}); };
  CHECK(loop.run_until_complete(conc::awaitable(made())).copies == 0);
  const Future<Travelled> kept = made();
  CHECK(loop.run_until_complete(conc::awaitable(kept)).copies == 1);
  CHECK(kept.result().value == 3);
}

TEST_CASE("awaitable: of a future that is done goes on at once", "[event_loop][V13]") {
  EventLoop loop;
  std::string order;
  const auto main = [&]() -> awaitable<void> {
    loop.call_soon([&] { order += "callback"; });
    for (int i = 0; i < 3; ++i) order += std::to_string(co_await conc::awaitable(conc::make_ready_future(int{i})));
  };
  loop.run_until_complete(main());
  one_pass(loop);
  CHECK(order == "012callback");
}

TEST_CASE("awaitable: of futures that fail, are cancelled or broken throws that", "[event_loop][V13]") {
  EventLoop loop;
  const auto end_of = [&](Future<int> future) {
    return ending([&] { (void)loop.run_until_complete(conc::awaitable(std::move(future))); });
  };
  CHECK(end_of(conc::make_exceptional_future<int>(boom())) == "boom");
  CHECK(end_of(conc_test::cancelled_future<int>()) == "CancelledError");
  const conc::Promise<int> failing;
  loop.call_later(1ms, [&] { failing.set_exception(boom("later")); });
  CHECK(end_of(failing.get_future()) == "later");
  const conc::Promise<int> cancelled;
  loop.call_later(1ms, [&] { cancelled.get_future().cancel(); });
  CHECK(end_of(cancelled.get_future()) == "CancelledError");
  auto broken = std::make_unique<conc::Promise<int>>();
  loop.call_later(1ms, [&] { broken.reset(); });
  CHECK(end_of(broken->get_future()) == "BrokenPromise");
}

TEST_CASE("awaitable: where the coroutine is cancelled, so is the future", "[event_loop][V10][V13]") {
  EventLoop loop;
  const conc::Promise<int> promise;
  std::string told;
  const Future<void> task = run_coroutine_threadsafe(
      [&]() -> awaitable<void> {
        try {
          (void)co_await conc::awaitable(promise.get_future());
        } catch (const CancelledError& error) {
          told = error.what();
        }
      },
      loop);
  settle(loop);
  CHECK(task.cancel());
  settle(loop);
  CHECK(told == "awaitable: the coroutine was cancelled");
  CHECK(promise.get_future().cancelled());
}

TEST_CASE("awaitable: of a coroutine's future cancels that coroutine too, also on another loop",
          "[event_loop][V10][V13]") {
  EventLoop loop;
  EventLoop other;
  for (EventLoop* const where : {&loop, &other}) {
    std::string told;
    const Future<void> inner = run_coroutine_threadsafe(waits(told), *where);
    const Future<void> outer = run_coroutine_threadsafe(conc::awaitable(inner), loop);
    settle(loop);
    settle(other);
    CHECK(inner.running());
    CHECK(outer.cancel());
    settle(loop);
    settle(other);
    CHECK(inner.cancelled());
    CHECK(told == kSleepCancelled);
  }
}

TEST_CASE("awaitable: several coroutines await one future", "[event_loop][V13]") {
  EventLoop loop;
  const conc::Promise<int> promise;
  std::vector<awaitable<int>> all;
  for (int i = 0; i < 50; ++i) all.push_back(conc::awaitable(promise.get_future()));
  conc_test::Worker worker{[&] { promise.set_result(2); }};
  CHECK(loop.run_until_complete(conc::gather(std::move(all))) == std::vector<int>(50, 2));
  worker.join();
}

// run_in_executor(), to_thread().

TEST_CASE("run_in_executor: a pool calls the function, and the loop goes on meanwhile", "[event_loop][V11]") {
  EventLoop loop;
  conc::ThreadPoolExecutor pool{{.max_workers = 1, .thread_name_prefix = "worker"}};
  conc::Event go;
  std::string name;
  const auto main = [&]() -> awaitable<int> {
    loop.call_soon([&] { go.set(); });  // the function waits for it
    co_return co_await conc::run_in_executor(
        pool,
        [&](int a, const std::unique_ptr<int>& b) {
          name = conc::current_thread().name();
          go.wait();
          return a + *b;
        },
        40, std::make_unique<int>(2));
  };
  CHECK(loop.run_until_complete(main()) == 42);
  CHECK(name == "worker_0");
  CHECK(ending([&] {
          loop.run_until_complete(conc::run_in_executor(pool, [] { throw std::runtime_error{"boom"}; }));
        }) == "boom");
  int value = 0;
  CHECK(&loop.run_until_complete(conc::run_in_executor(pool, [&value]() -> int& { return value; })).get() == &value);
}

TEST_CASE("run_in_executor: the function is handed over at once", "[event_loop][V11]") {
  EventLoop loop;
  conc::ThreadPoolExecutor pool{1};
  conc::Event called;
  awaitable<void> not_awaited_yet = conc::run_in_executor(pool, [&] { called.set(); });
  called.wait();
  loop.run_until_complete(std::move(not_awaited_yet));
  pool.shutdown();
  CHECK(ending([&] { (void)conc::run_in_executor(pool, [] {}); }) == "UsageError");
}

TEST_CASE("run_in_executor: a task that has not begun is cancelled with the coroutine", "[event_loop][V11][V13]") {
  EventLoop loop;
  conc::ThreadPoolExecutor pool{1};
  conc::Event go;
  const Future<void> busy = pool.submit([&] { go.wait(); });
  std::atomic<bool> called{false};
  const Future<void> task = run_coroutine_threadsafe(
      [&]() -> awaitable<void> { co_await conc::run_in_executor(pool, [&] { called = true; }); }, loop);
  settle(loop);
  CHECK(task.cancel());
  settle(loop);
  go.set();
  pool.shutdown();
  CHECK_FALSE(called);
}

TEST_CASE("to_thread: a thread of those that all loops share calls the function", "[event_loop][V11]") {
  {
    EventLoop loop;
    LoopThread other;
    const auto name = [] { return conc::current_thread().name(); };
    CHECK(loop.run_until_complete(conc::to_thread(name)).starts_with("to_thread_"));
    CHECK(run_coroutine_threadsafe(conc::to_thread(name), other).result().starts_with("to_thread_"));
    CHECK(loop.run_until_complete(conc::to_thread([](int a, int b) { return a * b; }, 6, 7)) == 42);
    CHECK(ending([&] { loop.run_until_complete(conc::to_thread([] { throw std::runtime_error{"boom"}; })); }) ==
          "boom");
  }
  all_threads_return();
}

// sleep().

TEST_CASE("sleep: waits as long as it is told, and not for less", "[event_loop][V13]") {
  std::string told;  // goes after the loop
  EventLoop loop;
  for (const auto time : {-1s, 0s}) loop.run_until_complete(conc::sleep(time));
  const auto begin = Clock::now();
  loop.run_until_complete(conc::sleep(3ms));
  CHECK(Clock::now() - begin >= 3ms);
  const auto until = Clock::now() + 3ms;
  loop.run_until_complete(conc::sleep(until));
  CHECK(Clock::now() >= until);
  const Future<void> task = run_coroutine_threadsafe(waits(told), loop);
  settle(loop);
  CHECK(task.running());
}

TEST_CASE("sleep, awaitable, gather, wait_for: need a loop that runs", "[event_loop][V13]") {
  const auto refused = [](auto body) {
    asio::io_context context;
    Future<void> future = asio::co_spawn(context, std::move(body), conc::use_future);
    context.run();
    return message_of<UsageError>([&] { future.result(); });
  };
  const conc::Promise<void> promise;
  const auto gathers = []() -> awaitable<void> { (void)co_await conc::gather(conc::sleep(1s)); };
  CHECK(refused(conc::sleep(1s)) == "sleep: no running event loop");
  CHECK(refused(conc::awaitable(promise.get_future())) == "awaitable: no running event loop");
  CHECK(refused(gathers()) == "gather: no running event loop");
  CHECK(refused(conc::wait_for(conc::sleep(1s), 1s)) == "wait_for: no running event loop");
}

// gather().

TEST_CASE("gather: results in the order of the arguments, std::monostate for void", "[event_loop][V13]") {
  EventLoop loop;
  const auto slow = []() -> awaitable<std::unique_ptr<int>> {
    co_await conc::sleep(5ms);
    co_return std::make_unique<int>(2);
  };
  const auto number = []() -> awaitable<Number> { co_return Number{3}; };
  auto results = loop.run_until_complete(conc::gather(slow(), value_of(1), conc::sleep(1ms), number()));
  static_assert(std::is_same_v<decltype(results), std::tuple<std::unique_ptr<int>, int, std::monostate, Number>>);
  CHECK(*std::get<0>(results) == 2);
  CHECK(std::get<1>(results) == 1);
  CHECK(std::get<3>(results).value == 3);
  static_assert(std::is_same_v<decltype(loop.run_until_complete(conc::gather())), std::tuple<>>);
  (void)loop.run_until_complete(conc::gather());
}

TEST_CASE("gather: any number, as a vector", "[event_loop][V13]") {
  EventLoop loop;
  std::vector<awaitable<std::unique_ptr<int>>> some;
  const auto pointer = [](int value) -> awaitable<std::unique_ptr<int>> {
    co_await conc::sleep(std::chrono::milliseconds{5 - value});
    co_return std::make_unique<int>(value);
  };
  for (int i = 0; i < 5; ++i) some.push_back(pointer(i));
  const auto results = loop.run_until_complete(conc::gather(std::move(some)));
  REQUIRE(results.size() == 5);
  for (int i = 0; i < 5; ++i) CHECK(*results[static_cast<std::size_t>(i)] == i);

  CHECK(loop.run_until_complete(conc::gather(std::vector<awaitable<int>>{})).empty());
  loop.run_until_complete(conc::gather(std::vector<awaitable<void>>{}));
  int ran = 0;
  const auto count = [&ran]() -> awaitable<void> {
    co_await conc::sleep(0s);
    ++ran;
  };
  std::vector<awaitable<void>> voids;
  for (int i = 0; i < 100; ++i) voids.push_back(count());
  loop.run_until_complete(conc::gather(std::move(voids)));
  CHECK(ran == 100);
}

TEST_CASE("gather: runs its coroutines at the same time", "[event_loop][V13]") {
  EventLoop loop;
  const conc::Promise<void> first;
  const conc::Promise<void> second;
  const auto meets = [](const conc::Promise<void>& mine, const conc::Promise<void>& other) -> awaitable<void> {
    mine.set_result();
    co_await conc::awaitable(other.get_future());
  };
  (void)loop.run_until_complete(conc::gather(meets(first, second), meets(second, first)));
  CHECK(first.get_future().done());
}

TEST_CASE("gather: the first exception cancels the others, and they are waited for", "[event_loop][V13]") {
  EventLoop loop;
  std::string told;
  std::string at_the_end;
  for (const bool at_once : {false, true}) {
    for (const bool first : {false, true}) {
      told.clear();
      const auto failing = [&] { return at_once ? fails() : fails_after_a_sleep(); };
      const auto main = [&]() -> awaitable<void> {
        if (first) {
          (void)co_await conc::gather(failing(), waits(told), ends_slowly(told));
        } else {
          (void)co_await conc::gather(waits(told), ends_slowly(told), failing());
        }
      };
      const Future<void> task = run_coroutine_threadsafe(main(), loop);
      task.add_done_callback([&](const auto&) { at_the_end = told; });
      CHECK(ending([&] { loop.run_until_complete(task); }) == "boom");
      CHECK(at_the_end == std::string{kSleepCancelled} + "cancelled, and then over;");
    }
  }
}

TEST_CASE("gather: of several exceptions the first one counts", "[event_loop][V13]") {
  EventLoop loop;
  const auto later = []() -> awaitable<void> {
    (void)co_await how_it_ends(conc::sleep(conc::never));
    throw std::runtime_error{"second"};
  };
  CHECK(ending([&] { (void)loop.run_until_complete(conc::gather(later(), fails_after_a_sleep("first"), later())); }) ==
        "first");
  std::vector<awaitable<void>> all;
  all.push_back(later());
  all.push_back(fails_after_a_sleep("first"));
  CHECK(ending([&] { loop.run_until_complete(conc::gather(std::move(all))); }) == "first");
}

TEST_CASE("gather: coroutines that end while the others are being started", "[event_loop][V13]") {
  EventLoop loop;
  const auto at_once = [](bool failing) -> awaitable<int> {
    co_await asio::dispatch(asio::use_awaitable);  // ends in the same step
    if (failing) throw std::runtime_error{"boom"};
    co_return 1;
  };
  CHECK(loop.run_until_complete(conc::gather(at_once(false), after_a_sleep(2))) == std::tuple{1, 2});
  std::string told;
  CHECK(ending([&] { (void)loop.run_until_complete(conc::gather(at_once(true), waits(told), at_once(false))); }) ==
        "boom");
  CHECK(told.size() != 0);
}

TEST_CASE("gather: a cancellation from outside cancels all, and they are waited for", "[event_loop][V13]") {
  EventLoop loop;
  std::string told;
  std::string message;
  const Future<void> task = run_coroutine_threadsafe(
      [&]() -> awaitable<void> {
        try {
          (void)co_await conc::gather(waits(told), ends_slowly(told));
        } catch (const CancelledError& error) {
          message = error.what();
          told += "gather;";
        }
        loop.stop();
      },
      loop);
  settle(loop);
  CHECK(task.cancel());
  loop.run_forever();
  CHECK(told == std::string{kSleepCancelled} + "cancelled, and then over;gather;");
  CHECK(message == "gather: the coroutine was cancelled");
}

// wait_for().

TEST_CASE("wait_for: gives what comes in time", "[event_loop][V13]") {
  EventLoop loop;
  CHECK(loop.run_until_complete(conc::wait_for(value_of(1), 1h)) == 1);
  CHECK(loop.run_until_complete(conc::wait_for(after_a_sleep(2), conc::never)) == 2);
  CHECK(loop.run_until_complete(conc::wait_for(after_a_sleep(3), Clock::now() + 1h)) == 3);
  loop.run_until_complete(conc::wait_for(conc::sleep(1ms), 1h));
  CHECK(ending([&] { loop.run_until_complete(conc::wait_for(fails_after_a_sleep(), 1h)); }) == "boom");
  const auto number = []() -> awaitable<Number> { co_return Number{3}; };
  CHECK(loop.run_until_complete(conc::wait_for(number(), 1h)).value == 3);
}

TEST_CASE("wait_for: at the deadline the coroutine is cancelled, and waited for", "[event_loop][V13]") {
  EventLoop loop;
  std::string told;
  CHECK(message_of<conc::TimeoutError>([&] { loop.run_until_complete(conc::wait_for(waits(told), 1ms)); }) ==
        "wait_for: the coroutine has not ended before the deadline");
  CHECK(told == kSleepCancelled);
  told.clear();
  const auto begin = Clock::now();
  CHECK(ending([&] { loop.run_until_complete(conc::wait_for(ends_slowly(told), 2ms)); }) == "TimeoutError");
  CHECK(Clock::now() - begin >= 2ms);
  CHECK(told == "cancelled, and then over;");
  const auto waits_for_asio = []() -> awaitable<void> {
    asio::steady_timer timer{co_await asio::this_coro::executor, 1h};
    co_await timer.async_wait(asio::use_awaitable);
  };
  CHECK(ending([&] { loop.run_until_complete(conc::wait_for(waits_for_asio(), 1ms)); }) == "TimeoutError");
}

TEST_CASE("wait_for: a deadline that has passed gives the coroutine its first step", "[event_loop][V13]") {
  EventLoop loop;
  std::string told;
  CHECK(loop.run_until_complete(conc::wait_for(value_of(4), 0s)) == 4);
  CHECK(ending([&] { loop.run_until_complete(conc::wait_for(waits(told), 0s)); }) == "TimeoutError");
  CHECK(told == kSleepCancelled);
  CHECK(ending([&] { loop.run_until_complete(conc::wait_for(waits(told), -1h)); }) == "TimeoutError");
}

TEST_CASE("wait_for: what a coroutine gives that goes on is given", "[event_loop][V13]") {
  EventLoop loop;
  const auto goes_on = [](bool failing) -> awaitable<int> {
    (void)co_await how_it_ends(conc::sleep(conc::never));
    co_await conc::sleep(1ms);
    if (failing) throw std::runtime_error{"boom"};
    co_return 5;
  };
  CHECK(loop.run_until_complete(conc::wait_for(goes_on(false), 1ms)) == 5);
  CHECK(ending([&] { loop.run_until_complete(conc::wait_for(goes_on(true), 1ms)); }) == "boom");
}

TEST_CASE("wait_for: a cancellation from outside is no timeout", "[event_loop][V13]") {
  EventLoop loop;
  std::string told;
  std::string message;
  const Future<void> task = run_coroutine_threadsafe(
      [&]() -> awaitable<void> {
        try {
          co_await conc::wait_for(ends_slowly(told), 1h);
        } catch (const CancelledError& error) {
          message = error.what();
        }
        loop.stop();
      },
      loop);
  settle(loop);
  CHECK(task.cancel());
  loop.run_forever();
  CHECK(told == "cancelled, and then over;");
  CHECK(message == "wait_for: the coroutine was cancelled");
}

TEST_CASE("wait_for: a cancellation from outside after the deadline is told too", "[event_loop][V13]") {
  std::string told;
  EventLoop loop;
  const auto goes_on = [&]() -> awaitable<void> {
    for (int i = 0; i < 2; ++i) told += co_await how_it_ends(conc::sleep(conc::never)) + ";";
  };
  const Future<void> task = run_coroutine_threadsafe(conc::wait_for(goes_on(), 1ms), loop);
  while (told.empty()) {
    loop.call_later(1ms, [&] { loop.stop(); });
    loop.run_forever();
  }
  CHECK(told == "CancelledError;");
  CHECK(task.cancel());
  settle(loop);
  CHECK(told == "CancelledError;CancelledError;");
}

TEST_CASE("wait_for, gather: one inside the other", "[event_loop][V13]") {
  EventLoop loop;
  std::string told;
  const auto inner = [&]() -> awaitable<void> { (void)co_await conc::gather(waits(told), waits(told)); };
  const auto main = [&]() -> awaitable<std::string> {
    std::string ended = co_await how_it_ends(conc::wait_for(conc::wait_for(inner(), 1h), 1ms));
    ended += " " + co_await how_it_ends(conc::wait_for(conc::wait_for(inner(), 1ms), 1h));
    co_return ended;
  };
  CHECK(loop.run_until_complete(main()) == "TimeoutError TimeoutError");
  CHECK(told == std::string{kSleepCancelled} + kSleepCancelled + kSleepCancelled + kSleepCancelled);
}
