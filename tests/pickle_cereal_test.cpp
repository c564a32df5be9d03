// SPDX-License-Identifier: MIT
// With wrappers that look as cereal's do; with cereal's own, too, where it is installed.
#include <conc/pickle_cereal.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>
#if __has_include(<cereal/cereal.hpp>)
#include <cereal/cereal.hpp>
#include <cereal/types/base_class.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>
#endif

namespace {

using conc::picklable;
using conc::pickle::dumps;
using conc::pickle::loads;

template <class T>
T copy_of(const T& value) {
  return loads<T>(dumps(value));
}

template <class T>
struct Named {
  const char* name;
  T value;
};
template <class T>
Named<T&> named(const char* name, T& value) {
  return {name, value};
}
template <class Base>
struct BaseOf {
  Base* base_ptr;
};

class Member {
 public:
  Member() = default;
  Member(std::string text, int number) : text_{std::move(text)}, number_{number} {}
  template <class Archive>
  void serialize(Archive& archive) {
    archive(named("text", text_), number_);
  }
  bool operator==(const Member&) const = default;

 private:
  std::string text_;
  int number_ = 0;
};

struct Versioned {
  int old = 0;
  int added = 0;
  template <class Archive>
  void serialize(Archive& archive, const std::uint32_t version) {
    archive& old;
    if (version >= 2) archive& added;
  }
  bool operator==(const Versioned&) const = default;
};

struct Split {
  int half = 0;
  template <class Archive>
  void save(Archive& archive) const {
    archive << half * 2;
  }
  template <class Archive>
  void load(Archive& archive) {
    int whole = 0;
    archive >> whole;
    half = whole / 2;
  }
  bool operator==(const Split&) const = default;
};

class Beside {
 public:
  Beside() = default;
  explicit Beside(int x) : number{x} {}
  bool operator==(const Beside&) const = default;
  int number = 0;
};
template <class Archive>
void serialize(Archive& archive, Beside& beside) {
  static_assert(Archive::is_saving::value != Archive::is_loading::value);
  archive(beside.number);
}

class SplitBeside {
 public:
  SplitBeside() = default;
  explicit SplitBeside(int x) : number{x} {}
  bool operator==(const SplitBeside&) const = default;
  int number = 0;
};
template <class Archive>
void save(Archive& archive, const SplitBeside& beside) {
  archive(beside.number);
}
template <class Archive>
void load(Archive& archive, SplitBeside& beside) {
  archive(beside.number);
}

struct Abstract {
  Abstract() = default;
  Abstract(const Abstract&) = default;
  Abstract& operator=(const Abstract&) = default;
  virtual ~Abstract() = default;
  virtual int number() const = 0;
  int base = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(base);
  }
};
struct Concrete : Abstract {
  int number() const override { return base + own; }
  int own = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(BaseOf<Abstract>{this}, own);
  }
};

/// It says it twice, and otherwise for conc.
struct Both {
  int number = 0;
  template <class Archive>
  void serialize(Archive&) {}
  template <class Archive>
  void pickle(Archive& archive) {
    archive(number);
  }
};

struct SaveOnly {
  std::string text;
  int* pointer = nullptr;
  template <class Archive>
  void save(Archive&) const {}
};

}  // namespace

TEST_CASE("pickle: what is said for cereal is heard", "[pickle][cereal]") {
  CHECK(copy_of(Member{"text", 7}) == Member{"text", 7});
  CHECK(copy_of(std::map<int, std::vector<Member>>{{1, {{"a", 1}, {"b", 2}}}}) ==
        std::map<int, std::vector<Member>>{{1, {{"a", 1}, {"b", 2}}}});
  CHECK(copy_of(Versioned{1, 2}) == Versioned{1, 2});
  CHECK(copy_of(Split{21}) == Split{21});
  CHECK(loads<int>(dumps(Split{21})) == 42);
  CHECK(copy_of(Beside{3}) == Beside{3});
  CHECK(copy_of(SplitBeside{4}) == SplitBeside{4});
  Both both;
  both.number = 5;
  CHECK(copy_of(both).number == 5);
}

TEST_CASE("pickle: a base is saved and loaded where it is", "[pickle][cereal]") {
  Concrete concrete;
  concrete.base = 40;
  concrete.own = 2;
  CHECK(copy_of(concrete).number() == 42);
}

TEST_CASE("pickle: what only half is said for cereal is not picklable", "[pickle][cereal]") {
  STATIC_CHECK(picklable<Member>);
  STATIC_CHECK(picklable<std::vector<std::unique_ptr<Beside>>>);
  STATIC_CHECK_FALSE(picklable<SaveOnly>);
  STATIC_CHECK_FALSE(picklable<Abstract>);
  STATIC_CHECK(picklable<Concrete>);
  STATIC_CHECK_FALSE(picklable<std::unique_ptr<Concrete>>);
}

#if __has_include(<cereal/cereal.hpp>)
namespace {

struct RealBase {
  int x = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(CEREAL_NVP(x));
  }
};
struct RealDerived : RealBase {
  std::vector<std::string> words;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(cereal::base_class<RealBase>(this), cereal::make_nvp("words", words));
  }
};

}  // namespace

TEST_CASE("pickle: cereal's own wrappers are understood", "[pickle][cereal]") {
  RealDerived real;
  real.x = 7;
  real.words = {"a", "b"};
  const RealDerived copy = copy_of(real);
  CHECK((copy.x == 7 && copy.words == real.words));
}
#endif
