// SPDX-License-Identifier: MIT
#include <array>
#include <conc/event.hpp>
#include <conc/executor.hpp>
#include <conc/future.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>
#include <exception>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "explore_type.hpp"

using namespace std::chrono_literals;
using conc::Future;
using conc::Promise;
using conc::ReturnWhen;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;

namespace {

std::exception_ptr some_error() { return std::make_exception_ptr(std::runtime_error{"no"}); }

/// Two promises and their futures.
struct Pair {
  Promise<int> one;
  Promise<int> two;
  std::vector<Future<int>> futures{one.get_future(), two.get_future()};
};

/// How many futures of the range it yields until it throws a DeadlockError; minus one if it does not.
template <class Range>
int yields_until_deadlock(Range&& range) {
  int count = 0;
  try {
    for (const Future<int>& future : range) {
      check(future.done(), "not done");
      ++count;
    }
    return -1;
  } catch (const conc::DeadlockError&) {
    return count;
  }
}

/// Waits for the first of them. @return whether that was a DeadlockError
template <class Range>
bool first_is_deadlock(Range&& futures, ReturnWhen when) {
  try {
    check(!conc::wait(futures, {.return_when = when}).done.empty(), "none is done");
    return false;
  } catch (const conc::DeadlockError&) {
    return true;
  }
}

/// Lets the simulated time pass.
void let_pass(conc::Deadline time) {
  conc::Event nobody;
  check(!nobody.wait(time), "nobody has set it");
}

}  // namespace

TEST_CASE("as_completed: yields each future once, in every schedule", "[as_completed][AC1][W6]") {
  explore_type("as_completed, two results", [] {
    const Pair pair;
    parallel([&] { pair.one.set_result(1); }, [&] { pair.two.set_result(2); },
             [&] {
               int sum = 0;
               int count = 0;
               for (const Future<int>& future : conc::as_completed(pair.futures)) {
                 sum += future.result(0ms);
                 ++count;
               }
               check(sum == 3 && count == 2, "each once, and done");
             });
  });
  explore_type("as_completed, two results of one thread", [] {
    const Pair pair;
    parallel(
        [&] {
          pair.two.set_result(2);
          pair.one.set_result(1);
        },
        [&] {
          int sum = 0;
          int count = 0;
          for (const Future<int>& future : conc::as_completed(pair.futures)) {
            sum += future.result(0ms);
            ++count;
          }
          check(sum == 3 && count == 2, "each once, and done");
        });
  });
  explore_type("as_completed, the order of completion", [] {
    const Pair pair;
    auto range = conc::as_completed(pair.futures);
    parallel(
        [&] {
          pair.two.set_result(2);
          pair.one.set_result(1);
        },
        [&] {
          int expected = 2;
          for (const Future<int>& future : range) {
            check(future.result(0ms) == expected--, "not in the order of completion");
          }
          check(expected == 0, "each once");
        });
  });
  explore_type("as_completed, one result, one failure, one cancellation, one more watcher", [] {
    const Pair pair;
    const Promise<int> three;
    std::vector<Future<int>> futures = pair.futures;
    futures.push_back(three.get_future());
    int count = 0;
    parallel(
        [&] {
          futures[1].cancel();
          pair.one.set_result(1);
        },
        [&] { three.set_exception(some_error()); },
        [&] {
          for (const Future<int>& future : conc::as_completed(futures)) {
            check(future.done(), "not done");
            ++count;
          }
        });
    check(count == 3 && futures[2].exception() != nullptr, "each once");
  });
  explore_type("as_completed, two watchers of one future", [] {
    const Promise<int> promise;
    const std::array futures{promise.get_future()};
    int count = 0;
    const auto watch = [&] {
      for (const Future<int>& future : conc::as_completed(futures)) {
        count += future.result(0ms);
      }
    };
    parallel(watch, watch, [&] { promise.set_result(1); });
    check(count == 2, "each watcher gets it once");
  });
  explore_type("as_completed, the handles it yields are the last ones", [] {
    std::optional<Promise<int>> one{std::in_place};
    std::optional<Promise<int>> two{std::in_place};
    std::vector<Future<int>> futures{one->get_future(), two->get_future()};
    parallel(
        [&] {
          one->set_result(1);
          one.reset();
        },
        [&] {
          two->set_result(2);
          two.reset();
        },
        [&] {
          auto range = conc::as_completed(futures);
          futures.clear();
          int sum = 0;
          for (Future<int>& future : range) {
            sum += std::move(future).result();
          }
          check(sum == 3, "each once");
        });
  });
}

