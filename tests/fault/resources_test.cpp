// SPDX-License-Identifier: MIT
// Many threads, threads that end with a lock in hand, and counters at their limit.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <conc/condition.hpp>
#include <conc/event.hpp>
#include <conc/lock.hpp>
#include <conc/thread.hpp>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "support.hpp"
#include "worker.hpp"

namespace conc::inline CONC_ABI::detail {

struct TestAccess {
  static std::uint32_t& depth(RLock& lock) { return lock.depth_; }
};

}  // namespace conc::inline CONC_ABI::detail

namespace {

using namespace std::chrono_literals;
using conc_test::elsewhere;
using conc_test::eventually;
using SteadyClock = std::chrono::steady_clock;

/// Many threads with small stacks that all run the same function.
class Crowd {
 public:
  Crowd(std::size_t count, std::function<void(std::size_t)> run) {
    threads_.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      threads_.emplace_back(conc::ThreadOptions{.stack_size = 64 * 1024}, run, i);
      threads_.back().start();
    }
  }
  void join() {
    for (conc::Thread& thread : threads_) thread.join();
  }

 private:
  std::vector<conc::Thread> threads_;
};

/// How many threads wait at once: 10,000 in a plain run.
std::size_t crowd_size() { return conc_test::sanitizer() == conc_test::Sanitizer::none ? 10'000 : 500; }

constexpr auto kWakeLimit = 20s;  // ten times what it may take

/// Prints how long it took to wake a crowd, and tells whether that was short enough.
bool within_wake_limit(const char* type, std::size_t count, SteadyClock::time_point begin) {
  const auto took = SteadyClock::now() - begin;
  std::printf("%s: %zu threads woke in %lld ms\n", type, count,
              static_cast<long long>(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
  return took < kWakeLimit;
}

}  // namespace

TEST_CASE("Event: wakes 10,000 waiting threads", "[event][FR3]") {
  const std::size_t count = crowd_size();
  conc::Event event;
  std::vector<const conc::detail::sync::ThreadRecord*> records(count);
  std::atomic<std::size_t> started{0};
  std::atomic<std::size_t> woken{0};
  conc::Event done;  // keeps the threads, and their records, until all were looked at
  Crowd crowd{count, [&](std::size_t index) {
                records[index] = &conc::detail::sync::this_thread();
                ++started;
                if (event.wait()) ++woken;
                done.wait();
              }};
  CHECK(eventually([&] { return started == count; }, 60s));
  CHECK(eventually(
      [&] {
        for (const auto* record : records) {
          if (record->waits_for.load() != &event) return false;
        }
        return true;
      },
      60s));
  CHECK(woken == 0);
  const auto begin = SteadyClock::now();
  event.set();
  CHECK(eventually([&] { return woken == count; }, 60s));
  CHECK(within_wake_limit("Event", count, begin));
  done.set();
  crowd.join();
}

TEST_CASE("Condition: wakes 10,000 waiting threads", "[condition][FR3]") {
  const std::size_t count = crowd_size();
  conc::Condition condition;
  std::size_t waiting = 0;  // changed under the lock; a thread in wait() that gave it up is in the list
  std::size_t notified = 0;
  Crowd crowd{count, [&](std::size_t) {
                const conc::ScopedLock guard{condition};
                ++waiting;
                notified += condition.wait() ? 1U : 0U;
              }};
  const auto locked = [&condition](const std::size_t& number) {
    const conc::ScopedLock guard{condition};
    return number;
  };
  CHECK(eventually([&] { return locked(waiting) == count; }, 60s));
  CHECK(locked(notified) == 0);
  const auto begin = SteadyClock::now();
  {
    const conc::ScopedLock guard{condition};
    condition.notify_all();
  }
  crowd.join();
  CHECK(within_wake_limit("Condition", count, begin));
  CHECK(notified == count);
}

TEST_CASE("Lock: stays held when the thread that holds it ends, and anybody may release it", "[lock][FR4][L2]") {
  conc::Lock lock;
  CHECK(elsewhere([&] { return lock.acquire(); }));
  CHECK(lock.locked());
  CHECK_FALSE(lock.try_acquire());
  CHECK_FALSE(lock.acquire(5ms));
  CHECK_FALSE(elsewhere([&] { return lock.acquire(5ms); }));
  lock.release();
  CHECK(lock.acquire(1h));
}

TEST_CASE("RLock: stays owned by a thread that has ended, and no new thread is taken for it", "[rlock][FR4]") {
  conc::RLock lock;
  std::set<std::thread::id> system_ids;  // the system does give these out again
  CHECK(elsewhere([&] {
    system_ids.insert(std::this_thread::get_id());
    return lock.acquire();
  }));
  CHECK(lock.locked());
  CHECK_FALSE(lock.acquire(5ms));
  int taken = 0;
  bool reused = false;
  for (int i = 0; i < conc_test::scaled(300); ++i) {
    std::thread{[&] {
      reused = !system_ids.insert(std::this_thread::get_id()).second || reused;
      taken += lock.owned() || lock.try_acquire() ? 1 : 0;
      try {
        lock.release();
        ++taken;
      } catch (const conc::UsageError&) {
      }
    }}.join();
  }
  CHECK(reused);
  CHECK(taken == 0);
  CHECK(lock.locked());
}

TEST_CASE("RLock: one level more than it can count is a UsageError and changes nothing", "[rlock][FM4][G5]") {
  conc::RLock lock;
  std::uint32_t& depth = conc::detail::TestAccess::depth(lock);
  lock.acquire();
  depth = 0xfffffffe;
  CHECK(lock.acquire());
  CHECK(depth == 0xffffffff);
  CHECK_THROWS_MATCHES(lock.acquire(), conc::UsageError,
                       Catch::Matchers::Message("RLock::acquire: 4294967295 levels are held already"));
  CHECK_THROWS_AS(lock.try_acquire(), conc::UsageError);
  CHECK_THROWS_AS(lock.acquire(1h), conc::UsageError);
  CHECK(depth == 0xffffffff);
  CHECK(lock.owned());
  lock.release();
  CHECK(depth == 0xfffffffe);
  CHECK_FALSE(elsewhere([&] { return lock.try_acquire(); }));
  depth = 1;
  lock.release();
  CHECK(elsewhere([&] { return lock.try_acquire(); }));
}

#if !defined(NDEBUG)
TEST_CASE("Condition: to destroy it while a thread waits is caught by an assertion", "[condition][FR8]") {
  if (conc_test::sanitizer() == conc_test::Sanitizer::thread) SKIP("ThreadSanitizer allows no threads after a fork");
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::signal(SIGABRT, SIG_DFL);
    auto* const condition = new conc::Condition<>;
    conc_test::Worker waiter{[condition] {
      const conc::ScopedLock guard{*condition};
      condition->wait();
    }};
    if (waiter.falls_asleep_on(condition)) delete condition;
    ::_exit(0);
  }
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  CHECK_THAT(conc_test::take_stderr(), Catch::Matchers::ContainsSubstring("destroyed while a thread waits on it"));
}
#endif
