// SPDX-License-Identifier: MIT
// What ProcessPoolExecutor promises beyond what every executor does. Workers that die: fault/process_pool_test.cpp.
#include <conc/process_pool.hpp>
// The header comes first here, and so is known to need no other.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/cpu_count.hpp>
#include <conc/error.hpp>
#include <conc/event.hpp>
#include <conc/future.hpp>
#include <conc/wait.hpp>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "background.hpp"
#include "gate.hpp"
#include "processes.hpp"
#include "support.hpp"
#include "worker_tasks.hpp"

namespace {

using namespace std::chrono_literals;
using conc::OnWorkerDeath;
using conc::ProcessPoolExecutor;
using conc::StartMethod;
using conc::WhenFull;
using conc_test::Background;
using conc_test::broken_by;
using conc_test::contains;
using conc_test::count_workers;
using conc_test::Death;
using conc_test::eventually;
using conc_test::Folder;
using conc_test::Gate;
using conc_test::has_ended;
using conc_test::message_of;
using conc_test::outcome;
using conc_test::scaled;

/// A global of each process.
int here = 1;
int set_here(int value) { return std::exchange(here, value); }
int get_here() { return here; }
void initialize(int value, const std::string& file) {
  here = value;
  if (!file.empty()) conc_test::make_file(file + "_" + std::to_string(::getpid()));
}
void initialize_badly(const std::string& words) { throw std::runtime_error{words}; }

int fail_with(const std::string& words) { throw std::out_of_range{words}; }

/// Where what the call throws was thrown.
template <class F>
std::string trace_of(F call) {
  try {
    call();
  } catch (const conc::RemoteInfo& info) {
    return info.trace();
  }
  return "nothing came";
}

/// Sends many tasks that end at once, so that the workers may have as many as they ever may.
void hurry(ProcessPoolExecutor& pool) {
  std::vector<conc::Future<int>> futures;
  for (int i = 0; i < 200; ++i) futures.push_back(pool.submit(&conc_test::twice, i));
  conc::wait(futures);
}

template <class T>
bool starts(const conc::Future<T>& future) {
  return eventually([&future] { return future.running() || future.done(); });
}

}  // namespace

namespace traced {  // not unnamed: the program exports the names
[[gnu::noinline, gnu::cold]] int find_row(int row) {
  if (row > 2) throw std::out_of_range{"no row " + std::to_string(row)};
  return row;
}
[[gnu::noinline, gnu::cold]] int load(int row) {
  const int found = find_row(row);
  asm volatile("");  // not a jump
  return found;
}
}  // namespace traced

// ---- Options

TEST_CASE("ProcessPoolExecutor: there are as many workers as CPUs, if nothing else is said", "[process_pool][X1]") {
  CHECK(ProcessPoolExecutor{}.max_workers() == conc::usable_cpu_count());
  CHECK(ProcessPoolExecutor{4096}.max_workers() == 4096);
}

TEST_CASE("ProcessPoolExecutor: options that make no sense are a UsageError, which tells the numbers",
          "[process_pool][X1][G5]") {
  const auto refused = [](conc::ProcessPoolOptions options) {
    return message_of<conc::UsageError>([&options] { const ProcessPoolExecutor pool{std::move(options)}; });
  };
  CHECK(refused({.max_workers = 0}) == "ProcessPoolExecutor: max_workers is 0, and must be from 1 to 4096");
  CHECK(refused({.max_workers = 4097}) == "ProcessPoolExecutor: max_workers is 4097, and must be from 1 to 4096");
  CHECK(refused({.prefetch = 0}) == "ProcessPoolExecutor: prefetch is 0, and must be at least 1");
  CHECK(contains(refused({.when_full = WhenFull::run_by_caller}), "when_full is run_by_caller"));
  CHECK(count_workers() == 0);
}

// ---- Workers

TEST_CASE("ProcessPoolExecutor: workers are started when they are needed, and idle ones are used first",
          "[process_pool][X2]") {
  ProcessPoolExecutor pool{3};
  CHECK(pool.worker_pids().empty());
  const int first = pool.submit(&conc_test::pid).result();
  CHECK(first != ::getpid());
  for (int i = 0; i < 20; ++i) CHECK(pool.submit(&conc_test::pid).result() == first);
  CHECK(pool.worker_pids() == std::vector<int>{first});
  CHECK(pool.stats().workers == 1);

  Gate gate;
  const Folder folder;
  std::vector<conc::Future<int>> held;
  for (int i = 0; i < 10; ++i) held.push_back(pool.submit(&conc_test::hold, gate.path()));
  CHECK(eventually([&] { return pool.worker_pids().size() == 3; }));
  CHECK(count_workers() == 3);
  gate.open();
  for (const auto& future : held) CHECK(future.result() == 1);
  CHECK(pool.worker_pids().size() == 3);
  pool.shutdown();
  CHECK(pool.worker_pids().empty());
  CHECK(count_workers() == 0);
}

