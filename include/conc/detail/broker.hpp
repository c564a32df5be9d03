// SPDX-License-Identifier: MIT
/// @file
/// Broker: hands calls to worker processes and takes their answers, whatever becomes of the workers.
///
/// It knows nothing of processes and pipes. `Workers` does, or in the explorations a handful of threads that may die at any
/// step; so what is explored is what runs. Of `Workers` it wants:
///
///   Parcel                    a call on its way: see Shipment
///   start(i)                  starts worker i, which will say that it is ready; throws if it cannot
///   send(i, parcel)           passes a call on to worker i; never waits, never fails
///   close(i)                  no more calls for worker i: it ends after those it has
///   kill(i, signal)           its end will be told like any other
///   wait(broker, end)         waits until something happens or `end`, then tells the broker: on_ready, on_answer,
///                             on_initializer_failed, on_garbage, on_end
///   wake()                    makes wait() return; from any thread
///   end_all(broker)           kills all, waits for their ends and tells of them: when wait() has failed
///   pid(i), describe(i)       of a worker that was started: a number, and "worker process 123"
#pragma once

#include <signal.h>

#include <conc/condition.hpp>
#include <conc/deadline.hpp>
#include <conc/detail/descriptor.hpp>
#include <conc/detail/sync.hpp>
#include <conc/error.hpp>
#include <conc/lock.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI::detail {

/// Parcels in order. Owns none of them.
template <class Parcel>
class ParcelList {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] Parcel& front() const noexcept { return *first_; }

  void push_back(Parcel& parcel) noexcept {
    parcel.next = nullptr;
    (first_ == nullptr ? first_ : last_->next) = &parcel;
    last_ = &parcel;
    ++size_;
  }
  void push_front(Parcel& parcel) noexcept {
    parcel.next = first_;
    last_ = first_ == nullptr ? &parcel : last_;
    first_ = &parcel;
    ++size_;
  }
  Parcel& pop_front() noexcept {
    Parcel& parcel = *first_;
    first_ = parcel.next;
    --size_;
    return parcel;
  }
  /// Appends what is in `other`, which is empty then.
  void splice_back(ParcelList& other) noexcept {
    if (!other.empty()) {
      (first_ == nullptr ? first_ : last_->next) = other.first_;
      last_ = other.last_;
      size_ += other.size_;
      other = {};
    }
  }

 private:
  Parcel* first_ = nullptr;
  Parcel* last_ = nullptr;
  std::size_t size_ = 0;
};

/// What a broker is told about its work.
struct BrokerOptions {
  std::size_t max_workers;
  std::size_t prefetch;              // calls that a worker may have, at most
  std::size_t max_tasks_per_worker;  // 0: any number
  std::size_t max_queued;            // calls that wait for a worker, at most; 0: any number
  bool waits_when_full;              // else QueueFull is thrown
  bool respawns;                     // the death of a worker costs only the call it ran
};

/// What a broker has done and is doing.
struct BrokerNumbers {
  std::size_t queued = 0;
  std::size_t with_workers = 0;
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t retried = 0;
  std::uint64_t died = 0;
  std::size_t workers = 0;
};

/// How a call comes back.
enum class Arrival : std::uint8_t { succeeded, failed };

/// One thread, the manager, calls run(); the members above the line may be called by any thread.
///
/// A worker has its calls in a row, and answers them in that order: so the first one is what it is at work on, and that
/// is the one to blame when it dies, unless the worker has not read a byte of it. The others go back to the head of the
/// queue. So a call is lost only with the worker that has begun to read it, and runs twice only if it may be retried.
///
/// A call that waits behind another one at a worker cannot be taken back, so a worker gets more than one only as long as
/// it answers quickly and many wait. Nothing waits behind a call with a timeout: its worker may be killed, a moment after it has
/// answered and begun the next.
template <class Workers>
class Broker {
 public:
  using Parcel = typename Workers::Parcel;
  using Parcels = ParcelList<Parcel>;

  Broker(BrokerOptions options, Workers& workers) : options_{options}, workers_{workers}, slots_(options.max_workers) {
    pids_.reserve(options.max_workers);
  }

