// SPDX-License-Identifier: MIT
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <conc/testing.hpp>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "support.hpp"

using namespace std::chrono_literals;
using conc::testing::check;
using conc::testing::explore;
using conc::testing::Options;
using conc::testing::parallel;
using conc::testing::Report;
using conc::testing::Strategy;
namespace seam = conc::detail::sync;

namespace {

using Word = seam::Atomic<std::uint32_t>;

constexpr Strategy kStrategies[] = {Strategy::random, Strategy::pct, Strategy::depth_first};

/// Adds one to `counter`, forgetting that others do so too.
void add_carelessly(Word& counter) {
  const std::uint32_t seen = counter.load();
  counter.store(seen + 1);
}

void lose_an_update() {
  Word counter{0};
  parallel([&] { add_carelessly(counter); }, [&] { add_carelessly(counter); });
  check(counter.load() == 2, "an update was lost");
}

void lose_no_update() {
  Word counter{0};
  parallel([&] { counter.fetch_add(1); }, [&] { counter.fetch_add(1); }, [&] { counter.fetch_add(1); });
  check(counter.load() == 3, "an update was lost");
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Two threads, A and B, that make three steps each: the order of all six.
template <class See>
void two_threads_of_three_steps(See see) {
  Word word{0};
  std::string order;
  const auto steps = [&](char name) {
    for (int i = 0; i < 3; ++i) {
      word.fetch_add(1);
      order += name;
    }
  };
  parallel([&] { steps('A'); }, [&] { steps('B'); });
  see(order);
}

/// How often `order` takes a thread that has steps left off the processor.
int preemptions(const std::string& order) {
  int count = 0;
  for (std::size_t i = 1; i < order.size(); ++i) {
    count += order[i] != order[i - 1] && order.find(order[i - 1], i) != std::string::npos ? 1 : 0;
  }
  return count;
}

std::set<std::string> orders_with_at_most(int bound) {
  std::set<std::string> orders;
  std::string order = "AAABBB";
  do {
    if (preemptions(order) <= bound) {
      orders.insert(order);
    }
  } while (std::next_permutation(order.begin(), order.end()));
  return orders;
}

/// Runs `act` in a child process, which must die of `signal`, and takes what it wrote to stderr.
template <class Act>
std::string death_of_child(int signal, Act act) {
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);
    std::signal(SIGSEGV, SIG_DFL);
    act();
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == signal);
  return conc_test::take_stderr();
}

/// Sets CONC_REPLAY for a scope.
class ReplayVariable {
 public:
  explicit ReplayVariable(const std::string& value) { setenv("CONC_REPLAY", value.c_str(), 1); }
  ~ReplayVariable() { unsetenv("CONC_REPLAY"); }
  ReplayVariable(const ReplayVariable&) = delete;
  ReplayVariable& operator=(const ReplayVariable&) = delete;
};

/// `program` never fails by itself, but within so many mishaps it does, whatever the strategy, and can be repeated.
template <class Program>
void must_need_mishaps(Program program, unsigned mishaps, const std::string& symptom) {
  for (const Strategy strategy : kStrategies) {
    CAPTURE(static_cast<int>(strategy), symptom);
    CHECK(explore(program, {.strategy = strategy}).ok());
    const Report found = explore(program, {.strategy = strategy, .mishaps = mishaps, .quiet = true});
    CHECK(found.failure == symptom);
    const Report again = explore(program, {.mishaps = mishaps, .replay = found.replay, .quiet = true});
    CHECK(again.failure == symptom);
    CHECK(again.replay == found.replay);
  }
}

}  // namespace

TEST_CASE("Explorer: each strategy finds a lost update and replays it", "[explorer]") {
  for (const Strategy strategy : kStrategies) {
    CAPTURE(static_cast<int>(strategy));
    const Report found = explore(lose_an_update, {.strategy = strategy, .quiet = true});
    REQUIRE(found.failed);
    CHECK_FALSE(found);
    CHECK(found.failure == "an update was lost");
    CHECK(found.schedules < 100);
    CHECK(contains(found.message, "CONC_REPLAY=" + found.replay));

    const Report again = explore(lose_an_update, {.replay = found.replay, .quiet = true});
    CHECK(again.failed);
    CHECK(again.failure == found.failure);
    CHECK(again.schedules == 1);
    CHECK(again.replay == found.replay);
  }
}

