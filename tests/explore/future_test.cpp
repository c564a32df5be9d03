// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/future.hpp>
#include <conc/stop_token.hpp>
#include <conc/thread.hpp>
#include <conc/wait.hpp>
#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "explore_type.hpp"

using namespace std::chrono_literals;
using conc::Future;
using conc::Promise;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;
using conc_test::Tally;

namespace {

/// Something that knows how many of its kind are alive.
class Counted {
 public:
  explicit Counted(Tally& alive) noexcept : alive_{&alive} { ++*alive_; }
  Counted(const Counted& other) noexcept : alive_{other.alive_} { ++*alive_; }
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --*alive_; }

 private:
  Tally* alive_;
};

std::exception_ptr some_error() { return std::make_exception_ptr(std::runtime_error{"no"}); }

/// A callback as the library itself registers it: it does not destroy itself.
class Listener final : public conc::detail::Callback {
 public:
  Listener() noexcept : Callback{Needs::future} {}
  void call(conc::detail::FutureCore& core) noexcept override {
    done_then = core.done();
    ++calls;
  }
  Tally calls;
  bool done_then = true;
};

template <class T>
conc::detail::FutureCore& core_of(const Future<T>& future) {
  return *conc::detail::FutureAccess::state(future);
}

/// Counts what the hook for unretrieved exceptions gets, as long as it lives.
struct Unretrieved {
  Unretrieved() {
    count = 0;
    former = conc::set_unretrieved_exception_hook([](const std::exception_ptr& /*exception*/) { ++count; });
  }
  Unretrieved(const Unretrieved&) = delete;
  Unretrieved& operator=(const Unretrieved&) = delete;
  ~Unretrieved() { conc::set_unretrieved_exception_hook(former); }

  static inline Tally count;
  conc::UnretrievedExceptionHook former;
};

/// A coroutine that begins at once and leaves nothing behind.
struct Coroutine {
  struct promise_type {
    Coroutine get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};

}  // namespace

TEST_CASE("Future: result waits for set_result, in every schedule", "[future][F3]") {
  explore_type("Future, a waiter and a result", [] {
    int before = 0;
    std::optional<Promise<int>> promise{std::in_place};
    std::optional<Future<int>> future{promise->get_future()};
    parallel(
        [&] {
          check(future->result() == 1 && before == 1, "the result came before it was set");
          future.reset();
        },
        [&] {
          before = 1;
          promise->set_result(1);
          promise.reset();
        });
  });
  explore_type("Future, two waiters and a result", [] {
    std::optional<Promise<int>> promise{std::in_place};
    const Future<int> future = promise->get_future();
    const auto wait = [&] { check(future.result() == 1, "another result"); };
    parallel(wait, wait, [&] {
      promise->set_result(1);
      promise.reset();
    });
  });
  explore_type("Future, an exception", [] {
    const Promise<void> promise;
    const Future<void> future = promise.get_future();
    Tally thrown;
    parallel(
        [&] {
          try {
            future.result();
          } catch (const std::runtime_error&) {
            ++thrown;
          }
        },
        [&] { thrown += future.exception() != nullptr ? 1 : 0; }, [&] { promise.set_exception(some_error()); });
    check(thrown == 2, "everybody gets the exception");
  });
}

TEST_CASE("Future: a wait with a deadline tells the truth, in every schedule", "[future][F3]") {
  explore_type("Future, two timed waits and a result", [] {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    const auto wait = [&](conc::Deadline deadline) {
      if (future.wait(deadline)) {
        check(future.done() && future.result() == 1, "not done");
      }
    };
    parallel([&] { wait(1ms); }, [&] { wait(2ms); },
             [&] {
               conc::Event nobody;
               nobody.wait(1ms);
               promise.set_result(1);
             });
    check(future.done(), "set");
  });
}