TEST_CASE("ProcessPoolExecutor: nothing is shared with a task", "[process_pool]") {
  ProcessPoolExecutor pool{1};
  CHECK(pool.submit(&set_here, 5).result() == 1);
  CHECK(pool.submit(&get_here).result() == 5);  // the same worker
  CHECK(here == 1);
}

TEST_CASE("ProcessPoolExecutor: at most prefetch tasks are with a worker, and all others can be cancelled",
          "[process_pool][P2][F1]") {
  for (const std::size_t prefetch : {std::size_t{1}, std::size_t{3}, std::size_t{16}}) {
    Gate gate;
    ProcessPoolExecutor pool{{.max_workers = 2, .prefetch = prefetch}};
    hurry(pool);
    std::vector<conc::Future<int>> futures;
    for (int i = 0; i < 60; ++i) futures.push_back(pool.submit(&conc_test::hold, gate.path()));
    REQUIRE(eventually([&] { return pool.worker_pids().size() == 2 && futures[0].running(); }));
    CHECK(pool.stats().running <= 2 * prefetch);
    std::size_t cancelled = 0;
    for (const auto& future : futures) cancelled += future.cancel() ? 1U : 0U;
    CHECK(cancelled >= 60 - 2 * prefetch);
    gate.open();
    std::size_t ran = 0;
    for (const auto& future : futures) ran += !future.cancelled() && future.result() == 1 ? 1U : 0U;
    CHECK(ran + cancelled == 60);
    pool.shutdown();
    CHECK(pool.stats().cancelled == cancelled);
  }
}

TEST_CASE("ProcessPoolExecutor: an initializer is called in every worker, with its arguments, before the first task",
          "[process_pool][X8][P11]") {
  const Folder folder;
  ProcessPoolExecutor pool{
      {.max_workers = 2, .initializer = {&initialize, 7, folder.file(0)}, .max_tasks_per_child = 3}};
  std::vector<conc::Future<int>> futures;
  for (int i = 0; i < 30; ++i) futures.push_back(pool.submit(&get_here));
  for (const auto& future : futures) CHECK(future.result() == 7);
  pool.shutdown();
  CHECK(folder.count() >= 10);
  CHECK(here == 1);
}

TEST_CASE("ProcessPoolExecutor: an initializer that throws breaks the pool, with the cause",
          "[process_pool][X8][P11][FW18]") {
  for (const OnWorkerDeath policy : {OnWorkerDeath::break_pool, OnWorkerDeath::respawn}) {
    ProcessPoolExecutor pool{
        {.max_workers = 2, .initializer = {&initialize_badly, std::string{"no licence"}}, .on_worker_death = policy}};
    std::vector<conc::Future<int>> futures;
    for (int i = 0; i < 10; ++i) futures.push_back(conc_test::submitted(pool, &conc_test::twice, i));
    for (const auto& future : futures) {
      const std::string why = broken_by(future);
      INFO(why);
      CHECK(contains(why, "the pool is broken: an initializer failed in worker process "));
      CHECK(contains(why, "std::runtime_error"));
      CHECK(contains(why, "no licence"));
    }
    CHECK(contains(message_of<conc::BrokenProcessPool>([&] { pool.submit(&conc_test::twice, 1); }), "no licence"));
    pool.shutdown();
    CHECK(count_workers() == 0);
  }
}

TEST_CASE("ProcessPoolExecutor: a worker ends after max_tasks_per_child tasks, and another one takes its place",
          "[process_pool][P9][FW18]") {
  for (const std::size_t most : {std::size_t{1}, std::size_t{2}, std::size_t{7}}) {
    ProcessPoolExecutor pool{{.max_workers = 2, .max_tasks_per_child = most}};
    std::vector<conc::Future<int>> futures;
    for (int i = 0; i < 28; ++i) futures.push_back(pool.submit(&conc_test::pid));
    std::multiset<int> pids;
    for (const auto& future : futures) pids.insert(future.result());
    std::size_t too_many = 0;
    for (const int pid : pids) too_many += pids.count(pid) > most ? 1U : 0U;
    CHECK(too_many == 0);
    CHECK(std::set<int>(pids.begin(), pids.end()).size() >= 28 / most);
    pool.shutdown();
    CHECK(pool.stats().died == 0);
    CHECK(pool.stats().done == 28);
    CHECK(count_workers() == 0);
  }
  // What a task throws counts as well.
  ProcessPoolExecutor pool{{.max_workers = 1, .max_tasks_per_child = 2}};
  const int worker = pool.submit(&conc_test::pid).result();
  CHECK(message_of<std::out_of_range>([&] { pool.submit(&fail_with, std::string{"x"}).result(); }) == "x");
  CHECK(pool.submit(&conc_test::pid).result() != worker);
}

