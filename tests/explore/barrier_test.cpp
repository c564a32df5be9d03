// SPDX-License-Identifier: MIT
#include <conc/barrier.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>

#include "explore_type.hpp"

using namespace std::chrono_literals;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;
using conc_test::Tally;

namespace {

/// The index that wait() gave, or nothing where the barrier was broken.
using Index = std::optional<std::size_t>;

Index pass(conc::Barrier& barrier, conc::Deadline deadline = conc::never) {
  try {
    return barrier.wait(deadline);
  } catch (const conc::BrokenBarrierError&) {
    return std::nullopt;
  }
}

/// Whether all passed, each with an index of its own, or nobody did. One pass of all of them.
template <class... All>
bool agree(const All&... indices) {
  std::array<Index, sizeof...(All)> sorted{indices...};
  std::sort(sorted.begin(), sorted.end());
  if (!sorted.back()) return true;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    if (sorted[i] != i) return false;
  }
  return true;
}

/// A Barrier whose memory is overwritten when it is destroyed, so that a late look at it sees nonsense.
class Mortal {
 public:
  explicit Mortal(std::int64_t parties) { new (storage_) conc::Barrier{parties}; }
  Mortal(const Mortal&) = delete;
  Mortal& operator=(const Mortal&) = delete;
  ~Mortal() = default;
  conc::Barrier& operator*() { return *std::launder(reinterpret_cast<conc::Barrier*>(storage_)); }
  void destroy() {
    (**this).~Barrier();
    std::fill(std::begin(storage_), std::end(storage_), std::byte{0x5a});
  }

 private:
  alignas(conc::Barrier) std::byte storage_[sizeof(conc::Barrier)];
};

}  // namespace

TEST_CASE("Barrier: two threads pass twice, in every schedule", "[barrier][B2][B3][B9]") {
  explore_type("Barrier, two parties, two passes, an action", [] {
    Tally arrived;
    Tally actions;
    conc::Barrier barrier{2, [&] { check(arrived == 2 * ++actions, "the action runs when all have come"); }};
    Tally sum;
    const auto work = [&] {
      for (int round = 1; round <= 2; ++round) {
        ++arrived;
        sum += static_cast<int>(barrier.wait());
        check(actions >= round && arrived >= 2 * round, "a thread went on before all had come");
      }
    };
    parallel(work, work);
    check(sum == 2 && actions == 2 && barrier.n_waiting() == 0 && !barrier.broken(), "two whole passes");
  });
}

TEST_CASE("Barrier: three threads pass, in every schedule", "[barrier][B2][B3]") {
  explore_type("Barrier, three parties, one pass, an action", [] {
    conc::detail::sync::Atomic<int> arrived{0};
    bool acted = false;
    conc::Barrier barrier{3, [&] { acted = arrived.load() == 3; }};
    std::array<Index, 3> index;
    const auto work = [&](std::size_t me) {
      arrived.fetch_add(1);
      index[me] = barrier.wait();
      check(acted, "a thread went on before the action had ended");
    };
    parallel([&] { work(0); }, [&] { work(1); }, [&] { work(2); });
    check(agree(index[0], index[1], index[2]), "the indices are distinct");
  });
}

TEST_CASE("Barrier: three threads pass twice, in every schedule", "[barrier][B2][B9]") {
  explore_type("Barrier, three parties, two passes", [] {
    conc::Barrier barrier{3};
    Tally arrived;
    Tally sum;
    const auto work = [&] {
      for (int round = 1; round <= 2; ++round) {
        ++arrived;
        sum += static_cast<int>(barrier.wait());
        check(arrived >= 3 * round, "a thread went on before all had come");
      }
    };
    parallel(work, work, work);
    check(sum == 6 && barrier.n_waiting() == 0 && !barrier.broken(), "two whole passes");
  });
}

TEST_CASE("Barrier: abort fails a pass for all or for none, in every schedule", "[barrier][B7][FM5]") {
  explore_type("Barrier, two parties against abort", [] {
    conc::Barrier barrier{2};
    Index a;
    Index b;
    parallel([&] { a = pass(barrier); }, [&] { b = pass(barrier); }, [&] { barrier.abort(); });
    check(agree(a, b), "one passed alone");
    check(barrier.broken() && barrier.n_waiting() == 0 && !pass(barrier), "it stays broken");
    barrier.reset();
    parallel([&] { a = pass(barrier); }, [&] { b = pass(barrier); });
    check(a && b && agree(a, b), "it works again");
  });
}