TEST_CASE("Future: a dropped promise leaves BrokenPromise and no hang, in every schedule", "[future][F15]") {
  const auto wait = [](const Future<int>& future) {
    try {
      (void)future.result();
      check(false, "there is no result");
    } catch (const conc::BrokenPromise&) {
    }
  };
  explore_type("Promise, dropped while two wait", [wait] {
    std::optional<Promise<int>> promise{std::in_place};
    const Future<int> future = promise->get_future();
    parallel([&] { wait(future); }, [&] { wait(future); }, [&] { promise.reset(); });
  });
  explore_type("Promise, dropped after it was told that its task runs", [wait] {
    std::optional<Promise<int>> promise{std::in_place};
    const Future<int> future = promise->get_future();
    parallel([&] { wait(future); },
             [&] {
               check(promise->set_running_or_notify_cancel(), "nobody cancels");
               promise.reset();
             });
  });
  explore_type("Promise, dropped against the last handle", [] {
    const Unretrieved unretrieved;
    std::optional<Promise<int>> promise{std::in_place};
    std::optional<Future<int>> future{promise->get_future()};
    parallel([&] { promise.reset(); }, [&] { future.reset(); });
    check(Unretrieved::count <= 1, "reported twice");
  });
  explore_type("Promise, dropped against cancel()", [] {
    const Unretrieved unretrieved;
    std::optional<Promise<int>> promise{std::in_place};
    std::optional<Future<int>> future{promise->get_future()};
    parallel([&] { promise.reset(); },
             [&] {
               if (future->cancel()) {
                 check(future->cancelled() || !future->done(), "cancelled, or about to be");
               } else {
                 check(future->exception() != nullptr, "broken");
               }
               future.reset();
             });
    check(Unretrieved::count == 0, "cancelled or retrieved");
  });
}

TEST_CASE("Future: handles may be dropped while it becomes done, in every schedule", "[future][G6]") {
  explore_type("Future, a handle dropped against a result", [] {
    Tally alive;
    {
      std::optional<Promise<Counted>> promise{std::in_place};
      std::optional<Future<Counted>> future{promise->get_future()};
      parallel(
          [&] {
            promise->set_result(alive);
            promise.reset();
          },
          [&] { future.reset(); });
    }
    check(alive == 0, "the result was not destroyed once");
  });
  explore_type("Future, two handles dropped against a result", [] {
    Tally alive;
    {
      std::optional<Promise<Counted>> promise{std::in_place};
      std::optional<Future<Counted>> one{promise->get_future()};
      std::optional<Future<Counted>> two{*one};
      parallel(
          [&] {
            promise->set_result(alive);
            promise.reset();
          },
          [&] { one.reset(); }, [&] { two.reset(); });
    }
    check(alive == 0, "the result was not destroyed once");
  });
  explore_type("Future, a handle with a callback dropped against a result", [] {
    Tally alive;
    Tally calls;
    {
      std::optional<Promise<Counted>> promise{std::in_place};
      std::optional<Future<Counted>> one{promise->get_future()};
      std::optional<Future<Counted>> two{*one};
      one->add_done_callback([&calls](const Future<Counted>& future) { calls += future.done() ? 1 : 0; });
      parallel(
          [&] {
            promise->set_result(alive);
            promise.reset();
          },
          [&] { one.reset(); }, [&] { two.reset(); });
    }
    check(alive == 0 && calls == 1, "one result, one call");
  });
  explore_type("Future, copied and dropped against a result", [] {
    Tally alive;
    {
      std::optional<Promise<Counted>> promise{std::in_place};
      std::optional<Future<Counted>> future{promise->get_future()};
      parallel(
          [&] {
            promise->set_result(alive);
            promise.reset();
          },
          [&] {
            const Future<Counted> copy{*future};
            future.reset();
            copy.wait();
          });
    }
    check(alive == 0, "the result was not destroyed once");
  });
}

