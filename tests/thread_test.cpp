// SPDX-License-Identifier: MIT
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <conc/event.hpp>
#include <conc/thread.hpp>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <limits>
#include <list>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "background.hpp"

using namespace std::chrono_literals;
using conc_test::Background;
using conc_test::message_of;
using conc_test::outcome;

namespace {

/// A thread that runs until the end of the scope, or until it is told to end.
class Running {
 public:
  explicit Running(conc::ThreadOptions options = {}) : thread{std::move(options), [this] { end_.wait(); }} {
    thread.start();
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    end();
    thread.join();
  }

  void end() { end_.set(); }

 private:
  conc::Event end_;

 public:
  conc::Thread thread;
};

bool listed(const conc::Thread& thread) {
  const std::vector<conc::Thread> alive = conc::enumerate();
  return std::find(alive.begin(), alive.end(), thread) != alive.end();
}

void nothing() {}

}  // namespace

TEST_CASE("Thread: join returns bool, and the handle is a copyable value", "[thread][G1][T16]") {
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<conc::Thread>().join()), bool>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<conc::Thread>().join(1ms)), bool>);
  STATIC_REQUIRE(std::is_copy_constructible_v<conc::Thread>);
  STATIC_REQUIRE(std::is_copy_assignable_v<conc::Thread>);
  STATIC_REQUIRE(std::is_nothrow_move_constructible_v<conc::Thread>);
}

TEST_CASE("Thread: runs its target once, with its arguments", "[thread]") {
  int sum = 0;
  conc::Thread thread{[&sum](int a, const std::string& b) { sum += a + std::stoi(b); }, 40, "2"};
  CHECK(sum == 0);
  thread.start();
  CHECK(thread.join());
  CHECK(sum == 42);
}

namespace {
struct Counter {
  int count = 0;
  void add(int n) { count += n; }
};
}  // namespace

TEST_CASE("Thread: targets may be functions, members, and callables that only move", "[thread]") {
  Counter counter;
  std::vector<conc::Thread> threads{conc::Thread{&nothing}, conc::Thread{&Counter::add, &counter, 5},
                                    conc::Thread{[&counter, p = std::make_unique<int>(7)] { counter.count += *p; }}};
  for (conc::Thread& thread : threads) {
    thread.start();
    thread.join();
  }
  CHECK(counter.count == 12);
}

TEST_CASE("Thread: copies its arguments, and std::ref shares", "[thread]") {
  Counter copied;
  Counter shared;
  const auto add = [](Counter& counter) { counter.add(1); };
  conc::Thread copying{[add](Counter counter) { add(counter); }, copied};
  conc::Thread sharing{add, std::ref(shared)};
  copied.count = shared.count = 10;  // after the copy was made
  copying.start();
  sharing.start();
  copying.join();
  sharing.join();
  CHECK(copied.count == 10);
  CHECK(shared.count == 11);
  std::string text = "abc";
  std::string got;
  conc::Thread moving{[&got](std::string argument, std::unique_ptr<int>) { got = std::move(argument); },
                      std::move(text), std::make_unique<int>(1)};
  moving.start();
  moving.join();
  CHECK(got == "abc");
}

TEST_CASE("Thread: the target sees what was done before start, and who joins sees what the target did", "[thread]") {
  for (int i = 0; i < conc_test::scaled(100); ++i) {
    int before = 0;
    int after = 0;
    conc::Thread thread{[&] { after = before + 1; }};
    before = i;
    thread.start();
    thread.join();
    REQUIRE(after == i + 1);
  }
}

TEST_CASE("Thread: start throws UsageError the second time", "[thread][T1][G5]") {
  conc::Thread thread{{.name = "once"}, nothing};
  thread.start();
  CHECK(outcome([&] { thread.start(); }) == "UsageError");
  thread.join();
  CHECK(message_of<conc::UsageError>([&] { thread.start(); }) == "Thread::start: once was started already");
  CHECK(outcome([] { conc::current_thread().start(); }) == "UsageError");
  CHECK(outcome([] { conc::main_thread().start(); }) == "UsageError");
}