TEST_CASE("Barrier: reset fails a pass for all or for none, in every schedule", "[barrier][B8][FM5]") {
  explore_type("Barrier, two parties against reset", [] {
    conc::Barrier barrier{2};
    Index a;
    Index b;
    // Who comes after the reset waits for another: the one that the reset threw out comes again.
    const auto work = [&](Index& mine) {
      while (!(mine = pass(barrier))) continue;
    };
    parallel([&] { work(a); }, [&] { work(b); }, [&] { barrier.reset(); });
    check(agree(a, b), "both pass, after the reset or before");
    check(!barrier.broken() && barrier.n_waiting() == 0, "it is whole and empty");
  });
}

TEST_CASE("Barrier: who comes after a reset is held back until all have left, in every schedule", "[barrier][B8][B9]") {
  explore_type("Barrier, reset of two in three, then three new ones", [] {
    conc::Barrier barrier{3};
    Index a;
    Index b;
    Index c;
    Tally thrown_out;
    const auto work = [&](Index& mine) {
      while (!(mine = pass(barrier))) ++thrown_out;
    };
    parallel([&] { work(a); }, [&] { work(b); },
             [&] {
               barrier.reset();
               work(c);
             });
    check(agree(a, b, c) && thrown_out <= 2, "nobody was thrown out twice");
    check(!barrier.broken() && barrier.n_waiting() == 0, "it is whole and empty");
  });
}

TEST_CASE("Barrier: a deadline against the last to come fails a pass for all or for none, in every schedule",
          "[barrier][B5][FM5]") {
  explore_type("Barrier, two parties, one of them with a deadline", [] {
    conc::Barrier barrier{2};
    Index a;
    Index b;
    parallel([&] { a = pass(barrier, 1ms); },
             [&] {
               conc::detail::sync::yield();
               b = pass(barrier);
             });
    check(agree(a, b), "one passed alone");
    check(barrier.broken() == !a && barrier.n_waiting() == 0, "a deadline breaks it for good");
  });
  explore_type("Barrier, two parties, one of them polls", [] {
    conc::Barrier barrier{2};
    Index a;
    Index b;
    parallel([&] { a = pass(barrier, 0s); }, [&] { b = pass(barrier); });
    check(agree(a, b), "one passed alone");
    check(barrier.broken() == !a && barrier.n_waiting() == 0, "a deadline breaks it for good");
  });
}

TEST_CASE("Barrier: deadlines of several fail a pass for all or for none, in every schedule", "[barrier][B5][FM5]") {
  explore_type("Barrier, three parties, two deadlines", [] {
    conc::Barrier barrier{3};
    Index a;
    Index b;
    Index c;
    parallel([&] { a = pass(barrier, 1ms); }, [&] { b = pass(barrier, 1ms); }, [&] { c = pass(barrier); });
    check(agree(a, b, c), "some passed, some did not");
    check(barrier.broken() == !a && barrier.n_waiting() == 0, "a deadline breaks it for good");
  });
}

TEST_CASE("Barrier: while the action runs a deadline breaks nothing, in every schedule", "[barrier][B11]") {
  explore_type("Barrier, a deadline while the action runs",
               [] {
                 conc::Latch nobody{1};
                 conc::Barrier barrier{2, [&] { check(!nobody.wait(3ms), "nobody opens it"); }};
                 Index a;
                 Index b;
                 // The clock moves only when nobody can run: the action begins at 1 ms, and ends at 4 ms.
                 parallel([&] { a = pass(barrier, 2ms); },
                          [&] {
                            check(!nobody.wait(1ms), "nobody opens it");
                            b = pass(barrier, 2ms);
                          });
                 check(a == 0U && b == 1U && !barrier.broken(), "both passed");
               },
               {.mishaps = 0});
}

TEST_CASE("Barrier: abort while the action runs takes effect at its end, in every schedule", "[barrier][B11][FM5]") {
  explore_type("Barrier, abort while the action runs", [] {
    conc::detail::sync::Atomic<int> steps{0};
    bool acting = false;
    bool ended = false;
    conc::Barrier barrier{2, [&] {
                            acting = true;
                            steps.fetch_add(1);
                            acting = false;
                            ended = true;
                          }};
    Index a;
    Index b;
    const auto work = [&](Index& mine) {
      mine = pass(barrier);
      check(!acting, "nobody leaves while the action runs");
    };
    parallel([&] { work(a); }, [&] { work(b); }, [&] { barrier.abort(); });
    check(agree(a, b), "one passed alone");
    check(ended || !a, "nobody passes without the action");
    check(barrier.broken() && barrier.n_waiting() == 0, "it stays broken");
  });
}

