// SPDX-License-Identifier: MIT
/// @file
/// The explorer: a machine with one processor, on which a program runs one schedule at a time.
///
/// Each thread of the program is a fiber. The one that runs goes on until its next operation on the seam; there a
/// Chooser says who runs next. Between two such points nothing else happens, so a schedule is the list of the choices.
///
///   ready_       those that can run; the running one is the first. Blocked ones are elsewhere.
///   sleepers_    those in wait(), in the order they came. One whose time has come is in ready_ as well: it may still be
///                woken before it runs.
///   yielded      set for a fiber that gave way. It is no candidate for a free choice until all others gave way too
///                or are blocked; then the clock moves on. It may preempt the running fiber, once that has done something.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <conc/detail/backtrace.hpp>
#include <conc/detail/chooser.hpp>
#include <conc/detail/fiber.hpp>
#include <conc/detail/narrator.hpp>
#include <conc/detail/race_detector.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI::detail {

class Explorer final : private sync::simulated::Machine {
 public:
  struct Limits {
    std::uint64_t max_steps;
    unsigned mishaps;
    std::size_t stack_size;
    std::size_t trace;  // how many steps to remember
  };

  explicit Explorer(Limits limits) : limits_{limits}, trace_(std::bit_ceil(limits.trace)) {}
  Explorer(const Explorer&) = delete;
  Explorer& operator=(const Explorer&) = delete;

  ~Explorer() {
    if (failed_) {
      bury();
    }
    const race_detector::Unseen unseen;
    for (const auto& fiber : fibers_) {
      if (fiber != nullptr) {  // one that is idle
        fiber->entry = nullptr;
        outside_.leave_for(fiber->context);
      }
    }
  }

  /// The explorer whose program is calling, or null.
  static Explorer* current() noexcept { return static_cast<Explorer*>(sync::simulated::machine); }

  /// Runs entry(argument) as thread 0, and all that it starts, until everybody has ended.
  /// @return false if the schedule failed; then the program's threads stay where they were, for ever
  bool run_once(void* (*entry)(void*), void* argument, Chooser& chooser) {
    const race_detector::Unseen unseen;
    chooser_ = &chooser;
    used_ = 0;
    at_once_ = 1;
    alive_ = 0;
    ready_.clear();
    sleepers_.clear();
    choices_.clear();
    yielded_ = 0;
    in_a_row_ = 0;
    mishaps_left_ = limits_.mishaps;
    steps_before_ = steps();
    now_ = epoch_;
    run = runs_.fetch_add(1, mo::relaxed) + 1;  // relaxed: only distinctness matters
    seed_ = chooser.begin();
    random_ = SplitMix{seed_};
    if (start(entry, argument) == nullptr) {
      throw std::bad_alloc{};
    }
    running = fibers_[0].get();
    sync::simulated::machine = this;
    outside_.leave_for(me().context);
    sync::simulated::machine = nullptr;
    if (failed_) {
      locate();
    }
    for (std::size_t i = 0; i < used_; ++i) {
      race_detector::acquire(fibers_[i].get());
    }
    return !failed_;
  }

