// SPDX-License-Identifier: MIT
/// @file
/// Jobs on threads that change the same numbers: what goes wrong without a lock, what a Lock, an RLock and a ScopedLock do
/// about it, and how an order of locks that can deadlock is found before it does.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstddef>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include <conc/barrier.hpp>
#include <conc/event.hpp>
#include <conc/lock.hpp>
#include <conc/thread.hpp>

namespace {

struct Options {
  std::vector<std::string> chapters;
  int rounds = 2;
  int patience_ms = 50;
};

struct Job {
  const char* name;
  int amount;
};

constexpr Job kJobs[] = {{"add 1", 1}, {"add 10", 10}, {"add 100", 100}, {"add 1000", 1000}};
constexpr std::size_t kJobCount = std::size(kJobs);
constexpr int kSumOfAmounts = 1111;

void say(const std::string& text) { std::cout << "  " << text << '\n'; }

void expect(bool fact, const char* otherwise) {
  if (!fact) throw std::runtime_error(otherwise);
}

/// Runs work(0) … work(count - 1), each on a thread of its own, and waits for them. If a thread cannot be started, none of
/// them works.
template <class F>
void run_threads(std::size_t count, F work) {
  conc::Event decided;
  bool all_started = false;
  std::vector<conc::Thread> threads;
  const auto join_all = [&] {
    decided.set();
    for (conc::Thread& thread : threads) thread.join();
  };
  try {
    threads.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      conc::Thread thread{[&, i] {
        decided.wait();
        if (all_started) work(i);
      }};
      thread.start();
      threads.push_back(thread);
    }
    all_started = true;
  } catch (...) {
    join_all();
    throw;
  }
  join_all();
}

// Without a lock.

/// One thread after the other has a turn, again and again. So the bad luck that this program wants comes every time, and
/// though nothing is locked there is no data race: each turn begins after the one before.
class Turns {
 public:
  explicit Turns(std::size_t threads) : begin_(threads) { begin_[0].set(); }

  template <class F>
  void take(std::size_t thread, F step) {
    begin_[thread].wait();
    begin_[thread].clear();
    step();
    begin_[(thread + 1) % begin_.size()].set();
  }

 private:
  std::vector<conc::Event> begin_;
};

void interleaved(const Options& options) {
  int total = 0;
  Turns turns{kJobCount};
  run_threads(kJobCount, [&](std::size_t i) {
    const auto [name, amount] = kJobs[i];
    for (int round = 0; round < options.rounds; ++round) {
      int seen = 0;
      turns.take(i, [&, job = name] {
        seen = total;
        say(std::string(job) + ": reads " + std::to_string(seen));
      });
      turns.take(i, [&, job = name, more = amount] {
        total = seen + more;  // what others have written since is lost
        say(std::string(job) + ": writes " + std::to_string(total));
      });
    }
  });
  say("total: " + std::to_string(total) + ", and should be " + std::to_string(options.rounds * kSumOfAmounts));
  expect(total == options.rounds * kJobs[kJobCount - 1].amount, "all but the last job's work should be lost");
}

// With a Lock.

class Total {
 public:
  /// All rounds of a job under one hold of the lock. `held` is called once the lock is held; `blocked`, before that, if it
  /// is not free.
  template <class Held, class Blocked>
  void run(const Job& job, int rounds, Held held, Blocked blocked) {
    if (!lock_.try_acquire()) {
      blocked();
      lock_.acquire();
    }
    held();
    for (int round = 0; round < rounds; ++round) {
      const int seen = value_;
      value_ = seen + job.amount;
      say(std::string(job.name) + ": reads " + std::to_string(seen) + ", writes " + std::to_string(value_));
    }
    lock_.release();
  }

  int value() {
    const conc::ScopedLock guard{lock_};
    return value_;
  }

 private:
  conc::Lock lock_;
  int value_ CONC_GUARDED_BY(lock_) = 0;
};

