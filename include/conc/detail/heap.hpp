// SPDX-License-Identifier: MIT
/// @file
/// Heap: items smallest first, those that are equal in the order they came, whatever throws on the way.
///
/// A binary heap after J. W. J. Williams (1964), taken apart from the bottom as in Ingo Wegener's bottom-up heapsort (1993).
/// Changed: what is to move where is found by comparisons alone, before anything moves, so that a comparator that throws
/// finds the heap as it was.
#pragma once

#include <conc/detail/kept_items.hpp>
#include <cstddef>
#include <cstdint>
#include <string>  // brings std::less, without the rest of <functional>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// Whether Compare can say of two T which comes first. std::less<T> cannot be asked whether it can be called.
template <class T, class Compare>
inline constexpr bool can_compare = std::is_invocable_r_v<bool, Compare&, const T&, const T&>;
template <class T>
inline constexpr bool can_compare<T, std::less<T>> = requires(const T& one, const T& other) {
  requires std::is_convertible_v<decltype(one < other), bool>;
};

/// Has the members of BlockList. All but destroy() are guarded by a lock of the caller's, so the comparator runs under it.
/// A comparator that contradicts itself makes the order arbitrary, and does no other harm.
template <class T, class Compare>
class Heap {
  static_assert(!std::is_same_v<Compare, std::less<T>> || can_compare<T, Compare>,
                "PriorityQueue<T>: T has no operator<; give it one (operator<=> will do), or name a comparator: "
                "PriorityQueue<T, Compare>");
  static_assert(std::is_same_v<Compare, std::less<T>> || can_compare<T, Compare>,
                "PriorityQueue<T, Compare>: calling Compare with two const T& must say (as bool) whether the first one "
                "comes out before the second one");

 public:
  using Popped = Kept<T>;

  Heap() requires(std::is_default_constructible_v<Compare> && !std::is_pointer_v<Compare>) = default;
  explicit Heap(Compare compare) : compare_(std::move(compare)) {}

  std::size_t size() const noexcept { return entries_.size(); }

  /// Makes a T of `item`. If that or a comparison throws, nothing has changed, and `item` neither (unless it is no T).
  template <class U>
  void push(U&& item) {
    if constexpr (std::is_same_v<std::remove_cvref_t<U>, T>) {
      entries_.make_room();
      const std::size_t end = entries_.size();
      std::size_t place = end;
      while (place != 0 && before(item, *entries_[parent(place)])) {  // it is the youngest: behind all that are equal
        place = parent(place);
      }
      const Entry entry{Kept<T>::make(std::forward<U>(item)), next_age_};
      ++next_age_;
      entries_.push_back(entry);
      for (std::size_t i = end; i != place; i = parent(i)) {
        entries_[i] = entries_[parent(i)];
      }
      entries_[place] = entry;
    } else {
      push(T(std::forward<U>(item)));
    }
  }

  /// Finds out what pop() has to do. If a comparison throws, nothing has changed.
  /// @return the place for what is last now: all on the way there from the first place move up by one.
  std::uint64_t prepare_pop() {
    const std::size_t last = entries_.size() - 1;
    std::size_t place = 0;
    while (2 * place + 2 < last) {
      const std::size_t left = 2 * place + 1;
      place = older_before(left + 1, left) ? left + 1 : left;
    }
    if (2 * place + 1 < last) {
      place = 2 * place + 1;
    }
    while (place != 0 && older_before(last, place)) {
      place = parent(place);
    }
    return place;
  }

  T& front() noexcept { return *entries_[0]; }

  /// Takes the first item out, as it is.
  Popped pop(std::uint64_t prepared) noexcept {
    const Popped popped = entries_[0];
    Entry moving = entries_.back();
    entries_.pop_back();
    if (entries_.size() != 0) {
      auto place = static_cast<std::size_t>(prepared);
      for (; place != 0; place = parent(place)) {
        std::swap(moving, entries_[place]);
      }
      entries_[0] = moving;
    }
    return popped;
  }

  static void destroy(Popped popped) noexcept { popped.destroy(); }

  /// Takes out all items; what is returned destroys them.
  auto take_all() noexcept { return std::move(entries_); }

 private:
  struct Entry : Kept<T> {
    std::uint64_t age;  // how many items came before
  };

  static constexpr std::size_t parent(std::size_t place) noexcept { return (place - 1) / 2; }

  bool before(const T& one, const T& other) { return static_cast<bool>(compare_(one, other)); }

  /// Whether one entry comes before another, by a single comparison: of two that are equal the older one does.
  bool older_before(std::size_t one, std::size_t other) {
    Entry& a = entries_[one];
    Entry& b = entries_[other];
    return a.age < b.age ? !before(*b, *a) : before(*a, *b);
  }

  KeptItems<T, Entry> entries_;
  std::uint64_t next_age_ = 0;
  [[no_unique_address]] Compare compare_{};
};

}  // namespace conc::inline CONC_ABI::detail
