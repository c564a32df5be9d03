// SPDX-License-Identifier: MIT
/// @file
/// EventLoopCore: what an EventLoop is made of, but for coroutines. An asio::io_context, and beside it an inbox of tasks
/// that any thread may fill, and a heap of those that are to be called later.
///
/// Tasks do not go through Asio one by one: whoever finds the inbox empty posts one handler, which runs all that is
/// there. A pass is what Python calls an iteration: what is added during a pass belongs to the next one.
#pragma once

#include <algorithm>
#include <conc/deadline.hpp>
#include <conc/detail/asio.hpp>
#include <conc/detail/future_core.hpp>
#include <conc/detail/inbox.hpp>
#include <conc/detail/loop_call.hpp>
#include <conc/detail/ref.hpp>
#include <conc/detail/registry.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/task.hpp>
#include <conc/detail/wait_graph.hpp>
#include <conc/error.hpp>
#include <conc/event.hpp>
#include <conc/lock.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI {

class EventLoop;

/// What an EventLoop tells its exception handler.
struct EventLoopReport {
  std::string message;           ///< what happened, in one line
  std::exception_ptr exception;  ///< null for a callback that was slow
};

/// Called on the loop's thread, without a lock. Whatever it throws is dropped.
using EventLoopExceptionHandler = std::function<void(const EventLoopReport&)>;

/// Prints one line to stderr.
inline void default_exception_handler(const EventLoopReport& report) {
  const std::string cause = report.exception == nullptr ? "" : ": " + detail::describe(report.exception);
  const std::string line = "EventLoop: " + report.message + cause + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);  // one call: lines of several threads do not mix
}

/// What an EventLoop may be told.
struct EventLoopOptions {
#if defined(CONC_DEBUG)
  bool debug = true;
#else
  bool debug = false;  ///< calls from a wrong thread throw, slow callbacks are reported; default: on with CONC_DEBUG
#endif
  std::chrono::nanoseconds slow_callback_duration = std::chrono::milliseconds{100};
  EventLoopExceptionHandler exception_handler = &default_exception_handler;
};

}  // namespace conc::inline CONC_ABI

namespace conc::inline CONC_ABI::detail {

class EventLoopCore;

/// The loop that the calling thread runs, or null.
[[gnu::visibility("default")]] inline thread_local constinit EventLoopCore* running_loop = nullptr;

/// A coroutine that runs on a loop: what the loop knows of it. Touched on the loop's thread alone.
class LoopCoroutine {
 public:
  LoopCoroutine(const LoopCoroutine&) = delete;
  LoopCoroutine& operator=(const LoopCoroutine&) = delete;

  /// Has it end soon, unless it was told so already.
  virtual void cancel_coroutine() noexcept = 0;

 protected:
  LoopCoroutine() noexcept = default;
  ~LoopCoroutine() = default;

 private:
  friend class EventLoopCore;
  LoopCoroutine* previous_ = nullptr;
  LoopCoroutine* next_ = nullptr;
  bool told_to_end_ = false;  // by a loop that closes
};

class EventLoopCore final : public RefCounted {
 public:
  EventLoopCore(EventLoop& face, EventLoopOptions options)
      : face_{face},
        number_{new_home()},
        debug_{options.debug},
        slow_{options.slow_callback_duration},
        handler_{std::make_shared<const EventLoopExceptionHandler>(std::move(options.exception_handler))} {}

  // Any thread.

  EventLoop& face() const noexcept { return face_; }
  asio::io_context& context() noexcept { return context_; }
  std::uint32_t number() const noexcept { return number_; }
  bool is_running() const noexcept { return runner_.load(mo::acquire) != 0; }  // acquire: a fact
  bool is_closed() const noexcept { return inbox_.closed(); }

  /// @return false if the loop is closed; then the task was not taken
  bool push(Task& task) noexcept {
    const Inbox::Pushed pushed = inbox_.push(&task, &task);
    if (pushed == Inbox::Pushed::first) {
      request_pass();
    }
    return pushed != Inbox::Pushed::closed;
  }