TEST_CASE("Explorer: no strategy reports a program that is right", "[explorer]") {
  for (const Strategy strategy : kStrategies) {
    const Report report = explore(lose_no_update, {.strategy = strategy});
    CHECK(report.ok());
    CHECK(report.threads == 4);
    CHECK(report.complete == (strategy == Strategy::depth_first));
    CHECK(report.message.empty());
  }
}

TEST_CASE("Explorer: depth first goes through exactly the orders within the bound", "[explorer]") {
  for (const int bound : {0, 1, 2, 3, 4, 5}) {
    CAPTURE(bound);
    std::set<std::string> seen;
    const Report report =
        explore([&] { two_threads_of_three_steps([&](const std::string& order) { seen.insert(order); }); },
                {.strategy = Strategy::depth_first, .preemptions = static_cast<unsigned>(bound)});
    CHECK(report.complete);
    CHECK(seen == orders_with_at_most(bound));
  }
}

TEST_CASE("Explorer: depth first finds the failure with the fewest preemptions first", "[explorer]") {
  std::vector<std::string> seen;
  explore([&] { two_threads_of_three_steps([&](const std::string& order) { seen.push_back(order); }); },
          {.strategy = Strategy::depth_first, .preemptions = 3});
  std::vector<int> new_ones;
  for (auto order = seen.begin(); order != seen.end(); ++order) {
    if (std::find(seen.begin(), order, *order) == order) {
      new_ones.push_back(preemptions(*order));
    }
  }
  CHECK(std::is_sorted(new_ones.begin(), new_ones.end()));
}

