// SPDX-License-Identifier: MIT
/// @file
/// wait, as_completed, when_all, when_any: several futures at once.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/completions.hpp>
#include <conc/error.hpp>
#include <conc/future.hpp>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI {

/// When wait() returns.
enum class ReturnWhen : std::uint8_t {
  all_completed,    ///< when all futures are done
  first_completed,  ///< when any future is done
  first_exception,  ///< when any future has failed (a cancelled one has not), or all are done
};

/// What wait() may be told.
struct WaitOptions {
  Deadline timeout = never;
  ReturnWhen return_when = ReturnWhen::all_completed;
};

/// What wait() returns: every future once, in the order of the range.
template <class T>
struct DoneAndNotDone {
  std::vector<Future<T>> done;
  std::vector<Future<T>> not_done;
};

namespace detail {

/// The end of a range that knows by itself when it is over.
struct End {};

template <class Range>
using FutureOf = std::remove_cvref_t<decltype(*std::begin(std::declval<Range&>()))>;
template <class Range>
using ValueOf = typename FutureOf<Range>::value_type;

/// Copies of the handles in a range. @throws UsageError for a handle that names no future.
template <class Range>
std::vector<FutureOf<Range>> copies(Range&& range, const char* operation) {
  std::vector<FutureOf<Range>> futures;
  for (const auto& future : range) {
    if (!future.valid()) {
      throw_usage_error(std::string{operation} + ": one of the handles names no future");
    }
    futures.push_back(future);
  }
  return futures;
}

/// The same, each future once.
template <class Range>
std::vector<FutureOf<Range>> distinct(Range&& range, const char* operation) {
  std::vector<FutureOf<Range>> futures = copies(range, operation);
  // A table of 2^k places, at most half full, searched from the place that the hash of a state's address names.
  std::size_t size = 4;
  while (size < 2 * futures.size()) {
    size *= 2;
  }
  std::vector<const void*> seen(size, nullptr);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < futures.size(); ++i) {
    const void* const state = FutureAccess::state(futures[i]);
    std::size_t place = (reinterpret_cast<std::uintptr_t>(state) >> 6U) * 0x9e3779b97f4a7c15U >> 20U;
    while (seen[place % size] != nullptr && seen[place % size] != state) {
      ++place;
    }
    if (seen[place % size] == nullptr) {
      seen[place % size] = state;
      if (kept != i) {
        futures[kept] = std::move(futures[i]);
      }
      ++kept;
    }
  }
  futures.resize(kept);
  return futures;
}

/// A Completions that watches some futures as long as it lives.
template <class T>
class Watch {
 public:
  explicit Watch(const std::vector<Future<T>>& futures)
      : all_{Ref<Completions>::adopt(new Completions{futures.size()})} {
    for (std::size_t i = 0; i < futures.size(); ++i) {
      all_->watch(i, *FutureAccess::state(futures[i]));
    }
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch() { all_->unwatch(); }
  std::size_t next(Deadline deadline, const char* operation) { return all_->next(deadline, operation); }

 private:
  const Ref<Completions> all_;
};

/// Waits until enough of them are done, or until the deadline passes.
template <class T>
void wait_for_some(const std::vector<Future<T>>& futures, WaitOptions options) {
  if (options.return_when == ReturnWhen::all_completed) {
    // The last first: when it is done, most others are. A worker begins with the oldest, which it may have to run.
    const Deadline until = Deadline::after(options.timeout);
    const bool forward = this_worker() != nullptr;
    for (std::size_t i = 0; i < futures.size(); ++i) {
      if (!FutureAccess::state(futures[forward ? i : futures.size() - 1 - i])->wait(until, "wait")) {
        return;
      }
    }
    return;
  }
  const auto enough = [&options](const Future<T>& future) {
    return options.return_when == ReturnWhen::first_completed
               ? future.done()
               : FutureAccess::state(future)->phase() == FutureCore::failed;
  };
  for (const Future<T>& future : futures) {
    if (enough(future)) {
      return;
    }
  }
  Watch<T> watch{futures};
  const Deadline until = Deadline::after(options.timeout);
  for (std::size_t left = futures.size(); left > 0; --left) {
    const std::size_t place = watch.next(until, "wait");
    if (place == Completions::none || enough(futures[place])) {
      return;
    }
  }
}

}  // namespace detail

