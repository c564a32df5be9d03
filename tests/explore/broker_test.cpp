// SPDX-License-Identifier: MIT
// The broker of a process pool with threads in the place of processes, which may be killed between any two steps.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <conc/condition.hpp>
#include <conc/deadline.hpp>
#include <conc/detail/broker.hpp>
#include <conc/error.hpp>
#include <conc/lock.hpp>
#include <conc/thread.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <initializer_list>
#include <string>
#include <vector>

#include "explore_type.hpp"

using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;
using namespace std::chrono_literals;

namespace {

enum class End : std::uint8_t { none, answered, broken, late, withdrawn, other };

/// What the task does in the worker.
enum class Task : std::uint8_t { answer, hang, babble };

/// A call. It must come to one end, and not to a second one.
struct Call {
  // What a Broker wants of it.
  bool cancelled() const { return state == 2; }
  bool leave() {
    std::uint32_t pending = 0;
    return state.compare_exchange_strong(pending, 1);
  }
  void give_up(const std::exception_ptr& why) {
    std::uint32_t pending = 0;
    if (!started && !state.compare_exchange_strong(pending, 1)) {
      come_to(End::withdrawn);
      return;
    }
    try {
      std::rethrow_exception(why);
    } catch (const conc::BrokenProcessPool&) {
      come_to(End::broken);
    } catch (const conc::TimeoutError&) {
      come_to(End::late);
    } catch (...) {
      come_to(End::other);
    }
  }
  void withdraw() { come_to(End::withdrawn); }
  std::string name() const { return "call"; }

  bool cancel() {
    std::uint32_t pending = 0;
    return state.compare_exchange_strong(pending, 2);
  }
  void come_to(End how) {
    check(end == End::none, "a call came to two ends");
    end = how;
  }

  Call* next = nullptr;
  std::uint64_t id = 0;
  conc::Deadline timeout{};
  unsigned retries = 0;
  bool for_good = false;
  bool for_good_once_begun = false;
  bool started = false;

  Task task = Task::answer;
  conc::detail::sync::Atomic<std::uint32_t> state{0};  // 0 pending, 1 left, 2 cancelled
  End end = End::none;
  conc_test::Tally runs;
};

/// Workers that are threads. The death of one is a flag that it meets at its next step; what it does after that is not
/// heard.
class Threads {
 public:
  using Parcel = Call;

  explicit Threads(std::size_t most) : workers_(most) {}
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads() {
    for (conc::Thread& thread : threads_) thread.join();
  }

  // What a Broker wants of them.
  template <class Broker>
  void wait(Broker& broker, conc::detail::sync::TimePoint end) {
    std::deque<Happening> happenings;
    {
      const conc::ScopedLock guard{lock_};
      changed_.wait_for([this] { return bell_ || !happenings_.empty(); }, conc::Deadline{end});
      bell_ = false;
      happenings.swap(happenings_);
    }
    for (const Happening& happening : happenings) {
      const std::size_t i = happening.worker;
      if (happening.what == What::ready) {
        broker.on_ready(i);
      } else if (happening.what == What::no_init) {
        broker.on_initializer_failed(i, "no");
      } else if (happening.what == What::garbage) {
        broker.on_garbage(i, "babbled");
      } else if (happening.what == What::answer) {
        broker.on_answer(i, happening.id, conc::detail::Arrival::succeeded,
                         [](Call& call) { call.come_to(End::answered); });
      } else {
        broker.on_end(i, -SIGKILL, happening.begun);
      }
    }
  }
  void start(std::size_t i) {
    const conc::ScopedLock guard{lock_};
    check(!workers_[i].alive, "a worker was started twice");
    if (refuse_ > 0) {
      --refuse_;
      throw conc::Error{"no worker"};
    }
    workers_[i] = {.alive = true, .generation = ++generations_};
    conc::Thread thread{[this, i, generation = generations_] { work(i, generation); }};
    thread.start();
    threads_.push_back(thread);
  }
  void send(std::size_t i, Call& call) {
    const conc::ScopedLock guard{lock_};
    check(!workers_[i].closed, "a call for a worker that gets no more");
    workers_[i].calls.push_back({call.id, &call});
    changed_.notify_all();
  }
  void close(std::size_t i) {
    const conc::ScopedLock guard{lock_};
    workers_[i].closed = true;
    changed_.notify_all();
  }
  void kill(std::size_t i, int /*signal*/) { crash(i); }
  void wake() {
    const conc::ScopedLock guard{lock_};
    bell_ = true;
    changed_.notify_all();
  }
  template <class Broker>
  void end_all(Broker& /*broker*/) {
    check(false, "wait() never fails here");
  }
  int pid(std::size_t i) const { return static_cast<int>(i) + 1; }
  std::string describe(std::size_t i) const { return "worker " + std::to_string(i); }

