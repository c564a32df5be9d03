// SPDX-License-Identifier: MIT
#include <array>
#include <conc/event.hpp>
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
  explore_type("as_completed, two results of one thread",
               [] {
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
               },
               {.preemptions = 3});
  explore_type("as_completed, the order of completion",
               [] {
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
               },
               {.preemptions = 3});
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
  explore_type("as_completed, left before the first",
               [] {
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
               },
               {.preemptions = 3});
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
  explore_type("as_completed, by the only worker",
               [] {
                 conc::ThreadPoolExecutor pool{1};
                 const int sum =
                     pool.submit([&pool] {
                           const std::array futures{pool.submit([] { return 1; }), pool.submit([] { return 2; })};
                           int all = 0;
                           for (const Future<int>& future : conc::as_completed(futures)) {
                             all += future.result();
                           }
                           return all;
                         })
                         .result();
                 check(sum == 3, "each once");
               },
               {.preemptions = 3});
  explore_type("as_completed, by one of two workers",
               [] {
                 conc::ThreadPoolExecutor pool{2};
                 const int sum =
                     pool.submit([&pool] {
                           const std::array futures{pool.submit([] { return 1; }), pool.submit([] { return 2; })};
                           int all = 0;
                           for (const Future<int>& future : conc::as_completed(futures)) {
                             all += future.result(0ms);
                           }
                           return all;
                         })
                         .result();
                 check(sum == 3, "each once");
               },
               {.preemptions = 2});
  explore_type("as_completed, by a worker that claims nothing while one of the tasks runs",
               [] {
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
               },
               {.preemptions = 1});
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
