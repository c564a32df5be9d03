// SPDX-License-Identifier: MIT
/// @file
/// Types of every kind that can be pickled, for tests.
#pragma once

#include <conc/pickle.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace conc_test {

enum class Color : std::uint8_t { red, green, blue };

/// Two numbers without padding.
struct Point {
  int x = 0;
  int y = 0;
  auto operator<=>(const Point&) const = default;
};

/// An aggregate with arrays and with padding.
struct Shape {
  char code[3] = {};
  double size = 0;
  std::string name;
  std::vector<Point> corners;
  std::optional<Color> color{};
  bool marks[2][2] = {};
  bool operator==(const Shape&) const = default;
};

/// It holds values of its own kind.
struct Tree {
  int value = 0;
  std::vector<Tree> children;
  bool operator==(const Tree&) const = default;
};

/// A list, as deep as it is long; destroyed from its head on, without recursion.
struct Link {
  int value = 0;
  std::unique_ptr<Link> next;

  Link(int number, std::unique_ptr<Link> rest) : value{number}, next{std::move(rest)} {}
  Link() = default;
  Link(Link&&) = default;
  Link& operator=(Link&&) = default;
  ~Link() {
    while (next != nullptr) {
      next = std::move(next->next);
    }
  }

  template <class Ar>
  void pickle(Ar& ar) {
    ar(value, next);
  }
};

/// A class that says what there is to pickle.
class Account {
 public:
  Account() = default;
  Account(std::string owner, int balance) : owner_{std::move(owner)}, balance_{balance} {}
  bool operator==(const Account&) const = default;

  template <class Ar>
  void pickle(Ar& ar) {
    ar(owner_, balance_);
  }

 private:
  std::string owner_;
  int balance_ = 0;
};

/// A class without a default constructor, and with something that must hold.
class Interval {
 public:
  Interval(int first, int last) : first_{first}, last_{last} {}
  int first() const { return first_; }
  int last() const { return last_; }
  auto operator<=>(const Interval&) const = default;

 private:
  int first_;
  int last_;
};

/// Something of everything.
struct Everything {
  std::map<std::string, std::vector<int>> map;
  std::unordered_map<int, std::string> table;
  std::set<Interval> intervals;
  std::vector<bool> bits;
  std::variant<std::monostate, int, std::string> variant;
  std::tuple<bool, Color, double> tuple;
  std::array<std::optional<Point>, 2> points;
  std::shared_ptr<Shape> shape;
  Tree tree;
  Account account;
  std::chrono::milliseconds span{};
};

inline Everything everything() {
  return {.map = {{"one", {1}}, {"three", {1, 2, 3}}},
          .table = {{1, "one"}, {2, "two"}},
          .intervals = {{1, 2}, {3, 7}},
          .bits = {true, false, true},
          .variant = "text",
          .tuple = {true, Color::green, 0.5},
          .points = {Point{1, 2}, std::nullopt},
          .shape = std::make_shared<Shape>(Shape{{'a', 'b', 'c'}, 1.5, "shape", {{1, 2}}, Color::red, {}}),
          .tree = {1, {{2, {}}, {3, {{4, {}}}}}},
          .account = {"Ann", 100},
          .span = std::chrono::milliseconds{250}};
}

}  // namespace conc_test

template <>
struct conc::pickler<conc_test::Interval> {
  static void save(Pickler& ar, const conc_test::Interval& interval) { ar(interval.first(), interval.last()); }
  static conc_test::Interval load(Unpickler& ar) {
    const int first = ar.get<int>();
    const int last = ar.get<int>();
    if (first > last) {
      ar.fail("an interval from " + std::to_string(first) + " to " + std::to_string(last));
    }
    return {first, last};
  }
};

namespace conc_test {

/// Loads a T of bytes that may be anything. If it gets one, that can be saved and loaded in turn.
/// @return whether it got one; if not, it met PickleError
template <class T>
bool loads_or_refuses(std::string_view bytes) {
  std::optional<T> value;
  try {
    value.emplace(conc::pickle::loads<T>(bytes));
  } catch (const conc::PickleError&) {
    return false;
  }
  static_cast<void>(conc::pickle::loads<T>(conc::pickle::dumps(*value)));
  return true;
}

/// Types that bytes that may be anything are loaded as.
template <class... T>
struct Types {
  static constexpr std::size_t size = sizeof...(T);

  static bool load_or_refuse(std::size_t which, std::string_view bytes) {
    constexpr bool (*loads[])(std::string_view) = {loads_or_refuses<T>...};
    return loads[which](bytes);
  }
};
using SmallTypes = Types<std::map<std::string, std::vector<int>>, std::vector<std::vector<std::string>>, Tree, Link,
                         Shape, std::vector<std::variant<std::monostate, bool, std::string>>, std::set<Interval>,
                         std::tuple<std::optional<Account>, std::vector<bool>, std::shared_ptr<Point>>>;

}  // namespace conc_test