  // The test's.

  /// The worker dies, if there is one. @return whether there was
  bool crash(std::size_t i) {
    const conc::ScopedLock guard{lock_};
    if (!workers_[i].alive) return false;
    die(i);
    return true;
  }
  /// How many there have been.
  std::uint64_t started() const { return generations_; }
  void refuse(int times) { refuse_ = times; }
  void fail_initializer() { initializer_fails_ = true; }

 private:
  enum class What : std::uint8_t { ready, no_init, answer, garbage, end };
  struct Happening {
    What what;
    std::size_t worker;
    std::uint64_t id = 0;
    bool begun = false;
  };
  struct Sent {
    std::uint64_t id;
    Call* call;
  };
  struct Worker {
    bool alive = false;
    bool closed = false;
    bool at_work = false;
    std::uint64_t generation = 0;  // a thread whose worker has died must not act for the next one
    std::deque<Sent> calls{};
  };

  void die(std::size_t i) {
    workers_[i].alive = false;
    workers_[i].calls.clear();
    tell({.what = What::end, .worker = i, .begun = workers_[i].at_work});
  }
  void tell(Happening happening) {
    happenings_.push_back(happening);
    changed_.notify_all();
  }

  void work(std::size_t i, std::uint64_t generation) {
    const conc::ScopedLock guard{lock_};
    const auto dead = [this, i, generation] { return !workers_[i].alive || workers_[i].generation != generation; };
    if (!dead()) {
      tell({initializer_fails_ ? What::no_init : What::ready, i});
    }
    for (;;) {
      changed_.wait_for([&] { return dead() || workers_[i].closed || !workers_[i].calls.empty(); });
      if (dead()) return;
      if (workers_[i].calls.empty()) {
        die(i);
        return;
      }
      const Sent sent = workers_[i].calls.front();
      workers_[i].calls.pop_front();
      workers_[i].at_work = true;
      ++sent.call->runs;
      if (sent.call->task == Task::hang) {
        changed_.wait_for(dead);
        return;
      }
      lock_.release();  // it can be killed between the task and its answer
      lock_.acquire();
      if (dead()) return;
      workers_[i].at_work = sent.call->task == Task::babble;
      tell({sent.call->task == Task::babble ? What::garbage : What::answer, i, sent.id});
    }
  }

  conc::Lock lock_;
  conc::Condition<conc::Lock> changed_{lock_};
  std::vector<Worker> workers_;
  std::deque<Happening> happenings_;
  std::vector<conc::Thread> threads_;
  bool initializer_fails_ = false;
  bool bell_ = false;
  int refuse_ = 0;
  std::uint64_t generations_ = 0;
};

using Broker = conc::detail::Broker<Threads>;
using Options = conc::detail::BrokerOptions;

constexpr Options kOptions{.max_workers = 1,
                           .prefetch = 2,
                           .max_tasks_per_worker = 0,
                           .max_queued = 0,
                           .waits_when_full = true,
                           .respawns = true};

/// The same with one of them changed.
template <class T>
constexpr Options with(T Options::*option, T value) {
  Options options = kOptions;
  options.*option = value;
  return options;
}

/// A broker with its workers and some calls, for one schedule.
template <std::size_t count = 2>
struct Office {
  explicit Office(Options options = kOptions) : workers{options.max_workers}, broker{options, workers} {}

  /// The manager's thread, and what other threads do.
  template <class... Others>
  void run(Others... others) {
    parallel([this] { broker.run(); }, others...);
  }
  /// Submits the calls, as many as are accepted.
  void submit() {
    for (std::size_t i = 0; i < count; ++i) {
      try {
        broker.push(calls[i], false);
        accepted[i] = true;
      } catch (const conc::BrokenExecutor&) {
      } catch (const conc::UsageError&) {
      }
    }
  }
  auto submits() {
    return [this] { submit(); };
  }
  auto submits_and_closes() {
    return [this] {
      submit();
      broker.close(false);
    };
  }
  auto crashes() {
    return [this] { crashed = workers.crash(0); };
  }