/// Waits for futures of any executors.
///
/// @param futures  any range of Future<T>; each future counts once.
/// @return the futures that are done and those that are not, each in the order of the range. An empty range: at once.
/// @throws UsageError for a handle that names no future; DeadlockError as Future::result().
/// @par Python   concurrent.futures.wait.
template <class Range>
auto wait(Range&& futures, WaitOptions options) -> DoneAndNotDone<detail::ValueOf<Range>> {
  std::vector<detail::FutureOf<Range>> all = detail::distinct(futures, "wait");
  DoneAndNotDone<detail::ValueOf<Range>> result;
  result.done.reserve(all.size());
  result.not_done.reserve(all.size());
  detail::wait_for_some(all, options);
  for (auto& future : all) {
    (future.done() ? result.done : result.not_done).push_back(std::move(future));
  }
  return result;
}
template <class Range>
auto wait(Range&& futures, Deadline timeout = never) {
  return conc::wait(std::forward<Range>(futures), WaitOptions{.timeout = timeout});
}
template <class T>
auto wait(std::initializer_list<Future<T>> futures, WaitOptions options) {
  return conc::wait<std::initializer_list<Future<T>>&>(futures, options);
}
template <class T>
auto wait(std::initializer_list<Future<T>> futures, Deadline timeout = never) {
  return conc::wait<std::initializer_list<Future<T>>&>(futures, timeout);
}

/// What as_completed() returns: an input range of futures as they become done. Not copied, not moved.
template <class T>
class AsCompleted {
 public:
  class iterator {
   public:
    using value_type = Future<T>;
    using difference_type = std::ptrdiff_t;

    explicit iterator(AsCompleted& range) noexcept : range_{&range} {}
    Future<T>& operator*() const noexcept { return *range_->current_; }
    Future<T>* operator->() const noexcept { return &*range_->current_; }
    iterator& operator++() {
      range_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(detail::End /*end*/) const noexcept { return !range_->current_.has_value(); }

   private:
    AsCompleted* range_;
  };

  AsCompleted(std::vector<Future<T>> futures, Deadline timeout)
      : until_{Deadline::after(timeout)}, futures_{std::move(futures)}, left_{futures_.size()}, watch_{futures_} {}
  AsCompleted(const AsCompleted&) = delete;
  AsCompleted& operator=(const AsCompleted&) = delete;

  iterator begin() {
    if (!current_) {
      advance();
    }
    return iterator{*this};
  }
  detail::End end() const noexcept { return {}; }

 private:
  void advance() {
    current_.reset();
    if (left_ == 0) {
      return;
    }
    const std::size_t place = watch_.next(until_, "as_completed");
    if (place == detail::Completions::none) {
      throw TimeoutError{"as_completed: " + std::to_string(left_) + " (of " + std::to_string(futures_.size()) +
                         ") futures unfinished"};
    }
    --left_;
    current_.emplace(std::move(futures_[place]));
  }

  const Deadline until_;
  std::vector<Future<T>> futures_;  // empty where it has been yielded
  std::size_t left_;
  detail::Watch<T> watch_;
  std::optional<Future<T>> current_;
};

/// The futures of a range, each once, as they become done: first those that are done already. The handles are copied at
/// the call, and none is kept of what was yielded. The loop may be left at any time.
///
/// @param timeout  for the whole iteration, counted from the call.
/// @throws UsageError for a handle that names no future. When iterated: TimeoutError; DeadlockError as Future::result().
/// @par Python   concurrent.futures.as_completed.
template <class Range>
auto as_completed(Range&& futures, Deadline timeout = never) {
  return AsCompleted<detail::ValueOf<Range>>{detail::distinct(futures, "as_completed"), timeout};
}
template <class T>
auto as_completed(std::initializer_list<Future<T>> futures, Deadline timeout = never) {
  return AsCompleted<T>{detail::distinct(futures, "as_completed"), timeout};
}

namespace detail {

/// What the callbacks of when_all() and when_any() share.
template <class Result>
struct Gathering : RefCounted {
  Gathering(Result futures, std::size_t n) : all{std::move(futures)}, missing{n} {}

