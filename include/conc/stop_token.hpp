// SPDX-License-Identifier: MIT
/// @file
/// StopSource, StopToken, StopCallback: one side asks, the other side learns that it shall end.
///
/// The three types of C++20's <stop_token>, on conc's seam: what they wait for is seen by the explorer and by the dumps
/// of a watchdog, and a callback that throws is reported and does not end the program.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/recycler.hpp>
#include <conc/detail/ref.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/wait_point.hpp>
#include <conc/error.hpp>
#include <cstdint>
#include <exception>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI {

namespace detail {

/// What sources, tokens and callbacks of one stop share.
///
/// Only one call of request_stop() wins. Its thread, the requester, takes the callbacks off the list one by one, under
/// the lock, and calls each without it. The requester does not touch a callback once it has called it: it may be gone.
class StopState final : public RefCounted, public Recycled {
 public:
  /// The part of a StopCallback that does not depend on the callable. `next` and `link` belong to whoever has the lock.
  struct Callback {
    void (*call)(Callback&) noexcept;
    Callback* next = nullptr;
    Callback** link = nullptr;  // what points to it in the list; null: it is not in the list
  };

  [[nodiscard]] bool stop_requested() const noexcept {
    return (word_.load(mo::acquire) & kStopped) != 0;  // acquire: pairs with release (1)
  }
  [[nodiscard]] bool stop_possible() const noexcept {
    const std::uint64_t value = word_.load(mo::relaxed);  // relaxed: orders nothing
    return (value & kStopped) != 0 || value >= kSource;
  }

  // relaxed, both: who adds one has one, and nothing is promised to who learns that none is left.
  void add_source() noexcept { word_.fetch_add(kSource, mo::relaxed); }
  void drop_source() noexcept { word_.fetch_sub(kSource, mo::relaxed); }

  /// The caller holds a source, and a reference that none of the callbacks can drop.
  bool request_stop() noexcept {
    if (!lock(kStopped, "StopSource::request_stop")) {
      return false;
    }
    requester_ = sync::this_thread_id();
    while (Callback* const callback = first_) {
      unlink(*callback);
      running_ = callback;
      step_and_unlock();
      callback->call(*callback);
      lock("StopSource::request_stop");
    }
    running_ = nullptr;
    step_and_unlock();
    return true;
  }

  /// @return false if stop was requested already, or never can be: then it was not added.
  bool add(Callback& callback) noexcept {
    if (!lock(0, "StopCallback::StopCallback")) {
      return false;
    }
    callback.link = last_;
    *last_ = &callback;
    last_ = &callback.next;
    unlock();
    return true;
  }

  /// Takes an added callback out of the list, or waits while it runs on another thread.
  void remove(Callback& callback) noexcept {
    constexpr const char* operation = "StopCallback::~StopCallback";
    lock(operation);
    const bool runs_elsewhere = running_ == &callback && requester_ != sync::this_thread_id();
    const std::uint64_t before = word_.load(mo::relaxed);  // relaxed: who has the lock counts the steps, here nobody
    if (callback.link != nullptr) {
      unlink(callback);
    }
    unlock();
    if (runs_elsewhere) {
      // Loaded with acquire, which pairs with release (3): what the callback did is visible.
      const auto attempt = [before](std::uint64_t value) { return ((value ^ before) & kSteps) != 0; };
      await(word_, kEndSleepers, never, Spin{}, {operation, &callback}, attempt);
    }
  }

 private:
  // word_ = sources << 32 | steps << 4 | kEndSleepers | kLockSleepers | kLocked | kStopped
  //   kStopped       stop was requested. Raised once, together with kLocked, and never dropped.
  //   kLocked        somebody has the lock: of the list, of running_ and of requester_.
  //   kLockSleepers  somebody may be asleep until the lock is free. Dropped by every unlock.
  //   kEndSleepers   somebody may be asleep until the running callback has ended. Dropped by every step.
  //   steps          counts how often the requester has gone on: running_ changes with it, under the lock, so that one
  //                  who waits for the end of a callback needs to look at nothing but the word.
  //   sources        how many StopSources there are, in the half of the word that sleepers do not look at.
  // Legal: a sleepers bit with nobody asleep (it found the lock free, or the step made): one needless wake.
  // Illegal: a step without the lock; a source added where there is none (who gave up on the state would be fooled).
  // The steps wrap after 2^28 callbacks of one state: a waiter must sleep through all of them to be fooled.
  static constexpr std::uint64_t kStopped = 1;
  static constexpr std::uint64_t kLocked = 2;
  static constexpr std::uint64_t kLockSleepers = 4;
  static constexpr std::uint64_t kEndSleepers = 8;
  static constexpr std::uint64_t kStep = 16;
  static constexpr std::uint64_t kSteps = 0xffff'fff0;
  static constexpr std::uint64_t kSource = std::uint64_t{1} << 32U;

