// SPDX-License-Identifier: MIT
/// @file
/// LoopCall: a callable that an event loop is to call, soon or at a certain time.
#pragma once

#include <conc/detail/future_state.hpp>
#include <conc/detail/ref.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/task.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

namespace conc::inline CONC_ABI::detail {

class LoopCall;
class TimedCall;

// On the thread that runs a loop.

/// Invokes it; what it throws goes to the loop's handler.
void call_on_loop(LoopCall& call) noexcept;
/// Puts it into the loop's heap.
void schedule_on_loop(TimedCall& call);

/// A callable that waits in a loop for its turn. The loop and the handles own it together.
///
///   waiting --- the loop calls it ---> taken
///      '------- cancel() ------------> cancelled
///
/// The callable belongs to whoever moves on from waiting, and is destroyed by that.
class LoopCall : public Task, public RefCounted {
 public:
  using Recycled::operator new;
  using Recycled::operator delete;

  struct Place {};
  explicit LoopCall(Place /*anywhere*/) noexcept {}

  /// @return whether it will not be called: false once its call has begun.
  bool cancel() noexcept {
    if (leave(cancelled)) {
      add_reference();  // the callable may own the handle that this is called through
      on_cancel();
      destroy_callable();
      drop_reference();
      return true;
    }
    return is_cancelled();
  }
  /// acquire: what was done before cancel() is visible to whoever finds it cancelled; pairs with leave().
  [[nodiscard]] bool is_cancelled() const noexcept { return state_.load(mo::acquire) == cancelled; }

  /// When it is to be called; the clock's epoch: as soon as possible.
  [[nodiscard]] virtual sync::TimePoint when() const noexcept { return {}; }

  // By the loop, which gives up its reference.

  Outcome run() override {
    if (leave(taken)) {
      call_on_loop(*this);
    }
    drop_reference();
    return Outcome::claimed;  // nobody counts calls
  }
  Outcome refuse(const std::exception_ptr& /*why*/) noexcept final {
    cancel();
    drop_reference();
    return Outcome::cancelled;
  }

  /// Once, by call_on_loop(): calls the callable and destroys it.
  virtual void invoke() = 0;

 protected:
  ~LoopCall() override = default;

  virtual void destroy_callable() noexcept = 0;
  virtual void on_cancel() noexcept {}

 private:
  enum : std::uint32_t { waiting, taken, cancelled };

  bool leave(std::uint32_t reached) noexcept {
    std::uint32_t old = waiting;
    // release (1): pairs with is_cancelled(). acquire: nothing of the call comes before it is taken.
    return state_.compare_exchange_strong(old, reached, mo::acq_rel, mo::relaxed);
  }

  sync::Atomic<std::uint32_t> state_{waiting};
};

/// How many calls were cancelled that are, or will come, in a loop's heap. Handles may outlive the loop.
struct CancelledCalls : RefCounted {
  std::atomic<std::size_t> count{0};
};

/// A LoopCall for a certain time.
class TimedCall : public LoopCall {
 public:
  struct Place {
    const Ref<CancelledCalls>& cancelled;
    sync::TimePoint when;
  };
  explicit TimedCall(Place place) noexcept
      : LoopCall{LoopCall::Place{}}, cancelled_{place.cancelled}, when_{place.when} {}

  [[nodiscard]] sync::TimePoint when() const noexcept final { return when_; }

  /// From the inbox it comes into the heap.
  Outcome run() final {
    schedule_on_loop(*this);
    return Outcome::claimed;
  }
  /// Its time has come.
  void run_now() { LoopCall::run(); }

  /// For a heap with the first on top.
  static bool is_later(const TimedCall* one, const TimedCall* other) noexcept {
    return one->when_ != other->when_ ? one->when_ > other->when_ : one->number > other->number;
  }

  std::uint64_t number = 0;  // in the order in which they came into the heap; belongs to the loop

 protected:
  void on_cancel() noexcept final { cancelled_->count.fetch_add(1, mo::relaxed); }  // relaxed: when to tidy up

 private:
  const Ref<CancelledCalls> cancelled_;
  const sync::TimePoint when_;
};

/// A LoopCall or a TimedCall with its callable.
template <class Base, class F, class... Args>
class LoopCallOf final : public Base {
 public:
  template <class G, class... As>
  explicit LoopCallOf(typename Base::Place place, G&& fn, As&&... args)
      : Base{place}, call_{std::forward<G>(fn), {std::forward<As>(args)...}} {}

  void invoke() override {
    struct Destroy {
      CallOf& call;
      ~Destroy() { call.~CallOf(); }
    };
    const Destroy destroy{call_};
    call_();
  }

 protected:
  ~LoopCallOf() override {}  // by now the callable is gone

  void destroy_callable() noexcept override { call_.~CallOf(); }

 private:
  using CallOf = Call<F, Args...>;
  union {
    CallOf call_;  // while waiting
  };
};

}  // namespace conc::inline CONC_ABI::detail