TEST_CASE("Thread: of several calls of start exactly one starts it", "[thread][T1]") {
  for (int i = 0; i < conc_test::scaled(100); ++i) {
    std::atomic<int> runs{0};
    std::atomic<int> refused{0};
    conc::Thread thread{[&] { ++runs; }};
    conc_test::run_threads(3, [&](std::size_t) {
      if (outcome([&] { thread.start(); }) == "UsageError") ++refused;
    });
    thread.join();
    REQUIRE(runs == 1);
    REQUIRE(refused == 2);
  }
}

TEST_CASE("Thread: join throws UsageError before start", "[thread][T2][G5]") {
  conc::Thread thread{{.name = "idle"}, nothing};
  CHECK(message_of<conc::UsageError>([&] { thread.join(); }) == "Thread::join: idle was not started");
  CHECK(outcome([&] { thread.join(0ms); }) == "UsageError");
  CHECK(outcome([&] { thread.join(1ms); }) == "UsageError");
  thread.start();
  CHECK(thread.join());
}

TEST_CASE("Thread: join throws UsageError on the thread itself", "[thread][T2][FM11][G5]") {
  std::vector<std::string> how;
  conc::Event go;
  conc::Thread thread{{.name = "me"}, [&] {
                        go.wait();
                        how.push_back(outcome([&] { thread.join(); }));
                        how.push_back(outcome([&] { thread.join(0ms); }));
                        how.push_back(outcome([&] { conc::current_thread().join(1h); }));
                        how.push_back(message_of<conc::UsageError>([&] { thread.join(); }));
                      }};
  thread.start();
  go.set();
  CHECK(thread.join());
  CHECK(how ==
        std::vector<std::string>{"UsageError", "UsageError", "UsageError", "Thread::join: me cannot wait for itself"});
}

TEST_CASE("Thread: join throws UsageError on a thread that conc did not start", "[thread][T2][FM11]") {
  CHECK(outcome([] { conc::main_thread().join(); }) == "UsageError");
  CHECK(outcome([] { conc::current_thread().join(); }) == "UsageError");
  Background other{[] { conc::current_thread().join(); }};
  CHECK(other.join() == "UsageError");
}

TEST_CASE("Thread: any number of threads may join one, any number of times", "[thread][T3]") {
  Running running;
  std::list<Background> joiners;
  std::atomic<int> joined{0};
  for (int i = 0; i < 5; ++i) {
    joiners.emplace_back([&, handle = running.thread]() mutable {
      for (int again = 0; again < 3; ++again) joined += handle.join(again % 2 == 0 ? conc::never : 1h) ? 1 : 0;
    });
    REQUIRE(joiners.back().falls_asleep());
  }
  CHECK(joined == 0);
  running.end();
  for (Background& joiner : joiners) CHECK(joiner.join() == "returned");
  CHECK(joined == 15);
  CHECK(running.thread.join());
  CHECK(running.thread.join(0ms));
}