TEST_CASE("Future: an exception that nobody retrieved is reported once, in every schedule", "[future][F14]") {
  explore_type("Future, two handles of a failed one dropped", [] {
    const Unretrieved unretrieved;
    {
      std::optional<Promise<void>> promise{std::in_place};
      std::optional<Future<void>> one{promise->get_future()};
      std::optional<Future<void>> two{*one};
      parallel(
          [&] {
            promise->set_exception(some_error());
            promise.reset();
          },
          [&] { one.reset(); }, [&] { two.reset(); });
    }
    check(Unretrieved::count == 1, "once");
  });
  explore_type("Future, one handle of a failed one retrieves, the other is dropped", [] {
    const Unretrieved unretrieved;
    bool retrieved = false;
    {
      std::optional<Promise<void>> promise{std::in_place};
      std::optional<Future<void>> one{promise->get_future()};
      std::optional<Future<void>> two{*one};
      parallel(
          [&] {
            promise->set_exception(some_error());
            promise.reset();
          },
          [&] { one.reset(); },
          [&] {
            retrieved = two->wait(0ms) && two->exception() != nullptr;
            two.reset();
          });
    }
    check(Unretrieved::count == (retrieved ? 0 : 1), "reported if and only if nobody retrieved it");
  });
}

TEST_CASE("Future: cancel, start and set_result have one winner, in every schedule", "[future][F1][F4][F5]") {
  explore_type("Future, two cancels and a start", [] {
    Tally calls;  // outlives the promise, which calls back when it breaks
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    future.add_done_callback([&calls](const Future<int>& done) { calls += done.cancelled() ? 1 : 100; });
    Tally cancelled;
    bool started = false;
    const auto cancel = [&] { cancelled += future.cancel() ? 1 : 0; };
    parallel(cancel, cancel, [&] { started = promise.set_running_or_notify_cancel(); });
    check(cancelled == (started ? 0 : 2), "all say the same");
    check(future.cancelled() == !started && calls == (started ? 0 : 1), "and it is so");
    check(!started || future.running(), "it runs");
  });
  explore_type("Future, two results and a cancel", [] {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    Tally calls;
    future.add_done_callback([&calls](const Future<int>& /*done*/) { ++calls; });
    bool one = false;
    bool two = false;
    bool cancelled = false;
    parallel([&] { one = promise.try_set_result(1); }, [&] { two = promise.try_set_exception(some_error()); },
             [&] { cancelled = future.cancel(); });
    check(int{one} + int{two} + int{cancelled} == 1 && calls == 1, "one of them wins");
    check(future.done() && future.cancelled() == cancelled, "done");
    check(!one || future.result() == 1, "the first result stays");
    check(!two || future.exception() != nullptr, "the exception stays");
  });
  explore_type("Future, a start, a result and a cancel", [] {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    bool refused = false;
    bool cancelled = false;
    bool set = false;
    bool started = false;
    parallel(
        [&] {
          try {
            started = promise.set_running_or_notify_cancel();
          } catch (const conc::InvalidStateError&) {
            refused = true;
          }
        },
        [&] { set = promise.try_set_result(1); }, [&] { cancelled = future.cancel(); });
    check(set != cancelled, "one of them wins");
    check(!(started && cancelled) && (!refused || set), "a task that runs is not cancelled");
    check(future.done() && future.cancelled() == cancelled, "done");
  });
  explore_type("Future, a result whose making throws against a cancel", [] {
    struct Fails {
      explicit Fails(bool fail) {
        if (fail) {
          throw std::runtime_error{"no"};
        }
      }
    };
    const Promise<Fails> promise;
    const Future<Fails> future = promise.get_future();
    bool cancelled = false;
    bool set = false;
    parallel(
        [&] {
          try {
            (void)promise.try_set_result(true);
          } catch (const std::runtime_error&) {
          }
          set = promise.try_set_result(false);
        },
        [&] { cancelled = future.cancel(); });
    check(set != cancelled && future.cancelled() == cancelled, "one of them wins");
  });
  explore_type("Future, a blocked waiter and a cancel", [] {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    Tally told;
    const auto wait = [&] {
      try {
        (void)future.result();
      } catch (const conc::CancelledError&) {
        ++told;
      }
    };
    parallel(wait, wait, [&] { check(future.cancel(), "nobody starts it"); });
    check(told == 2, "both wake up");
  });
  explore_type("Future, a promise told of the cancellation may go while it is cancelled", [] {
    std::optional<Promise<int>> promise{std::in_place};
    std::optional<Future<int>> future{promise->get_future()};
    parallel(
        [&] {
          if (promise->set_running_or_notify_cancel()) {
            promise->set_result(1);
          }
          promise.reset();
        },
        [&] {
          future->cancel();
          future.reset();
        });
  });
}