  /// Ends the run after the pass that is under way, or the next one.
  void stop() noexcept {
    if (!is_closed()) {
      stopping_.store(true, mo::seq_cst);  // seq_cst: comes before the look of request_pass()
      request_pass();
    }
  }

  /// For debug mode. @throws UsageError if another thread runs the loop
  void check_thread() const {
    const std::uint64_t runner = runner_.load(mo::acquire);                             // acquire: a fact
    if (debug_.load(mo::relaxed) && runner != 0 && runner != sync::this_thread_id()) {  // relaxed: a setting
      throw_usage_error("Non-thread-safe operation invoked on an event loop other than the current one");
    }
  }

  void set_debug(bool debug) noexcept { debug_.store(debug, mo::relaxed); }  // relaxed: a setting
  bool debug() const noexcept { return debug_.load(mo::relaxed); }
  void set_slow(std::chrono::nanoseconds slow) noexcept { slow_.store(slow, mo::relaxed); }  // relaxed: a setting
  std::chrono::nanoseconds slow() const noexcept { return slow_.load(mo::relaxed); }

  void set_handler(EventLoopExceptionHandler handler) {
    auto shared = std::make_shared<const EventLoopExceptionHandler>(std::move(handler));
    const ScopedLock guard{handler_lock_};
    std::swap(shared, handler_);  // the old one is destroyed without the lock
  }

  void report(const char* message, const std::exception_ptr& exception) noexcept {
    try {
      std::shared_ptr<const EventLoopExceptionHandler> handler;
      {
        const ScopedLock guard{handler_lock_};
        handler = handler_;
      }
      const EventLoopReport report{message, exception};
      *handler ? (*handler)(report) : default_exception_handler(report);
    } catch (...) {  // a handler that fails has nobody to report to
    }
  }

  // The thread that runs the loop.

  /// Runs until stop(). `prepare` is called first, once it is sure that nobody else runs the loop; `settle` last.
  /// @throws UsageError if somebody runs the loop, this thread runs another one, or the loop is closed
  template <class Prepare, class Settle>
  void run(const char* operation, Prepare prepare, Settle settle) {
    if (running_loop != nullptr && running_loop != this) {
      throw_refused(operation, "Cannot run the event loop while another loop is running");
    }
    const Running running{*this, operation};
    if (is_closed()) {
      throw_refused(operation, "Event loop is closed");
    }
    prepare();
    run_context();
    settle();
    stopping_.store(false, mo::relaxed);  // relaxed: whoever stops the next run does so after this
  }

  /// Cancels the coroutines that are left and runs until they have ended; then drops everything else.
  void close(const char* operation) {
    if (is_closed()) {
      return;
    }
    if (is_running()) {
      throw_refused(operation, "Cannot close a running event loop");
    }
    const Running running{*this, operation};
    if (is_closed()) {  // by another thread, meanwhile
      return;
    }
    closing_ = true;
    for (LoopCoroutine* coroutine = coroutines_; coroutine != nullptr;) {
      const std::size_t gone = removed_;
      if (!std::exchange(coroutine->told_to_end_, true)) {
        coroutine->cancel_coroutine();
      }
      coroutine = removed_ == gone ? coroutine->next_ : coroutines_;  // callbacks of its future may have ended others
    }
    while (coroutines_ != nullptr) {  // a stop() from elsewhere may come between
      run_context();
    }
    drop_all();
  }

  /// Whether a coroutine is not even to begin.
  bool closing() const noexcept { return closing_; }

  void add(LoopCoroutine& coroutine) noexcept {
    coroutine.previous_ = nullptr;
    coroutine.next_ = coroutines_;
    if (coroutines_ != nullptr) {
      coroutines_->previous_ = &coroutine;
    }
    coroutines_ = &coroutine;
  }
  void remove(LoopCoroutine& coroutine) noexcept {
    ++removed_;
    (coroutine.previous_ != nullptr ? coroutine.previous_->next_ : coroutines_) = coroutine.next_;
    if (coroutine.next_ != nullptr) {
      coroutine.next_->previous_ = coroutine.previous_;
    }
    if (closing_ && coroutines_ == nullptr) {
      context_.stop();
    }
  }