TEST_CASE("ProcessPoolExecutor: workers are started while threads of the program allocate and lock all the time",
          "[process_pool][P17][FW14]") {
  for (const StartMethod method : {StartMethod::fork_server, StartMethod::spawn}) {
    std::atomic<bool> ends{false};
    conc::Lock lock;
    int sum = 0;
    Background threads{[&] {
      conc_test::run_threads(8, [&](std::size_t) {
        while (!ends) {
          const auto memory = std::make_unique<std::string>(1000, 'x');
          const conc::ScopedLock guard{lock};
          sum += static_cast<int>(memory->size()) % 7;
        }
      });
    }};
    {
      ProcessPoolExecutor pool{{.max_workers = 2, .max_tasks_per_child = 1, .start_method = method}};
      const int tasks = method == StartMethod::spawn ? scaled(10) : scaled(100);
      for (int i = 0; i < tasks; ++i) {
        CHECK(pool.submit([](std::string text) { return text + text; }, std::string(100, 'y')).result().size() == 200);
      }
    }
    ends = true;
    CHECK(threads.join() == "returned");
  }
}

// ---- The queue

TEST_CASE("ProcessPoolExecutor: stats tells what was done and what is going on", "[process_pool][X17]") {
  Gate gate;
  ProcessPoolExecutor pool{1};
  const auto nothing = pool.stats();
  CHECK(nothing.queued + nothing.running + nothing.workers == 0);
  CHECK(nothing.done + nothing.failed + nothing.cancelled + nothing.retried + nothing.died == 0);
  const auto held = pool.submit(&conc_test::hold, gate.path());
  REQUIRE(starts(held));
  std::vector<conc::Future<int>> queued;
  for (int i = 0; i < 5; ++i) queued.push_back(pool.submit(&conc_test::twice, i));
  const auto failing = pool.submit(&fail_with, std::string{"on purpose"});
  CHECK(queued[0].cancel());
  auto stats = pool.stats();
  CHECK(stats.running == 1);
  CHECK((stats.queued == 6 || stats.queued == 5));  // the pool may have met the cancelled one
  CHECK(stats.workers == 1);
  gate.open();
  CHECK(pool.wait_idle(1h));
  stats = pool.stats();
  CHECK(stats.queued == 0);
  CHECK(stats.running == 0);
  CHECK(stats.done == 5);
  CHECK(stats.failed == 1);
  CHECK(stats.cancelled == 1);
  CHECK(stats.workers == 1);
  CHECK(message_of<std::out_of_range>([&] { failing.result(); }) == "on purpose");
}

TEST_CASE("ProcessPoolExecutor: wait_idle waits until all tasks are done, callbacks included", "[process_pool][X17]") {
  Gate gate;
  conc::Promise<std::string> told;
  ProcessPoolExecutor pool{2};
  CHECK(pool.wait_idle(0s));
  std::atomic<int> called{0};
  std::vector<conc::Future<int>> futures;
  for (int i = 0; i < 10; ++i) {
    futures.push_back(pool.submit(&conc_test::hold, gate.path()));
    futures.back().add_done_callback([&called](const conc::Future<int>&) { ++called; });
  }
  const auto begin = std::chrono::steady_clock::now();
  CHECK_FALSE(pool.wait_idle(0s));
  CHECK_FALSE(pool.wait_idle(20ms));
  CHECK(std::chrono::steady_clock::now() - begin >= 20ms);
  Background waiter{[&] { pool.wait_idle(); }};
  CHECK(waiter.falls_asleep());
  gate.open();
  CHECK(waiter.join() == "returned");
  CHECK(called == 10);

  Gate next;
  pool.submit(&conc_test::hold, next.path()).add_done_callback([&](const conc::Future<int>&) {
    told.set_result(outcome([&] { pool.wait_idle(); }));
  });
  next.open();
  CHECK(told.get_future().result() == "UsageError");
}