TEST_CASE("as_completed: may be left early, in every schedule", "[as_completed][AC4]") {
  explore_type("as_completed, left after the first", [] {
    std::optional<Promise<int>> one{std::in_place};
    std::optional<Promise<int>> two{std::in_place};
    std::vector<Future<int>> futures{one->get_future(), two->get_future()};
    parallel(
        [&] {
          one->set_result(1);
          one.reset();
        },
        [&] {
          two->set_result(2);
          two.reset();
        },
        [&] {
          for (const Future<int>& future : conc::as_completed(std::exchange(futures, {}))) {
            check(future.done(), "not done");
            break;
          }
        });
  });
  explore_type("as_completed, left before the first", [] {
    std::optional<Promise<int>> one{std::in_place};
    std::optional<Promise<int>> two{std::in_place};
    std::vector<Future<int>> futures{one->get_future(), two->get_future()};
    parallel(
        [&] {
          one->set_result(1);
          two->set_result(2);
          one.reset();
          two.reset();
        },
        [&] { (void)conc::as_completed(std::exchange(futures, {})); });
  });
  explore_type("as_completed, left while another one goes on", [] {
    const Promise<int> promise;
    Future<int> future = promise.get_future();
    parallel([&] { (void)conc::as_completed(std::array{future}); },
             [&] {
               for (const Future<int>& done : conc::as_completed(std::array{future})) {
                 check(done.result(0ms) == 1, "another result");
               }
             },
             [&] {
               (void)conc::as_completed(std::array{future});
               promise.set_result(1);
             });
    check(conc::detail::FutureAccess::state(future)->has_one_handle(), "nothing is left of the three");
  });
  explore_type("as_completed, left before there is a result", [] {
    const Promise<int> promise;
    Future<int> future = promise.get_future();
    const auto leave = [&] { (void)conc::as_completed(std::array{future}); };
    parallel(leave, leave);
    check(conc::detail::FutureAccess::state(future)->has_one_handle(), "nothing is left of the two");
  });
  explore_type("as_completed, a deadline against a result", [] {
    std::optional<Promise<int>> one{std::in_place};
    std::optional<Promise<int>> two{std::in_place};
    std::vector<Future<int>> futures{one->get_future(), two->get_future()};
    parallel(
        [&] {
          one->set_result(1);
          one.reset();
          conc::Event nobody;
          nobody.wait(1ms);
          two->set_result(2);
          two.reset();
        },
        [&] {
          int count = 0;
          try {
            for (const Future<int>& future : conc::as_completed(std::exchange(futures, {}), 1ms)) {
              check(future.done(), "not done");
              ++count;
            }
            check(count == 2, "each once");
          } catch (const conc::TimeoutError&) {
            check(count < 2, "none was left");
          }
        });
  });
}

