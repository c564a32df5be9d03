// SPDX-License-Identifier: MIT
#include <conc/pickle.hpp>

#include <catch2/catch_test_macros.hpp>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace {

using conc::picklable;
using conc::pickle::dumps;
using conc::pickle::loads;

template <class T>
bool survives(const T& value) {
  return loads<T>(dumps(value)) == value;
}

struct Point {
  int x = 0;
  int y = 0;
  bool operator==(const Point&) const = default;
};

struct Shape {
  std::string name;
  std::vector<Point> corners;
  std::optional<int> color;
  char code[4] = {};
  bool operator==(const Shape&) const = default;
};

struct Tree {
  std::vector<Tree> children;
  int value = 0;
  bool operator==(const Tree&) const = default;
};

class Account {
 public:
  Account() = default;
  Account(std::string owner, int balance) : owner_{std::move(owner)}, balance_{balance} {}
  template <class Archive>
  void pickle(Archive& archive) {
    archive(owner_, balance_);
  }
  bool operator==(const Account&) const = default;

 private:
  std::string owner_;
  int balance_ = 0;
};

}  // namespace

TEST_CASE("pickle: what was dumped is loaded again", "[pickle]") {
  CHECK(survives(42));
  CHECK(survives(std::string{"text"}));
  CHECK(survives(std::map<std::string, std::vector<int>>{{"a", {1, 2}}, {"b", {}}}));
  CHECK(survives(std::set<int>{1, 2}));
  CHECK(survives(std::tuple{1, std::string{"x"}, true}));
  CHECK(survives(Shape{"triangle", {{0, 0}, {1, 0}, {0, 1}}, 7, {'a', 'b', 'c', 'd'}}));
  CHECK(survives(Tree{{{{}, 1}, {{}, 2}}, 3}));
  CHECK(survives(Account{"Ann", 100}));
}

TEST_CASE("pickle: what cannot be pickled is known at compile time", "[pickle][P3]") {
  STATIC_CHECK(picklable<Tree>);
  STATIC_CHECK_FALSE(picklable<int*>);
  STATIC_CHECK_FALSE(picklable<std::vector<int*>>);
  STATIC_CHECK_FALSE(picklable<std::string_view>);
  STATIC_CHECK_FALSE(picklable<int&>);
}