  /// Accepts a call. From now on the broker owns it.
  /// @param deputy  called by the manager, in a callback: never waits for itself
  /// @throws UsageError after close(), BrokenProcessPool, QueueFull. Then it was not accepted.
  void push(Parcel& parcel, bool deputy) {
    bool ring = false;
    {
      const ScopedLock guard{lock_};
      check_open();
      if (options_.max_queued != 0 && !deputy) {
        if (!options_.waits_when_full && pending_.size() >= options_.max_queued) {
          throw QueueFull{"ProcessPoolExecutor::submit: " + std::to_string(options_.max_queued) +
                          " tasks are queued already"};
        }
        changed_.wait_for([this] { return pending_.size() < options_.max_queued || !open(); });
        check_open();
      }
      pending_.push_back(parcel);
      ++unsettled_;
      ring = ring_once();
    }
    if (ring) {
      workers_.wake();
    }
  }

  /// No call is accepted any more; the manager ends when all have been answered.
  /// @param cancel  those that have not left are withdrawn, here and now
  void close(bool cancel) {
    Parcels withdrawn;
    tell([this, cancel, &withdrawn] {
      closed_ = true;
      Parcels kept;
      while (cancel && !pending_.empty()) {
        Parcel& parcel = pending_.pop_front();
        (parcel.started ? kept : withdrawn).push_back(parcel);
      }
      pending_.splice_back(kept);
      // Now: a callback of what is withdrawn may wait for the end of the pool.
      unsettled_ -= withdrawn.size();
      numbers_.cancelled += withdrawn.size();
    });
    while (!withdrawn.empty()) {
      withdrawn.pop_front().withdraw();
    }
  }

  /// Ends the workers by a signal. What they have, and what is queued, fails.
  /// @param why  text that stays
  void kill(int signal, const char* why) {
    tell([this, signal, why] {
      closed_ = true;
      signal_ = signal;
      why_signal_ = why;
    });
  }

  [[nodiscard]] bool closed() {
    const ScopedLock guard{lock_};
    return closed_;
  }

  /// @return false if `deadline` came before all calls were answered
  bool wait_idle(Deadline deadline) {
    const ScopedLock guard{lock_};
    return changed_.wait_for([this] { return unsettled_ == 0; }, deadline);
  }

  [[nodiscard]] BrokerNumbers numbers() {
    const ScopedLock guard{lock_};
    BrokerNumbers numbers = numbers_;
    numbers.queued = pending_.size();
    numbers.with_workers = unsettled_ - pending_.size();
    numbers.workers = pids_.size();
    return numbers;
  }

  [[nodiscard]] std::vector<int> pids() {
    const ScopedLock guard{lock_};
    return pids_;
  }

  // ---- The manager's.

  /// Until all workers have ended, after close().
  void run() {
    for (bool more = true; more;) {
      try {
        listen();
        assign();
        more = !settle_and_look_for_the_end();
        if (more) {
          workers_.wait(*this, next_deadline());
          expire();
        }
      } catch (const std::exception& error) {  // no memory, or less of what the system gives than before
        break_pool(text_or_nothing(error));
        workers_.end_all(*this);
      }
    }
  }

  /// The worker has come so far that it runs calls.
  void on_ready(std::size_t i) {
    Slot& slot = slots_[i];
    slot.ready = true;
    begin(slot);
  }

  void on_initializer_failed(std::size_t i, const std::string& why) {
    break_pool("an initializer failed in " + workers_.describe(i) + ": " + why);
  }

  /// Whether the worker may answer that now: what it was asked first, or, with 0, that it is initialized. After the end of
  /// the pool anything may come.
  [[nodiscard]] bool expects(std::size_t i, std::uint64_t id) const noexcept {
    const Slot& slot = slots_[i];
    return broken_ || (id == 0 ? !slot.ready : !slot.parcels.empty() && slot.parcels.front().id == id);
  }

  /// An answer that no worker gives to what it was sent.
  void on_garbage(std::size_t i, const char* what) { condemn(slots_[i], i, what); }

  /// @param deliver  called with the call, which it hands the answer
  template <class Deliver>
  void on_answer(std::size_t i, std::uint64_t id, Arrival arrival, Deliver deliver) {
    Slot& slot = slots_[i];
    if (slot.parcels.empty() || slot.parcels.front().id != id) {
      if (!broken_) {
        condemn(slot, i, "answered what it was not asked");
      }
      return;
    }
    Parcel& parcel = slot.parcels.pop_front();
    false_starts_ = 0;
    slot.has_deadline = slot.has_deadline && !slot.parcels.empty();
    const sync::TimePoint began = slot.since;
    begin(slot);
    if (slot.since - began < kQuick) {
      slot.credit = slot.credit < options_.prefetch / 2 ? slot.credit * 2 : options_.prefetch;
    } else if (slot.since - began > kSlow) {
      slot.credit = 1;
    }
    {
      const ScopedLock guard{lock_};
      ++(arrival == Arrival::succeeded ? numbers_.succeeded : numbers_.failed);
    }
    deliver(parcel);
    ++settled_;
  }

