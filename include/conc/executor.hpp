// SPDX-License-Identifier: MIT
/// @file
/// What works with any executor: map and parallel_for; and spawn, for one call on a thread of its own.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/loop.hpp>
#include <conc/detail/map_result.hpp>
#include <conc/error.hpp>
#include <conc/future.hpp>
#include <conc/thread.hpp>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI {

/// What shutdown() of an executor may be told.
struct ExecutorShutdownOptions {
  bool wait = true;             ///< until all tasks are done and the workers have ended
  bool cancel_futures = false;  ///< cancel what has not started
};

/// What submitting from outside does when max_queued tasks are queued already.
enum class WhenFull : std::uint8_t {
  block,          ///< waits until there is room
  raise,          ///< throws QueueFull
  run_by_caller,  ///< runs the task on the calling thread
};

/// Something that runs tasks: submit(fn, args...) gives a Future, detach(fn, args...) gives nothing.
template <class E>
concept Executor = requires(E& executor, int (*fn)(), void (*procedure)()) {
  { executor.submit(fn) } -> std::same_as<Future<int>>;
  executor.detach(procedure);
  executor.shutdown(ExecutorShutdownOptions{});
  { executor.max_workers() } -> std::convertible_to<std::size_t>;
};

/// Has `executor` call fn with the first items of all ranges, with the second ones, and so on; the shortest range decides
/// how often. All calls are submitted at once, with copies of the items (options.buffersize: as many as are to be ahead
/// of the iteration, which then reads the ranges as it goes; ranges given as lvalues must live as long).
///
/// The result is a range to be iterated once: of what the calls return, in the order of the items. A call that threw
/// throws when it is reached. Leaving the iteration early cancels the calls that have not started; a result that is never
/// iterated cancels nothing. The result can be neither copied nor moved.
///
/// @throws whatever submit() throws: then calls that were submitted already are cancelled. When iterated: TimeoutError
///         once options.timeout, counted from the call of map(), has passed.
/// @par Python   Executor.map.
template <Executor E, class F, class... Ranges>
auto map(E& executor, MapOptions options, F&& fn, Ranges&&... ranges) {
  static_assert(sizeof...(Ranges) > 0, "map(fn, ranges...): name at least one range");
  return detail::MapResult<E, std::decay_t<F>, Ranges...>{executor, options, std::forward<F>(fn),
                                                          std::forward<Ranges>(ranges)...};
}
template <Executor E, class F, class... Ranges>
  requires(!std::is_same_v<std::remove_cvref_t<F>, MapOptions>)
auto map(E& executor, F&& fn, Ranges&&... ranges) {
  return conc::map(executor, MapOptions{}, std::forward<F>(fn), std::forward<Ranges>(ranges)...);
}

/// Calls fn(i) for each i from first to last - 1, or fn(*i) where they are iterators, in any order. The calling thread
/// takes part, and so do the workers of `executor` that are free. Nobody copies fn.
///
/// @throws the first exception that fn threw, once all that was begun has ended: what was not begun then is not done.
/// @par Cost   a few tasks, however many calls there are: threads take shrinking shares from one counter.
template <Executor E, class I, class J, class F>
void parallel_for(E& executor, I first, J last, F&& fn) {
  if constexpr (std::is_integral_v<I> && std::is_integral_v<J>) {
    using Number = std::common_type_t<I, J>;
    using Unsigned = std::make_unsigned_t<Number>;  // the difference may overflow Number
    const auto begin = static_cast<Unsigned>(first);
    if (std::cmp_less(first, last)) {
      const auto n = static_cast<Unsigned>(static_cast<Unsigned>(last) - begin);
      detail::run_loop(executor, static_cast<std::size_t>(n), [begin, &fn](std::size_t from, std::size_t to) {
        for (std::size_t i = from; i < to; ++i) {
          fn(static_cast<Number>(static_cast<Unsigned>(begin + static_cast<Unsigned>(i))));
        }
      });
    }
  } else {
    static_assert(
        std::is_same_v<I, J> &&
            requires {
              fn(first[last - first]);
              first < last;
            },
        "parallel_for(executor, first, last, fn): first and last are integers or random access iterators");
    using Difference = decltype(last - first);
    if (first < last) {
      detail::run_loop(executor, static_cast<std::size_t>(last - first),
                       [first, &fn](std::size_t from, std::size_t to) {
                         const I end = first + static_cast<Difference>(to);
                         for (I i = first + static_cast<Difference>(from); i != end; ++i) {
                           fn(*i);
                         }
                       });
    }
  }
}

/// The same for i from 0 to n - 1.
template <Executor E, class F>
void parallel_for(E& executor, std::size_t n, F&& fn) {
  conc::parallel_for(executor, std::size_t{0}, n, std::forward<F>(fn));
}

/// Calls fn(args...) on a thread of its own, with decayed copies of the arguments; std::ref shares instead. A callable
/// that wants a StopToken first gets one, as with submit().
/// @return the future of what it returns.
/// @throws std::system_error if the system has no thread to give.
/// @par Python   has nothing like it: a Thread drops what its target returns.
template <class F, class... Args>
auto spawn(ThreadOptions options, F&& fn, Args&&... args) {
  using R = detail::CallResult<F, Args...>;
  static_assert(detail::Call<std::decay_t<F>, std::decay_t<Args>...>::callable,
                "spawn(fn, args...): fn cannot be called with these arguments (they are passed as decayed copies; use "
                "std::ref to "
                "share)");
  auto* const task = detail::make_call_state(std::forward<F>(fn), std::forward<Args>(args)...);
  Future<R> future = detail::FutureAccess::adopt<R>(task);
  Thread thread{std::move(options), detail::OwnedTask{*task}};
  thread.start();
  return future;
}
template <class F, class... Args>
  requires(!std::is_same_v<std::remove_cvref_t<F>, ThreadOptions>)
auto spawn(F&& fn, Args&&... args) {
  return conc::spawn(ThreadOptions{}, std::forward<F>(fn), std::forward<Args>(args)...);
}

}  // namespace conc::inline CONC_ABI