  void lock(const char* operation) noexcept {
    (void)lock_if(operation, 0, [](std::uint64_t) { return true; });
  }

  /// Takes the lock and raises `bits`. @return false if stop was requested already, or never can be
  bool lock(std::uint64_t bits, const char* operation) noexcept {
    return lock_if(operation, bits, [](std::uint64_t value) { return (value & kStopped) == 0 && value >= kSource; });
  }

  template <class Condition>
  bool lock_if(const char* operation, std::uint64_t bits, Condition wanted) noexcept {
    bool locked = false;
    const auto attempt = [&](std::uint64_t& value) {
      while (wanted(value) && (value & kLocked) == 0) {
        // release (1), which matters where kStopped is raised: pairs with the acquire of stop_requested(), and of
        // who is refused for it. acquire, also where it fails: pairs with (1), and with (2) and (3) of who had the
        // lock.
        if (word_.compare_exchange_weak(value, value | kLocked | bits, mo::acq_rel, mo::acquire)) {
          return locked = true;
        }
      }
      return !wanted(value);
    };
    await(word_, kLockSleepers, never, Spin{}, {operation, this}, attempt);
    return locked;
  }

  void unlock() noexcept {
    // release (2): pairs with the acquire of the next who gets the lock.
    if ((word_.fetch_and(~(kLocked | kLockSleepers), mo::release) & kLockSleepers) != 0) {
      sync::wake<std::uint64_t>(&word_, sync::everybody);
    }
  }

  void step_and_unlock() noexcept {
    std::uint64_t old = word_.load(mo::relaxed);  // relaxed: a guess; the exchange checks it
    std::uint64_t next = 0;
    do {
      next = (old & ~(kSteps | kEndSleepers | kLockSleepers | kLocked)) | ((old + kStep) & kSteps);
      // release (3): pairs with the acquire of the next who gets the lock, and of who waited for the step.
    } while (!word_.compare_exchange_weak(old, next, mo::release, mo::relaxed));
    if ((old & (kEndSleepers | kLockSleepers)) != 0) {
      sync::wake<std::uint64_t>(&word_, sync::everybody);
    }
  }

  void unlink(Callback& callback) noexcept {
    *callback.link = callback.next;
    (callback.next == nullptr ? last_ : callback.next->link) = callback.link;
    callback.link = nullptr;
  }

  sync::Atomic<std::uint64_t> word_{kSource};
  Callback* first_ = nullptr;
  Callback** last_ = &first_;    // the null pointer at the end of the list
  Callback* running_ = nullptr;  // what the requester calls; compared only: it may be gone
  std::uint64_t requester_ = 0;  // identity of the thread that calls the callbacks
};

}  // namespace detail

/// A handle that tells whether stop was requested. Copies belong to the same StopSource.
///
/// @par Thread safety   every const member from any thread at any time; one handle is not changed while another thread
///                      uses it.
/// @par Memory ordering what X did before its request_stop() returned true is visible to Y once Y's stop_requested()
///                      returned true, and to the callbacks.
/// @par Lifetime        may outlive all sources.
/// @par Cost            stop_requested(): one load. A copy: one atomic addition.
/// @par Python          none; it stands for the threading.Event that programs hand to a thread to end it.
class StopToken {
 public:
  /// A token without a source: stop is never requested.
  StopToken() noexcept = default;
  StopToken(const StopToken& other) noexcept : state_{other.state_} {
    if (state_ != nullptr) {
      state_->add_reference();
    }
  }
  StopToken(StopToken&& other) noexcept : state_{std::exchange(other.state_, nullptr)} {}
  StopToken& operator=(StopToken other) noexcept {
    swap(other);
    return *this;
  }
  ~StopToken() {
    if (state_ != nullptr) {
      state_->drop_reference();
    }
  }

  [[nodiscard]] bool stop_requested() const noexcept { return state_ != nullptr && state_->stop_requested(); }

  /// Whether stop was requested or can be: false for a token without a source, and once the last source is gone.
  [[nodiscard]] bool stop_possible() const noexcept { return state_ != nullptr && state_->stop_possible(); }

  void swap(StopToken& other) noexcept { std::swap(state_, other.state_); }
  friend void swap(StopToken& a, StopToken& b) noexcept { a.swap(b); }

  /// Whether both belong to the same source, or both to none.
  friend bool operator==(const StopToken& a, const StopToken& b) noexcept { return a.state_ == b.state_; }

 private:
  friend class StopSource;
  template <class F>
  friend class StopCallback;

