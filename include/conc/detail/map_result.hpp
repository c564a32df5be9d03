// SPDX-License-Identifier: MIT
/// @file
/// MapResult: what map() returns, a range of the results of its calls in the order of the items.
#pragma once

#include <conc/deadline.hpp>
#include <conc/error.hpp>
#include <conc/future.hpp>
#include <cstddef>
#include <exception>
#include <iterator>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI {

/// What map() may be told.
struct MapOptions {
  Deadline timeout = never;    ///< for the whole iteration, counted from the call of map()
  std::size_t chunksize = 1;   ///< calls per task: more make cheap calls cheaper
  std::size_t buffersize = 0;  ///< calls that may be ahead of the iteration; 0: all are submitted at once
};

namespace detail {

/// What a task of map() makes: results, up to the one that threw.
template <class R>
struct MapChunk {
  struct Result {
    Stored<R> value;
  };
  MapChunk() noexcept = default;
  MapChunk(MapChunk&&) noexcept = default;
  MapChunk& operator=(MapChunk&&) noexcept = default;
  ~MapChunk() = default;

  std::vector<Result> results;
  std::exception_ptr error;
};

/// Calls fn with each tuple of items: a task of map(). All of it is data, so that it can be sent to another process.
template <class F, class Items>
struct MapCall {
  using R = FutureResult<decltype(std::apply(std::declval<F&>(), std::declval<Items>()))>;

  MapChunk<R> operator()() {
    return run([](auto& calls) { calls(); });
  }

  /// @param run_calls  calls what it is given
  template <class RunCalls>
  [[gnu::visibility("hidden")]] MapChunk<R> run(RunCalls run_calls) {
    MapChunk<R> chunk;
    chunk.results.reserve(items.size());
    auto calls = [this, &chunk] {
      for (Items& item : items) {
        if constexpr (std::is_void_v<R>) {
          std::apply(fn, std::move(item));
          chunk.results.push_back({});
        } else if constexpr (std::is_reference_v<R>) {
          chunk.results.push_back({__builtin_addressof(std::apply(fn, std::move(item)))});
        } else {
          chunk.results.push_back({std::apply(fn, std::move(item))});
        }
      }
    };
    try {
      run_calls(calls);
    } catch (...) {
      if (must_go_on()) {
        throw;
      }
      chunk.error = std::current_exception();
      keep_for_sanitizer(chunk.error);
    }
    return chunk;
  }

  F fn;
  std::vector<Items> items;
};

/// What a task keeps of an item of a range: a value of its own, also where the range gives proxies, as a vector<bool> does.
template <class Range>
struct ItemOf {
  using Iterator = std::decay_t<decltype(std::begin(std::declval<Range&>()))>;
  template <class I>
  static auto find() {
    if constexpr (requires { typename std::iter_value_t<I>; }) {
      return std::type_identity<std::iter_value_t<I>>{};
    } else {
      return std::type_identity<std::decay_t<decltype(*std::declval<I&>())>>{};
    }
  }
  using type = typename decltype(find<Iterator>())::type;
};

/// The end of a MapResult, which knows by itself when it is over.
struct MapEnd {};

template <class E, class F, class... Ranges>
class MapResult {
  using Items = std::tuple<typename ItemOf<Ranges>::type...>;
  static_assert(
      requires(F & fn, Items items) { std::apply(fn, std::move(items)); },
      "map(fn, ranges...): fn cannot be called with one item of each range (they are passed as copies)");
  using R = typename MapCall<F, Items>::R;
  using Chunk = MapChunk<R>;

 public:
  class iterator {
   public:
    using value_type = std::conditional_t<std::is_void_v<R>, Nothing, std::remove_cvref_t<R>>;
    using difference_type = std::ptrdiff_t;

    explicit iterator(MapResult& results) : results_{&results} {}
    auto& operator*() const noexcept {
      if constexpr (std::is_reference_v<R>) {
        return **results_->current_;
      } else {
        return *results_->current_;
      }
    }
    iterator& operator++() {
      results_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(MapEnd /*end*/) const noexcept { return !results_->current_.has_value(); }

   private:
    MapResult* results_;
  };