TEST_CASE("Barrier: reset by the action takes effect at its end, in every schedule", "[barrier][B8][B11][FM5]") {
  explore_type("Barrier, the action resets it, two passes", [] {
    conc::Barrier* self = nullptr;
    Tally actions;
    conc::Barrier barrier{2, [&] {
                            if (++actions == 1) self->reset();
                          }};
    self = &barrier;
    const auto work = [&] {
      check(!pass(barrier), "the first pass fails");
      check(pass(barrier).has_value(), "the second one does not");
    };
    parallel(work, work);
    check(actions == 2 && !barrier.broken() && barrier.n_waiting() == 0, "it is whole and empty");
  });
}

TEST_CASE("Barrier: an action that throws, against abort and reset, fails all, in every schedule",
          "[barrier][B4][B7][FM5]") {
  for (const bool aborts : {true, false}) {
    explore_type(aborts ? "Barrier, the action throws, abort" : "Barrier, the action throws, reset", [aborts] {
      conc::detail::sync::Atomic<int> steps{0};
      conc::Barrier barrier{2, [&] {
                              steps.fetch_add(1);
                              throw std::runtime_error{"by the action"};
                            }};
      Tally thrown;
      Tally broken;
      const auto work = [&] {
        try {
          barrier.wait(1h);  // after a reset that comes first there is nobody to wait for
          check(false, "nobody passes");
        } catch (const conc::BrokenBarrierError&) {
          ++broken;
        } catch (const std::runtime_error&) {
          ++thrown;
        }
      };
      parallel(work, work, [&] { aborts ? barrier.abort() : barrier.reset(); });
      check(thrown + broken == 2 && thrown == steps.load() && thrown <= 1, "who ran the action gets what it threw");
      check(barrier.n_waiting() == 0 && (!aborts || barrier.broken()), "it is empty, and broken if it was aborted");
      barrier.reset();
      check(!barrier.broken(), "and whole after a reset");
    });
  }
}

TEST_CASE("Barrier: a completed pass is never undone, in every schedule", "[barrier][B2][B9]") {
  explore_type("Barrier, abort and reset after a pass", [] {
    conc::Barrier barrier{2};
    Index a;
    Index b;
    parallel([&] { a = pass(barrier); },
             [&] {
               b = pass(barrier);
               barrier.abort();
               barrier.reset();
               check(!pass(barrier, 0s), "nobody else comes");
               barrier.reset();
             });
    check(a && b && agree(a, b), "both passed");
    check(!barrier.broken() && barrier.n_waiting() == 0, "it is whole and empty");
  });
}

TEST_CASE("Barrier: a newcomer whose deadline passes leaves the pass before alone, in every schedule",
          "[barrier][B5][B9]") {
  explore_type("Barrier, three threads, two parties, one of the three polls", [] {
    conc::Barrier barrier{2};
    Index a;
    Index b;
    Index c;
    parallel([&] { a = pass(barrier, 1ms); }, [&] { b = pass(barrier, 1ms); }, [&] { c = pass(barrier, 0s); });
    const int passed = (a ? 1 : 0) + (b ? 1 : 0) + (c ? 1 : 0);
    check(passed == 0 || passed == 2, "one passed alone");
    check(barrier.broken() && barrier.n_waiting() == 0, "the third broke it");
  });
}

TEST_CASE("Barrier: who has passed may destroy it, in every schedule", "[barrier][G8]") {
  for (const std::size_t who : {0U, 1U}) {
    explore_type("Barrier, destroyed by number " + std::to_string(who), [who] {
      Mortal barrier{2};
      const auto work = [&] {
        if ((*barrier).wait() == who) barrier.destroy();
      };
      parallel(work, work);
    });
  }
  explore_type("Barrier, three parties, destroyed by the first", [] {
    Mortal barrier{3};
    const auto work = [&] {
      if ((*barrier).wait() == 0) barrier.destroy();
    };
    parallel(work, work, work);
  });
}