  /// Each call that was accepted must have come to one of these ends, and no other to any.
  void check_ends(std::initializer_list<End> ends) const {
    for (std::size_t i = 0; i < count; ++i) {
      const bool among = std::find(ends.begin(), ends.end(), calls[i].end) != ends.end();
      check(accepted[i] ? among : calls[i].end == End::none, "a call came to an end that is not its own");
    }
  }
  void check_all_accepted() const {
    for (const bool one : accepted) check(one, "not accepted");
  }
  void check_runs_once() const {
    for (const Call& call : calls) check(call.runs == 1, "not run once");
  }

  Threads workers;
  Broker broker;
  Call calls[count];
  bool accepted[count]{};
  bool crashed = false;
};

}  // namespace

TEST_CASE("Broker: calls are answered, in every schedule", "[broker]") {
  const auto answers_all = [](Options options) {
    return [options] {
      Office office{options};
      office.run(office.submits_and_closes());
      office.check_all_accepted();
      office.check_ends({End::answered});
      office.check_runs_once();
    };
  };
  explore_type("Broker, two calls, one worker", answers_all(kOptions));
  explore_type("Broker, two calls, two workers", answers_all(with(&Options::max_workers, std::size_t{2})),
               {.preemptions = 1});
  explore_type("Broker, one call, wait_idle",
               [] {
                 Office<1> office;
                 office.run([&] {
                   office.submit();
                   check(office.broker.wait_idle(conc::never), "not idle");
                   check(office.calls[0].end == End::answered, "idle before the end");
                   office.broker.close(false);
                 });
               },
               {.preemptions = 1});
}

TEST_CASE("Broker: the death of a worker at any moment costs the call that it ran, and no other", "[broker][P6][FW2]") {
  explore_type("Broker, a worker dies, no retries",
               [] {
                 Office office;
                 office.run(office.submits_and_closes(), office.crashes());
                 office.check_all_accepted();
                 office.check_ends({End::answered, End::broken});
                 office.check_runs_once();  // so none is blamed that did not run
                 int broken = 0;
                 for (const Call& call : office.calls) broken += call.end == End::broken ? 1 : 0;
                 check(broken <= (office.crashed ? 1 : 0), "more than one call for one death");
               },
               {.preemptions = 1});
  explore_type("Broker, a worker dies, one retry",
               [] {
                 Office office;
                 for (Call& call : office.calls) call.retries = 1;
                 office.run(office.submits_and_closes(), office.crashes());
                 office.check_all_accepted();
                 office.check_ends({End::answered});
                 const int runs = office.calls[0].runs + office.calls[1].runs;
                 check(runs >= 2 && runs <= (office.crashed ? 3 : 2), "run too often");
               },
               {.preemptions = 1});
}

TEST_CASE("Broker: where a death breaks the pool, every call comes to an end", "[broker][P6][P7]") {
  explore_type("Broker, a worker dies, the pool breaks",
               [] {
                 Office office{with(&Options::respawns, false)};
                 office.run(office.submits_and_closes(), office.crashes());
                 office.check_ends({End::answered, End::broken});
               },
               {.preemptions = 1});
  explore_type("Broker, its workers are killed",
               [] {
                 Office office;
                 office.run(office.submits(), [&] { office.broker.kill(SIGKILL, "killed"); });
                 office.check_ends({End::answered, End::broken});
               },
               {.preemptions = 1});
}

TEST_CASE("Broker: a worker that has had its share is replaced", "[broker][P9]") {
  explore_type("Broker, one call for each worker, one of which may die",
               [] {
                 Office office{with(&Options::max_tasks_per_worker, std::size_t{1})};
                 for (Call& call : office.calls) call.retries = 1;
                 office.run(office.submits_and_closes(), office.crashes());
                 office.check_all_accepted();
                 office.check_ends({End::answered});
                 check(office.workers.started() >= 2, "a worker has had more than its share");
               },
               {.preemptions = 1});
}