void locked(const Options& options) {
  Total total;
  // A job begins when the one before holds the lock, which goes on when this one has met the lock.
  std::vector<conc::Event> may_begin(kJobCount + 1);
  std::vector<conc::Event> was_blocked(kJobCount + 1);
  may_begin[0].set();
  was_blocked[kJobCount].set();
  run_threads(kJobCount, [&](std::size_t i) {
    may_begin[i].wait();
    const auto held = [&] {
      may_begin[i + 1].set();
      was_blocked[i + 1].wait();
    };
    const auto blocked = [&] {
      say(std::string(kJobs[i].name) + ": has to wait");
      was_blocked[i].set();
    };
    total.run(kJobs[i], options.rounds, held, blocked);
  });
  say("total: " + std::to_string(total.value()) + ", as it should be");
  expect(total.value() == options.rounds * kSumOfAmounts, "no work should be lost");
}

// With an RLock.

/// A function that holds the lock calls another one that takes it, too.
template <class L>
class Nested {
 public:
  explicit Nested(conc::Deadline patience) : patience_{patience} {}

  /// How many of the jobs got through.
  std::size_t add_all() {
    const conc::ScopedLock guard{lock_};
    std::size_t done = 0;
    for (const Job& job : kJobs) {
      if (add(job)) ++done;
    }
    return done;
  }

  bool add(const Job& job) {
    if (!lock_.acquire(patience_)) return false;
    total_ += job.amount;
    lock_.release();
    return true;
  }

 private:
  conc::Deadline patience_;
  L lock_;
  int total_ CONC_GUARDED_BY(lock_) = 0;
};

void nested(const Options& options) {
  const std::chrono::milliseconds patience(options.patience_ms);
  const std::string of = " of " + std::to_string(kJobCount) + " jobs got the lock that their caller holds";
  const std::size_t with_rlock = Nested<conc::RLock>{patience}.add_all();
  say("RLock: " + std::to_string(with_rlock) + of);
  const std::size_t with_lock = Nested<conc::Lock>{patience}.add_all();
  say("Lock: " + std::to_string(with_lock) + of + ", each gave up at its deadline");
  say("without a deadline the first one would wait for ever");
  expect(with_rlock == kJobCount && with_lock == 0, "an RLock should let its owner in again, and a Lock should not");
}

}  // namespace

// Two accounts, each with its lock. What takes them stands outside of the unnamed namespace, so that reports can name it.

struct Account {
  conc::Lock lock;
  int balance CONC_GUARDED_BY(lock) = 100;
};

Account checking;
Account savings;

void save() {
  const conc::ScopedLock first{checking.lock};
  const conc::ScopedLock second{savings.lock};
  --checking.balance;
  ++savings.balance;
}

void spend() {
  const conc::ScopedLock first{savings.lock};
  const conc::ScopedLock second{checking.lock};  // the other way round
  --savings.balance;
  ++checking.balance;
}

void save_cured() {
  const conc::ScopedLock both{checking.lock, savings.lock};
  --checking.balance;
  ++savings.balance;
}

void spend_cured() {
  const conc::ScopedLock both{savings.lock, checking.lock};  // in whatever order
  --savings.balance;
  ++checking.balance;
}

namespace {

int balances() {
  const conc::ScopedLock both{checking.lock, savings.lock};
  return checking.balance + savings.balance;
}

void deadlock(const Options& options) {
  bool got_second[2] = {};
  conc::Barrier meet{2};
  run_threads(2, [&](std::size_t i) {
    conc::Lock& first = i == 0 ? checking.lock : savings.lock;
    conc::Lock& second = i == 0 ? savings.lock : checking.lock;
    const conc::ScopedLock guard{first};
    meet.wait();  // each has its first lock
    if (second.acquire(std::chrono::milliseconds(options.patience_ms))) {
      got_second[i] = true;
      second.release();
    }
    meet.wait();  // each has given up
  });
  for (const bool got : got_second)
    say(got ? "got its second lock" : "gave up at its deadline, holding its first lock");
  say("without a deadline both would wait for ever");
  expect(!got_second[0] && !got_second[1], "nobody should get a lock that the other one holds");
}

std::string report_text;  // written by a thread that is joined before it is read

void keep_report(const conc::debug::LockReport& report) { report_text += report.text; }

/// Keeps what the lock graph reports while it lives.
class Reports {
 public:
  Reports() : before_{conc::debug::set_lock_hook(keep_report)} { report_text.clear(); }
  ~Reports() { conc::debug::set_lock_hook(before_); }