  void schedule(TimedCall& call) {
    if (call.is_cancelled()) {
      forget_cancelled(call);
      return;
    }
    call.number = ++last_timed_;
    timed_.push_back(&call);
    std::push_heap(timed_.begin(), timed_.end(), &TimedCall::is_later);
  }

  /// Of the calls that are, or will be, in the heap.
  const Ref<CancelledCalls>& cancelled_calls() const noexcept { return cancelled_; }

  /// Calls `fn`; what it throws goes to the handler. In debug mode reports it if it was slow.
  template <class F>
  void call(F&& fn) noexcept {
    const sync::TimePoint begin = debug() ? sync::now() : sync::forever;
    try {
      fn();
    } catch (...) {
      const std::exception_ptr exception = std::current_exception();
      keep_for_sanitizer(exception);
      report("exception in a callback", exception);
    }
    if (begin != sync::forever && sync::now() - begin >= slow()) {
      report_slow(sync::now() - begin);
    }
  }

  /// What runs the steps of coroutines.
  asio::any_io_executor executor();

 private:
  [[noreturn, gnu::cold, gnu::noinline]] static void throw_refused(const char* operation, const char* why) {
    std::string what = operation;
    what += ": ";
    what += why;
    throw UsageError{what};
  }

  struct Context : asio::io_context {
    Context() : io_context{1} {}
    /// Destroys all handlers, and with them the coroutines that wait.
    void drop_handlers() { shutdown(); }
  };

  /// passes() as a handler, and all that calls it. At most one is posted, so that its memory can lie here: a wake-up never
  /// fails.
  struct PassHandler {
    template <class T>
    struct Allocator {
      using value_type = T;
      explicit Allocator(EventLoopCore& core) noexcept : loop{&core} {}
      template <class U>
      Allocator(const Allocator<U>& other) noexcept
          : loop{other.loop} {}  // NOLINT(google-explicit-constructor): so asked
      T* allocate(std::size_t n) {
        static_assert(alignof(T) <= alignof(std::max_align_t));
        if (n * sizeof(T) > sizeof(EventLoopCore::pass_memory_)) {
          throw std::bad_alloc{};
        }
        return reinterpret_cast<T*>(static_cast<void*>(loop->pass_memory_));
      }
      void deallocate(T* /*memory*/, std::size_t /*n*/) noexcept {}
      friend bool operator==(const Allocator& a, const Allocator& b) noexcept { return a.loop == b.loop; }

      EventLoopCore* loop;
    };
    using allocator_type = Allocator<void*>;
    allocator_type get_allocator() const noexcept { return allocator_type{*loop}; }
    void operator()() const { loop->passes(); }

    EventLoopCore* loop;
  };

  /// The calling thread runs the loop, as long as this lives.
  class Running {
   public:
    Running(EventLoopCore& loop, const char* operation) : loop_{loop}, frame_{nullptr, nullptr, 0, loop.number_} {
      std::uint64_t nobody = 0;
      // acquire: pairs with the release of whoever ran it before.
      if (!loop.runner_.compare_exchange_strong(nobody, sync::this_thread_id(), mo::acquire, mo::relaxed)) {
        throw_refused(operation, "This event loop is already running");
      }
      sync::ThreadRecord& record = sync::this_thread();
      frame_.outer = static_cast<TaskFrame*>(record.frame);
      frame_.depth = frame_.outer == nullptr ? 0 : frame_.outer->depth;
      record.frame = &frame_;
      outer_ = std::exchange(running_loop, &loop);
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() {
      running_loop = outer_;
      sync::this_thread().frame = frame_.outer;
      loop_.runner_.store(0, mo::release);  // release: pairs with the acquire of whoever runs it next
    }

   private:
    EventLoopCore& loop_;
    EventLoopCore* outer_ = nullptr;  // which may close this one
    TaskFrame frame_;
  };

  void run_context() {
    context_.restart();
    const asio::executor_work_guard<asio::io_context::executor_type> work{context_.get_executor()};
    for (;;) {
      try {
        context_.run();
        return;
      } catch (...) {
        if (must_go_on()) {
          throw;
        }
        const std::exception_ptr exception = std::current_exception();
        keep_for_sanitizer(exception);
        report("exception in a handler", exception);
      }
    }
  }