TEST_CASE("Future: each callback is called once, in every schedule", "[future][F6][F7][F9]") {
  explore_type("Future, a callback against a result", [] {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    int before = 0;
    Tally calls;
    future.add_done_callback([&before](const Future<int>& /*done*/) { ++before; });
    parallel([&] { promise.set_result(1); },
             [&] {
               future.add_done_callback([&calls](const Future<int>& done) {
                 check(done.result(0ms) == 1, "not done");
                 ++calls;
               });
             });
    check(before == 1 && calls == 1, "once each");
  });
  explore_type("Future, two callbacks against a result", [] {
    std::optional<Promise<int>> promise{std::in_place};
    const Future<int> future = promise->get_future();
    Tally calls;
    const auto add = [&] { future.add_done_callback([&calls](const Future<int>& /*done*/) { ++calls; }); };
    parallel(
        [&] {
          promise->set_result(1);
          promise.reset();
        },
        add, add);
    check(calls == 2, "once each");
  });
  explore_type("Future, callbacks in the order of their registration", [] {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    std::array<int, 4> order{};
    Tally called;
    const auto add = [&](int number) {
      future.add_done_callback([&order, &called, number](const Future<int>& /*done*/) {
        order[static_cast<std::size_t>(++called - 1)] = number;
      });
    };
    add(1);
    parallel([&] { add(2); },
             [&] {
               add(3);
               add(4);
               promise.set_result(1);
             });
    check(called == 4, "all of them");
    const auto place = [&order](int number) { return std::find(order.begin(), order.end(), number); };
    check(place(1) < place(3) && place(3) < place(4), "in order");
  });
  explore_type("Future, callbacks that add callbacks and drop handles", [] {
    std::optional<Promise<int>> promise{std::in_place};
    std::optional<Future<int>> future{promise->get_future()};
    Tally calls;
    future->add_done_callback([&](const Future<int>& done) {
      done.add_done_callback([&calls](const Future<int>& again) {
        check(again.done(), "not done");
        ++calls;
      });
      ++calls;
      future.reset();
    });
    const Future<int> other = *future;
    parallel(
        [&] {
          promise->set_result(1);
          promise.reset();
        },
        [&] { other.add_done_callback([&calls](const Future<int>& /*done*/) { ++calls; }); });
    check(calls == 3 && !future, "once each");
  });
  explore_type("Future, a callback that drops the promise and the last handle", [] {
    Tally alive;
    Tally calls;
    {
      auto promise = std::make_unique<Promise<Counted>>();
      std::optional<Future<Counted>> one{promise->get_future()};
      std::optional<Future<Counted>> two{*one};
      one->add_done_callback([&](const Future<Counted>& /*done*/) {
        promise.reset();
        one.reset();
      });
      one->add_done_callback([&calls](const Future<Counted>& done) {
        done.result(0ms);
        ++calls;
      });
      parallel([&name = *promise, &alive] { name.set_result(alive); }, [&] { two.reset(); });
    }
    check(alive == 0 && calls == 1, "one result, one call");
  });
  explore_type("Future, a callback that waits for a thread that adds one", [] {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    conc::Event added;
    Tally calls;
    future.add_done_callback([&](const Future<int>& /*done*/) { added.wait(); });
    parallel([&] { promise.set_result(1); },
             [&] {
               future.add_done_callback([&calls](const Future<int>& /*done*/) { ++calls; });
               added.set();
             });
    check(calls == 1, "called without a lock, and once");
  });
  explore_type("Future, callbacks against a cancel", [] {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    Tally calls;
    const auto add = [&] {
      future.add_done_callback([&calls](const Future<int>& done) { calls += done.cancelled() ? 1 : 100; });
    };
    add();
    parallel(
        add, [&] { future.cancel(); }, [&] { future.cancel(); });
    check(calls == 2, "once each");
  });
}