TEST_CASE("Barrier: whom abort or reset released may destroy it, in every schedule", "[barrier][G8][B7][B8]") {
  for (const bool aborts : {true, false}) {
    explore_type(aborts ? "Barrier, destroyed after abort" : "Barrier, destroyed after reset", [aborts] {
      Mortal barrier{2};
      parallel(
          [&] {
            check(!pass(*barrier), "nobody else comes");
            barrier.destroy();
          },
          [&] {
            while ((*barrier).n_waiting() == 0) conc::detail::sync::yield();
            aborts ? (*barrier).abort() : (*barrier).reset();
          });
    });
  }
}

TEST_CASE("Barrier: whom the deadline of another released may destroy it, in every schedule", "[barrier][G8][B5]") {
  for (const auto span : {0ms, 1ms}) {
    explore_type("Barrier, three parties, destroyed after a timeout of " + std::to_string(span.count()) + " ms",
                 [span] {
                   Mortal barrier{3};
                   std::string complaint;
                   parallel(
                       [&] {
                         while ((*barrier).n_waiting() == 0) conc::detail::sync::yield();
                         try {
                           (*barrier).wait(span);
                           check(false, "nobody else comes");
                         } catch (const conc::BrokenBarrierError& error) {
                           complaint = error.what();
                         }
                       },
                       [&] {
                         check(!pass(*barrier), "nobody else comes");
                         barrier.destroy();
                       });
                   check(complaint == "Barrier::wait: not all of the 3 parties came before the deadline",
                         "a thread that left by its deadline looked at a Barrier that was gone");
                 });
  }
}

TEST_CASE("Latch: opens when the count is used up, in every schedule", "[latch]") {
  explore_type("Latch, two count down, one waits", [] {
    conc::Latch latch{2};
    Tally done;
    const auto work = [&] {
      ++done;
      latch.count_down();
    };
    parallel(work, work, [&] { check(latch.wait() && done == 2, "a thread went on before the count was zero"); });
    check(latch.count() == 0, "it stays open");
  });
  explore_type("Latch, two wait, one counts down by one and by two", [] {
    conc::Latch latch{3};
    const auto wait = [&] { check(latch.wait() && latch.count() == 0, "open"); };
    parallel(wait, wait, [&] {
      latch.count_down(1);
      latch.count_down(2);
    });
  });
}

TEST_CASE("Latch: threads that arrive and wait meet, in every schedule", "[latch]") {
  explore_type("Latch, three arrive and wait", [] {
    conc::Latch latch{3};
    Tally arrived;
    const auto work = [&] {
      ++arrived;
      check(latch.arrive_and_wait() && arrived == 3, "a thread went on alone");
    };
    parallel(work, work, work);
  });
}

TEST_CASE("Latch: a wait that times out takes nothing from the others, in every schedule", "[latch][timeout]") {
  explore_type("Latch, timed and untimed waiters", [] {
    conc::Latch latch{1};
    parallel([&] { check(latch.wait(), "never gives up"); },
             [&] { check(latch.wait(1ms) || !latch.wait(0s) || latch.count() == 0, "false before, true after"); },
             [&] {
               conc::detail::sync::yield();
               latch.count_down();
             });
    check(latch.wait(0s), "it is open");
  });
}

TEST_CASE("Latch: one count too many is found by one thread, in every schedule", "[latch][G5]") {
  explore_type("Latch, three count down two", [] {
    conc::Latch latch{2};
    Tally refused;
    const auto work = [&] {
      try {
        latch.count_down();
      } catch (const conc::UsageError&) {
        ++refused;
      }
    };
    parallel(work, work, work);
    check(refused == 1 && latch.count() == 0, "two of three fit");
  });
}

TEST_CASE("Latch: whom count_down released may destroy it, in every schedule", "[latch][G8]") {
  explore_type("Latch, destroyed by who was released", [] {
    auto latch = std::make_unique<conc::Latch>(1);
    parallel([&] { latch->count_down(); },
             [&] {
               check(latch->wait(), "open");
               latch.reset();
             });
  });
  explore_type("Latch, destroyed after two count downs", [] {
    auto latch = std::make_unique<conc::Latch>(2);
    const auto work = [&] { latch->count_down(); };
    parallel(work, work, [&] {
      check(latch->wait(), "open");
      latch.reset();
    });
  });
  explore_type("Latch, destroyed by who waited while the last one arrives", [] {
    // The last to arrive counts down and looks at nothing more. Who has waited longer destroys it.
    auto latch = std::make_unique<conc::Latch>(1);
    parallel([&] { check(latch->arrive_and_wait(), "open"); },
             [&] {
               check(latch->wait(), "open");
               latch.reset();
             });
  });
}