  /// Sees to it that there will be a pass.
  void request_pass() noexcept {
    // seq_cst: comes after the push, or stopping_, and before the look of the pass that follows; see pass().
    if (!pass_requested_.exchange(true, mo::seq_cst)) {
      const ScopedLock guard{posting_};
      if (!dropped_) {
        asio::post(context_, PassHandler{this});
      }
    }
  }

  /// pass_requested_ is up as long as this runs: what comes meanwhile is found here, and posts nothing. Several passes at
  /// once, so that Asio asks the system for events less often than once for each; and not more, so that it does ask.
  void passes() {
    constexpr int kAtOnce = 16;
    struct AtEnd {
      EventLoopCore& core;
      ~AtEnd() {
        // seq_cst: comes before the looks at inbox_ and stopping_: what they miss asks for another pass.
        core.pass_requested_.exchange(false, mo::seq_cst);
        const bool unset = !core.timed_.empty() && core.alarm_.expiry() == sync::TimePoint{};
        if (unset || core.ready_ != nullptr || !core.inbox_.empty() || core.stopping_.load(mo::seq_cst)) {
          core.request_pass();
        }
      }
    };
    const AtEnd at_end{*this};
    for (int i = 0; i < kAtOnce; ++i) {
      pass();
      if (stopping_.exchange(false, mo::seq_cst)) {  // seq_cst: as above
        context_.stop();
        return;
      }
      if (inbox_.empty() || (closing_ && coroutines_ == nullptr)) {
        return;
      }
    }
  }

  void pass() {
    if (ready_ == nullptr) {  // else something was thrown out of the last one
      ready_ = inbox_.take();
    }
    while (ready_ != nullptr) {
      std::exchange(ready_, ready_->next)->run();
    }
    run_due();
  }

  /// Runs the calls whose time has come, and sees to it that there will be a pass for the next one.
  void run_due() {
    if (timed_.empty()) {
      return;
    }
    tidy_up();
    for (const sync::TimePoint now = sync::now(); !timed_.empty() && timed_.front()->when() <= now;) {
      std::pop_heap(timed_.begin(), timed_.end(), &TimedCall::is_later);
      TimedCall& call = *timed_.back();
      timed_.pop_back();
      if (call.is_cancelled()) {
        forget_cancelled(call);
      } else {
        call.run_now();
      }
    }
    if (!timed_.empty() && timed_.front()->when() != alarm_.expiry()) {
      set_alarm(timed_.front()->when());
    }
  }

  void set_alarm(sync::TimePoint when) {
    alarm_.expires_at(when);
    try {
      alarm_.async_wait([this](const asio::error_code& error) {
        if (!error) {
          unset_alarm();
          request_pass();
        }
      });
    } catch (...) {  // no memory: another pass tries again
      unset_alarm();
      throw;
    }
  }
  void unset_alarm() { alarm_.expires_at({}); }

  /// Where most of the heap was cancelled long before its time, throws that out.
  void tidy_up() {
    constexpr std::size_t kFew = 100;
    const std::size_t cancelled = cancelled_->count.load(mo::relaxed);  // relaxed: when to tidy up
    if (cancelled > kFew && cancelled > timed_.size() / 2) {
      const auto gone =
          std::partition(timed_.begin(), timed_.end(), [](TimedCall* call) { return !call->is_cancelled(); });
      std::for_each(gone, timed_.end(), [this](TimedCall* call) { forget_cancelled(*call); });
      timed_.erase(gone, timed_.end());
      std::make_heap(timed_.begin(), timed_.end(), &TimedCall::is_later);
    }
  }

  void forget_cancelled(TimedCall& call) noexcept {
    cancelled_->count.fetch_sub(1, mo::relaxed);  // relaxed: when to tidy up
    call.drop_reference();
  }

  void report_slow(sync::TimePoint::duration taken) noexcept {
    try {
      const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(taken).count();
      report(("a callback or a step of a coroutine took " + std::to_string(milliseconds) + " ms").c_str(), nullptr);
    } catch (const std::bad_alloc&) {  // then without a report
    }
  }