  MapResult(E& executor, MapOptions options, F fn, Ranges&&... ranges)
      : executor_{executor},
        end_of_time_{Deadline::after(options.timeout)},
        chunksize_{options.chunksize},
        fn_{std::move(fn)},
        ranges_{std::forward<Ranges>(ranges)...},
        positions_{std::apply([](auto&... all) { return std::tuple{std::begin(all)...}; }, ranges_)},
        ends_{std::apply([](auto&... all) { return std::tuple{std::end(all)...}; }, ranges_)} {
    if (options.chunksize == 0) {
      throw_usage_error("map: chunksize is 0, and must be at least 1");
    }
    const std::size_t ahead = options.buffersize == 0 ? 0 : (options.buffersize + chunksize_ - 1) / chunksize_;
    try {
      while ((ahead == 0 || tasks_.size() - first_ < ahead) && submit_one()) {
      }
    } catch (...) {
      cancel_rest();
      throw;
    }
  }
  MapResult(const MapResult&) = delete;
  MapResult& operator=(const MapResult&) = delete;
  ~MapResult() {
    if (begun_) {
      cancel_rest();
    }
  }

  iterator begin() {
    if (!begun_) {
      begun_ = true;
      advance();
    }
    return iterator{*this};
  }
  MapEnd end() const noexcept { return {}; }

 private:
  bool at_end() const {
    return ended_ || [this]<std::size_t... i>(std::index_sequence<i...>) {
      return ((std::get<i>(positions_) == std::get<i>(ends_)) || ...);
    }
    (std::index_sequence_for<Ranges...>{});
  }

  /// @return false if there are no more items
  bool submit_one() {
    if (at_end()) {
      return false;
    }
    MapCall<F, Items> call{fn_, {}};
    for (std::size_t i = 0; i < chunksize_ && !at_end(); ++i) {
      std::apply([&call](auto&... at) { call.items.emplace_back(*at...); }, positions_);
      std::apply([](auto&... at) { (static_cast<void>(++at), ...); }, positions_);
    }
    tasks_.emplace_back();  // now: what was submitted must be remembered
    try {
      tasks_.back() = executor_.submit(std::move(call));
    } catch (...) {
      tasks_.pop_back();
      throw;
    }
    return true;
  }

  /// Makes the next result the current one, or none after the last.
  void advance() {
    current_.reset();
    try {
      while (next_ == chunk_.results.size()) {
        if (chunk_.error != nullptr) {
          std::rethrow_exception(std::exchange(chunk_.error, nullptr));
        }
        if (first_ == tasks_.size()) {
          return;
        }
        if (!tasks_[first_].wait(end_of_time_)) {
          throw TimeoutError{"map: " + std::to_string(tasks_.size() - first_) +
                             " tasks are not done before the deadline"};
        }
        Future<Chunk> task = std::move(tasks_[first_++]);
        if (first_ == tasks_.size() || (first_ >= 64 && 2 * first_ >= tasks_.size())) {
          tasks_.erase(tasks_.begin(), tasks_.begin() + static_cast<std::ptrdiff_t>(std::exchange(first_, 0)));
        }
        submit_one();
        chunk_ = std::move(task).result();
        next_ = 0;
      }
    } catch (...) {
      cancel_rest();
      throw;
    }
    current_.emplace(std::move(chunk_.results[next_++].value));
  }

  void cancel_rest() noexcept {
    for (; first_ < tasks_.size(); ++first_) {
      tasks_[first_].cancel();
    }
    ended_ = true;
  }

  E& executor_;
  const Deadline end_of_time_;
  const std::size_t chunksize_;
  F fn_;
  std::tuple<Ranges...> ranges_;  // lvalues as references
  decltype(std::apply([](auto&... all) { return std::tuple{std::begin(all)...}; },
                      std::declval<std::tuple<Ranges...>&>())) positions_;
  decltype(std::apply([](auto&... all) { return std::tuple{std::end(all)...}; },
                      std::declval<std::tuple<Ranges...>&>())) ends_;
  std::vector<Future<Chunk>> tasks_;  // from first_ on: those that the iteration has not reached
  std::size_t first_ = 0;
  Chunk chunk_;           // the one it is in
  std::size_t next_ = 0;  // the place in it
  std::optional<Stored<R>> current_;
  bool begun_ = false;
  bool ended_ = false;  // no more is submitted
};

}  // namespace detail

}  // namespace conc::inline CONC_ABI