TEST_CASE("wait: misses no completion, in every schedule", "[wait][W1][W3][W6]") {
  explore_type("wait, for both of two results", [] {
    const Pair pair;
    parallel([&] { pair.one.set_result(1); }, [&] { pair.two.set_result(2); },
             [&] {
               const auto [done, not_done] = conc::wait(pair.futures);
               check(done.size() == 2 && not_done.empty(), "both are done");
             });
  });
  explore_type("wait, for the first of two results", [] {
    const Pair pair;
    parallel([&] { pair.one.set_result(1); }, [&] { pair.two.set_result(2); },
             [&] {
               const auto [done, not_done] = conc::wait(pair.futures, {.return_when = ReturnWhen::first_completed});
               check(!done.empty() && done.size() + not_done.size() == 2, "one is done");
             });
  });
  explore_type("wait, for the first of two, where only one is done", [] {
    const Pair pair;
    const auto first = [&] {
      const auto [done, not_done] = conc::wait(pair.futures, {.return_when = ReturnWhen::first_completed});
      check(done.size() == 1 && done[0].result() == 2, "one is done");
    };
    parallel(first, first, [&] { pair.two.set_result(2); });
  });
  explore_type("wait, for the first exception", [] {
    const Pair pair;
    parallel([&] { pair.one.set_result(1); }, [&] { pair.two.set_exception(some_error()); },
             [&] {
               const auto [done, not_done] = conc::wait(pair.futures, {.return_when = ReturnWhen::first_exception});
               check(!done.empty() && done.back().exception(0ms) != nullptr, "the second has failed");
             });
  });
  explore_type("wait, for the first exception where there is none", [] {
    const Pair pair;
    parallel([&] { pair.one.set_result(1); }, [&] { pair.futures[1].cancel(); },
             [&] {
               const auto [done, not_done] = conc::wait(pair.futures, {.return_when = ReturnWhen::first_exception});
               check(done.size() == 2, "a cancellation is no exception");
             });
  });
  explore_type("wait, with a deadline", [] {
    const Pair pair;
    parallel(
        [&] {
          pair.one.set_result(1);
          conc::Event nobody;
          nobody.wait(2ms);
          pair.two.set_result(2);
        },
        [&] {
          const auto [done, not_done] = conc::wait(pair.futures, 1ms);
          check(done.size() + not_done.size() == 2, "each once");
        },
        [&] {
          const auto [done, not_done] =
              conc::wait(pair.futures, {.timeout = 2ms, .return_when = ReturnWhen::first_completed});
          check(done.size() + not_done.size() == 2, "each once");
        });
  });
}

TEST_CASE("as_completed: a worker runs what nobody has started, in every schedule", "[as_completed][X16]") {
  explore_type("as_completed, by the only worker", [] {
    conc::ThreadPoolExecutor pool{1};
    const int sum = pool.submit([&pool] {
                          const std::array futures{pool.submit([] { return 1; }), pool.submit([] { return 2; })};
                          int all = 0;
                          for (const Future<int>& future : conc::as_completed(futures)) {
                            all += future.result();
                          }
                          return all;
                        })
                        .result();
    check(sum == 3, "each once");
  });
  explore_type("as_completed, by one of two workers", [] {
    conc::ThreadPoolExecutor pool{2};
    const int sum = pool.submit([&pool] {
                          const std::array futures{pool.submit([] { return 1; }), pool.submit([] { return 2; })};
                          int all = 0;
                          for (const Future<int>& future : conc::as_completed(futures)) {
                            all += future.result(0ms);
                          }
                          return all;
                        })
                        .result();
    check(sum == 3, "each once");
  });
  explore_type("as_completed, by a worker that claims nothing while one of the tasks runs", [] {
    conc::Event started;
    conc::Event go;
    conc::ThreadPoolExecutor pool{2};
    const Future<bool> outer = pool.submit([&] {
      const Future<int> one = pool.submit([&] {
        started.set();
        go.wait();
        return 1;
      });
      started.wait();
      const Future<int> two = pool.submit([] { return 2; });
      for (const Future<int>& future : conc::as_completed(std::array{one, two})) {
        return future == one || one.done();
      }
      return false;
    });
    started.wait();
    go.set();
    check(outer.result(), "it ran the second while the first was running");
  });
  explore_type("wait, for the first, by the only worker, while its task is cancelled", [] {
    conc::ThreadPoolExecutor pool{1};
    std::optional<Future<int>> inner;
    conc::Event submitted;
    const Future<bool> outer = pool.submit([&] {
      inner = pool.submit([] { return 1; });
      submitted.set();
      const auto [done, not_done] =
          conc::wait(std::array{*inner}, conc::WaitOptions{.return_when = ReturnWhen::first_completed});
      return done.size() == 1;
    });
    submitted.wait();
    inner->cancel();
    check(outer.result(), "it is done, one way or the other");
  });
}