TEST_CASE("Future: a callback is removed or called, in every schedule", "[future][F6]") {
  explore_type("FutureCore, the first of three callbacks removed against a result", [] {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    Listener listeners[3];
    for (Listener& listener : listeners) {
      check(core_of(future).add(listener), "not done yet");
    }
    bool removed = false;
    parallel([&] { promise.set_result(1); }, [&] { removed = core_of(future).remove(listeners[0]); });
    check(listeners[0].calls == (removed ? 0 : 1), "removed or called");
    check(listeners[1].calls == 1 && listeners[2].calls == 1, "the others are called");
  });
  explore_type("FutureCore, the only callback removed against a result", [] {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    Listener listener;
    check(core_of(future).add(listener), "not done yet");
    bool removed = false;
    parallel([&] { promise.set_result(1); }, [&] { removed = core_of(future).remove(listener); },
             [&] { check(future.result() == 1, "another result"); });
    check(listener.calls == (removed ? 0 : 1) && listener.done_then, "removed or called");
    check(!core_of(future).remove(listener), "it is gone");
  });
  explore_type("FutureCore, two callbacks of four removed against a result", [] {
    const Promise<int> promise;
    const Future<int> future = promise.get_future();
    Listener listeners[4];
    for (Listener& listener : listeners) {
      check(core_of(future).add(listener), "not done yet");
    }
    bool removed[4] = {};
    const auto remove = [&](int i) { removed[i] = core_of(future).remove(listeners[i]); };
    parallel([&] { promise.set_result(1); }, [&] { remove(1); }, [&] { remove(3); });
    for (int i = 0; i < 4; ++i) {
      check(listeners[i].calls == (removed[i] ? 0 : 1), "removed or called");
    }
  });
  explore_type("FutureCore, one removed, one added, and a result", [] {
    std::optional<Promise<int>> promise{std::in_place};
    std::optional<Future<int>> one{promise->get_future()};
    std::optional<Future<int>> two{*one};
    Listener first;
    Listener second;
    check(core_of(*one).add(first), "not done yet");
    bool removed = false;
    bool added = false;
    parallel(
        [&] {
          promise->set_result(1);
          promise.reset();
        },
        [&] {
          removed = core_of(*one).remove(first);
          one.reset();
        },
        [&] {
          added = core_of(*two).add(second);
          two.reset();
        });
    check(first.calls == (removed ? 0 : 1), "removed or called");
    check(second.calls == (added ? 1 : 0), "called if it was registered");
  });
}