TEST_CASE("ProcessPoolExecutor: with max_queued submit throws QueueFull, or waits", "[process_pool][X17]") {
  Gate gate;
  {
    ProcessPoolExecutor pool{{.max_workers = 1, .max_queued = 3, .when_full = WhenFull::raise}};
    const auto held = pool.submit(&conc_test::hold, gate.path());
    REQUIRE(starts(held));
    std::vector<conc::Future<int>> queued;
    for (int i = 0; i < 3; ++i) queued.push_back(pool.submit(&conc_test::twice, i));
    CHECK(message_of<conc::QueueFull>([&] { pool.submit(&conc_test::twice, 3); }) ==
          "ProcessPoolExecutor::submit: 3 tasks are queued already");
    CHECK(message_of<conc::QueueFull>([&] { pool.detach(&conc_test::twice, 3); }) != "");
    gate.open();
    for (int i = 0; i < 3; ++i) CHECK(queued[static_cast<std::size_t>(i)].result() == 2 * i);
    CHECK(pool.stats().done == 4);
    CHECK(pool.submit(&conc_test::twice, 3).result() == 6);
  }
  Gate next;
  ProcessPoolExecutor pool{{.max_workers = 1, .max_queued = 2}};
  const auto held = pool.submit(&conc_test::hold, next.path());
  REQUIRE(starts(held));
  std::vector<conc::Future<int>> queued{pool.submit(&conc_test::twice, 0), pool.submit(&conc_test::twice, 1)};
  Background submitter{[&] { queued.push_back(pool.submit(&conc_test::twice, 2)); }};
  CHECK(submitter.falls_asleep());
  CHECK(pool.stats().queued == 2);
  next.open();
  CHECK(submitter.join() == "returned");
  for (int i = 0; i < 3; ++i) CHECK(queued[static_cast<std::size_t>(i)].result() == 2 * i);
}

TEST_CASE("ProcessPoolExecutor: whoever waits to submit hears of the end of the pool", "[process_pool][X17][FR7]") {
  for (const std::string end : {"shutdown", "kill", "death"}) {
    Gate gate;
    const Folder folder;
    ProcessPoolExecutor pool{{.max_workers = 1, .max_queued = 1}};
    const auto held = pool.submit(&conc_test::die_at_gate, Death::kill, folder.file(0), gate.path());
    REQUIRE(folder.fills(1));
    const auto queued = pool.submit(&conc_test::twice, 1);
    Background submitter{[&] { pool.submit(&conc_test::twice, 2); }};
    CHECK(submitter.falls_asleep());
    if (end == "shutdown") {
      pool.shutdown({.wait = false});
      CHECK(submitter.join() == "UsageError");
      pool.kill_workers();
    } else if (end == "kill") {
      pool.kill_workers();
      const std::string how = submitter.join();
      CHECK((how == "UsageError" || contains(how, "the pool is broken")));
    } else {
      gate.open();
      CHECK(contains(submitter.join(), "ProcessPoolExecutor::submit: the pool is broken: worker process "));
    }
    CHECK(broken_by(held) != "returned");
    CHECK(broken_by(queued) != "returned");
  }
}

TEST_CASE("ProcessPoolExecutor: a callback that submits never waits for room", "[process_pool][X17][X13][FC9]") {
  for (const WhenFull when : {WhenFull::block, WhenFull::raise}) {
    Gate gate;
    ProcessPoolExecutor pool{{.max_workers = 1, .max_queued = 1, .when_full = when}};
    const auto first = pool.submit(&conc_test::hold, gate.path());
    REQUIRE(starts(first));
    const auto queued = pool.submit(&conc_test::hold, gate.path());
    std::vector<conc::Future<int>> more;
    conc::Event submitted;
    first.add_done_callback([&](const conc::Future<int>&) {
      for (int i = 0; i < 50; ++i) more.push_back(pool.submit(&conc_test::twice, i));
      submitted.set();
    });
    gate.open();
    submitted.wait();
    int wrong = 0;
    for (int i = 0; i < 50; ++i) wrong += more[static_cast<std::size_t>(i)].result() == 2 * i ? 0 : 1;
    CHECK(wrong == 0);
    CHECK(queued.result() == 1);
  }
}