TEST_CASE("as_completed: the deadline counts from the call, in every schedule", "[as_completed][AC2]") {
  explore_type("as_completed, begun after its deadline",
               [] {
                 const Pair pair;
                 pair.two.set_result(2);
                 auto range = conc::as_completed(pair.futures, 10ms);
                 let_pass(20ms);
                 const auto begin = conc::detail::sync::now();
                 int count = 0;
                 bool timed_out = false;
                 try {
                   for (const Future<int>& future : range) {
                     check(future == pair.futures[1], "what is done is yielded, however late");
                     ++count;
                   }
                 } catch (const conc::TimeoutError&) {
                   timed_out = true;
                 }
                 check(timed_out && count == 1, "the other one is not done");
                 check(conc::detail::sync::now() == begin, "no time is left");
               },
               {.mishaps = 0});
  explore_type("as_completed, begun before its deadline",
               [] {
                 const Pair pair;
                 const auto call = conc::detail::sync::now();
                 auto range = conc::as_completed(pair.futures, 10ms);
                 parallel(
                     [&] {
                       let_pass(6ms);
                       pair.one.set_result(1);
                     },
                     [&] {
                       let_pass(4ms);
                       int count = 0;
                       try {
                         for (const Future<int>& future : range) {
                           check(future == pair.futures[0] && conc::detail::sync::now() == call + 6ms, "the first one");
                           ++count;
                         }
                         check(false, "the second one is not done");
                       } catch (const conc::TimeoutError&) {
                         check(count == 1 && conc::detail::sync::now() == call + 10ms, "the deadline of the call");
                       }
                     });
               },
               {.mishaps = 0});
}

TEST_CASE("map: the timeout counts from the call, for the whole iteration, in every schedule", "[map][X10]") {
  explore_type("map, iterated after its deadline",
               [] {
                 conc::Event go;
                 conc::ThreadPoolExecutor pool{1};
                 pool.detach([&go] { go.wait(); });
                 auto results = pool.map(
                     {.timeout = 10ms}, [](int x) { return x; }, std::array{1, 2});
                 let_pass(20ms);
                 const auto begin = conc::detail::sync::now();
                 bool timed_out = false;
                 try {
                   for (const int x : results) {
                     check(x == 0, "none is done");
                   }
                 } catch (const conc::TimeoutError&) {
                   timed_out = true;
                 }
                 check(timed_out && conc::detail::sync::now() == begin, "no time is left");
                 go.set();
               },
               {.preemptions = 2, .mishaps = 0});
  explore_type("map, a timeout for all of the results",
               [] {
                 conc::Event go;
                 conc::ThreadPoolExecutor pool{1};
                 const auto call = conc::detail::sync::now();
                 auto results = pool.map(
                     {.timeout = 10ms},
                     [&go](int x) {
                       x == 1 ? let_pass(6ms) : static_cast<void>(go.wait());
                       return x;
                     },
                     std::array{1, 2});
                 let_pass(4ms);
                 int count = 0;
                 try {
                   for (const int x : results) {
                     check(x == 1 && conc::detail::sync::now() == call + 6ms, "the first one");
                     ++count;
                   }
                   check(false, "the second one is not done");
                 } catch (const conc::TimeoutError&) {
                   check(count == 1 && conc::detail::sync::now() == call + 10ms, "the deadline of the call");
                 }
                 go.set();
               },
               {.preemptions = 2, .mishaps = 0});
}