TEST_CASE("Thread: join returns false when the deadline passes", "[thread][T3][FT3][FT4]") {
  Running running;
  for (const auto span : {0us, 1us, 1000us, 20'000us}) {
    const auto start = std::chrono::steady_clock::now();
    CHECK_FALSE(running.thread.join(span));
    CHECK(std::chrono::steady_clock::now() - start >= span);
  }
  CHECK_FALSE(running.thread.join(std::chrono::steady_clock::now() - 1s));
  CHECK(running.thread.is_alive());
  running.end();
  CHECK(running.thread.join(1h));
}

TEST_CASE("Thread: ident, name and the list of threads are right as soon as start returns", "[thread][T4]") {
  conc::Thread idle{{.name = "idle"}, nothing};
  CHECK(idle.ident() == 0);
  CHECK(idle.native_id() == 0);
  CHECK(idle.name() == "idle");
  CHECK_FALSE(listed(idle));
  for (int i = 0; i < conc_test::scaled(50); ++i) {
    Running running{{.name = "listed"}};
    REQUIRE(running.thread.ident() != 0);
    REQUIRE(running.thread.name() == "listed");
    REQUIRE(listed(running.thread));
  }
}

TEST_CASE("Thread: native_id is the system's number of the thread once it runs", "[thread][T4]") {
  std::uint64_t seen_by_system = 0;
  std::uint64_t seen_by_conc = 0;
  conc::Thread thread{[&] {
    seen_by_system = static_cast<std::uint64_t>(::gettid());
    seen_by_conc = conc::current_thread().native_id();
  }};
  thread.start();
  thread.join();
  CHECK(seen_by_system != 0);
  CHECK(seen_by_conc == seen_by_system);
  CHECK(thread.native_id() == seen_by_system);
}

TEST_CASE("Thread: is_alive from start until the target has ended", "[thread][T5]") {
  conc::Event end;
  conc::Thread thread{[&] { end.wait(); }};
  CHECK_FALSE(thread.is_alive());
  thread.start();
  CHECK(thread.is_alive());
  end.set();
  thread.join();
  CHECK_FALSE(thread.is_alive());
  CHECK_FALSE(listed(thread));
}

TEST_CASE("Thread: ident stays after the end, and no other thread gets it", "[thread][T6]") {
  std::set<std::uint64_t> idents{conc::main_thread().ident()};
  for (int i = 0; i < 50; ++i) {
    conc::Thread thread{nothing};
    thread.start();
    const std::uint64_t while_it_ran = thread.ident();
    thread.join();
    CHECK(thread.ident() == while_it_ran);
    CHECK(idents.insert(thread.ident()).second);
  }
}

TEST_CASE("Thread: daemon is an option, and not inherited", "[thread][T7]") {
  CHECK_FALSE(conc::Thread{nothing}.daemon());
  bool inherited = true;
  conc::Thread thread{{.daemon = true}, [&] { inherited = conc::Thread{nothing}.daemon(); }};
  CHECK(thread.daemon());
  thread.start();
  thread.join();
  CHECK_FALSE(inherited);
}

TEST_CASE("Thread: a thread without a name is called Thread-N, each with its own number", "[thread][T8]") {
  std::set<std::string> names;
  for (int i = 0; i < 5; ++i) {
    const conc::Thread thread{nothing};
    CHECK(thread.name().starts_with("Thread-"));
    CHECK(std::atoi(thread.name().c_str() + 7) > 0);
    CHECK(names.insert(thread.name()).second);
  }
}

TEST_CASE("Thread: the system knows the first 15 bytes of its name", "[thread][T8]") {
  for (const std::string name : {"short", "exactly15bytes.", "sixteen bytes...", "a name of far too many bytes", ""}) {
    std::string seen_by_system;
    conc::Thread thread{{.name = name}, [&] { seen_by_system = conc_test::thread_fact(::gettid(), "comm"); }};
    thread.start();
    thread.join();
    CHECK(thread.name() == (name.empty() ? thread.name() : name));
    CHECK(seen_by_system == thread.name().substr(0, 15));
  }
}

TEST_CASE("Thread: has at least the stack it asked for", "[thread][T8]") {
  for (const std::size_t wanted : {std::size_t{1}, std::size_t{300'001}, std::size_t{64} << 20U}) {
    std::size_t got = 0;
    conc::Thread thread{{.stack_size = wanted}, [&] {
                          pthread_attr_t attributes;
                          ::pthread_getattr_np(::pthread_self(), &attributes);
                          ::pthread_attr_getstacksize(&attributes, &got);
                          ::pthread_attr_destroy(&attributes);
                        }};
    thread.start();
    thread.join();
    CHECK(got >= wanted);
  }
}

namespace {

struct Reported {
  std::string thread_name;
  std::string what;
  std::uint64_t on_thread = 0;
};
std::vector<Reported> reports;

/// Collects what threads throw, in `reports`, while it lives.
class CollectReports {
 public:
  CollectReports() : previous_{conc::set_excepthook(&collect)} { reports.clear(); }
  CollectReports(const CollectReports&) = delete;
  CollectReports& operator=(const CollectReports&) = delete;
  ~CollectReports() { conc::set_excepthook(previous_); }

  static void collect(const conc::ExceptHookArgs& args) {
    std::string what = outcome([&] { std::rethrow_exception(args.exception); });
    reports.push_back({args.thread_name, std::move(what), conc::current_thread().ident()});
  }

 private:
  conc::ExceptHook previous_;
};

void run(conc::Thread thread) {
  thread.start();
  thread.join();
}

}  // namespace

TEST_CASE("Thread: an exception that leaves the target goes to the excepthook, on the thread that failed",
          "[thread][T10]") {
  const CollectReports collecting;
  conc::Thread thread{{.name = "failing"}, [] { throw std::runtime_error{"boom"}; }};
  run(thread);
  run(conc::Thread{nothing});
  run(conc::Thread{[] { throw 42; }});
  REQUIRE(reports.size() == 2);
  CHECK(reports[0].thread_name == "failing");
  CHECK(reports[0].what == "boom");
  CHECK(reports[0].on_thread == thread.ident());
  CHECK(reports[1].what == "something else");
  CHECK_FALSE(thread.is_alive());
}

TEST_CASE("Thread: the default excepthook prints the thread's name, the type and the message", "[thread][T10]") {
  run(conc::Thread{{.name = "a"}, [] { throw std::runtime_error{"boom"}; }});
  CHECK(conc_test::take_stderr() == "Exception in thread a: std::runtime_error: boom\n");
  run(conc::Thread{{.name = "b"}, [] { throw 42; }});
  CHECK(conc_test::take_stderr() == "Exception in thread b: int\n");
}

TEST_CASE("Thread: set_excepthook returns the hook until now, and null brings the default back", "[thread][T10]") {
  conc::ExceptHook const original = conc::set_excepthook(&CollectReports::collect);
  CHECK(original == &conc::default_excepthook);
  CHECK(conc::set_excepthook(nullptr) == &CollectReports::collect);
  CHECK(conc::set_excepthook(original) == &conc::default_excepthook);
}

TEST_CASE("Thread: what the excepthook itself throws is dropped", "[thread][T10]") {
  conc::ExceptHook const original =
      conc::set_excepthook([](const conc::ExceptHookArgs&) { throw std::runtime_error{"by the hook"}; });
  conc::Thread thread{[] { throw std::runtime_error{"boom"}; }};
  run(thread);
  conc::set_excepthook(original);
  CHECK_FALSE(thread.is_alive());
}

TEST_CASE("Thread: pthread_exit ends the thread like a return", "[thread][T10]") {
  const auto argument = std::make_shared<int>(1);
  const CollectReports collecting;
  conc::Thread thread{[](const std::shared_ptr<int>&) { ::pthread_exit(nullptr); }, argument};
  run(thread);
  CHECK_FALSE(thread.is_alive());
  CHECK(argument.use_count() == 1);
  CHECK(reports.empty());
}

TEST_CASE("Thread: start does not wait for what a thread that has ended still destroys", "[thread]") {
  static conc::Event destroying;
  static conc::Event go_on;
  pthread_key_t key{};
  REQUIRE(::pthread_key_create(&key, [](void*) {
            destroying.set();
            go_on.wait();
          }) == 0);
  conc::Thread slow{[&key] { ::pthread_setspecific(key, &key); }};
  slow.start();
  destroying.wait();
  conc::Thread other{[] {}};
  run(other);
  CHECK_FALSE(other.is_alive());
  go_on.set();
  slow.join();
  ::pthread_key_delete(key);
}

TEST_CASE("Thread: target and arguments are destroyed when the target has ended, on the thread", "[thread][T14]") {
  static std::uint64_t destroyed_on;
  struct Noted {
    Noted() = default;
    Noted(Noted&& other) noexcept : counts{std::exchange(other.counts, false)} {}
    ~Noted() {
      if (counts) destroyed_on = conc::current_thread().ident();
    }
    bool counts = true;
  };
  for (const bool throws : {false, true}) {
    const CollectReports collecting;
    destroyed_on = 0;
    const auto captured = std::make_shared<int>(1);
    const auto argument = std::make_shared<int>(2);
    conc::Thread thread{[captured, throws, noted = Noted{}](const std::shared_ptr<int>&) {
                          if (throws) throw std::runtime_error{"boom"};
                        },
                        argument};
    CHECK(captured.use_count() == 2);
    CHECK(argument.use_count() == 2);
    run(thread);
    CHECK(captured.use_count() == 1);
    CHECK(argument.use_count() == 1);
    CHECK(destroyed_on == thread.ident());
  }
}

TEST_CASE("Thread: the destructor of a target and the excepthook may use threads", "[thread][T14][G3]") {
  static std::atomic<int> uses;
  uses = 0;
  const auto use_threads = [] {
    conc::Thread thread{nothing};
    thread.start();
    thread.join();
    if (conc::active_count() >= 1) ++uses;
  };
  struct AtEnd {
    void (*call)();
    explicit AtEnd(void (*use)()) : call{use} {}
    AtEnd(AtEnd&& other) noexcept : call{std::exchange(other.call, nothing)} {}
    ~AtEnd() { call(); }
  };
  conc::ExceptHook const original = conc::set_excepthook([](const conc::ExceptHookArgs&) {
    conc::Thread thread{nothing};
    thread.start();
    thread.join();
    ++uses;
  });
  run(conc::Thread{[end = AtEnd{use_threads}] { throw std::runtime_error{"boom"}; }});
  conc::set_excepthook(original);
  CHECK(uses == 2);
  {
    const conc::Thread never_started{[end = AtEnd{use_threads}] {}};
  }
  CHECK(uses == 3);
}

TEST_CASE("Thread: a target that never ran is destroyed with the last handle", "[thread][T14]") {
  const auto captured = std::make_shared<int>(1);
  {
    const conc::Thread first{[captured] {}};
    conc::Thread second{nothing};
    second = first;
    CHECK(captured.use_count() == 2);
  }
  CHECK(captured.use_count() == 1);
}

TEST_CASE("Thread: handles of one thread are equal", "[thread][T16]") {
  Running running;
  const conc::Thread copy = running.thread;
  const conc::Thread other{nothing};
  CHECK(copy == running.thread);
  CHECK_FALSE(other == running.thread);
  CHECK(conc::current_thread() == conc::main_thread());
}

TEST_CASE("Thread: dropping all handles does not end it", "[thread][T16][G6]") {
  conc::Event go;
  conc::Event done;
  conc::Thread{[&] {
    go.wait();
    done.set();
  }}.start();
  go.set();
  CHECK(done.wait(1h));
}

TEST_CASE("Thread: finished threads are joined though nobody asks for it", "[thread][T16]") {
  const auto pages = [] {
    std::size_t total = 0;
    std::ifstream{"/proc/self/statm"} >> total;
    return total;
  };
  constexpr std::size_t stack = std::size_t{8} << 20U;
  const auto start_and_forget = [] {
    conc::Event done;
    conc::Thread{{.stack_size = stack}, [&] { done.set(); }}.start();
    done.wait();
  };
  for (int i = 0; i < 20; ++i) start_and_forget();  // until what the system keeps for later threads is full
  const std::size_t before = pages();
  const int threads = conc_test::scaled(1000);
  for (int i = 0; i < threads; ++i) start_and_forget();
  // The stack of a thread that nobody joins is never freed.
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  CHECK(pages() < before + static_cast<std::size_t>(threads) / 2 * stack / page);
}

TEST_CASE("Thread: main_thread is the thread that runs main", "[thread]") {
  const conc::Thread main = conc::main_thread();
  CHECK(main.name() == "MainThread");
  CHECK(main.is_alive());
  CHECK_FALSE(main.daemon());
  CHECK(main.native_id() == static_cast<std::uint64_t>(::getpid()));
  CHECK(main.ident() == conc::current_thread().ident());
  bool same = false;
  run(conc::Thread{[&] { same = conc::main_thread() == main; }});
  CHECK(same);
}

TEST_CASE("Thread: current_thread is the handle of the calling thread", "[thread]") {
  std::vector<conc::Thread> seen;
  conc::Thread thread{{.name = "self"}, [&] { seen.push_back(conc::current_thread()); }};
  run(thread);
  REQUIRE(seen.size() == 1);
  CHECK(seen[0] == thread);
  CHECK(seen[0].name() == "self");
}

TEST_CASE("Thread: a thread that conc did not start has a handle too, as long as it runs", "[thread]") {
  std::vector<conc::Thread> seen;
  const std::size_t before = conc::active_count();
  conc::Event look;
  conc::Event go_on;
  Background foreign{[&] {
    seen.push_back(conc::current_thread());
    seen.push_back(conc::current_thread());
    look.set();
    go_on.wait();
  }};
  look.wait();
  REQUIRE(seen.size() == 2);
  conc::Thread handle = seen[0];
  CHECK(seen[1] == handle);
  CHECK(handle.name().starts_with("Dummy-"));
  CHECK(handle.daemon());
  CHECK(handle.is_alive());
  CHECK(handle.ident() != 0);
  CHECK(handle.native_id() == static_cast<std::uint64_t>(foreign.id()));
  CHECK(listed(handle));
  CHECK(conc::active_count() == before + 1);
  CHECK_FALSE(handle.join(1ms));
  go_on.set();
  foreign.join();
  CHECK(handle.join());
  CHECK_FALSE(handle.is_alive());
  CHECK_FALSE(listed(handle));
  CHECK(conc::active_count() == before);
}

TEST_CASE("Thread: enumerate lists the main thread first, then all others that are alive", "[thread][T4]") {
  Running first;
  Running second{{.daemon = true}};
  conc::Thread ended{nothing};
  run(ended);
  const std::vector<conc::Thread> alive = conc::enumerate();
  REQUIRE(alive.size() == 3);
  CHECK(conc::active_count() == 3);
  CHECK(alive[0] == conc::main_thread());
  CHECK(alive[1] == first.thread);
  CHECK(alive[2] == second.thread);
}

namespace {

/// Calls something when the thread ends, after all thread_locals made later are destroyed.
struct AtThreadEnd {
  std::function<void()> call;
  ~AtThreadEnd() {
    if (call) call();
  }
};
AtThreadEnd& at_thread_end() {
  thread_local AtThreadEnd at_end;
  return at_end;
}

}  // namespace

TEST_CASE("Thread: join returns after the destructors of the thread's thread_locals", "[thread][T3]") {
  for (int i = 0; i < conc_test::scaled(50); ++i) {
    bool flag = false;
    run(conc::Thread{[&] {
      at_thread_end().call = [&flag] {
        for (int again = 0; again < 100; ++again) std::this_thread::yield();
        flag = true;
      };
    }});
    REQUIRE(flag);
  }
}

TEST_CASE("Thread: the destructor of a thread_local may ask for the current thread", "[thread][FR9]") {
  std::string name;
  std::uint64_t ident = 0;
  std::uint64_t ident_at_end = 0;
  const auto use = [&] {
    at_thread_end().call = [&] {
      const conc::Thread self = conc::current_thread();
      ident_at_end = self.ident();
      name = self.name();
      for (const conc::Thread& thread : conc::enumerate()) (void)thread.name();
    };
    ident = conc::current_thread().ident();
  };
  conc::Thread thread{{.name = "of conc"}, use};
  run(thread);
  CHECK(name == "of conc");
  CHECK(ident_at_end == ident);
  const std::size_t before = conc::active_count();
  Background foreign{use};
  CHECK(foreign.join() == "returned");
  CHECK(name.starts_with("Dummy"));
  CHECK(conc::active_count() == before);
}

TEST_CASE("Thread: start does not wait for the thread_locals of a thread that has ended", "[thread][T16]") {
  static constinit conc::Event may_go;
  struct Lingers {
    ~Lingers() { may_go.wait(); }
  };
  conc::Thread ended{[] {
    thread_local const Lingers lingers;
    (void)&lingers;
  }};
  ended.start();
  CHECK(ended.join(1h));  // the target; only join() waits for the rest
  conc::Thread next{[] {}};
  next.start();
  CHECK(next.join(1h));
  may_go.set();
  ended.join();
}

TEST_CASE("Thread: the destructor of a thread_local may start and join a thread", "[thread][FR9]") {
  int runs = 0;
  std::uint64_t ident_at_end = 0;
  const auto use = [&] {
    at_thread_end().call = [&] {
      run(conc::Thread{[&] { ++runs; }});
      ident_at_end = conc::current_thread().ident();
    };
  };
  conc::Thread thread{use};
  run(thread);
  CHECK(runs == 1);
  CHECK(ident_at_end == thread.ident());
  Background foreign{use};
  CHECK(foreign.join() == "returned");
  CHECK(runs == 2);
}

TEST_CASE("Thread: signals and needless wakes do not end a join", "[thread][FT5][FT6]") {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  struct sigaction previous {};
  ::sigaction(SIGUSR1, &action, &previous);
  Running running;
  {
    bool joined = false;
    Background joiner{[&] { joined = running.thread.join(); }};
    REQUIRE(joiner.falls_asleep());
    for (int i = 0; i < conc_test::scaled(100); ++i) {
      const long naps = joiner.naps();
      if (i % 2 == 0) {
        conc_test::wake_for_no_reason(joiner.id());
      } else {
        ::pthread_kill(joiner.handle(), SIGUSR1);
      }
      REQUIRE(joiner.falls_asleep_again(naps));
    }
    CHECK(running.thread.is_alive());
    running.end();
    CHECK(joiner.join() == "returned");
    CHECK(joined);
  }
  ::sigaction(SIGUSR1, &previous, nullptr);
}

TEST_CASE("Thread: a storm of signals does not extend the deadline of join", "[thread][FT5]") {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  struct sigaction previous {};
  ::sigaction(SIGUSR1, &action, &previous);
  Running running;
  {
    std::atomic<bool> ended{false};
    bool joined = true;
    bool early = true;
    Background joiner{[&] {
      const auto start = std::chrono::steady_clock::now();
      joined = running.thread.join(50ms);
      early = std::chrono::steady_clock::now() - start < 50ms;
      ended.store(true);
    }};
    REQUIRE(conc_test::eventually([&] { return joiner.id() != 0; }));
    while (!ended.load()) ::pthread_kill(joiner.handle(), SIGUSR1);
    joiner.join();
    CHECK_FALSE(joined);
    CHECK_FALSE(early);
  }
  ::sigaction(SIGUSR1, &previous, nullptr);
}

TEST_CASE("Thread: join accepts every kind of deadline", "[thread][FT1][G2]") {
  using Real = std::chrono::duration<double>;
  Running running;
  for (const conc::Deadline passed :
       {conc::Deadline{0ms}, conc::Deadline{-1s}, conc::Deadline{std::chrono::hours::min()},
        conc::Deadline{Real{-1e300}}, conc::Deadline{std::chrono::steady_clock::time_point::min()}}) {
    CHECK_FALSE(running.thread.join(passed));
  }
  CHECK(outcome([&] { running.thread.join(Real{std::numeric_limits<double>::quiet_NaN()}); }) == "UsageError");
  std::list<Background> joiners;
  for (const conc::Deadline endless :
       {conc::never, conc::Deadline{std::chrono::nanoseconds::max()}, conc::Deadline{std::chrono::hours::max()},
        conc::Deadline{Real{std::numeric_limits<double>::infinity()}},
        conc::Deadline{std::chrono::system_clock::time_point::max()}}) {
    joiners.emplace_back([&running, endless] { running.thread.join(endless); });
    REQUIRE(joiners.back().falls_asleep());
  }
  running.end();
  for (Background& joiner : joiners) CHECK(joiner.join() == "returned");
}