  Promise<Result> promise;
  Result all;                         // handed on with the promise
  sync::Atomic<std::size_t> missing;  // how many must become done
};

/// Registers a callback that counts `future` as done; the last one calls `finish(gathering)`.
template <class T, class Result, class Finish>
void gather(const Future<T>& future, const Ref<Gathering<Result>>& gathering, Finish finish) {
  future.add_done_callback([gathering, finish](const Future<T>& /*done*/) {
    // acq_rel: the last one sees what the others have done.
    if (gathering->missing.fetch_sub(1, mo::acq_rel) == 1) {
      finish(*gathering);
    }
  });
}

}  // namespace detail

/// A future of all the given ones, which is done when they are. They are then in the result, however they ended.
/// @par Python   has nothing like it.
template <class Range>
  requires requires(Range& range) { std::begin(range); }
auto when_all(Range&& futures) -> Future<std::vector<detail::FutureOf<Range>>> {
  using Result = std::vector<detail::FutureOf<Range>>;
  Result all = detail::copies(futures, "when_all");
  if (all.empty()) {
    return make_ready_future(std::move(all));
  }
  const auto gathering = detail::Ref<detail::Gathering<Result>>::adopt(new detail::Gathering<Result>{all, all.size()});
  Future<Result> result = gathering->promise.get_future();
  for (const auto& future : all) {
    detail::gather(future, gathering, [](auto& done) { done.promise.try_set_result(std::move(done.all)); });
  }
  return result;
}

template <class... Ts>
  requires(sizeof...(Ts) > 0)
Future<std::tuple<Future<Ts>...>> when_all(const Future<Ts>&... futures) {
  using Result = std::tuple<Future<Ts>...>;
  const auto gathering =
      detail::Ref<detail::Gathering<Result>>::adopt(new detail::Gathering<Result>{Result{futures...}, sizeof...(Ts)});
  Future<Result> result = gathering->promise.get_future();
  (detail::gather(futures, gathering, [](auto& done) { done.promise.try_set_result(std::move(done.all)); }), ...);
  return result;
}

/// What when_any() gives.
template <class T>
struct WhenAny {
  std::size_t index;  ///< of the one that was done first
  std::vector<Future<T>> futures;
};

/// A future that is done when any of the given ones is.
/// @throws UsageError for an empty range.
/// @par Python   has nothing like it.
template <class Range>
auto when_any(Range&& futures) -> Future<WhenAny<detail::ValueOf<Range>>> {
  using T = detail::ValueOf<Range>;
  std::vector<Future<T>> all = detail::copies(futures, "when_any");
  if (all.empty()) {
    detail::throw_usage_error("when_any: there are no futures to wait for");
  }
  struct First : detail::RefCounted {
    explicit First(std::vector<Future<T>> futures_to_watch) : futures{std::move(futures_to_watch)} {}
    Promise<WhenAny<T>> promise;
    std::vector<Future<T>> futures;
    detail::sync::Atomic<bool> taken{false};
  };
  const auto first = detail::Ref<First>::adopt(new First{all});
  Future<WhenAny<T>> result = first->promise.get_future();
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].add_done_callback([first, i](const Future<T>& /*done*/) {
      if (!first->taken.exchange(true, detail::mo::acq_rel)) {  // acq_rel: one callback alone takes what is there
        const Promise<WhenAny<T>> promise = std::move(first->promise);  // the others keep nothing of it
        promise.try_set_result(WhenAny<T>{i, std::move(first->futures)});
      }
    });
  }
  return result;
}

}  // namespace conc::inline CONC_ABI
