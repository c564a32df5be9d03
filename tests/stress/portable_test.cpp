// SPDX-License-Identifier: MIT
// Sleep and wake of the portable backend, whatever backend the other tests are built for.
#if !defined(CONC_PORTABLE)
#define CONC_PORTABLE
#endif
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
#include <conc/detail/sync.hpp>
#include <conc/event.hpp>

#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdint>
#include <random>
#include <thread>

#include "support.hpp"
#include "worker.hpp"

using namespace std::chrono_literals;
using conc_test::run_threads;
using conc_test::scaled;
using conc_test::Worker;
namespace seam = conc::detail::sync;
namespace mo = conc::detail::mo;

namespace {

using Word = std::atomic<std::uint32_t>;

/// One bucket for all words, and the table.
struct OneBucket {
  bool wait(const Word& word, seam::TimePoint end) { return bucket.wait(word, 0, end); }
  void wake(const Word& word, std::uint32_t n) { bucket.wake(&word, n); }
  seam::native::Sleepers bucket;
};
struct Table {
  bool wait(const Word& word, seam::TimePoint end) { return seam::wait(word, std::uint32_t{0}, end); }
  void wake(const Word& word, std::uint32_t n) { seam::wake(&word, n); }
};

/// Threads in a ring hand tokens on, each with a word to sleep on where its tokens arrive. One lost wake stops them.
/// `end()` says how long each sleep may last.
template <class Place, class End>
void ring(End end) {
  constexpr std::size_t kThreads = 6;
  constexpr std::uint32_t kTokens = 2;
  const int passes = scaled(20'000);
  Place place;
  std::array<Word, kThreads> tokens{kTokens};
  std::atomic<int> early{0};
  run_threads(kThreads, [&](std::size_t index) {
    Word& mine = tokens[index];
    Word& next = tokens[(index + 1) % kThreads];
    for (int i = 0; i < passes; ++i) {
      while (mine.load(mo::acquire) == 0) {
        const seam::TimePoint until = end();
        if (!place.wait(mine, until) && seam::now() < until) ++early;
      }
      mine.fetch_sub(1, mo::relaxed);
      next.fetch_add(1, mo::release);
      place.wake(next, 1);
    }
  });
  CHECK(tokens[0] == kTokens);
  CHECK(early == 0);
}

seam::TimePoint soon() {
  thread_local std::minstd_rand random{static_cast<unsigned>(seam::random())};
  return seam::now() + std::chrono::microseconds{random() % 100};
}

}  // namespace

TEST_CASE("Portable sleep: no wake is lost where all words share a bucket", "[portable]") {
  ring<OneBucket>([] { return seam::forever; });
}

TEST_CASE("Portable sleep: no wake is lost in the table", "[portable]") {
  ring<Table>([] { return seam::forever; });
}

TEST_CASE("Portable sleep: timeouts among the wakes come late at most, and leave the list in order", "[portable]") {
  ring<OneBucket>([] { return soon(); });
}

TEST_CASE("Portable sleep: a cancellation is left to the caller's own cancellation points", "[portable]") {
  conc::Event event;
  std::atomic<bool> released{false};
  std::atomic<pthread_t> self{};
  Worker sleeper{[&] {
    self = ::pthread_self();
    released = event.wait(conc::never);
    int ignored = 0;
    ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
  }};
  CHECK(sleeper.falls_asleep_on(&event));
  ::pthread_cancel(self);
  CHECK(sleeper.falls_asleep_on(&event));
  event.set();
  sleeper.join();
  CHECK(released);
}

TEST_CASE("Portable sleep: a child forked in the middle of wakes finds every bucket free", "[portable][FR10]") {
  if (conc_test::sanitizer() == conc_test::Sanitizer::thread) SKIP("ThreadSanitizer allows no threads before a fork");
  std::atomic<bool> over{false};
  int failed = 0;
  run_threads(3, [&](std::size_t index) {
    if (index != 0) {
      for (std::uintptr_t key = index; !over; key += 4) seam::wake(reinterpret_cast<const void*>(key), 1);
      return;
    }
    for (int round = 0; round < scaled(50); ++round) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::alarm(10);  // ends what hangs
        for (seam::native::Sleepers& bucket : seam::native::buckets) {
          const Word word{0};
          if (bucket.wait(word, 0, seam::now())) ::_exit(1);
        }
        ::_exit(0);
      }
      int status = 0;
      if (child < 0 || ::waitpid(child, &status, 0) != child || status != 0) ++failed;
    }
    over = true;
  });
  CHECK(failed == 0);
}