TEST_CASE("ProcessPoolExecutor: submit does not wait for the manager, whatever it is doing", "[process_pool][FC9]") {
  // While a callback runs nobody looks at what is submitted, nor hears the bell.
  Gate gate;
  ProcessPoolExecutor pool{1};
  conc::Event runs;
  conc::Event ends;
  pool.submit(&conc_test::hold, gate.path()).add_done_callback([&](const conc::Future<int>&) {
    runs.set();
    ends.wait();
  });
  gate.open();
  runs.wait();
  const int tasks = scaled(2'000);
  std::vector<conc::Future<int>> futures;
  for (int i = 0; i < tasks; ++i) futures.push_back(pool.submit(&conc_test::twice, i));
  for (int i = 0; i < 70'000; ++i) pool.shutdown({.wait = false});  // each rings; a pipe has room for 65,536
  ends.set();
  int wrong = 0;
  for (int i = 0; i < tasks; ++i) wrong += futures[static_cast<std::size_t>(i)].result() == 2 * i ? 0 : 1;
  CHECK(wrong == 0);
}

// ---- Detached tasks

TEST_CASE("ProcessPoolExecutor: what a detached task throws, and the death of its worker, go to the hook",
          "[process_pool][X9][P6]") {
  ProcessPoolExecutor pool{{.max_workers = 1, .on_worker_death = OnWorkerDeath::respawn}};
  pool.detach(&fail_with, std::string{"nobody asks"});
  CHECK(pool.wait_idle(1h));
  std::string said = conc_test::take_stderr();
  INFO(said);
  CHECK(contains(said, "nobody asks"));
  pool.detach(&conc_test::die_as_task, Death::kill);
  CHECK(pool.wait_idle(1h));
  said = conc_test::take_stderr();
  CHECK(contains(said, "was killed by signal 9 (SIGKILL) while it ran conc_test::die_as_task"));
  CHECK(pool.stats().failed == 2);
}

// ---- The end

TEST_CASE("ProcessPoolExecutor: a callback cannot wait for the end of its own pool", "[process_pool][X7][FR7]") {
  Gate gate;
  ProcessPoolExecutor pool{1};
  conc::Promise<std::string> told;
  pool.submit(&conc_test::hold, gate.path()).add_done_callback([&](const conc::Future<int>&) {
    told.set_result(message_of<conc::UsageError>([&] { pool.shutdown(); }));
  });
  gate.open();
  CHECK(told.get_future().result() ==
        "ProcessPoolExecutor::shutdown: a callback cannot wait for the end of its own pool");
  CHECK(pool.submit(&conc_test::twice, 4).result() == 8);  // nothing has changed
  Gate next;
  conc::Event done;
  pool.submit(&conc_test::hold, next.path()).add_done_callback([&](const conc::Future<int>&) {
    pool.shutdown({.wait = false});
    done.set();
  });
  next.open();
  done.wait();
  CHECK(outcome([&] { pool.submit(&conc_test::twice, 1); }) == "UsageError");
}

TEST_CASE("ProcessPoolExecutor: destroyed in a callback of one of its futures", "[process_pool][X11][FM9]") {
  for (int round = 0; round < scaled(20); ++round) {
    Gate gate;
    auto pool = std::make_unique<ProcessPoolExecutor>(2);
    const auto other = pool->submit(&conc_test::hold, gate.path());
    const auto queued = pool->submit(&conc_test::hold, gate.path());
    const auto third = pool->submit(&conc_test::twice, 3);
    conc::Event destroyed;
    pool->submit(&conc_test::twice, 4);
    other.add_done_callback([&](const conc::Future<int>&) {
      pool.reset();
      destroyed.set();
    });
    gate.open();
    destroyed.wait();
    CHECK(queued.result() == 1);
    CHECK(third.result() == 6);
    CHECK(eventually([] { return count_workers() == 0; }));
  }
}

TEST_CASE("ProcessPoolExecutor: destroyed in a callback that shutdown calls when it cancels",
          "[process_pool][X11][X6]") {
  Gate gate;
  auto pool = std::make_unique<ProcessPoolExecutor>(1);
  const auto held = pool->submit(&conc_test::hold, gate.path());
  REQUIRE(starts(held));
  const auto queued = pool->submit(&conc_test::twice, 1);
  bool called = false;
  queued.add_done_callback([&](const conc::Future<int>&) {
    gate.open();  // the destructor waits for what runs
    pool.reset();
    called = true;
  });
  pool->shutdown({.cancel_futures = true});
  CHECK(called);
  CHECK(queued.cancelled());
  CHECK(held.result() == 1);
}

TEST_CASE("ProcessPoolExecutor: kill_workers ends all workers and what they have started, and fails all tasks",
          "[process_pool][P12][P16]") {
  const Folder folder;
  ProcessPoolExecutor pool{2};
  const auto parent = pool.submit(
      [](const std::string& sign) {
        const pid_t child = ::fork();
        if (child == 0) {
          ::signal(SIGTERM, SIG_IGN);
          conc_test::wait_for_ever();
        }
        conc_test::make_file(sign + "_" + std::to_string(child));
        conc_test::wait_for_ever();
      },
      folder.file(0));
  const auto other = pool.submit(&conc_test::hang, folder.file(1));
  const auto queued = pool.submit(&conc_test::twice, 1);
  REQUIRE(folder.fills(2));
  int child = 0;
  for (const auto& entry : std::filesystem::directory_iterator{std::filesystem::path{folder.file(0)}.parent_path()}) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("0_")) child = std::stoi(name.substr(2));
  }
  REQUIRE(child > 0);
  const std::vector<int> workers = pool.worker_pids();
  pool.kill_workers();
  for (const std::string& why : {broken_by(parent), broken_by(other), broken_by(queued)}) {
    CHECK(why == "ProcessPoolExecutor: the pool is broken: kill_workers() was called");
  }
  CHECK(outcome([&] { pool.submit(&conc_test::twice, 1); }) != "returned");
  pool.kill_workers();
  pool.shutdown();
  for (const int worker : workers) CHECK(has_ended(worker));
  CHECK(eventually([child] { return has_ended(child); }));
  CHECK(pool.stats().workers == 0);
  CHECK(count_workers() == 0);
}

