// SPDX-License-Identifier: MIT
/// @file
/// Children: coroutines that another one waits for.
#pragma once

#include <conc/detail/asio.hpp>
#include <conc/detail/bell.hpp>
#include <conc/detail/event_loop_core.hpp>
#include <conc/detail/future_core.hpp>
#include <conc/detail/ref.hpp>
#include <conc/detail/sync.hpp>
#include <conc/error.hpp>
#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace conc::inline CONC_ABI::detail {

/// What stands for void among results.
template <class T>
using Gathered = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

/// Whether a coroutine ends so because it was cancelled.
inline bool is_cancellation(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const CancelledError&) {
    return true;
  } catch (const std::system_error& error) {
    return error.code() == asio::error::operation_aborted;
  } catch (...) {
    return false;
  }
}

/// Coroutines that run at the same time on behalf of one, which waits here until all of them have ended. The first that
/// fails has the others cancelled. Their results come to parts of a Results.
template <class Results>
class Children {
 public:
  Children(EventLoopCore& core, std::size_t most)
      : loop_{core}, bell_{core}, group_{Ref<Group>::adopt(new Group{core, bell_, most})} {}
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;
  ~Children() {
    group_->bell = nullptr;
    if (group_->running != 0) {  // there was no memory to wait for them
      group_->cancel();
    }
  }

  Results& results() noexcept { return group_->results; }

  /// Begins `body`, whose result comes to `result`, a part of results().
  template <class T>
  void start(asio::awaitable<T> body, std::optional<Gathered<T>>& result) {
    asio::cancellation_signal& signal = group_->signals[group_->started++];
    group_->begin_one();
    End end{group_, signal};
    group_->starting = true;
    try {
      asio::co_spawn(loop_.executor(), drive(std::move(body), group_, result),
                     asio::bind_cancellation_slot(signal.slot(), std::move(end)));
    } catch (...) {  // no memory for it
      group_->lost = false;
      group_->fail(std::current_exception());
    }
    group_->starting = false;
    if (group_->lost) {
      group_->lose_one();
    }
    if (group_->exception != nullptr) {
      group_->cancel();  // also what is started after the one that failed
    }
  }

  /// Once. Waits until all have ended; once `until` has passed, or the one who waits here is cancelled, they are cancelled
  /// too.
  /// @return whether they ended in time
  /// @throws CancelledError, once they have ended, if the one who waits was cancelled
  asio::awaitable<bool> join_until(sync::TimePoint until, const char* operation) {
    Group& group = *group_;
    bool in_time = true;
    bool cancelled = false;
    group.joining = true;
    while (group.running != 0) {
      const Bell::Woken woken = co_await bell_.wait(in_time ? until : sync::forever);
      if (woken != Bell::Woken::rung) {
        in_time = in_time && woken != Bell::Woken::timed_out;
        if (woken == Bell::Woken::cancelled) {
          cancelled = true;
          if (!loop_.closing()) {
            group.told = 0;  // who is told again tells them again
          }
        }
        group.cancel();
      }
    }
    if (cancelled) {
      throw CancelledError{std::string{operation} + ": the coroutine was cancelled"};
    }
    co_return in_time;
  }

  /// The same without an end. @throws what the first one threw that failed
  asio::awaitable<void> join(const char* operation) {
    co_await join_until(sync::forever, operation);
    rethrow();
  }

  /// What the first one threw that failed; null if none did.
  const std::exception_ptr& exception() const noexcept { return group_->exception; }
  void rethrow() const {
    if (exception() != nullptr) {
      std::rethrow_exception(exception());
    }
  }

 private:
  /// What is shared with the ends of the children: where handlers are dropped, who waits may be gone before them.
  struct Group final : RefCounted, LoopCoroutine {
    Group(EventLoopCore& core, Bell& rung, std::size_t most) : loop{core}, bell{&rung}, signals(most) {}

    /// By a loop that closes. It also waits for children of whom it does not know who waits for them.
    void cancel_coroutine() noexcept override {
      told = 0;
      cancel();
    }

    void fail(const std::exception_ptr& cause) {
      if (exception == nullptr) {
        exception = cause;
        keep_for_sanitizer(cause);
        cancel();
      }
    }

    /// Cancels those that were not told yet.
    void cancel() noexcept {
      while (told < started) {
        loop.call([&signal = signals[told++]] { signal.emit(asio::cancellation_type::terminal); });
      }
    }

    /// It was destroyed before its end.
    void lose_one() {
      lost = starting;  // then start() knows more
      if (!lost) {
        fail(make_error<CancelledError>("the coroutine was destroyed"));
      }
    }

    void begin_one() noexcept {
      if (running++ == 0 && !loop.closing()) {
        loop.add(*this);
        listed = true;
      }
    }
    void end_one() {
      if (--running == 0) {
        if (std::exchange(listed, false)) {
          loop.remove(*this);
        }
        if (joining && bell != nullptr) {
          bell->ring();
        }
      }
    }

    EventLoopCore& loop;
    Bell* bell;  // null once nobody waits
    Results results{};
    bool starting = false;  // a child
    bool lost = false;      // it was destroyed meanwhile
    std::vector<asio::cancellation_signal> signals;
    std::size_t started = 0;
    std::size_t told = 0;  // of those that were started: cancelled
    std::size_t running = 0;
    bool listed = false;   // by the loop
    bool joining = false;  // all are started: the bell rings when the last one ends
    std::exception_ptr exception;
  };

  /// Called or not, its end is the end of a child.
  class End {
   public:
    End(const Ref<Group>& group, asio::cancellation_signal& signal) noexcept : group_{group}, signal_{signal} {}
    End(End&& other) noexcept : group_{std::move(other.group_)}, signal_{other.signal_} { other.group_.reset(); }
    End& operator=(End&&) = delete;
    ~End() {
      if (group_.has_value()) {
        Group& group = **group_;
        if (!called_) {
          signal_.slot().clear();  // what it would call may be gone with the coroutine
          group.lose_one();
        }
        group.end_one();
      }
    }
    void operator()(const std::exception_ptr& exception) {
      called_ = true;
      if (exception != nullptr) {
        (*group_)->fail(exception);
      }
    }

   private:
    std::optional<Ref<Group>> group_;
    asio::cancellation_signal& signal_;  // in the group
    bool called_ = false;
  };

  template <class T>
  static asio::awaitable<void> drive(asio::awaitable<T> body, Ref<Group> /*kept: the result is in it*/,
                                     std::optional<Gathered<T>>& result) {
    if constexpr (std::is_void_v<T>) {
      co_await std::move(body);
      result.emplace();
    } else {
      result.emplace(co_await std::move(body));
    }
  }

  EventLoopCore& loop_;
  Bell bell_;
  const Ref<Group> group_;
};

}  // namespace conc::inline CONC_ABI::detail