  Reports(const Reports&) = delete;
  Reports& operator=(const Reports&) = delete;

 private:
  conc::debug::LockHook before_;
};

#if defined(CONC_DEBUG)
constexpr bool kWatched = true;
#else
constexpr bool kWatched = false;
#endif

void order(const Options& /*options*/) {
  const Reports reports;
  conc::debug::name(checking.lock, "checking");
  conc::debug::name(savings.lock, "savings");
  for (void (*const job)() : {save, spend}) run_threads(1, [job](std::size_t) { job(); });
  say("save() has ended before spend() began: nothing hung");
  if (kWatched) {
    expect(!report_text.empty(), "the order of the locks should be reported");
    say("all the same it is reported:\n\n" + report_text);
  } else {
    say("and nobody noticed; lock_jobs_debug, compiled with CONC_DEBUG, reports what could have been");
  }
}

void cured(const Options& options) {
  const Reports reports;
  const int transfers = 1000 * options.rounds;
  const int before = balances();
  run_threads(2, [&](std::size_t i) {
    for (int n = 0; n < transfers; ++n) i == 0 ? save_cured() : spend_cured();
  });
  say(std::to_string(2 * transfers) + " transfers in both directions at once, and nothing is lost");
  expect(balances() == before, "no money should be lost");
  if (kWatched) {
    expect(report_text.empty(), "nothing should be reported");
    say("nothing is reported");
  }
}

struct Chapter {
  const char* name;
  const char* title;
  void (*run)(const Options&);
};

constexpr Chapter kChapters[] = {
    {"interleaved", "four jobs add to one number, without a lock", interleaved},
    {"locked", "the same jobs with a Lock", locked},
    {"nested", "a job that holds the lock calls one that takes it", nested},
    {"deadlock", "two jobs take two locks in different orders", deadlock},
    {"order", "the same orders, when nothing hangs", order},
    {"cured", "ScopedLock takes both locks", cured},
};

std::string description() {
  std::string text = "Shows what locks do, chapter by chapter:\n\n";
  for (const Chapter& chapter : kChapters) {
    text += std::string("  ") + chapter.name + std::string(14 - std::string(chapter.name).size(), ' ') + chapter.title +
            "\n";
  }
  return text + "\nExit code: 0 all is shown, 1 something went wrong, 2 wrong use.\n";
}

bool wanted(const Options& options, const Chapter& chapter) {
  if (options.chapters.empty()) return true;
  for (const std::string& name : options.chapters) {
    if (name == chapter.name) return true;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{description()};
  std::vector<std::string> known;
  for (const Chapter& chapter : kChapters) known.emplace_back(chapter.name);
  app.add_option("chapter", options.chapters, "Chapters to show [all]")->check(CLI::IsMember(known));
  app.add_option("--rounds", options.rounds, "How often each job adds")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--patience-ms", options.patience_ms, "How long a job waits that would wait for ever")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  try {
    for (const Chapter& chapter : kChapters) {
      if (!wanted(options, chapter)) continue;
      std::cout << chapter.name << ": " << chapter.title << '\n';
      chapter.run(options);
    }
  } catch (const std::exception& e) {
    std::cout << std::flush;
    std::cerr << "lock_jobs: " << e.what() << '\n';
    return 1;
  }
  return 0;
}