TEST_CASE("ProcessPoolExecutor: terminate_workers sends SIGTERM, which a task may handle", "[process_pool][P12]") {
  const Folder folder;
  ProcessPoolExecutor pool{2};
  static std::string last_file;
  const auto handles = pool.submit(
      [](const std::string& sign, const std::string& at_end) {
        last_file = at_end;
        ::signal(SIGTERM, [](int) {
          conc_test::make_file(last_file);
          ::_exit(0);
        });
        conc_test::hang(sign);
      },
      folder.file(0), folder.file(2));
  const auto other = pool.submit(&conc_test::hang, folder.file(1));
  REQUIRE(folder.fills(2));
  pool.terminate_workers();
  CHECK(broken_by(handles) == "ProcessPoolExecutor: the pool is broken: terminate_workers() was called");
  CHECK(broken_by(other) == "ProcessPoolExecutor: the pool is broken: terminate_workers() was called");
  pool.shutdown();
  CHECK(folder.count() == 3);
  CHECK(count_workers() == 0);
}

TEST_CASE("ProcessPoolExecutor: a worker that ignores SIGTERM can still be killed", "[process_pool][P12]") {
  const Folder folder;
  ProcessPoolExecutor pool{1};
  const auto stubborn = pool.submit(
      [](const std::string& sign) {
        ::signal(SIGTERM, SIG_IGN);
        conc_test::hang(sign);
      },
      folder.file(0));
  REQUIRE(folder.fills(1));
  const int worker = pool.worker_pids().at(0);
  pool.terminate_workers();
  CHECK(broken_by(stubborn) != "returned");
  CHECK_FALSE(has_ended(worker));
  pool.kill_workers();
  pool.shutdown();
  CHECK(has_ended(worker));
}

TEST_CASE("ProcessPoolExecutor: a pool that was never used, or is idle, can be killed", "[process_pool][P12][X4]") {
  ProcessPoolExecutor unused{1};
  unused.kill_workers();
  CHECK(outcome([&] { unused.submit(&conc_test::twice, 1); }) == "UsageError");
  ProcessPoolExecutor idle{1};
  CHECK(idle.submit(&conc_test::twice, 1).result() == 2);
  idle.terminate_workers();
  idle.shutdown();
  CHECK(outcome([&] { idle.submit(&conc_test::twice, 1); }) != "returned");
  CHECK(count_workers() == 0);
}

// ---- Time

TEST_CASE("ProcessPoolExecutor: a task that takes too long is a TimeoutError, and its worker is killed",
          "[process_pool][P12]") {
  const Folder folder;
  ProcessPoolExecutor pool{{.max_workers = 2, .timeout = 50ms}};
  Gate gate;
  const auto other = pool.submit({.timeout = conc::never}, &conc_test::hold, gate.path());
  const auto begin = std::chrono::steady_clock::now();
  const auto late = pool.submit(&conc_test::hang, folder.file(0));
  const std::string why = message_of<conc::TimeoutError>([&] { late.result(); });
  CHECK(std::chrono::steady_clock::now() - begin >= 50ms);
  INFO(why);
  CHECK(contains(why, "ProcessPoolExecutor: conc_test::hang("));
  CHECK(contains(why, " did not end in time, and worker process "));
  gate.open();
  CHECK(other.result() == 1);
  CHECK(pool.submit({.timeout = 1h}, &conc_test::twice, 4).result() == 8);  // the pool is not broken by it
  CHECK(pool.stats().died == 0);
  CHECK(pool.stats().failed == 1);
  CHECK(pool.stats().retried == 0);
}