  explicit StopToken(detail::StopState* adopted) noexcept : state_{adopted} {}

  detail::StopState* state_ = nullptr;
};
static_assert(sizeof(StopToken) == sizeof(void*));

/// The side that asks. Copies ask the same tokens.
///
/// @par Thread safety   every const member from any thread at any time; one handle is not changed while another thread
///                      uses it.
/// @par Memory ordering as StopToken. A request_stop() that returned false publishes nothing.
/// @par Lifetime        may be destroyed by a callback that its own request_stop() calls, and by whoever saw that stop
///                      was requested, even while that request_stop() is still at the callbacks.
/// @par Cost            construction takes one block of recycled memory; request_stop(): a few atomic operations, and two for each callback.
/// @par Python          none; see StopToken.
class StopSource {
 public:
  StopSource() : token_{new detail::StopState} {}
  StopSource(const StopSource& other) noexcept : token_{other.token_} {
    if (token_.state_ != nullptr) {
      token_.state_->add_source();
    }
  }
  /// Leaves `other` without tokens: it can ask nobody.
  StopSource(StopSource&& other) noexcept = default;
  StopSource& operator=(StopSource other) noexcept {
    swap(other);
    return *this;
  }
  ~StopSource() {
    if (token_.state_ != nullptr) {
      token_.state_->drop_source();
    }
  }

  /// Asks all who have a token to stop, and calls their callbacks: on this thread, one after the other, in the order of
  /// their registration, with no lock held.
  /// @return true for the first call for these tokens, when all callbacks have returned; false for every other call, at
  ///         once, while the first may still be at the callbacks.
  /// @throws nothing. What a callback throws goes to the hook (set_excepthook), and the next one is called.
  bool request_stop() const noexcept {
    const StopToken keep{token_};  // a callback may destroy this source, and be the last to have a token
    return keep.state_ != nullptr && keep.state_->request_stop();
  }

  [[nodiscard]] StopToken get_token() const noexcept { return token_; }
  [[nodiscard]] bool stop_requested() const noexcept { return token_.stop_requested(); }
  /// Whether this source can ask anybody: false only if it was moved from.
  [[nodiscard]] bool stop_possible() const noexcept { return token_.state_ != nullptr; }

  void swap(StopSource& other) noexcept { token_.swap(other.token_); }
  friend void swap(StopSource& a, StopSource& b) noexcept { a.swap(b); }
  friend bool operator==(const StopSource& a, const StopSource& b) noexcept { return a.token_ == b.token_; }

 private:
  StopToken token_;
};

/// Calls `callback()` once, when stop is requested: on the thread that calls request_stop(), or at once, on this one,
/// if that has happened already.
///
/// What the callback throws goes to the hook (set_excepthook). It must not end its thread: pthread_exit() in a callback
/// ends the program.
///
/// @par Thread safety   may be made and destroyed by any thread at any time.
/// @par Memory ordering the callback sees what was before the constructor; what the callback did is visible after the
///                      destructor.
/// @par Lifetime        the destructor waits while the callback runs on another thread. A callback may destroy its own
///                      StopCallback, or another one: that destructor waits for nobody.
/// @par Cost            no allocation; registration and its end are two atomic operations each.
/// @par Python          none.
template <class F>
class StopCallback : private detail::StopState::Callback {
  static_assert(std::is_invocable_v<F>, "StopCallback{token, fn}: fn must be callable without arguments");

 public:
  /// @throws what the construction of the callable throws; then nothing was registered.
  template <class G>
    requires std::is_constructible_v<F, G>
  explicit StopCallback(StopToken token, G&& callback) noexcept(std::is_nothrow_constructible_v<F, G>)
      : Callback{&call_it}, token_{std::move(token)}, callback_(std::forward<G>(callback)) {
    if (token_.state_ != nullptr && !token_.state_->add(*this)) {
      // Forget the state before the call, which may take long.
      if (StopToken{std::move(token_)}.stop_requested()) {
        call_it(*this);
      }
    }
  }
  StopCallback(const StopCallback&) = delete;
  StopCallback& operator=(const StopCallback&) = delete;
  ~StopCallback() {
    if (token_.state_ != nullptr) {
      token_.state_->remove(*this);
    }
  }

 private:
  static void call_it(detail::StopState::Callback& self) noexcept {
    try {
      std::forward<F>(static_cast<StopCallback&>(self).callback_)();
    } catch (...) {
      detail::report_uncaught({std::current_exception(), "unknown, in a StopCallback"});
    }
  }

  StopToken token_;  // none if the callback was not registered
  F callback_;
};

template <class F>
StopCallback(StopToken, F) -> StopCallback<F>;

}  // namespace conc::inline CONC_ABI