  /// The worker is gone, and everything that it has answered was told before.
  /// @param status  its exit status, or -N for signal N; nothing if that is not known
  /// @param begun   whether it may have read anything of the first call that it has not answered
  void on_end(std::size_t i, std::optional<int> status, bool begun) {
    Slot slot = std::exchange(slots_[i], Slot{});
    --live_;
    {
      const ScopedLock guard{lock_};
      std::erase(pids_, workers_.pid(i));
    }
    if (broken_ || (slot.closing && slot.parcels.empty())) {
      return;
    }
    try {
      judge(i, slot, status, begun);
    } catch (...) {  // no memory for the words
      if (slot.expired == 0 && slot.ready && begun && !slot.parcels.empty()) {
        fail(slot.parcels.pop_front(), std::current_exception());
      }
      if (slot.expired == 0 && !options_.respawns) {
        break_pool({});
      }
    }
    if (broken_) {
      fail_all(slot.parcels, broken());
    } else {
      const ScopedLock guard{lock_};
      slot.parcels.splice_back(pending_);
      pending_ = slot.parcels;
    }
  }

 private:
  struct Slot {
    bool live = false;
    bool ready = false;
    bool closing = false;                 // no more calls for it: it is to end
    bool dying = false;                   // was killed
    const char* garbage = nullptr;        // why
    std::uint64_t expired = 0;            // the call for whose time it was killed; 0: none
    bool has_deadline = false;            // its last call has a timeout
    std::size_t credit = 1;               // calls that it may have
    std::size_t handed = 0;               // calls that it has had
    Parcels parcels;                      // in order; it is at work on the first
    sync::TimePoint since{};              // when it began that, or was told to end
    sync::TimePoint end = sync::forever;  // when that must be over
  };

  static constexpr std::chrono::microseconds kQuick{200};  // several times what a round trip takes
  static constexpr std::chrono::milliseconds kSlow{1};
  static constexpr std::chrono::seconds kGrace{5};  // to flush its output
  static constexpr unsigned kMostFalseStarts = 100;

  // Any thread, with the lock held.

  [[nodiscard]] bool open() const noexcept { return !closed_ && !broken_; }
  void check_open() const {
    if (broken_) {
      throw BrokenProcessPool{"ProcessPoolExecutor::submit: the pool is broken: " + why_broken_};
    }
    if (closed_) {
      throw_usage_error("ProcessPoolExecutor::submit: after shutdown");
    }
  }
  void count_cancelled() noexcept {
    ++numbers_.cancelled;
    --unsettled_;
  }
  /// The bell is rung once for each time the manager looks.
  bool ring_once() noexcept { return !std::exchange(rung_, true); }

  template <class Change>
  void tell(Change change) {
    {
      const ScopedLock guard{lock_};
      change();
      rung_ = true;
      changed_.notify_all();
    }
    workers_.wake();
  }

  // The manager.

  static std::string text_or_nothing(const std::exception& error) noexcept {
    try {
      return error.what();
    } catch (...) {
      return {};
    }
  }

  void listen() {
    int signal = 0;
    const char* why = nullptr;
    {
      const ScopedLock guard{lock_};
      rung_ = false;
      signal = std::exchange(signal_, 0);
      why = why_signal_;
    }
    if (signal != 0) {
      break_pool(why, signal);
    }
  }

  void assign() {
    while (const std::size_t pending = count_pending()) {
      const std::optional<std::size_t> i = choose(pending);
      Parcel* const parcel = i ? next_parcel() : nullptr;
      if (parcel == nullptr) {
        return;
      }
      if (!parcel->started && !parcel->leave()) {
        {
          const ScopedLock guard{lock_};
          count_cancelled();
        }
        parcel->withdraw();
        continue;
      }
      parcel->started = true;
      parcel->id = ++last_id_;
      Slot& slot = slots_[*i];
      slot.parcels.push_back(*parcel);
      slot.has_deadline = !parcel->timeout.is_never();
      if (slot.parcels.size() == 1) {
        begin(slot);
      }
      // Else it goes back to the queue if the worker dies before it has begun it, or is tried again.
      parcel->for_good = parcel->retries == 0 && !options_.respawns;
      parcel->for_good_once_begun = parcel->retries == 0 && slot.ready && slot.parcels.size() == 1;
      ++slot.handed;
      workers_.send(*i, *parcel);
      if (slot.handed == options_.max_tasks_per_worker) {
        retire(slot, *i);
      }
    }
  }