TEST_CASE("ProcessPoolExecutor: a task that took too long is run again as often as it may be", "[process_pool][P12]") {
  constexpr auto hang_at_first = [](const std::string& path, int times) {
    for (int i = 0; i < times; ++i) {
      const std::string file = path + std::to_string(i);
      const int descriptor = ::open(file.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
      if (descriptor >= 0) conc_test::wait_for_ever();
    }
    return times;
  };
  const Folder folder;
  // A day for the run that ends; so nothing depends on the speed of the machine.
  ProcessPoolExecutor pool{1};
  CHECK(message_of<conc::TimeoutError>(
            [&] { pool.submit({.timeout = 20ms, .retries = 2}, hang_at_first, folder.file(0), 100).result(); }) != "");
  CHECK(pool.stats().retried == 2);
  CHECK(folder.count() <= 3);
  CHECK(folder.count() >= 1);
  CHECK(pool.submit({.timeout = 300ms, .retries = 100}, hang_at_first, folder.file(1), 2).result() == 2);
  CHECK(pool.stats().retried >= 4);
}

TEST_CASE("ProcessPoolExecutor: the time of a task counts from its start, not from submit", "[process_pool][P12]") {
  Gate gate;
  ProcessPoolExecutor pool{1};
  const auto first = pool.submit(&conc_test::hold, gate.path());
  REQUIRE(starts(first));
  const auto queued = pool.submit({.timeout = 1s}, &conc_test::twice, 4);
  CHECK_FALSE(queued.wait(1100ms));
  gate.open();
  CHECK(queued.result() == 8);
}

TEST_CASE("ProcessPoolExecutor: tasks that end just as their time is over have a result or a TimeoutError",
          "[process_pool][P12]") {
  constexpr auto spin = [](int microseconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds{microseconds};
    while (std::chrono::steady_clock::now() < end) {
    }
    return microseconds;
  };
  ProcessPoolExecutor pool{2};
  int wrong = 0;
  int late = 0;
  for (int i = 0; i < scaled(60); ++i) {
    const int microseconds = 1900 + i % 20 * 10;
    const auto future = pool.submit({.timeout = 2ms}, spin, microseconds);
    const auto next = pool.submit(&conc_test::twice, i);
    try {
      wrong += future.result() == microseconds ? 0 : 1;
    } catch (const conc::TimeoutError&) {
      ++late;
    }
    wrong += next.result() == 2 * i ? 0 : 1;
  }
  CHECK(wrong == 0);
  CHECK(pool.stats().failed == static_cast<std::size_t>(late));
  CHECK(pool.stats().died == 0);
}

TEST_CASE("ProcessPoolExecutor: a task's time may be a moment, also one that has passed", "[process_pool][P12][FT1]") {
  ProcessPoolExecutor pool{1};
  const Folder folder;
  CHECK(message_of<conc::TimeoutError>([&] {
          pool.submit({.timeout = std::chrono::steady_clock::now() + 20ms}, &conc_test::hang, folder.file(0)).result();
        }) != "");
  CHECK(message_of<conc::TimeoutError>(
            [&] { pool.submit({.timeout = 0s}, &conc_test::hang, folder.file(1)).result(); }) != "");
  CHECK(pool.submit({.timeout = std::chrono::nanoseconds::max()}, &conc_test::twice, 4).result() == 8);
}

// ---- Several pools

TEST_CASE("ProcessPoolExecutor: two pools do not know of each other", "[process_pool]") {
  ProcessPoolExecutor first{1};
  ProcessPoolExecutor second{1};
  const int worker = second.submit(&conc_test::pid).result();
  CHECK(broken_by(first.submit(&conc_test::die_as_task, Death::kill)) != "returned");
  CHECK(second.submit(&conc_test::pid).result() == worker);
  first.shutdown();
  CHECK(second.submit(&conc_test::pid).result() == worker);
  // Results of one go to the other.
  CHECK(second.submit(&conc_test::twice, 4).then([](int x) { return x + 1; }).result() == 9);
}

TEST_CASE("ProcessPoolExecutor: a task may have a pool of its own", "[process_pool][P14]") {
  ProcessPoolExecutor pool{2};
  std::vector<conc::Future<int>> futures;
  for (int i = 0; i < 4; ++i) {
    futures.push_back(pool.submit(
        [](int number) {
          ProcessPoolExecutor inner{2};
          int sum = 0;
          for (const int doubled : inner.map(&conc_test::twice, {number, number + 1, number + 2})) sum += doubled;
          return sum;
        },
        i));
  }
  for (int i = 0; i < 4; ++i) CHECK(futures[static_cast<std::size_t>(i)].result() == 6 * i + 6);
}

TEST_CASE("ProcessPoolExecutor: workers of a task's pool end with the worker", "[process_pool][P14]") {
  const Folder folder;
  ProcessPoolExecutor pool{{.max_workers = 1, .on_worker_death = OnWorkerDeath::respawn}};
  const auto future = pool.submit(
      [](const std::string& directory) {
        ProcessPoolExecutor inner{2};
        for (int i = 0; i < 2; ++i) {
          inner.detach([](const std::string& path) { conc_test::hang(path + "/" + std::to_string(::getpid())); },
                       directory);
        }
        conc_test::wait_for_ever();
      },
      std::filesystem::path{folder.file(0)}.parent_path().string());
  REQUIRE(folder.fills(2));
  std::vector<int> inner;
  for (const auto& entry : std::filesystem::directory_iterator{std::filesystem::path{folder.file(0)}.parent_path()}) {
    inner.push_back(std::stoi(entry.path().filename().string()));
  }
  ::kill(pool.worker_pids().at(0), SIGKILL);
  CHECK(contains(broken_by(future), "SIGKILL"));
  for (const int process : inner) CHECK(eventually([process] { return has_ended(process); }));
}

TEST_CASE("ProcessPoolExecutor: a forked child cannot use a pool that was made before, and may destroy it",
          "[process_pool][FR10][P18]") {
  auto pool = std::make_unique<ProcessPoolExecutor>(1);
  const int worker = pool->submit(&conc_test::pid).result();
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string how = message_of<conc::UsageError>([&] { pool->submit(&conc_test::twice, 1); });
    pool->kill_workers();
    pool->shutdown();
    pool.reset();
    ::_exit(how == "ProcessPoolExecutor::submit: the pool was made before this process was forked" ? 0 : 1);
  }
  int status = -1;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(pool->submit(&conc_test::pid).result() == worker);
}