  /// What went wrong, once run_once() has returned false.
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }
  [[nodiscard]] const std::vector<Choice>& choices() const noexcept { return choices_; }
  [[nodiscard]] std::uint32_t seed() const noexcept { return seed_; }
  [[nodiscard]] std::size_t threads() const noexcept { return used_; }
  /// Among how many threads the last schedule had to choose, at most.
  [[nodiscard]] std::size_t at_once() const noexcept { return at_once_; }

  /// What all schedules together have done. Any thread may ask.
  [[nodiscard]] std::uint64_t steps() const noexcept { return steps_.load(mo::relaxed); }

  /// ThreadSanitizer has found a bug of this kind. The schedule fails at its next step: not here, amid the report.
  void reported(const char* kind) noexcept { reported_.store(kind, mo::relaxed); }  // relaxed: one OS thread

  /// Notes where the calling thread of the program stands, for describe().
  void locate_here() noexcept { locate(me()); }

  /// Whether an access to `address` shows that the running thread has overflowed its stack.
  [[nodiscard]] bool overflowed(const void* address) const noexcept {
    return static_cast<const Fiber*>(running)->stack.guards(address);
  }

  /// Who is where, and what they did last. Also while the program runs.
  [[nodiscard]] std::string describe() const {
    Narrator narrator{{fibers_.data(), used_}, running, now_};
    std::string text = narrator.threads();
    const std::uint64_t count = steps() - steps_before_;
    const std::uint64_t shown = std::min<std::uint64_t>(count, trace_.size());
    text += "  the last " + std::to_string(shown) + " of " + std::to_string(count) + " steps:\n";
    for (std::uint64_t i = count - shown; i < count; ++i) {
      text += narrator.step(i + 1, trace_[(steps_before_ + i) & (trace_.size() - 1)]);
    }
    return text;
  }

 private:
  using State = Fiber::State;

  /// A thread that makes so many steps in a row while others could run is taken to spin, and gives way.
  static constexpr unsigned kSpins = 1000;

  Fiber& me() noexcept { return static_cast<Fiber&>(*running); }

  // ---- what the seam asks for ----

  void point(const char* operation, const void* address) noexcept override {
    const race_detector::Unseen unseen;
    me().next = operation;
    chooser_->step(me());
    disturb_sleepers();
    if (ready_.size() > 1) {
      at_once_ = (std::max)(at_once_, ready_.size());
      if (++in_a_row_ == kSpins) {
        step_aside();
      } else {
        let_preempt();
      }
    }
    ++operations_;
    note(operation, address);
  }

  void give_way() noexcept override {
    const race_detector::Unseen unseen;
    if (running->unscheduled == 0) {
      me().next = nullptr;
      note("give way", nullptr);
      step_aside();
    }
  }

  bool sleep(const void* address, sync::TimePoint end) noexcept override {
    const race_detector::Unseen unseen;
    if (end <= now_) {
      return false;
    }
    Fiber& fiber = me();
    fiber.sleeps_on = address;
    fiber.until = end;
    fiber.woken = false;
    sleepers_.push_back(&fiber);
    note("sleep", address);
    block(State::asleep);
    if (!fiber.woken) {
      std::erase(sleepers_, &fiber);
      note("time out", address);
    }
    return fiber.woken;
  }

  void rouse(const void* address, std::uint32_t n) noexcept override {
    const race_detector::Unseen unseen;
    if (sleepers_.empty()) {
      return;
    }
    candidates_.clear();
    for (Fiber* fiber : sleepers_) {
      if (fiber->sleeps_on == address) {
        candidates_.push_back(fiber);
      }
    }
    for (; n > 0 && !candidates_.empty(); --n) {
      const auto count = static_cast<std::uint32_t>(candidates_.size());
      const std::uint32_t picked = n < count ? decided(chooser_->sleeper(count), count) : 0;
      Fiber* const fiber = candidates_[picked];
      candidates_.erase(candidates_.begin() + picked);
      std::erase(sleepers_, fiber);
      fiber->woken = true;
      note("awaken", fiber);
      make_ready(*fiber);
    }
  }

  bool fails_weakly(const void* address) noexcept override {
    const race_detector::Unseen unseen;
    if (mishaps_left_ == 0 || mishap(2) == 0) {
      return false;
    }
    note("fail for no reason", address);
    return true;
  }

  const sync::simulated::Task* start(void* (*entry)(void*), void* argument) noexcept override {
    const race_detector::Unseen unseen;
    if (used_ == fibers_.size()) {
      try {
        fibers_.push_back(std::make_unique<Fiber>(limits_.stack_size, &enter));
        fibers_.back()->context.set_name(("thread " + std::to_string(used_)).c_str());
      } catch (const std::bad_alloc&) {
        return nullptr;
      }
    }
    Fiber& fiber = *fibers_[used_];
    std::construct_at(&fiber.record);
    fiber.name[0] = '\0';
    fiber.number = static_cast<unsigned>(used_++);
    fiber.unscheduled = 0;
    fiber.entry = entry;
    fiber.argument = argument;
    fiber.state = State::fresh;
    fiber.yielded = false;
    fiber.next = nullptr;
    fiber.joins = nullptr;
    fiber.joiner = nullptr;
    fiber.frame_count = 0;
    ready_.push_back(&fiber);
    ++alive_;
    race_detector::release(&fiber);
    return &fiber;
  }

  void join(unsigned number) noexcept override {
    const race_detector::Unseen unseen;
    Fiber& other = *fibers_[number];
    note("join", &other);
    if (other.state != State::ended) {
      if (other.joiner != nullptr) {
        fail("two threads join the same thread");
      }
      other.joiner = &me();
      me().joins = &other;
      block(State::joining);
    }
    race_detector::acquire(&other);
  }

  bool ended(unsigned number) noexcept override {
    const race_detector::Unseen unseen;
    Fiber& fiber = *fibers_[number];
    if (fiber.state != State::ended) {
      return false;
    }
    race_detector::acquire(&fiber);
    return true;
  }

  sync::TimePoint now() noexcept override { return now_; }
  std::uint32_t random() noexcept override {
    const race_detector::Unseen unseen;
    return static_cast<std::uint32_t>(random_.next());
  }

  [[noreturn]] void fail(const char* what) noexcept override { fail(std::string{what}); }

  /// Takes the text along: nobody will destroy what is left on the stack.
  [[noreturn]] void fail(std::string&& what) noexcept {
    const race_detector::Unseen unseen;
    failed_ = true;
    failure_ = std::move(what);
    for (Fiber& fiber = me();;) {
      leave(fiber, outside_);
    }
  }

  // ---- the life of a fiber ----

  /// A fiber lives as the thread of its number in one schedule after the other.
  static void enter() noexcept {
    Explorer& self = *current();
    const race_detector::Unseen unseen;
    Fiber& fiber = self.me();
    fiber.context.arrived();
    while (fiber.entry != nullptr) {
      self.live(fiber);
    }
    fiber.context.leave_for(self.outside_, true);
  }

  void live(Fiber& fiber) noexcept {
    fiber.state = State::ready;
    race_detector::acquire(&fiber);
    try {
      const race_detector::Seen seen;
      fiber.entry(fiber.argument);
    } catch (const std::exception& error) {
      std::string text = "an exception left the thread: ";
      text.append(demangle(typeid(error).name())).append(": ").append(error.what());
      fail(std::move(text));
    } catch (...) {
      const std::type_info* const type = abi::__cxa_current_exception_type();
      std::string text = "an exception left the thread: ";
      text.append(type != nullptr ? demangle(type->name()) : "of another language");
      fail(std::move(text));
    }
    fail_if_reported();
    race_detector::release(&fiber);
    fiber.state = State::ended;
    if (fiber.joiner != nullptr) {
      fiber.joiner->joins = nullptr;
      make_ready(*fiber.joiner);
    }
    drop_first();
    if (--alive_ == 0) {
      leave(fiber, outside_);
    } else {
      hand_over();
    }
  }

  /// Takes the processor from `from`, the fiber that calls, until it is chosen again.
  void leave(Fiber& from, FiberContext& to) noexcept {
    from.context.leave_for(to);
    while (locating_) {
      locate(from);
      from.context.leave_for(outside_);
    }
  }

  // ---- after a failure ----

  static void locate(Fiber& fiber) noexcept {
    fiber.frame_count = note_calls(fiber.frames, Fiber::kFrames);
    race_detector::release(&fiber);  // it is over, as if it had ended
  }

  /// Lets every fiber note where it stands; only it can.
  void locate() {
    locating_ = true;
    for (std::size_t i = 0; i < used_; ++i) {
      if (fibers_[i]->state != State::fresh && fibers_[i]->state != State::ended) {
        outside_.leave_for(fibers_[i]->context);
      }
    }
    locating_ = false;
  }

  /// Nobody will unwind the threads of a failed schedule. They are kept, so that what they own is not lost but there.
  void bury() {
    static auto& graveyard = *new std::vector<std::unique_ptr<Fiber>>;
    static std::mutex guard;  // explorations of several threads share it; conc's own locks are what they simulate
    const std::lock_guard lock{guard};
    for (std::size_t i = 0; i < used_; ++i) {
      fibers_[i]->stack.abandon();
      graveyard.push_back(std::move(fibers_[i]));
    }
  }

  // ---- scheduling ----

  void note(const char* operation, const void* address) noexcept {
    const std::uint64_t step = steps();
    trace_[step & (trace_.size() - 1)] = {operation, address, running->number};
    steps_.store(step + 1, mo::relaxed);  // relaxed: the watchdog only looks whether it moves
    fail_if_reported();
    if (step - steps_before_ >= limits_.max_steps) {
      fail("livelock: the threads still run after max_steps steps");
    }
  }

  void fail_if_reported() noexcept {
    if (const char* const kind = reported_.load(mo::relaxed)) {  // relaxed: one OS thread
      std::string text = "ThreadSanitizer reports: ";
      text.append(kind);
      fail(std::move(text));
    }
  }

  /// Writes a decision down. @return `picked`, once it is known to be one
  std::uint32_t decided(std::uint32_t picked, std::size_t of) {
    if (picked >= of) {
      fail(
          "the program did not repeat itself: it does not offer the choice it offered before. Either it is another "
          "program, or it depends on more than its schedule (time, addresses, what an earlier run left behind)");
    }
    choices_.push_back({picked, static_cast<std::uint32_t>(of)});
    return picked;
  }

  // ---- mishaps: what is rare but legal ----

  /// @return which of 1 … n - 1 happens, or 0 for none
  std::uint32_t mishap(std::size_t n) {
    const std::uint32_t what = decided(chooser_->mishap(static_cast<std::uint32_t>(n)), n);
    mishaps_left_ -= what != 0 ? 1U : 0U;
    return what;
  }

  /// A sleep may end for no reason, and time may pass though somebody can run. What happens here to a sleeper happens
  /// between two operations of others, so that nothing else is left to explore.
  void disturb_sleepers() {
    if (mishaps_left_ == 0) {
      return;
    }
    candidates_.clear();
    std::copy_if(sleepers_.begin(), sleepers_.end(), std::back_inserter(candidates_),
                 [](const Fiber* fiber) { return fiber->state == State::asleep; });
    if (candidates_.empty()) {
      return;
    }
    const bool timed = !ready_.empty() && earliest_end() != sync::forever;  // if nobody is ready, it passes anyway
    const std::uint32_t what = mishap(1 + candidates_.size() + (timed ? 1U : 0U));
    if (what > candidates_.size()) {
      note("time passes", nullptr);
      move_clock();
    } else if (what != 0) {
      Fiber& fiber = *candidates_[what - 1];
      std::erase(sleepers_, &fiber);
      fiber.woken = true;
      note("awaken for no reason", &fiber);
      make_ready(fiber);
    }
  }

  // ---- scheduling ----

  void make_ready(Fiber& fiber) {
    if (fiber.state != State::ready) {
      fiber.state = State::ready;
      ready_.push_back(&fiber);
    }
  }

  void drop_first() noexcept {
    ready_.front() = ready_.back();
    ready_.pop_back();
  }

  void block(State state) {
    me().state = state;
    me().next = nullptr;
    drop_first();
    hand_over();
  }

  /// The running fiber lets others go first.
  void step_aside() {
    in_a_row_ = 0;
    chooser_->yielded(me());
    me().yielded = true;
    me().yielded_at = last_yield_ = operations_;
    ++yielded_;
    hand_over();
  }

  /// The running fiber comes to its next operation. Another may run first: any, but for those who gave way and
  /// would find everything as they left it.
  void let_preempt() {
    const auto candidate = [this](const Fiber* f) { return !f->yielded || f->yielded_at != operations_; };
    const std::vector<Fiber*>& candidates = last_yield_ == operations_ ? those_ready(candidate) : ready_;
    if (candidates.size() > 1) {
      go_to(*candidates[decided(chooser_->thread(candidates, false), candidates.size())]);
    }
  }

  /// The running fiber cannot go on, or gave way: a free choice among those who did not.
  void hand_over() {
    disturb_sleepers();
    if (ready_.empty() && !move_clock()) {
      fail(fibers_[0]->state == State::ended
               ? "deadlock: the program has ended, and threads that nobody can wake are left"
               : "deadlock: nobody can run, and nobody waits for a time");
    }
    if (yielded_ == ready_.size()) {
      everybody_yielded();
    }
    const auto candidate = [](const Fiber* fiber) { return !fiber->yielded; };
    const std::vector<Fiber*>& candidates = yielded_ != 0 ? those_ready(candidate) : ready_;
    const std::size_t count = candidates.size();
    go_to(*candidates[count > 1 ? decided(chooser_->thread(candidates, true), count) : 0]);
  }

  template <class Condition>
  const std::vector<Fiber*>& those_ready(Condition condition) {
    candidates_.clear();
    std::copy_if(ready_.begin(), ready_.end(), std::back_inserter(candidates_), condition);
    return candidates_;
  }

  /// All who can run are waiting for something to happen: time passes, and all have a chance again, the last one last.
  void everybody_yielded() {
    if (!move_clock()) {
      now_ += std::chrono::milliseconds{1};
    }
    if (yielded_ < ready_.size()) {
      return;
    }
    yielded_ = 0;
    for (Fiber* fiber : ready_) {
      fiber->yielded = fiber == running && ready_.size() > 1;
      yielded_ += fiber->yielded ? 1U : 0U;
    }
  }

  /// Lets `next` run, one of ready_.
  void go_to(Fiber& next) {
    std::iter_swap(ready_.begin(), std::find(ready_.begin(), ready_.end(), &next));
    if (next.yielded) {
      next.yielded = false;
      --yielded_;
    }
    Fiber& from = me();
    if (&next != &from) {
      in_a_row_ = 0;
      running = &next;
      leave(from, next.context);
    }
  }

  /// When the first sleep ends that has an end; else sync::forever.
  [[nodiscard]] sync::TimePoint earliest_end() const noexcept {
    sync::TimePoint earliest = sync::forever;
    for (const Fiber* fiber : sleepers_) {
      if (fiber->state == State::asleep) {
        earliest = (std::min)(earliest, fiber->until);
      }
    }
    return earliest;
  }

  /// Moves the clock to the earliest end of a sleep. @return false if nobody sleeps with one
  bool move_clock() {
    const sync::TimePoint earliest = earliest_end();
    if (earliest == sync::forever) {
      return false;
    }
    now_ = earliest;
    for (Fiber* fiber : sleepers_) {
      if (fiber->until <= now_) {
        make_ready(*fiber);
      }
    }
    return true;
  }

  static inline constinit std::atomic<std::uint64_t> runs_{0};  // of all explorers

  const Limits limits_;
  const sync::TimePoint epoch_ = sync::native::now();  // when every schedule begins
  Chooser* chooser_ = nullptr;
  FiberContext outside_;

  std::vector<std::unique_ptr<Fiber>> fibers_;  // those of this schedule first, by number
  std::size_t used_ = 0;                        // how many of them are of this schedule
  std::size_t at_once_ = 1;                     // how many of those were ready at some moment of this schedule
  std::size_t alive_ = 0;                       // how many of those have not ended
  std::vector<Fiber*> ready_;
  std::vector<Fiber*> sleepers_;
  std::vector<Fiber*> candidates_;  // scratch
  std::size_t yielded_ = 0;         // how many of ready_ are `yielded`
  std::uint64_t operations_ = 0;    // made in all schedules; only what happens between two of them counts
  std::uint64_t last_yield_ = 0;    // the value of operations_ when a fiber last gave way
  unsigned in_a_row_ = 0;

  sync::TimePoint now_{};
  std::uint32_t seed_ = 0;
  SplitMix random_{0};
  unsigned mishaps_left_ = 0;

  std::vector<Choice> choices_;
  std::vector<Step> trace_;  // the last steps, by their number modulo the size
  std::atomic<std::uint64_t> steps_{0};
  std::uint64_t steps_before_ = 0;

  std::atomic<const char*> reported_{nullptr};  // what kind of bug ThreadSanitizer has reported
  bool failed_ = false;
  bool locating_ = false;
  std::string failure_;
};

}  // namespace conc::inline CONC_ABI::detail

#if defined(CONC_DETAIL_TSAN)
/// ThreadSanitizer calls __tsan_on_report, which is defined here for every file that includes this, and once in a program.
/// Its own empty definition is as weak as an inline function; with clang it is linked in first, so that ours must not be.
extern "C" [[gnu::used]] inline void conc_detail_on_report(void* report) {
  if (auto* const explorer = conc::detail::Explorer::current()) {
    explorer->reported(conc::detail::race_detector::kind_of(report));
  }
}
#if defined(__clang__)
extern "C" [[gnu::alias("conc_detail_on_report")]] void __tsan_on_report(void* report);
#else
extern "C" [[gnu::used]] inline void __tsan_on_report(void* report) { conc_detail_on_report(report); }
#endif
#endif