  void drop_all() {
    for (Task* task = inbox_.take(true); task != nullptr;) {
      std::exchange(task, task->next)->refuse(nullptr);
    }
    while (ready_ != nullptr) {
      std::exchange(ready_, ready_->next)->refuse(nullptr);
    }
    while (!timed_.empty()) {
      TimedCall& call = *timed_.back();
      timed_.pop_back();
      call.refuse(nullptr);
    }
    {
      // Whoever has found the inbox open may be about to post; Asio does not stand that while it drops its handlers.
      const ScopedLock guard{posting_};
      dropped_ = true;
    }
    context_.drop_handlers();
  }

  EventLoop& face_;
  const std::uint32_t number_;  // of its coroutines, as of a pool's tasks
  Inbox inbox_;
  sync::Atomic<bool> pass_requested_{false};
  Lock posting_;
  bool dropped_ = false;  // guarded by posting_: the handlers are, and no pass can be posted
  sync::Atomic<bool> stopping_{false};
  sync::Atomic<std::uint64_t> runner_{0};  // the identity of the thread that runs it
  std::atomic<bool> debug_;
  std::atomic<std::chrono::nanoseconds> slow_;
  const Ref<CancelledCalls> cancelled_ = Ref<CancelledCalls>::adopt(new CancelledCalls);
  Lock handler_lock_;
  std::shared_ptr<const EventLoopExceptionHandler> handler_;  // guarded by handler_lock_

  // Of the thread that runs the loop.
  Task* ready_ = nullptr;          // what is left of a pass
  std::vector<TimedCall*> timed_;  // a heap
  std::uint64_t last_timed_ = 0;   // as many came into it
  LoopCoroutine* coroutines_ = nullptr;
  std::size_t removed_ = 0;  // from there
  bool closing_ = false;

  alignas(std::max_align_t) std::byte pass_memory_[128];
  Context context_;
  asio::steady_timer alarm_{context_, sync::TimePoint{}};  // when the first of timed_ is due
};

/// An executor of the loop's context that looks how long each step takes.
template <class Inner>
class WatchingExecutor {
 public:
  WatchingExecutor(EventLoopCore& core, const Inner& inner) noexcept : loop_{&core}, inner_{inner} {}

  template <class Property>
    requires asio::can_require_v<const Inner&, Property>
  auto require(const Property& property) const { return watching(*loop_, asio::require(inner_, property)); }
  template <class Property>
    requires asio::can_query_v<const Inner&, Property>
  decltype(auto) query(const Property& property) const { return asio::query(inner_, property); }
  template <class F>
  void execute(F&& step) const {
    auto watched = [core = loop_, fn = std::decay_t<F>(std::forward<F>(step))]() mutable { core->call(fn); };
    if constexpr (requires { inner_.execute(std::move(watched)); }) {
      inner_.execute(std::move(watched));
    } else {  // Asio up to 1.22
      asio::execution::execute(inner_, std::move(watched));
    }
  }
  friend bool operator==(const WatchingExecutor& a, const WatchingExecutor& b) noexcept {
    return a.loop_ == b.loop_ && a.inner_ == b.inner_;
  }

 private:
  template <class Other>
  static WatchingExecutor<Other> watching(EventLoopCore& core, const Other& inner) {
    return {core, inner};
  }

  EventLoopCore* loop_;
  Inner inner_;
};

inline asio::any_io_executor EventLoopCore::executor() {
  if (debug()) {
    return WatchingExecutor<asio::io_context::executor_type>{*this, context_.get_executor()};
  }
  return context_.get_executor();
}

inline void call_on_loop(LoopCall& call) noexcept {
  running_loop->call([&call] { call.invoke(); });
}

inline void schedule_on_loop(TimedCall& call) {
  try {
    running_loop->schedule(call);
  } catch (...) {  // no memory
    running_loop->report("a timed callback is lost", std::current_exception());
    call.refuse(nullptr);
  }
}

}  // namespace conc::inline CONC_ABI::detail