// ---- Exceptions and map

TEST_CASE("ProcessPoolExecutor: an exception arrives with its type, its text and where it comes from",
          "[process_pool][P4][FC5]") {
  struct Local {
    int unused = 0;
  };
  ProcessPoolExecutor pool{1};
  const int worker = pool.submit(&conc_test::pid).result();
  const auto known = pool.submit(&fail_with, std::string{"row 7"});
  CHECK(message_of<std::out_of_range>([&] { known.result(); }) == "row 7");
  try {
    known.result();
  } catch (const conc::RemoteInfo& info) {
    CHECK(info.type() == "std::out_of_range");
    CHECK(info.message() == "row 7");
    CHECK(info.pid() == worker);
  }
  CHECK(message_of<conc::UsageError>([&] { pool.submit([] { ProcessPoolExecutor{0}; }).result(); }) != "");
  CHECK(contains(message_of<conc::RemoteError>([&] { pool.submit([] { throw 42; }).result(); }), "int"));
  CHECK(contains(message_of<conc::RemoteError>([&] { pool.submit([] { throw Local{}; }).result(); }), "Local"));
  const auto nested = pool.submit([] {
    try {
      throw std::invalid_argument{"the cause"};
    } catch (...) {
      std::throw_with_nested(std::runtime_error{"the effect"});
    }
  });
  std::string cause;
  try {
    nested.result();
  } catch (const std::runtime_error& error) {
    CHECK(std::string{error.what()} == "the effect");
    cause = message_of<std::invalid_argument>([&] { std::rethrow_if_nested(error); });
  }
  CHECK(cause == "the cause");
  CHECK(pool.submit(&conc_test::pid).result() == worker);
}

TEST_CASE("ProcessPoolExecutor: an exception tells where it was thrown", "[process_pool][P4][FC5]") {
  const std::string inner = "      at traced::find_row(int)+0x";
  ProcessPoolExecutor pool{1};
  const std::string trace = trace_of([&] { pool.submit(&traced::load, 7).result(); });
  INFO(trace);
  CHECK(trace.starts_with(inner));
  CHECK(contains(trace.substr(inner.size()), "\n      at traced::load(int)+0x"));  // farther out
  CHECK(trace_of([&] { pool.submit(&traced::load, 1).result(); }) == "nothing came");
  CHECK(trace_of([&] { pool.submit([] { throw traced::find_row(1); }).result(); }).starts_with("      at "));
  // In a chunk of map(), whose other results have arrived.
  for (const std::size_t chunksize : {std::size_t{1}, std::size_t{3}}) {
    std::vector<int> results;
    CHECK(trace_of([&] {
            for (const int row : pool.map({.chunksize = chunksize}, &traced::load, {1, 2, 3})) results.push_back(row);
          }).starts_with(inner));
    CHECK(results == std::vector{1, 2});
  }
  // In a worker's worker.
  CHECK(trace_of([&] {
          pool.submit(
                  [](int row) {
                    ProcessPoolExecutor own{1};
                    return own.submit(&traced::load, row).result();
                  },
                  7)
              .result();
        }).starts_with(inner));
}

TEST_CASE("ProcessPoolExecutor: map whose chunks lose their workers", "[process_pool][map][X10][P6]") {
  constexpr auto kill_at_50 = [](int x) {
    if (x == 50) conc_test::die(Death::kill);
    return 2 * x;
  };
  std::vector<int> items;
  for (int i = 0; i < 100; ++i) items.push_back(i);
  ProcessPoolExecutor pool{{.max_workers = 2, .on_worker_death = OnWorkerDeath::respawn}};
  for (const std::size_t chunksize : {std::size_t{1}, std::size_t{10}}) {
    std::vector<int> results;
    CHECK(contains(message_of<conc::WorkerDied>([&] {
                     for (const int result : pool.map({.chunksize = chunksize}, kill_at_50, items)) {
                       results.push_back(result);
                     }
                   }),
                   "SIGKILL"));
    CHECK(results.size() == 50);
  }
  CHECK(pool.submit(&conc_test::twice, 4).result() == 8);
}
