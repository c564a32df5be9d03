// SPDX-License-Identifier: MIT
// The portable backend's table of sleepers, with conc's own Lock and Condition in place of the standard's: so every
// schedule of it can be run.
#if !defined(CONC_PORTABLE)
#define CONC_PORTABLE
#endif
#include <conc/condition.hpp>
#include <conc/detail/sync.hpp>
#include <conc/event.hpp>
#include <conc/lock.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

#include "explore_type.hpp"

using namespace std::chrono_literals;
namespace seam = conc::detail::sync;
namespace mo = conc::detail::mo;
using conc::testing::check;
using conc::testing::parallel;
using conc_test::explore_type;

namespace {

/// What a bucket asks of std::condition_variable, which may say timeout although it was notified just in time.
class SimulatedCondition {
 public:
  void wait(std::unique_lock<conc::Lock>& lock) { over(lock).wait(); }
  std::cv_status wait_until(std::unique_lock<conc::Lock>& lock, seam::TimePoint end) {
    (void)over(lock).wait(end);
    return seam::now() < end ? std::cv_status::no_timeout : std::cv_status::timeout;
  }
  void notify_one() { condition_->notify(); }  // who is in the list waits

 private:
  conc::Condition<conc::Lock>& over(const std::unique_lock<conc::Lock>& lock) {
    return condition_ ? *condition_ : condition_.emplace(*lock.mutex());
  }
  std::optional<conc::Condition<conc::Lock>> condition_;
};

using Bucket = seam::native::Bucket<conc::Lock, SimulatedCondition>;
using Word = seam::Atomic<std::uint32_t>;

/// Sleeps until the word is 1.
void await_one(Bucket& bucket, const Word& word) {
  while (word.load(mo::acquire) != 1) check(bucket.wait(word, 0, seam::forever), "false without an end");
}

void set_to_one(Bucket& bucket, Word& word) {
  word.store(1, mo::release);
  bucket.wake(&word, 1);
}

}  // namespace

TEST_CASE("Portable sleep: no wake is lost between the look at the word and the sleep, in every schedule",
          "[portable]") {
  explore_type("Portable sleep, one word", [] {
    Bucket bucket;
    Word word{0};
    parallel([&] { await_one(bucket, word); }, [&] { set_to_one(bucket, word); });
  });
}

TEST_CASE("Portable sleep: a wake reaches the sleeper of its own word among others, in every schedule", "[portable]") {
  explore_type("Portable sleep, two words in one bucket", [] {
    Bucket bucket;
    Word one{0};
    Word other{0};
    parallel([&] { await_one(bucket, one); }, [&] { await_one(bucket, other); },
             [&] {
               set_to_one(bucket, other);
               set_to_one(bucket, one);
             });
  });
}

TEST_CASE("Portable sleep: a wake for another word lets nobody go, in every schedule", "[portable]") {
  explore_type("Portable sleep, the wrong word",
               [] {
                 Bucket bucket;
                 Word one{0};
                 const Word other{0};
                 parallel([&] { check(!bucket.wait(one, 0, seam::now() + 1ms), "woken for another word"); },
                          [&] { bucket.wake(&other, seam::everybody); });
               },
               {.mishaps = 0});
}

TEST_CASE("Portable sleep: one wake lets one of two sleepers go, whichever way a timeout races it, in every schedule",
          "[portable]") {
  explore_type("Portable sleep, a wake and a timeout at once",
               [] {
                 Bucket bucket;
                 Word word{0};
                 std::atomic<int> woken{0};  // by the one wake; no scheduling point
                 parallel([&] { woken += bucket.wait(word, 0, seam::now() + 1ms) ? 1 : 0; },
                          [&] { woken += bucket.wait(word, 0, seam::now() + 2ms) ? 1 : 0; },
                          [&] {
                            conc::Event never_set;  // until both sleep, and the first is about to give up
                            check(!never_set.wait(1ms), "nobody sets it");
                            bucket.wake(&word, 1);
                          });
                 check(woken == 1, "the wake was lost, or let two go");
               },
               {.mishaps = 0});
}

TEST_CASE("Portable sleep: a wake for n lets n of more go, in every schedule", "[portable]") {
  explore_type("Portable sleep, n of three",
               [] {
                 Bucket bucket;
                 Word word{0};
                 std::atomic<int> woken{0};
                 const auto sleep = [&] { woken += bucket.wait(word, 0, seam::now() + 2ms) ? 1 : 0; };
                 parallel(sleep, sleep, sleep, [&] {
                   conc::Event never_set;  // until all sleep
                   check(!never_set.wait(1ms), "nobody sets it");
                   bucket.wake(&word, 2);
                 });
                 check(woken == 2, "not two");
               },
               {.preemptions = 1, .mishaps = 0});
}