TEST_CASE("Explorer: random and PCT schedules reach every order", "[explorer]") {
  for (const Strategy strategy : {Strategy::random, Strategy::pct}) {
    std::set<std::string> seen;
    explore([&] { two_threads_of_three_steps([&](const std::string& order) { seen.insert(order); }); },
            {.strategy = strategy, .schedules = 100'000, .depth = 6});
    CHECK(seen == orders_with_at_most(5));
  }
}

TEST_CASE("Explorer: schedules stop at the limit", "[explorer]") {
  for (const Strategy strategy : kStrategies) {
    const Report report = explore(lose_no_update, {.strategy = strategy, .schedules = 7});
    CHECK(report.schedules == 7);
    CHECK_FALSE(report.complete);
  }
  CHECK(explore(lose_no_update, {.schedules = 0}).schedules == 0);
}

TEST_CASE("Explorer: the same seed gives the same schedules, another seed others", "[explorer]") {
  const auto fingerprint = [](Strategy strategy, std::uint64_t seed) {
    return explore(lose_no_update, {.strategy = strategy, .schedules = 500, .seed = seed}).fingerprint;
  };
  for (const Strategy strategy : {Strategy::random, Strategy::pct}) {
    CHECK(fingerprint(strategy, 1) == fingerprint(strategy, 1));
    CHECK(fingerprint(strategy, 1) != fingerprint(strategy, 2));
  }
  CHECK(fingerprint(Strategy::depth_first, 1) == fingerprint(Strategy::depth_first, 1));
}

TEST_CASE("Explorer: PCT finds a bug of one ordering in a long program", "[explorer]") {
  // The reader must read between two neighbouring steps of a writer that makes two hundred.
  const auto program = [] {
    Word word{0};
    parallel(
        [&] {
          for (int i = 0; i < 200; ++i) {
            word.store(i == 100 ? 1 : 0);
          }
        },
        [&] { check(word.load() == 0, "seen"); });
  };
  const Report report = explore(program, {.strategy = Strategy::pct, .schedules = 20'000, .depth = 2, .quiet = true});
  CHECK(report.failed);
}

TEST_CASE("Explorer: which sleeper a wake finds is explored", "[explorer]") {
  std::set<int> first;
  const Report report = explore(
      [&] {
        Word word{0};
        Word asleep{0};
        int order = 0;
        const auto sleeper = [&](int number) {
          asleep.fetch_add(1);
          while (word.load() == 0) {
            seam::wait(word, 0U, seam::forever);
          }
          if (order++ == 0) {
            first.insert(number);
          }
        };
        parallel([&] { sleeper(1); }, [&] { sleeper(2); }, [&] { sleeper(3); },
                 [&] {
                   word.store(1);
                   seam::wake(&word, 1);
                   seam::wake(&word, 1);
                   seam::wake(&word, 1);
                 });
      },
      {.strategy = Strategy::depth_first, .preemptions = 0});
  CHECK(report.ok());
  CHECK(report.complete);
  CHECK(first == std::set<int>{1, 2, 3});
}

TEST_CASE("Explorer: a wake counts for those who sleep already, and for so many as it says", "[explorer]") {
  const auto program = [](std::uint32_t wakes) {
    return [wakes] {
      Word word{0};
      Word woken{0};
      const auto sleeper = [&] { woken.fetch_add(seam::wait(word, 0U, seam::now() + 1h) ? 1 : 0); };
      parallel(sleeper, sleeper, sleeper, [&] {
        Word nap{0};
        seam::wait(nap, 0U, seam::now() + 1ms);  // ends when everybody sleeps
        seam::wake(&word, wakes);
      });
      check(woken.load() == std::min(wakes, 3U), "woken");
    };
  };
  for (const std::uint32_t wakes : {0U, 1U, 2U, 3U, seam::everybody}) {
    CHECK(
        explore(program(wakes), {.strategy = Strategy::depth_first, .schedules = 100'000, .preemptions = 1}).complete);
  }
}

TEST_CASE("Explorer: a deadlock is reported with every thread, what it waits for and where", "[explorer]") {
  const Report report = explore(
      [] {
        Word a{0};
        Word b{0};
        parallel(
            [&] {
              seam::set_thread_name("left");
              seam::ThreadRecord& me = seam::this_thread();
              me.waits_in.store("Left::wait");
              me.waits_for.store(&a);
              seam::wait(a, 0U, seam::forever);
            },
            [&] {
              seam::set_thread_name("right");
              seam::wait(b, 0U, seam::forever);
            });
      },
      {.quiet = true});
  REQUIRE(report.failed);
  INFO(report.message);
  CHECK(contains(report.failure, "deadlock"));
  CHECK(contains(report.message, "thread 0 joins thread 1 \"left\""));
  CHECK(contains(report.message, "thread 1 \"left\" waits in Left::wait for #1"));
  CHECK(contains(report.message, "thread 2 \"right\" sleeps on #2"));
  CHECK(contains(report.message, "      at "));
  CHECK(contains(report.message, "thread 1 \"left\"  sleep #1"));
}

TEST_CASE("Explorer: a thread that nobody can wake after the program has ended is a deadlock", "[explorer]") {
  const Report report = explore(
      [] {
        const auto sleep = [](void*) -> void* {
          Word word{0};
          seam::wait(word, 0U, seam::forever);
          return nullptr;
        };
        seam::ThreadHandle thread;
        check(seam::start(thread, sleep, nullptr, 0) == 0, "started");
      },
      {.quiet = true});
  CHECK(report.failed);
  CHECK(contains(report.failure, "the program has ended"));
}

TEST_CASE("Explorer: a program without end is a livelock", "[explorer]") {
  for (const Strategy strategy : kStrategies) {
    const auto chase = [] {
      Word word{0};
      const auto wait_for = [&](std::uint32_t value) {
        while (word.load() != value) {
          seam::yield();
        }
      };
      parallel([&] { wait_for(1); }, [&] { wait_for(2); });
    };
    const Report report = explore(chase, {.strategy = strategy, .max_steps = 500, .quiet = true});
    CHECK(report.failed);
    CHECK(contains(report.failure, "livelock"));
  }
}

TEST_CASE("Explorer: a spin ends as soon as another thread lets it, polite or not", "[explorer]") {
  for (const bool polite : {true, false}) {
    const auto program = [polite] {
      Word flag{0};
      const auto spin = [&] {
        while (flag.load() == 0) {
          if (polite) {
            seam::pause();
          }
        }
      };
      parallel(spin, spin, [&] { flag.store(1); });
    };
    for (const Strategy strategy : kStrategies) {
      const Report report = explore(program, {.strategy = strategy, .schedules = polite ? 20'000U : 200U});
      CHECK(report.ok());
      CHECK(report.complete == (polite && strategy == Strategy::depth_first));
    }
  }
}

TEST_CASE("Explorer: time passes only when nobody can run, and then at once", "[explorer]") {
  const auto program = [] {
    const seam::TimePoint begin = seam::now();
    Word word{0};
    std::vector<int> order;
    const auto nap = [&](std::chrono::hours span, int name) {
      check(!seam::wait(word, 0U, begin + span), "nobody wakes it");
      check(seam::now() == begin + span, "exactly so late");
      order.push_back(name);
    };
    parallel([&] { nap(2h, 2); }, [&] { nap(1h, 1); },
             [&] {
               for (int i = 0; i < 10; ++i) {
                 word.load();
                 check(seam::now() == begin, "somebody runs: no time passes");
               }
             },
             [&] { nap(3h, 3); });
    check(order == std::vector{1, 2, 3}, "in the order of time");
  };
  for (const Strategy strategy : kStrategies) {
    CHECK(explore(program, {.strategy = strategy, .preemptions = 1}).ok());
  }
}

TEST_CASE("Explorer: time passes for those who spin until a time", "[explorer]") {
  const Report report = explore([] {
    const seam::TimePoint end = seam::now() + 5ms;
    parallel(
        [&] {
          while (seam::now() < end) {
            seam::yield();
          }
        },
        [&] {
          Word word{0};
          seam::wait(word, 0U, end);
        });
  });
  CHECK(report.ok());
}

TEST_CASE("Explorer: a sleeper whose time has come may still be woken before it runs", "[explorer]") {
  std::set<bool> outcomes;
  const Report report = explore(
      [&] {
        Word word{0};
        const seam::TimePoint end = seam::now() + 1ms;
        parallel([&] { outcomes.insert(seam::wait(word, 0U, end)); },
                 [&] {
                   Word nap{0};
                   seam::wait(nap, 0U, end);
                   seam::wake(&word, 1);
                 });
      },
      {.strategy = Strategy::depth_first});
  CHECK(report.complete);
  CHECK(outcomes == std::set{false, true});
}

TEST_CASE("Explorer: mishaps wake sleepers for no reason and let timeouts come early", "[explorer]") {
  const auto trusting = [] {
    Word word{0};
    parallel(
        [&] {
          if (word.load() == 0) {
            seam::wait(word, 0U, seam::forever);
          }
          check(word.load() == 1, "woken for no reason");
        },
        [&] {
          word.store(1);
          seam::wake(&word, 1);
        });
  };
  const auto hasty = [] {
    Word word{0};
    parallel([&] { check(seam::wait(word, 0U, seam::now() + 1h), "an hour was not enough"); },
             [&] {
               word.store(1);
               word.store(0);
               word.store(1);
               seam::wake(&word, 1);
             });
  };
  must_need_mishaps(trusting, 1, "woken for no reason");
  must_need_mishaps(hasty, 1, "an hour was not enough");
}

TEST_CASE("Explorer: a sleep that a mishap ends may end before any operation, either way", "[explorer]") {
  using Outcome =
      std::pair<bool, int>;  // of a sleep that somebody ends after three steps: woken or not, after how many
  const auto outcomes = [](unsigned mishaps, unsigned preemptions) {
    std::set<Outcome> seen;
    const Report report = explore(
        [&] {
          Word word{0};
          Word other{0};
          int steps = 0;
          parallel(
              [&] {
                const bool woken = seam::wait(word, 0U, seam::now() + 1h);
                seen.insert({woken, steps});
              },
              [&] {
                for (; steps < 3; ++steps) {
                  other.load();
                }
                seam::wake(&word, 1);
              });
        },
        {.strategy = Strategy::depth_first, .preemptions = preemptions, .mishaps = mishaps});
    CHECK(report.complete);
    return seen;
  };
  CHECK(outcomes(0, 3) == std::set<Outcome>{{true, 3}, {false, 3}});
  CHECK(outcomes(1, 2) ==
        std::set<Outcome>{{true, 0}, {true, 1}, {true, 2}, {true, 3}, {false, 0}, {false, 1}, {false, 2}, {false, 3}});
}

TEST_CASE("Explorer: time may pass as soon as somebody sleeps, before others make a step", "[explorer]") {
  // The sleeper goes to sleep and its time is up before the writer begins; so nobody has to be preempted.
  const auto program = [] {
    Word word{0};
    Word flag{0};
    parallel([&] { flag.store(1); },
             [&] {
               const bool woken = seam::wait(word, 0U, seam::now() + 1h);
               check(woken || flag.load() == 1, "an hour was not enough for one step");
             });
  };
  const Options all{.strategy = Strategy::depth_first, .preemptions = 0, .quiet = true};
  CHECK(explore(program, all).complete);
  Options unlucky = all;
  unlucky.mishaps = 1;
  CHECK(contains(explore(program, unlucky).failure, "an hour was not enough"));
}

TEST_CASE("Explorer: a weak exchange fails for no reason as often as the budget says, a strong one never",
          "[explorer]") {
  const auto failures = [](Strategy strategy, bool weak) {
    std::set<int> seen;
    const Report report = explore(
        [&] {
          Word word{0};
          int failed = -1;
          std::uint32_t expected = 0;
          bool done = false;
          while (!done) {
            done = weak ? word.compare_exchange_weak(expected, 1) : word.compare_exchange_strong(expected, 1);
            check(done || expected == 0, "the value that is there");
            ++failed;
          }
          check(word.load() == 1, "exchanged");
          seen.insert(failed);
        },
        {.strategy = strategy, .schedules = 1'000, .mishaps = 2});
    CHECK(report.complete == (strategy == Strategy::depth_first));
    return seen;
  };
  for (const Strategy strategy : kStrategies) {
    CHECK(failures(strategy, true) == std::set{0, 1, 2});
    CHECK(failures(strategy, false) == std::set{0});
  }
}

TEST_CASE("Explorer: mishaps find a weak exchange that is not tried again", "[explorer]") {
  const auto program = [](bool weak) {
    return [weak] {
      Word begun{0};
      int value = 0;
      const auto first_to_come = [&] {
        std::uint32_t expected = 0;
        if (weak ? begun.compare_exchange_weak(expected, 1) : begun.compare_exchange_strong(expected, 1)) {
          value = 42;
        }
      };
      parallel(first_to_come, first_to_come);
      check(value == 42, "each thought that the other was first");
    };
  };
  must_need_mishaps(program(true), 2, "each thought that the other was first");
  CHECK(explore(program(false), {.strategy = Strategy::depth_first, .preemptions = 3, .mishaps = 3}).complete);
}

TEST_CASE("Explorer: mishaps find a timeout that drops what was handed over", "[explorer]") {
  const auto program = [](bool looks) {
    return [looks] {
      constexpr std::uint32_t kEmpty = 0;
      constexpr std::uint32_t kFull = 1;
      constexpr std::uint32_t kGivenUp = 2;
      Word slot{kEmpty};
      bool taken = false;
      bool given = false;
      parallel(
          [&] {
            while (slot.load() == kEmpty) {
              if (!seam::wait(slot, kEmpty, seam::now() + 1h)) {
                if (looks) {
                  taken = slot.exchange(kGivenUp) == kFull;
                } else {
                  slot.store(kGivenUp);  // and if it was filled a moment ago?
                }
                return;
              }
            }
            taken = true;
          },
          [&] {
            std::uint32_t expected = kEmpty;
            given = slot.compare_exchange_strong(expected, kFull);
            seam::wake(&slot, 1);
          });
      check(given == taken, "an item was handed to nobody");
    };
  };
  must_need_mishaps(program(false), 1, "an item was handed to nobody");
  CHECK(explore(program(true), {.strategy = Strategy::depth_first, .preemptions = 3, .mishaps = 3}).complete);
}

TEST_CASE("Explorer: an exception that leaves a thread fails the schedule", "[explorer]") {
  const Report typed = explore([] { parallel([] { throw std::out_of_range{"too far"}; }); }, {.quiet = true});
  CHECK(typed.failure == "an exception left the thread: std::out_of_range: too far");
  const Report untyped = explore([] { throw 42; }, {.quiet = true});
  CHECK(untyped.failure == "an exception left the thread: int");
}

TEST_CASE("Explorer: each thread has its own exceptions in flight", "[explorer]") {
  const auto program = [] {
    Word word{0};
    const auto thrower = [&](int value) {
      for (int round = 0; round < 2; ++round) {
        try {
          word.fetch_add(1);
          throw value;
        } catch (int) {
          word.fetch_add(1);
          try {
            throw;  // the one that is handled here, not another thread's
          } catch (int again) {
            check(again == value, "another thread's exception");
          }
          word.fetch_add(1);
          check(std::current_exception() != nullptr, "handled");
        }
        check(std::current_exception() == nullptr, "nothing is handled any more");
        struct Watch {
          Word& word;
          ~Watch() {
            word.fetch_add(1);
            check(std::uncaught_exceptions() == 1, "one exception is in flight");
          }
        };
        try {
          const Watch watch{word};
          throw value;
        } catch (int) {
        }
        check(std::uncaught_exceptions() == 0, "none is in flight");
      }
    };
    parallel([&] { thrower(1); }, [&] { thrower(2); });
  };
  CHECK(explore(program, {.schedules = 2'000}).ok());
  CHECK(explore(program, {.strategy = Strategy::depth_first, .preemptions = 1}).complete);
}

TEST_CASE("Explorer: every thread has its own record and number, and two share a CPU", "[explorer]") {
  const Report report = explore([] {
    std::set<std::uint64_t> ids{seam::this_thread_id()};
    std::set<std::uint64_t> natives{seam::native_thread_id()};
    std::set<std::uint32_t> cpus{seam::this_cpu()};
    std::set<const void*> records{&seam::this_thread()};
    const auto thread = [&] {
      ids.insert(seam::this_thread_id());
      natives.insert(seam::native_thread_id());
      cpus.insert(seam::this_cpu());
      records.insert(&seam::this_thread());
      check(!seam::is_main_thread(), "no main thread");
    };
    check(seam::is_main_thread(), "the main thread");
    parallel(thread, thread);
    check(ids.size() == 3 && natives.size() == 3 && cpus.size() == 2 && records.size() == 3, "all different");
  });
  CHECK(report.ok());
}

TEST_CASE("Explorer: random() differs between schedules, and a replay repeats it", "[explorer]") {
  std::set<std::uint32_t> seen;
  const auto program = [&] { check(seen.insert(seam::random()).second && seen.size() < 50, "fifty numbers"); };
  const Report report = explore(program, {.quiet = true});
  CHECK(report.schedules == 50);
  const std::uint32_t last = [&] {
    std::uint32_t number = 0;
    const auto look = [&] { number = seam::random(); };
    const Report replayed = explore(look, {.replay = report.replay, .quiet = true});
    CHECK(replayed.ok());
    return number;
  }();
  CHECK(seen.contains(last));
}

TEST_CASE("Explorer: bookkeeping is no scheduling point", "[explorer]") {
  const auto program = [] {
    Word counter{0};
    const auto add = [&] {
      const seam::Unscheduled unscheduled;
      add_carelessly(counter);
    };
    parallel(add, add, add);
    check(counter.load() == 3, "an update was lost");
  };
  CHECK(explore(program, {.strategy = Strategy::depth_first, .preemptions = 5}).complete);
}

TEST_CASE("Explorer: a thread that nobody joins belongs to its schedule", "[explorer]") {
  static thread_local seam::ThreadHandle left;
  const auto program = [] {
    const auto nothing = [](void*) -> void* { return nullptr; };
    if (left.run != 0) {
      check(seam::gone(left), "a thread of a run that is over is gone");
      seam::join(left);  // returns at once
    }
    check(seam::start(left, nothing, nullptr, 0) == 0, "started");
    check(!seam::gone(left), "it runs");
  };
  const Report report = explore(program, {.strategy = Strategy::depth_first});
  CHECK(report.complete);
  CHECK(seam::gone(left));
}

TEST_CASE("Explorer: hundreds of threads", "[explorer]") {
  const Report report = explore(
      [] {
        Word counter{0};
        std::vector<seam::ThreadHandle> threads(300);
        const auto add = [](void* word) -> void* {
          static_cast<Word*>(word)->fetch_add(1);
          return nullptr;
        };
        for (auto& thread : threads) {
          check(seam::start(thread, add, &counter, 0) == 0, "started");
        }
        for (const auto& thread : threads) {
          seam::join(thread);
        }
        check(counter.load() == threads.size(), "all have run");
      },
      {.schedules = conc_test::scaled(20U)});
  CHECK(report.ok());
  CHECK(report.threads == 301);
}

TEST_CASE("Explorer: outside of an exploration the same build runs natively", "[explorer]") {
  Word counter{0};
  const auto add = [&] {
    for (int i = 0; i < 1000; ++i) {
      counter.fetch_add(1);
      seam::yield();
    }
  };
  parallel(add, add);
  CHECK(counter.load() == 2000);
  Word word{0};
  parallel(
      [&] {
        while (word.load() == 0) {
          seam::wait(word, 0U, seam::forever);
        }
      },
      [&] {
        word.store(1);
        seam::wake(&word, 1);
      });
  CHECK_FALSE(seam::wait(word, 1U, seam::now() + 1ms));
  CHECK_THROWS_AS(check(true, "no exploration"), conc::UsageError);
}

TEST_CASE("Explorer: an exploration inside another is refused", "[explorer]") {
  const Report report = explore([] { explore([] {}); }, {.quiet = true});
  CHECK(contains(report.failure, "inside of an exploration"));
}

TEST_CASE("Explorer: explorations on several OS threads do not disturb each other", "[explorer]") {
  std::vector<Report> reports(4);
  conc_test::run_threads(4, [&](std::size_t i) {
    reports[i] = explore(i % 2 == 0 ? lose_an_update : lose_no_update, {.schedules = 500, .quiet = true});
  });
  for (std::size_t i = 0; i < reports.size(); ++i) {
    CHECK(reports[i].failed == (i % 2 == 0));
    CHECK(reports[i].fingerprint == reports[i % 2].fingerprint);
  }
}

TEST_CASE("Explorer: a failure is printed, unless Options::quiet", "[explorer]") {
  const Report loud = explore(lose_an_update);
  CHECK(conc_test::take_stderr() == loud.message);
  explore(lose_an_update, {.quiet = true});
  CHECK(conc_test::take_stderr().empty());
}

TEST_CASE("Explorer: CONC_REPLAY runs one schedule and prints each step of it", "[explorer]") {
  const Report found = explore(lose_an_update, {.quiet = true});
  {
    const ReplayVariable variable{found.replay};
    const Report again = explore(lose_an_update, {.strategy = Strategy::depth_first, .schedules = 1'000});
    CHECK(again.failure == found.failure);
    CHECK(again.schedules == 1);
    CHECK(contains(conc_test::take_stderr(), "thread 1  store #1"));
  }
  const Report passed = explore(lose_no_update, {.schedules = 1});
  CHECK(passed.ok());
}

TEST_CASE("Explorer: a replay of another program says that it took another way", "[explorer]") {
  const Report found = explore(lose_an_update, {.quiet = true});
  const Report other = explore(lose_no_update, {.replay = found.replay, .quiet = true});
  CHECK(other.failed);
  CHECK(contains(other.failure, "another way"));
  const Report shorter = explore([] {}, {.replay = found.replay, .quiet = true});
  CHECK(contains(shorter.failure, "another way"));
  const Report impossible = explore(lose_an_update, {.replay = "c1-1-zz-0", .quiet = true});
  CHECK(contains(impossible.failure, "did not repeat itself"));
}

TEST_CASE("Explorer: a program that changes between its runs is noticed", "[explorer]") {
  int runs = 0;
  const auto program = [&] {
    ++runs;
    Word word{0};
    const auto once = [&] { word.fetch_add(1); };
    const auto often = [&] {
      for (int i = 0; i < runs; ++i) {
        word.fetch_add(1);
      }
    };
    runs % 2 == 0 ? parallel(once, often) : parallel(often, once, often);
  };
  const Report report = explore(program, {.strategy = Strategy::depth_first, .quiet = true});
  CHECK(contains(report.failure, "did not repeat itself"));
}

TEST_CASE("Explorer: what is no replay string is refused", "[explorer]") {
  for (const char* const text : {"c",
                                 "c1",
                                 "c1-",
                                 "c1-1",
                                 "c1-1-",
                                 "c1-1-a",
                                 "c2-1-a-0",
                                 "c1--a-0",
                                 "c1-1-a-",
                                 "c1-1-A-0",
                                 "c1-1-a1-0",
                                 "c1-1-a0-0",
                                 "c1-1-_1-0",
                                 "c1-1-__-0",
                                 "c1-1-a-0 ",
                                 " c1-1-a-0",
                                 "c1-1-a-g",
                                 "c1-123456789-a-0",
                                 "c1-1-a99999999999-0",
                                 "c1-1-a4000000000-0",
                                 "c1-1-3a-0"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(explore([] {}, {.replay = text}), conc::UsageError);
    const ReplayVariable variable{text};
    CHECK_THROWS_AS(explore([] {}), conc::UsageError);
  }
}

TEST_CASE("Explorer: replay strings say what they were made from", "[explorer]") {
  using conc::detail::Choice;
  using conc::detail::Replay;
  const std::vector<Choice> choices{{0, 2},   {0, 2},       {0, 3}, {2, 3}, {25, 26}, {26, 27},
                                    {26, 27}, {1000, 1001}, {1, 2}, {0, 2}, {0, 2}};
  const std::string text = Replay::text_of(0xbeef, choices);
  const std::string shown = text.substr(0, text.rfind('-'));
  CHECK(shown == "c1-beef-a3cz_26_2_1000_b");
  const auto parsed = Replay::parse(text);
  REQUIRE(parsed.has_value());
  CHECK(parsed->seed == 0xbeef);
  CHECK(parsed->picks == std::vector<std::uint32_t>{0, 0, 0, 2, 25, 26, 26, 1000, 1});
  CHECK(parsed->check == Replay::check_of(choices));
}

TEST_CASE("Explorer: a thread stuck outside of conc ends the process, and the report says where", "[explorer]") {
  const auto stuck = [] {
    std::mutex mutex;
    Word word{0};
    const auto hold = [&] {
      const std::lock_guard guard{mutex};
      word.load();
    };
    parallel(hold, hold);
  };
  const std::string text = death_of_child(SIGABRT, [&] { explore(stuck, {.stall = 1s, .quiet = true}); });
  CHECK(contains(text, "makes no step any more"));
  CHECK(contains(text, "pthread_mutex_lock"));
  CHECK(contains(text, "CONC_REPLAY=c1-"));
}

TEST_CASE("Explorer: a program that dies says on which schedule", "[explorer]") {
  const auto die = [] {
    Word counter{0};
    parallel([&] { add_carelessly(counter); }, [&] { add_carelessly(counter); });
    if (counter.load() != 2) {
      std::abort();
    }
  };
  const std::string text = death_of_child(SIGABRT, [&] { explore(die, {.strategy = Strategy::depth_first}); });
  CHECK(contains(text, "the program died"));
  const std::size_t begin = text.find("CONC_REPLAY=") + 12;
  const std::string replay = text.substr(begin, text.find('\n', begin) - begin);
  const std::string again = death_of_child(SIGABRT, [&] { explore(die, {.replay = replay}); });
  CHECK(contains(again, "CONC_REPLAY=" + replay));
}

namespace {

// Every frame writes into the one before, so that none can be left out.
[[gnu::noinline]] void fall(int depth, volatile char* above) {
  volatile char room[4096];
  room[0] = static_cast<char>(depth);
  if (depth > 0) {
    fall(depth - 1, room);
  }
  above[0] = room[0];
}

}  // namespace

TEST_CASE("Explorer: a thread that overflows its stack is told so", "[explorer]") {
  if constexpr (conc_test::sanitizer() == conc_test::Sanitizer::none) {
    const std::string text = death_of_child(SIGSEGV, [] {
      explore(
          [] {
            parallel([] {
              volatile char ground[1];
              fall(1000, ground);
            });
          },
          {.stack_size = 64 * 1024});
    });
    CHECK(contains(text, "used up its stack"));
  } else {
    SUCCEED("AddressSanitizer reports a stack overflow itself");
  }
}