TEST_CASE("Future: result() && takes the result once, in every schedule", "[future][F13]") {
  explore_type("Future, two handles give up a result that can only be moved", [] {
    std::optional<Promise<std::unique_ptr<int>>> promise{std::in_place};
    Future<std::unique_ptr<int>> one = promise->get_future();
    Future<std::unique_ptr<int>> two = one;
    Tally taken;
    Tally refused;
    const auto take = [&](Future<std::unique_ptr<int>>& future) {
      try {
        taken += *std::move(future).result();
      } catch (const conc::InvalidStateError&) {
        check(future.valid(), "the handle stays as it was");
        ++refused;
      }
    };
    parallel([&] { take(one); }, [&] { take(two); },
             [&] {
               promise->set_result(std::make_unique<int>(1));
               promise.reset();
             });
    check(taken == 1 && refused == 1, "one of them gets it");
  });
  explore_type("Future, two handles give up a result that can be copied", [] {
    Tally alive;
    {
      std::optional<Promise<Counted>> promise{std::in_place};
      Future<Counted> one = promise->get_future();
      Future<Counted> two = one;
      const auto take = [&](Future<Counted>& future) { const Counted mine = std::move(future).result(); };
      parallel([&] { take(one); }, [&] { take(two); },
               [&] {
                 promise->set_result(alive);
                 promise.reset();
               });
    }
    check(alive == 0, "each was destroyed");
  });
}

TEST_CASE("Future: result() && leaves the result to the callbacks, in every schedule", "[future][F6][F13]") {
  // std::string is copied where others may look at it, and moved where nobody can any more.
  const std::string text(40, 'x');
  explore_type("Future, one handle gives up the result, two callbacks look at it", [text] {
    std::optional<Promise<std::string>> promise{std::in_place};
    Future<std::string> future = promise->get_future();
    Tally calls;
    const auto look = [&](const Future<std::string>& done) {
      check(done.result() == text, "the result was moved out");
      ++calls;
    };
    future.add_done_callback(look);
    future.add_done_callback(look);
    parallel([&] { check(std::move(future).result() == text, "another result"); },
             [&] {
               promise->set_result(text);
               promise.reset();
             });
    check(calls == 2, "once each");
  });
  explore_type("Future, one handle gives up the result, the other one adds a callback", [text] {
    std::optional<Promise<std::string>> promise{std::in_place};
    Future<std::string> one = promise->get_future();
    std::optional<Future<std::string>> two{one};
    Tally calls;
    parallel([&] { check(std::move(one).result() == text, "another result"); },
             [&] {
               two->add_done_callback([&](const Future<std::string>& done) {
                 check(done.result() == text, "the result was moved out");
                 ++calls;
               });
               two.reset();
             },
             [&] {
               promise->set_result(text);
               promise.reset();
             });
    check(calls == 1, "once");
  });
}

TEST_CASE("Future: then runs once, or is cancelled, in every schedule", "[future][F17]") {
  explore_type("Future, then() against a result", [] {
    std::optional<Promise<int>> promise{std::in_place};
    const Future<int> future = promise->get_future();
    int result = 0;
    parallel(
        [&] {
          promise->set_result(1);
          promise.reset();
        },
        [&] { result = future.then([](int n) { return n + 1; }).result(); });
    check(result == 2, "then() gives what fn makes of the result");
  });
  explore_type("Future, then(), cancelled against a result", [] {
    Tally alive;
    Tally calls;
    bool cancelled = false;
    {
      std::optional<Promise<int>> promise{std::in_place};
      std::optional<Future<void>> next{
          promise->get_future().then([&calls, argument = Counted{alive}](int /*n*/) { ++calls; })};
      std::optional<Future<void>> other{*next};
      parallel(
          [&] {
            promise->set_result(1);
            promise.reset();
          },
          [&] {
            cancelled = next->cancel();
            next.reset();
          },
          [&] { other.reset(); });
    }
    check(calls == (cancelled ? 0 : 1) && alive == 0, "called or cancelled, and destroyed");
  });
  explore_type("Future, then() of a failure, of a cancellation", [] {
    const Promise<int> failing;
    const Promise<int> other;
    const Future<void> after_failure = failing.get_future().then([](int /*n*/) { check(false, "skipped"); });
    const Future<void> after_cancel = other.get_future().then([](int /*n*/) { check(false, "skipped"); });
    parallel([&] { failing.set_exception(some_error()); }, [&] { other.get_future().cancel(); },
             [&] {
               check(after_failure.exception() != nullptr, "it fails likewise");
               check(after_cancel.wait() && after_cancel.cancelled(), "it is cancelled likewise");
             });
  });
}

