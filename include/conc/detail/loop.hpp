// SPDX-License-Identifier: MIT
/// @file
/// Loop: what the threads share that run a parallel_for together.
#pragma once

#include <conc/detail/future_core.hpp>
#include <conc/detail/ref.hpp>
#include <conc/detail/ring.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/task.hpp>
#include <conc/detail/wait_point.hpp>
#include <conc/error.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// Owned by the caller and by the helpers that are queued; those that come after the end of the loop go away again. So
/// the caller waits only for helpers that have come.
class Loop : public RefCounted, public Recycled {
 public:
  using Share = void (*)(const void* context, std::size_t begin, std::size_t end);

  Loop(std::size_t n, std::size_t threads, Share share, const void* context) noexcept
      : size_{n}, divisor_{2 * threads}, share_{share}, context_{context} {}

  /// Takes shares until there are none left. Throws nothing but the forced unwind of a thread that is made to exit.
  void work() {
    std::size_t begin = next_.load(mo::relaxed);  // relaxed: a guess; the exchange checks it
    while (begin < size_) {
      const std::size_t left = size_ - begin;
      const std::size_t wanted = left > divisor_ ? left / divisor_ : 1;
      const std::size_t end = begin + (wanted < kLargest ? wanted : kLargest);
      if (!next_.compare_exchange_weak(begin, end, mo::relaxed,
                                       mo::relaxed)) {  // relaxed: shares only have to be distinct
        continue;
      }
      try {
        share_(context_, begin, end);
      } catch (...) {
        if (must_go_on()) {
          fail(make_error<BrokenPromise>("parallel_for: a thread that took part was made to exit"));
          throw;
        }
        fail(std::current_exception());
      }
      begin = next_.load(mo::relaxed);  // relaxed: as above
    }
  }

  /// What a helper does.
  void help() {
    std::uint64_t old = word_.load(mo::relaxed);  // relaxed: a guess; the exchange checks it
    do {
      if ((old & kClosed) != 0) {
        return;
      }
      // acquire: the loop was published with the task. relaxed: a failure looks again.
    } while (!word_.compare_exchange_weak(old, old + kHelper, mo::acquire, mo::relaxed));
    struct Leave {
      Loop& loop;
      ~Leave() {
        // release: pairs with the acquire in finish().
        const std::uint64_t before = loop.word_.fetch_sub(kHelper, mo::release);
        if ((before & kSleepers) != 0 && before < 2 * kHelper) {
          sync::wake<std::uint64_t>(&loop.word_, sync::everybody);  // the helper's reference keeps the word alive
        }
      }
    };
    const Leave leave{*this};
    work();
  }

  /// Lets no more helpers in, and waits for those that are.
  void finish() {
    word_.fetch_or(kClosed, mo::relaxed);  // relaxed: publishes nothing
    await(word_, kSleepers, never, Spin{}, {"parallel_for", this}, [](std::uint64_t value) {
      return value < kHelper;
    });  // loaded with acquire: pairs with the release in help()
  }

  /// After finish(): the first exception, or null.
  const std::exception_ptr& error() const noexcept { return error_; }

 private:
  // word_ = helpers << 2 | kClosed | kSleepers
  //   helpers    how many have come and not gone.
  //   kClosed    none may come any more. Raised by the caller, never dropped.
  //   kSleepers  the caller may be asleep until helpers is 0; see detail::await. Left raised: nobody sleeps here twice.
  static constexpr std::size_t kLargest = 65'536;  // elements of a share: how long the others go on after an exception
  static constexpr std::uint64_t kSleepers = 1;
  static constexpr std::uint64_t kClosed = 2;
  static constexpr std::uint64_t kHelper = 4;

  void fail(const std::exception_ptr& exception) noexcept {
    next_.store(size_, mo::relaxed);  // relaxed: the others stop when they see it
    // relaxed: only one may win; the caller's acquire of word_ comes after its write.
    if (!failed_.exchange(true, mo::relaxed)) {
      keep_for_sanitizer(exception);
      error_ = exception;
    }
  }

  const std::size_t size_;
  const std::size_t divisor_;
  const Share share_;
  const void* const context_;
  sync::Atomic<bool> failed_{false};
  std::exception_ptr error_;
  sync::Atomic<std::uint64_t> word_{0};
  alignas(apart) sync::Atomic<std::size_t> next_{0};  // the first element that nobody has taken
};

/// Whether the calling thread, which is no worker, runs tasks in their stead: see Scheduler::sweep().
inline bool stands_in() noexcept {
  const sync::ThreadRecord& me = sync::this_thread();
  return me.worker == nullptr && me.frame != nullptr && static_cast<const TaskFrame*>(me.frame)->task == nullptr;
}

/// Calls share(begin, end) for parts of [0, n), on this thread and on workers of `executor`.
template <class E, class F>
void run_loop(E& executor, std::size_t n, const F& share) {
  bool by_worker = false;  // of this executor: one thread less can come to help
  if constexpr (requires { executor.worker_index().has_value(); }) {
    by_worker = executor.worker_index().has_value() || stands_in();
  }
  const std::size_t workers = executor.max_workers();
  std::size_t helpers = by_worker ? workers - 1 : workers;
  helpers = helpers < n ? helpers : n - 1;
  const auto call = [](const void* context, std::size_t begin, std::size_t end) {
    (*static_cast<const F*>(context))(begin, end);
  };
  const auto loop = Ref<Loop>::adopt(new Loop{n, helpers + 1, call, &share});
  for (std::size_t i = 0; i < helpers; ++i) {
    try {
      executor.detach([loop] { loop->help(); });
    } catch (...) {
      if (i == 0 && !by_worker) {
        throw;  // nothing has been done yet
      }
      break;  // fewer will do: the pool is full, or is shut down while its tasks go on
    }
  }
  {
    struct Finish {  // also where this thread is made to exit: the helpers use what is on its stack
      Loop& loop;
      ~Finish() { loop.finish(); }
    };
    const Finish finish{*loop};
    loop->work();
  }
  if (loop->error() != nullptr) {
    std::rethrow_exception(loop->error());
  }
}

}  // namespace conc::inline CONC_ABI::detail
