// SPDX-License-Identifier: MIT
/// @file
/// Bell: where a coroutine on an event loop sleeps. FutureBell: one that a future rings.
#pragma once

#include <conc/detail/asio.hpp>
#include <conc/detail/event_loop_core.hpp>
#include <conc/detail/future_core.hpp>
#include <conc/detail/ref.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/task.hpp>
#include <conc/error.hpp>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <type_traits>

namespace conc::inline CONC_ABI::detail {

/// What co_await gives for a T: a reference cannot leave an asio::awaitable as such.
template <class T>
using Awaited =
    std::conditional_t<std::is_lvalue_reference_v<T>, std::reference_wrapper<std::remove_reference_t<T>>, T>;

/// The loop that the calling coroutine runs on. @throws UsageError if there is none
inline EventLoopCore& this_loop(const char* operation) {
  if (running_loop == nullptr) {
    throw_usage_error(std::string{operation} + ": no running event loop");
  }
  return *running_loop;
}

/// Where one coroutine sleeps: until it is rung for, until a deadline, or until the coroutine is cancelled.
class Bell {
 public:
  enum class Woken : std::uint8_t { rung, timed_out, cancelled };

  explicit Bell(EventLoopCore& loop) : timer_{loop.context()} {}

  /// On the loop's thread.
  void ring() {
    rung_ = true;
    timer_.cancel();
  }

  /// A cancellation is told once, and even if the wait is just over: what is awaited afterwards is awaited.
  asio::awaitable<Woken> wait(sync::TimePoint until = sync::forever) {
    if (rung_) {
      co_return Woken::rung;
    }
    if (until <= sync::now()) {
      co_await asio::post(asio::use_awaitable);  // lets others go first; a timer would ask the system
    } else {
      timer_.expires_at(until);
      asio::error_code error;
      co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, error));
    }
    const asio::cancellation_state state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) {  // perhaps when the wait was just over
      co_await asio::this_coro::reset_cancellation_state();
      co_return Woken::cancelled;
    }
    co_return rung_ ? Woken::rung : Woken::timed_out;
  }

 private:
  asio::steady_timer timer_;
  bool rung_ = false;
};

/// Rings a bell on a loop when a future is done.
class FutureBell {
 public:
  FutureBell(EventLoopCore& loop, FutureCore& future)
      : bell_{loop}, future_{future}, ringer_{Ref<Ringer>::adopt(new Ringer{loop, bell_})} {
    ringer_->add_reference();  // the callback's
    if (!future_.add(*ringer_)) {
      bell_.ring();
      ringer_->drop_reference();
    }
  }
  FutureBell(const FutureBell&) = delete;
  FutureBell& operator=(const FutureBell&) = delete;
  ~FutureBell() {
    ringer_->bell = nullptr;
    if (future_.remove(*ringer_)) {
      ringer_->drop_reference();
    }
  }

  Bell* operator->() noexcept { return &bell_; }

 private:
  /// What lies between the two threads: a callback of the future, then a task of the loop.
  struct Ringer final : Task, Callback, RefCounted {
    using Recycled::operator new;
    using Recycled::operator delete;

    Ringer(EventLoopCore& core, Bell& rung) noexcept
        : Callback{Needs::nothing}, loop{Ref<EventLoopCore>::share(&core)}, bell{&rung} {}

    void call(FutureCore& /*future*/) noexcept override {
      const Ref<EventLoopCore> kept = loop;
      if (!kept->push(*this)) {
        drop_reference();
      }
    }
    Outcome run() override {
      if (bell != nullptr) {
        bell->ring();
      }
      drop_reference();
      return Outcome::claimed;
    }
    Outcome refuse(const std::exception_ptr& /*why*/) noexcept override {
      drop_reference();
      return Outcome::cancelled;
    }

    const Ref<EventLoopCore> loop;
    Bell* bell;  // null once nobody waits; of the loop's thread
  };

  Bell bell_;
  FutureCore& future_;
  const Ref<Ringer> ringer_;
};

}  // namespace conc::inline CONC_ABI::detail