TEST_CASE("Future: when_all and when_any are done once, in every schedule", "[future][F17]") {
  explore_type("when_all, two results", [] {
    const Promise<int> one;
    const Promise<int> two;
    const auto all = conc::when_all(std::array{one.get_future(), two.get_future()});
    parallel([&] { one.set_result(1); }, [&] { two.set_result(2); },
             [&] {
               const auto futures = all.result();
               check(futures[0].result(0ms) + futures[1].result(0ms) == 3, "both are done");
             });
  });
  explore_type("when_any, two results", [] {
    const Promise<int> one;
    const Promise<int> two;
    const auto any = conc::when_any(std::array{one.get_future(), two.get_future()});
    parallel([&] { one.set_result(0); }, [&] { two.set_result(1); },
             [&] {
               const auto first = any.result();
               check(first.futures[first.index].result(0ms) == static_cast<int>(first.index), "that one is done");
             });
  });
}

TEST_CASE("Future: a coroutine that awaits goes on once, in every schedule", "[future][F16]") {
  explore_type("Future, co_await against a result", [] {
    std::optional<Promise<int>> promise{std::in_place};
    std::optional<Future<int>> future{promise->get_future()};
    int got = 0;
    const auto wait = [](Future<int> awaited, int& result) -> Coroutine { result += co_await std::move(awaited); };
    parallel(
        [&] {
          promise->set_result(1);
          promise.reset();
        },
        [&] {
          wait(*future, got);
          future.reset();
        });
    check(got == 1, "it went on once");
  });
}

TEST_CASE("Future: a task of spawn ends whoever drops its handle, in every schedule", "[future][T17][F12][F18]") {
  explore_type("spawn, a result", [] {
    Tally alive;
    {
      const Future<int> future = conc::spawn([argument = Counted{alive}] { return 1; });
      check(future.result() == 1 && alive == 0, "callable and arguments are gone before the future is done");
    }
  });
  explore_type("spawn, a handle dropped at once", [] {
    Tally runs;
    conc::Event ran;
    conc::spawn([&] {
      ++runs;
      ran.set();
    });
    conc::spawn([] { (void)conc::current_thread(); }).cancel();
    ran.wait();
    check(runs == 1, "it runs without a handle");
  });
  explore_type("spawn, cancelled against its start", [] {
    Tally alive;
    Tally runs;
    std::optional<Future<void>> future{conc::spawn([&runs, argument = Counted{alive}] { ++runs; })};
    const bool cancelled = future->cancel();
    future->wait();
    check(future->cancelled() == cancelled && runs == (cancelled ? 0 : 1), "cancelled or run");
    check(alive == 0, "callable and arguments are gone before the future is done");
  });
}

TEST_CASE("Future: request_stop reaches a task that runs, in every schedule", "[future][F18]") {
  explore_type("Future, a stop against a task that waits for it", [] {
    const Future<int> future = conc::spawn([](const conc::StopToken& token) {
      conc::Event stopped;
      const conc::StopCallback callback{token, [&stopped] { stopped.set(); }};
      stopped.wait();
      return 1;
    });
    check(future.request_stop(), "the first request");
    check(!future.request_stop(), "the second request");
    check(future.result() == 1, "it has ended as it likes");
  });
  explore_type("Future, a stop against a task that ends", [] {
    std::optional<Future<int>> future{
        conc::spawn([](const conc::StopToken& token) { return token.stop_requested() ? 1 : 2; })};
    const Future<int> other = *future;
    parallel(
        [&] {
          check(future->request_stop(), "the only request");
          future.reset();
        },
        [&] { check(other.result() != 0, "it ends"); });
  });
}