TEST_CASE("as_completed: a task that waits for any of several, all of which wait for it, gets DeadlockError",
          "[as_completed][wait][X16][FM11]") {
  explore_type("as_completed, of the task itself", [] {
    std::optional<Future<int>> itself;
    conc::Event known;
    itself = conc::spawn([&] {
      known.wait();
      return yields_until_deadlock(conc::as_completed({*itself, *itself}));
    });
    known.set();
    check(itself->result() == 0, "no DeadlockError");
  });
  explore_type("wait, for the first of the task itself", [] {
    std::optional<Future<int>> itself;
    conc::Event known;
    itself = conc::spawn([&] {
      known.wait();
      const std::array futures{*itself};
      return (first_is_deadlock(futures, ReturnWhen::first_completed) ? 1 : 0) +
             (first_is_deadlock(futures, ReturnWhen::first_exception) ? 2 : 0);
    });
    known.set();
    check(itself->result() == 3, "no DeadlockError");
  });
  explore_type("as_completed, two tasks that wait for each other", [] {
    std::optional<Future<int>> futures[2];
    conc::Event known;
    const auto wait = [&](int other) {
      known.wait();
      return yields_until_deadlock(conc::as_completed({*futures[other]})) == 0 ? 1 : 0;
    };
    futures[0] = conc::spawn(wait, 1);
    futures[1] = conc::spawn(wait, 0);
    known.set();
    check(futures[0]->result() + futures[1]->result() == 1, "the wait that closes the circle, and no other");
  });
  explore_type("wait, two tasks of a pool that wait for each other, one of them for the first", [] {
    std::optional<Future<int>> one;
    std::optional<Future<int>> other;
    conc::Event known;
    conc::ThreadPoolExecutor pool{2};
    one = pool.submit([&] {
      known.wait();
      return first_is_deadlock(std::array{*other}, ReturnWhen::first_completed) ? 1 : 0;
    });
    other = pool.submit([&] {
      known.wait();
      try {
        return one->result() == 0 ? 0 : 2;
      } catch (const conc::DeadlockError&) {
        return 1;
      }
    });
    known.set();
    const int how = 10 * one->result() + other->result();
    check(how == 12 || how == 1, "the wait that closes the circle, and no other");
  });
  explore_type(
      "as_completed, of two tasks that wait for the one that waits",
      [] {
        std::optional<Future<int>> any;
        std::optional<Future<int>> others[2];
        conc::Event known;
        any = conc::spawn([&] {
          known.wait();
          return yields_until_deadlock(conc::as_completed({*others[0], *others[1]}));
        });
        const auto wait = [&] {
          known.wait();
          try {
            return any->result() == 0 ? 0 : 2;
          } catch (const conc::DeadlockError&) {
            return 1;
          }
        };
        others[0] = conc::spawn(wait);
        others[1] = conc::spawn(wait);
        known.set();
        // Whoever closes the circle gets the error. Where that is one of the two, its end lets the others go on: what waits
        // for any of them gets that one, and then waits for the other in a circle once more, which one of them closes.
        const int first = any->result();
        const int errors =
            (first >= 0 ? 1 : 0) + (others[0]->result() == 1 ? 1 : 0) + (others[1]->result() == 1 ? 1 : 0);
        check(first <= 1 && (first == 0 ? errors == 1 : errors == 2), "one for each time that nobody could go on");
      },
      {.preemptions = 1});
  explore_type("as_completed, no deadlock where one can still become done", [] {
    const Promise<int> promise;
    std::optional<Future<int>> itself;
    conc::Event known;
    itself = conc::spawn([&] {
      known.wait();
      return yields_until_deadlock(conc::as_completed({*itself, promise.get_future()}));
    });
    parallel([&] { known.set(); }, [&] { promise.set_result(1); });
    check(itself->result() == 1, "the other one, and then a DeadlockError");
  });
  explore_type("wait, no deadlock where one can still become done", [] {
    const Promise<int> promise;
    std::optional<Future<int>> itself;
    conc::Event known;
    itself = conc::spawn([&] {
      known.wait();
      const std::array futures{*itself, promise.get_future()};
      return (first_is_deadlock(futures, ReturnWhen::first_exception) ? 1 : 0) +
             (first_is_deadlock(futures, ReturnWhen::first_completed) ? 2 : 0);
    });
    parallel([&] { known.set(); }, [&] { promise.set_exception(some_error()); });
    check(itself->result() == 0 && promise.get_future().exception() != nullptr, "the other one");
  });
}