  /// How many calls wait for a worker. Drops those at the head that were cancelled meanwhile.
  std::size_t count_pending() {
    for (;;) {
      Parcel* cancelled = nullptr;
      {
        const ScopedLock guard{lock_};
        if (pending_.empty() || pending_.front().started || !pending_.front().cancelled()) {
          return pending_.size();
        }
        cancelled = &pending_.pop_front();
        count_cancelled();
      }
      cancelled->withdraw();
    }
  }
  /// The next call; null if it has been withdrawn just now.
  Parcel* next_parcel() {
    const ScopedLock guard{lock_};
    return pending_.empty() ? nullptr : &pending_.pop_front();
  }
  Parcels all_pending() {
    const ScopedLock guard{lock_};
    return std::exchange(pending_, {});
  }

  /// A worker for the next call: an idle one, else a new one, else the one with the fewest of those that have room. The
  /// fewer calls wait, the fewer go ahead to a worker that is at work: the last ones are for whoever is free first.
  std::optional<std::size_t> choose(std::size_t pending) {
    const std::size_t most = 1 + (live_ == 0 ? 0 : pending / live_);
    std::optional<std::size_t> best;
    std::optional<std::size_t> vacant;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      const Slot& slot = slots_[i];
      if (!slot.live) {
        vacant = vacant ? vacant : std::optional{i};
      } else if (!slot.closing && !slot.dying && slot.parcels.size() < slot.credit && slot.parcels.size() < most &&
                 !slot.has_deadline && (!best || slot.parcels.size() < slots_[*best].parcels.size())) {
        best = i;
      }
    }
    if (vacant && (!best || !slots_[*best].parcels.empty()) && start(*vacant)) {
      return vacant;
    }
    return best;
  }

  bool start(std::size_t i) {
    try {
      workers_.start(i);
    } catch (...) {
      if (live_ == 0) {  // else those that are there will do, and it is tried again with the next call
        fail_all(all_pending(), std::current_exception());
      }
      return false;
    }
    {
      const ScopedLock guard{lock_};
      pids_.push_back(workers_.pid(i));
    }
    slots_[i].live = true;
    ++live_;
    return true;
  }

  /// The worker begins the first of its calls, or has nothing to do.
  static void begin(Slot& slot) noexcept {
    slot.since = sync::now();
    slot.end = slot.parcels.empty() || !slot.ready ? sync::forever : slot.parcels.front().timeout.resolve();
    if (slot.parcels.empty() && slot.closing) {
      slot.end = slot.since + kGrace;
    }
  }

  void retire(Slot& slot, std::size_t i) {
    slot.closing = true;
    if (slot.parcels.empty()) {
      begin(slot);
    }
    workers_.close(i);
  }

  void condemn(Slot& slot, std::size_t i, const char* what) {
    if (!slot.dying) {
      slot.dying = true;
      slot.garbage = what;
      workers_.kill(i, SIGKILL);
    }
  }

  /// What the end of a worker means for the call that it was at work on.
  void judge(std::size_t i, Slot& slot, std::optional<int> status, bool begun) {
    const std::string who = workers_.describe(i);
    Parcel* const first = slot.parcels.empty() ? nullptr : &slot.parcels.front();
    if (slot.expired != 0) {
      if (first != nullptr && first->id == slot.expired) {  // else it was answered at the last moment
        blame<TimeoutError>(slot, first->name() + " did not end in time, and " + who + ", which ran it, was killed");
      }
      return;
    }
    {
      const ScopedLock guard{lock_};
      ++numbers_.died;
    }
    std::string what =
        who + " " + (slot.garbage == nullptr ? how_it_ended(status) : std::string{slot.garbage} + " and was killed");
    if (!slot.ready || (first != nullptr && !begun)) {
      what += slot.ready ? " before it began a call" : " before it was initialized";
      if (++false_starts_ > kMostFalseStarts) {
        break_pool(what + ", and so did those before it");
      }
    } else if (first != nullptr) {
      what += " while it ran " + first->name();
      blame<WorkerDied>(slot, what, workers_.pid(i), status);
    }
    if (!options_.respawns) {
      break_pool(std::move(what));
    }
  }

  /// The first of its calls fails, or is tried again.
  template <class E, class... Details>
  void blame(Slot& slot, const std::string& what, const Details&... details) {
    const auto error = std::make_exception_ptr(E{"ProcessPoolExecutor: " + what, details...});
    Parcel& parcel = slot.parcels.pop_front();
    false_starts_ = 0;
    if (parcel.retries == 0 || (!options_.respawns && slot.expired == 0)) {
      fail(parcel, error);
      return;
    }
    --parcel.retries;
    const ScopedLock guard{lock_};
    pending_.push_front(parcel);
    ++numbers_.retried;
  }

  [[nodiscard]] std::exception_ptr broken() const noexcept {
    try {
      return std::make_exception_ptr(BrokenProcessPool{"ProcessPoolExecutor: the pool is broken: " + why_broken_});
    } catch (...) {  // no memory
      return std::current_exception();
    }
  }

  void fail(Parcel& parcel, const std::exception_ptr& why) noexcept {
    {
      const ScopedLock guard{lock_};
      ++numbers_.failed;
    }
    parcel.give_up(why);
    ++settled_;
  }
  void fail_all(Parcels parcels, const std::exception_ptr& why) noexcept {
    while (!parcels.empty()) {
      fail(parcels.pop_front(), why);
    }
  }

  /// All calls fail, and no more are accepted.
  void break_pool(std::string why, int signal = SIGKILL) noexcept {
    if (!broken_) {
      const ScopedLock guard{lock_};
      broken_ = true;
      why_broken_ = std::move(why);
      changed_.notify_all();
    }
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].live) {
        slots_[i].dying = true;
        workers_.kill(i, signal);
      }
    }
    const std::exception_ptr error = broken();
    for (Slot& slot : slots_) {
      fail_all(std::exchange(slot.parcels, {}), error);
    }
    fail_all(all_pending(), error);
  }

  /// Publishes what this round has brought. @return whether it was the last one
  bool settle_and_look_for_the_end() {
    bool ends = false;
    {
      const ScopedLock guard{lock_};
      unsettled_ -= std::exchange(settled_, 0);
      changed_.notify_all();
      ends = !open() && unsettled_ == 0;
    }
    if (ends) {
      for (std::size_t i = 0; i < slots_.size(); ++i) {
        if (slots_[i].live && !slots_[i].closing) {
          retire(slots_[i], i);
        }
      }
    }
    return ends && live_ == 0;
  }

  [[nodiscard]] sync::TimePoint next_deadline() const noexcept {
    sync::TimePoint next = sync::forever;
    for (const Slot& slot : slots_) {
      next = slot.live && !slot.dying && slot.end < next ? slot.end : next;
    }
    return next;
  }

  /// Kills the workers whose time is over.
  void expire() {
    if (next_deadline() == sync::forever) {
      return;
    }
    const sync::TimePoint now = sync::now();
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      Slot& slot = slots_[i];
      if (slot.live && !slot.dying && slot.end <= now) {
        slot.dying = true;
        slot.expired = slot.parcels.empty() ? 0 : slot.parcels.front().id;
        workers_.kill(i, SIGKILL);
      }
    }
  }

  const BrokerOptions options_;
  Workers& workers_;

  Lock lock_;  // guards all up to the line
  Condition<Lock> changed_{lock_};
  Parcels pending_;
  std::size_t unsettled_ = 0;  // calls that were accepted and have not come to their end
  bool rung_ = false;
  bool closed_ = false;
  int signal_ = 0;
  const char* why_signal_ = nullptr;
  bool broken_ = false;  // changed by the manager alone, which reads it without the lock; so is why_broken_
  std::string why_broken_;
  BrokerNumbers numbers_;
  std::vector<int> pids_;
  // ---- The manager's alone.
  std::vector<Slot> slots_;
  std::size_t live_ = 0;
  std::uint64_t last_id_ = 0;
  unsigned false_starts_ = 0;  // workers in a row that came to nothing: no call was answered, none to blame
  std::size_t settled_ = 0;    // calls that came to their end since unsettled_ was told
};

}  // namespace conc::inline CONC_ABI::detail
