// SPDX-License-Identifier: MIT
#include <conc/event.hpp>
#include <conc/stop_token.hpp>
#include <memory>
#include <optional>

#include "explore_type.hpp"

using conc::StopCallback;
using conc::StopSource;
using conc::StopToken;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;

namespace {

/// A place where another thread may run.
void step() {
  conc::detail::sync::Atomic<int> somewhere{0};
  somewhere.load();
}

}  // namespace

TEST_CASE("StopCallback: a registration that races with the stop is called once, in every schedule", "[stop_token]") {
  explore_type("StopCallback, two registrations and a stop", [] {
    const StopSource source;
    int message = 0;
    int calls[2] = {};
    conc::Event stopped;  // only then a callback that was not called may go
    const auto listen = [&](int& count) {
      return [&] {
        const StopCallback callback{source.get_token(), [&] {
                                      check(message == 1, "what came before request_stop() is not visible");
                                      ++count;
                                    }};
        stopped.wait();
      };
    };
    parallel(listen(calls[0]), listen(calls[1]), [&] {
      message = 1;
      check(source.request_stop(), "the only one");
      stopped.set();
    });
    check(calls[0] == 1 && calls[1] == 1, "called once each");
  });
}

TEST_CASE("StopCallback: a destructor that races with the stop waits for the call, in every schedule", "[stop_token]") {
  explore_type("StopCallback, two destructors and a stop", [] {
    const StopSource source;
    struct Target {
      int begun = 0;
      int ended = 0;
    };
    const auto listen = [&] {
      const auto target = std::make_unique<Target>();
      {
        const StopCallback callback{source.get_token(), [&] {
                                      ++target->begun;
                                      step();
                                      ++target->ended;
                                    }};
      }
      check(target->begun == target->ended, "destroyed while it runs");
      check(target->ended <= 1, "called twice");
    };
    parallel(listen, listen, [&] { check(source.request_stop(), "the only one"); });
  });
}

TEST_CASE("StopCallback: a destructor waits for no other callback than its own, in every schedule", "[stop_token]") {
  explore_type("StopCallback, a callback that waits for the destructor of the one before it", [] {
    const StopSource source;
    conc::Event first_gone;
    conc::Event second_gone;
    const auto nothing = [] { step(); };
    const auto wait_for_first = [&] { first_gone.wait(); };
    const auto wait_for_second = [&] { second_gone.wait(); };
    std::optional<StopCallback<decltype(nothing)>> first{std::in_place, source.get_token(), nothing};
    std::optional<StopCallback<decltype(wait_for_first)>> second{std::in_place, source.get_token(), wait_for_first};
    const StopCallback third{source.get_token(), wait_for_second};
    parallel(
        [&] {
          first.reset();
          first_gone.set();
        },
        [&] {
          second.reset();
          second_gone.set();
        },
        [&] { source.request_stop(); });
  });
}

TEST_CASE("StopCallback: callbacks may destroy themselves and each other, in every schedule", "[stop_token]") {
  explore_type("StopCallback, destroyed by a callback, while others come and go", [] {
    const StopSource source;
    struct Fn {
      void (*call)(void*);
      void* context;
      void operator()() const { call(context); }
    };
    struct Context {
      std::optional<StopCallback<Fn>> itself;
      std::optional<StopCallback<Fn>> next;
      int calls = 0;
    } context;
    context.itself.emplace(source.get_token(), Fn{[](void* of) {
                                                    auto& it = *static_cast<Context*>(of);
                                                    it.itself.reset();
                                                    it.next.reset();
                                                    ++it.calls;
                                                  },
                                                  &context});
    context.next.emplace(source.get_token(), Fn{[](void*) { check(false, "destroyed before its turn"); }, nullptr});
    int others = 0;
    parallel([&] { check(source.request_stop(), "the only one"); },
             [&] {
               const StopCallback callback{source.get_token(), [&] { ++others; }};
             });
    check(context.calls == 1 && !context.itself && !context.next, "it destroyed both");
    check(others <= 1, "called twice");
  });
}

TEST_CASE("StopSource: one of two calls of request_stop wins, in every schedule", "[stop_token]") {
  explore_type("StopSource, two stops and a registration", [] {
    const StopSource source;
    int wins = 0;
    int calls = 0;
    const StopCallback before{source.get_token(), [&] {
                                check(!source.request_stop(), "stop was requested");
                                ++calls;
                              }};
    const auto stop = [&] {
      wins += source.request_stop() ? 1 : 0;
      check(source.stop_requested(), "it was requested");
    };
    parallel(stop, stop, [&] { const StopCallback callback{source.get_token(), [&] { step(); }}; });
    check(wins == 1 && calls == 1, "one call wins and calls the callback once");
  });
}

TEST_CASE("StopToken: outlives its sources, whoever drops the last one, in every schedule", "[stop_token][G6]") {
  explore_type("StopToken, a source dropped, a source that stops, a token that listens", [] {
    std::optional<StopSource> first{std::in_place};
    std::optional<StopSource> second{*first};
    StopToken token = first->get_token();
    const StopToken other{token};
    int calls = 0;
    parallel([&] { first.reset(); },
             [&] {
               const bool won = second->request_stop();
               check(won, "the only one");
               second.reset();
             },
             [&] {
               const StopCallback callback{std::move(token), [&] { ++calls; }};
               check(other.stop_possible(), "a source is left, or stop was requested");
             });
    check(calls <= 1 && other.stop_possible() && other.stop_requested(), "it stays requested");
  });
  explore_type("StopToken, all sources dropped while a callback is registered", [] {
    auto first = std::make_unique<StopSource>();
    auto second = std::make_unique<StopSource>(*first);
    StopToken token = first->get_token();
    parallel([&] { first.reset(); }, [&] { second.reset(); },
             [&] {
               const StopToken copy{token};
               const StopCallback callback{std::move(token), [] { check(false, "nobody requested it"); }};
               while (copy.stop_possible()) conc::detail::sync::yield();
               check(!copy.stop_requested(), "nobody requested it");
             });
  });
}

TEST_CASE("StopSource: may be destroyed by who sees the stop, in every schedule", "[stop_token][G6]") {
  explore_type("StopSource, destroyed while it calls a callback", [] {
    auto source = std::make_unique<StopSource>();
    const StopToken token = source->get_token();
    int calls = 0;
    const StopCallback callback{token, [&] {
                                  step();
                                  ++calls;
                                }};
    parallel([&name = *source] { name.request_stop(); },
             [&] {
               while (!token.stop_requested()) conc::detail::sync::yield();
               source.reset();
             });
    check(calls == 1, "called once");
  });
}