TEST_CASE("Broker: a call whose time is over costs its worker, and no other call", "[broker][P12]") {
  explore_type("Broker, a call hangs",
               [] {
                 Office office;
                 office.calls[0].task = Task::hang;
                 office.calls[0].timeout = 1s;
                 office.run(office.submits_and_closes());
                 check(office.calls[0].end == End::late && office.calls[0].runs <= 1, "not late");
                 check(office.calls[1].end == End::answered && office.calls[1].runs == 1, "lost");
               },
               {.preemptions = 1});
  explore_type("Broker, a call may be late", [] {
    Office office;
    office.calls[0].timeout = 1ns;
    office.run(office.submits_and_closes());
    office.check_ends({End::answered, End::late});
    check(office.calls[1].end == End::answered && office.calls[1].runs == 1, "lost");
  });
}

TEST_CASE("Broker: a call behind one that may be late runs once", "[broker][P12]") {
  explore_type("Broker, a call behind one that may be late", [] {
    Office<3> office;  // after the first call the worker may have two
    office.calls[1].timeout = 1ns;
    office.submit();
    office.broker.close(false);
    office.broker.run();
    office.check_ends({End::answered, End::late});
    check(office.calls[2].end == End::answered && office.calls[2].runs == 1, "lost, or run twice");
  });
}

TEST_CASE("Broker: a call is cancelled, or leaves", "[broker][F1][P2]") {
  explore_type("Broker, cancel", [] {
    Office<1> office;
    Call& call = office.calls[0];
    bool cancelled = false;
    office.run(office.submits_and_closes(), [&] { cancelled = call.cancel(); });
    check(call.end == (cancelled ? End::withdrawn : End::answered), "lost");
    check(call.runs == (cancelled ? 0 : 1), "run although it was cancelled");
  });
  explore_type("Broker, cancel, and a worker that was started for nothing",
               [] {
                 Office office{with(&Options::respawns, false)};  // it is no reason to break
                 office.run(office.submits_and_closes(), [&] { office.calls[0].cancel(); });
                 office.check_all_accepted();
                 office.check_ends({End::answered, End::withdrawn});
                 check(office.calls[1].end == End::answered, "lost");
               },
               {.preemptions = 1});
  explore_type("Broker, shut down with cancel",
               [] {
                 Office office;
                 office.run(office.submits(), [&] { office.broker.close(true); });
                 office.check_ends({End::answered, End::withdrawn});
               },
               {.preemptions = 1});
}

TEST_CASE("Broker: who waits for room in the queue gets it, or hears of the end", "[broker][X17]") {
  auto options = with(&Options::max_queued, std::size_t{1});
  options.prefetch = 1;
  explore_type("Broker, a queue of one",
               [options] {
                 Office office{options};
                 office.run(office.submits_and_closes());
                 office.check_all_accepted();
                 office.check_ends({End::answered});
                 office.check_runs_once();
               },
               {.preemptions = 1});
  explore_type("Broker, a queue of one, closed",
               [options] {
                 Office office{options};
                 office.run(office.submits(), [&] { office.broker.close(false); });
                 office.check_ends({End::answered});
               },
               {.preemptions = 1});
}

TEST_CASE("Broker: workers are initialized before they are blamed", "[broker][P11][FW18]") {
  explore_type("Broker, a worker dies while it is initialized, or later",
               [] {
                 Office<1> office;
                 office.calls[0].retries = 1;
                 office.run(office.submits_and_closes(), office.crashes());
                 office.check_all_accepted();
                 office.check_ends({End::answered});
               },
               {.preemptions = 1});
  explore_type("Broker, an initializer fails",
               [] {
                 Office office;
                 office.workers.fail_initializer();
                 office.run(office.submits_and_closes());
                 check(office.accepted[0], "not accepted");
                 office.check_ends({End::broken});
               },
               {.preemptions = 1});
}

TEST_CASE("Broker: a worker that cannot be started, or that answers garbage", "[broker][FW12][P5]") {
  explore_type("Broker, the first worker cannot be started", [] {
    Office office;
    office.workers.refuse(1);
    office.run([&] {
      office.broker.push(office.calls[0], false);
      office.broker.wait_idle(conc::never);
      check(office.calls[0].end == End::other, "not told");
      office.broker.push(office.calls[1], false);
      office.broker.close(false);
    });
    check(office.calls[1].end == End::answered, "the pool does not go on");
  });
  explore_type("Broker, garbage",
               [] {
                 Office office;
                 office.calls[0].task = Task::babble;
                 office.run(office.submits_and_closes());
                 check(office.calls[0].end == End::broken, "not blamed");
                 check(office.calls[1].end == End::answered && office.calls[1].runs == 1, "lost");
               },
               {.preemptions = 1});
}
