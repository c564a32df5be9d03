// SPDX-License-Identifier: MIT
#include <conc/pickle.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <bitset>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cmath>
#include <compare>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <functional>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <queue>
#include <set>
#include <span>
#include <stack>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <valarray>
#include <variant>
#include <vector>
#if __has_include(<expected>)
#include <expected>
#endif

#include "background.hpp"
#include "pickled.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using conc::picklable;
using conc::Pickler;
using conc::Unpickler;
using conc::pickle::dumps;
using conc::pickle::loads;
using conc_test::Account;
using conc_test::Color;
using conc_test::Interval;
using conc_test::Link;
using conc_test::message_of;
using conc_test::Point;
using conc_test::Shape;
using conc_test::Tree;

template <class T>
T copy_of(const T& value) {
  return loads<T>(dumps(value));
}

template <class T>
bool survives(const T& value) {
  return copy_of(value) == value;
}

/// The greatest and the smallest number, and some between.
template <class T>
bool numbers_survive() {
  using Limits = std::numeric_limits<T>;
  return survives(T{}) && survives(static_cast<T>(1)) && survives(Limits::max()) && survives(Limits::lowest()) &&
         survives(Limits::min());
}

enum Old { first_old, second_old = 7 };
enum class Switch : bool { off, on };

struct Nothing {
  bool operator==(const Nothing&) const = default;
};

struct Nested {
  Nothing nothing;
  Point points[2];
  std::array<Shape, 1> shapes;
  std::pair<Nothing, std::vector<Nothing>> more;
  bool operator==(const Nested&) const = default;
};

struct Sixteen {
  int a, b, c, d;
  std::string e, f, g, h;
  char i[2], j[2][2];
  double k;
  Color l;
  bool m, n;
  std::vector<int> o;
  std::optional<int> p;
  bool operator==(const Sixteen&) const = default;
};

struct ThirtyTwo {
  int a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, c0, c1, c2, c3, c4, c5, c6, c7, d0, d1, d2, d3,
      d4, d5, d6;
  std::string last;
  bool operator==(const ThirtyTwo&) const = default;
};

struct ThirtyThree {
  ThirtyTwo most;
  int a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, c0, c1, c2, c3, c4, c5, c6, c7, d0, d1, d2, d3,
      d4, d5, d6, d7;
};

/// Made of what has no default constructor.
struct Span {
  Interval interval;
  std::array<Interval, 2> parts;
  bool operator==(const Span&) const = default;
};

struct Padded {
  char a;
  double b;
  bool operator==(const Padded&) const = default;
};

/// Private members, all of them plain values.
class Money {
 public:
  constexpr Money() = default;
  constexpr explicit Money(std::int64_t cents) : cents_{cents} {}
  bool operator==(const Money&) const = default;

 private:
  std::int64_t cents_ = 0;
};

/// Writes nothing at all.
struct Silent {
  template <class Ar>
  void pickle(Ar&) {}
  bool operator==(const Silent&) const = default;
};

/// Loads otherwise than it saves.
class Celsius {
 public:
  Celsius() = default;
  explicit Celsius(double degrees) : kelvin_{degrees + 273} {}
  template <class Ar>
  void pickle(Ar& ar) {
    double degrees = kelvin_ - 273;
    ar(degrees);
    if constexpr (!Ar::is_saving) {
      kelvin_ = degrees + 273;
    }
  }
  bool operator==(const Celsius&) const = default;

 private:
  double kelvin_ = 0;
};

struct Base {
  int x = 0;
  template <class Ar>
  void pickle(Ar& ar) {
    ar(x);
  }
};
struct ForgetsItsOwn : Base {
  int y = 0;
};
struct Remembers : Base {
  int y = 0;
  template <class Ar>
  void pickle(Ar& ar) {
    Base::pickle(ar);
    ar(y);
  }
};
template <class T>
struct Mixin {
  template <class Ar>
  void pickle(Ar& ar) {
    ar(static_cast<T&>(*this).number);
  }
};
struct Mixed : Mixin<Mixed> {
  int number = 0;
};

struct NeedsArgument {
  explicit NeedsArgument(std::string) {}
  template <class Ar>
  void pickle(Ar&) {}
};

struct Loose {  // a pickler without load()
  std::string text;
  int* pointer = nullptr;
};

struct Virtual {
  Virtual() = default;
  virtual ~Virtual() = default;
  template <class Ar>
  void pickle(Ar&) {}
};
struct Final final : Virtual {
  template <class Ar>
  void pickle(Ar&) {}
};

struct HasReference {
  std::string name;
  int& number;
};
struct HasConstReference {
  const std::string& name;
};
struct HasConst {
  const int number;
  std::string name;
};
struct HasPointer {
  std::string name;
  int* pointer;
};
union Union {
  int a;
  float b;
};
struct HasUnion {
  Union both;
  int which;
};
struct NamedVector : std::vector<int> {
  std::string name;
};
struct Forest;
struct Forest {
  std::map<std::string, Forest> regions;
  std::vector<std::pair<int, std::unique_ptr<Forest>>> more;
};
struct LeakyForest {
  std::map<std::string, LeakyForest> regions;
  int* leak;
};
/// Orders by what it remembers.
struct Remembering {
  bool down = false;
  bool operator()(int a, int b) const { return down ? b < a : a < b; }
};
struct TupleLike {
  std::string text;
};
struct Immovable {
  Immovable() = default;
  Immovable(const Immovable&) = delete;
  Immovable& operator=(const Immovable&) = delete;
};

/// Gives bytes as they are asked for, but never more than `most` that nobody needs yet.
class Dribble : public conc::detail::ByteSource {
 public:
  explicit Dribble(std::string bytes, std::size_t most) : bytes_{std::move(bytes)}, most_{most} {}

  std::size_t read(std::byte* into, std::size_t at_least, std::size_t at_most) override {
    if (at_least == 0 || at_least > at_most) ++wrong_;
    if (at_least > bytes_.size() - given_) throw conc::BrokenProcessPool{"the stream has ended"};
    const std::size_t n = std::min({std::max(at_least, most_), at_most, bytes_.size() - given_});
    std::memcpy(into, bytes_.data() + given_, n);
    given_ += n;
    ++calls_;
    return n;
  }

  std::size_t given() const { return given_; }
  int calls() const { return calls_; }
  int wrong() const { return wrong_; }

 private:
  std::string bytes_;
  std::size_t most_;
  std::size_t given_ = 0;
  int calls_ = 0;
  int wrong_ = 0;
};

}  // namespace

template <>
struct std::tuple_size<TupleLike> : std::integral_constant<std::size_t, 3> {};

template <>
struct conc::pickler<Loose> {
  static void save(Pickler&, const Loose&) {}
};

TEST_CASE("pickle: numbers, bools and enums come back as they were", "[pickle]") {
  CHECK(numbers_survive<char>());
  CHECK(numbers_survive<signed char>());
  CHECK(numbers_survive<unsigned char>());
  CHECK(numbers_survive<wchar_t>());
  CHECK(numbers_survive<char8_t>());
  CHECK(numbers_survive<char16_t>());
  CHECK(numbers_survive<char32_t>());
  CHECK(numbers_survive<short>());
  CHECK(numbers_survive<unsigned short>());
  CHECK(numbers_survive<int>());
  CHECK(numbers_survive<unsigned>());
  CHECK(numbers_survive<long>());
  CHECK(numbers_survive<unsigned long>());
  CHECK(numbers_survive<long long>());
  CHECK(numbers_survive<unsigned long long>());
  CHECK(numbers_survive<float>());
  CHECK(numbers_survive<double>());
  CHECK(numbers_survive<long double>());
  CHECK(numbers_survive<bool>());
  CHECK(std::isnan(copy_of(std::nan(""))));
  CHECK(std::signbit(copy_of(-0.0)));
  CHECK(survives(std::byte{200}));
  CHECK(survives(Color::blue));
  CHECK(survives(second_old));
  CHECK(survives(Switch::on));
  CHECK(copy_of(Switch::off) == Switch::off);
}

TEST_CASE("pickle: strings and containers come back as they were", "[pickle]") {
  CHECK(survives(std::string{}));
  CHECK(survives(std::string("with\0zero", 9)));
  CHECK(survives(std::wstring{L"wide"}));
  CHECK(survives(std::u8string{u8"eight"}));
  CHECK(survives(std::u16string{u"sixteen"}));
  CHECK(survives(std::u32string{U"thirty-two"}));
  CHECK(survives(std::vector<int>{}));
  CHECK(survives(std::vector<int>{1, 2, 3}));
  CHECK(survives(std::vector<std::string>{"a", "", "c"}));
  CHECK(survives(std::vector<std::vector<char>>{{'a'}, {}, {'b', 'c'}}));
  CHECK(survives(std::deque<short>{1, 2, 3}));
  CHECK(survives(std::deque<std::string>{"a", "b"}));
  CHECK(survives(std::list<double>{1, 2, 3}));
  CHECK(survives(std::forward_list<int>{}));
  CHECK(survives(std::forward_list<std::string>{"a", "b", "c"}));
  CHECK(survives(std::array<int, 3>{1, 2, 3}));
  CHECK(survives(std::array<int, 0>{}));
  CHECK(survives(std::array<std::string, 2>{"a", "b"}));
  std::array<std::string, 100> many;
  many[99] = "last";
  CHECK(survives(many));
  CHECK(survives(std::array<std::array<bool, 2>, 2>{{{true, false}, {false, true}}}));
  CHECK(survives(std::set<std::string>{"a", "b"}));
  CHECK(survives(std::multiset<int>{1, 1, 2}));
  CHECK(survives(std::set<int, std::greater<>>{1, 2, 3}));
  CHECK(survives(std::unordered_set<std::string>{"a", "b"}));
  CHECK(survives(std::unordered_multiset<int>{1, 1, 2}));
  CHECK(survives(std::map<std::string, std::vector<int>>{{"a", {1, 2}}, {"b", {}}}));
  CHECK(survives(std::multimap<int, int>{{1, 1}, {1, 2}}));
  CHECK(survives(std::unordered_map<std::string, int>{{"a", 1}, {"b", 2}}));
  CHECK(survives(std::unordered_multimap<int, int>{{1, 1}, {1, 1}}));
  const std::valarray<double> numbers{1, 2, 3};
  const std::valarray<double> copy = copy_of(numbers);
  CHECK((copy.size() == 3 && (copy == numbers).min()));
}

TEST_CASE("pickle: bits travel eight in a byte", "[pickle]") {
  for (const std::size_t n : {0U, 1U, 7U, 8U, 9U, 64U, 1000U}) {
    std::vector<bool> bits(n);
    for (std::size_t i = 0; i < n; i += 3) bits[i] = true;
    CHECK(survives(bits));
    CHECK(dumps(bits).size() == sizeof(std::uint64_t) + (n + 7) / 8);
  }
  CHECK(survives(std::bitset<0>{}));
  CHECK(survives(std::bitset<5>{"10110"}));
  CHECK(survives(std::bitset<64>{}.set()));
  CHECK(survives(std::bitset<100>{}.set(99)));
  CHECK(dumps(std::bitset<100>{}).size() == 13);
}

TEST_CASE("pickle: container adaptors come back in their order", "[pickle]") {
  std::stack<int> stack;
  std::queue<std::string> queue;
  std::priority_queue<int, std::vector<int>, std::greater<>> smallest;
  for (const int i : {3, 1, 2}) {
    stack.push(i);
    queue.push(std::to_string(i));
    smallest.push(i);
  }
  CHECK(survives(stack));
  CHECK(survives(queue));
  auto copy = copy_of(smallest);
  std::vector<int> order;
  for (; !copy.empty(); copy.pop()) order.push_back(copy.top());
  CHECK(order == std::vector{1, 2, 3});
}

TEST_CASE("pickle: a priority queue is in order whatever the bytes are", "[pickle][FC7]") {
  auto copy = loads<std::priority_queue<int>>(dumps(std::vector<int>{1, 2, 3}));  // no heap
  CHECK(copy.top() == 3);
}

TEST_CASE("pickle: the vocabulary types come back as they were", "[pickle]") {
  CHECK(survives(std::pair{1, std::string{"x"}}));
  CHECK(survives(std::tuple{}));
  CHECK(survives(std::tuple{1, std::string{"x"}, true}));
  CHECK(survives(std::tuple{std::tuple{1}}));
  CHECK(survives(std::optional<int>{}));
  CHECK(survives(std::optional<std::string>{"x"}));
  CHECK(survives(std::optional<std::optional<int>>{std::optional<int>{}}));
  CHECK(survives(std::monostate{}));
  using Variant = std::variant<std::monostate, int, std::vector<std::optional<int>>, int>;
  CHECK(survives(Variant{}));
  CHECK(survives(Variant{std::in_place_index<2>, std::vector<std::optional<int>>{1, std::nullopt}}));
  CHECK(survives(Variant{std::in_place_index<3>, 5}));
  CHECK(survives(15ms));
  CHECK(survives(std::chrono::duration<double>{1.5}));
  CHECK(survives(std::chrono::steady_clock::now()));
  CHECK(survives(std::chrono::system_clock::now()));
  CHECK(survives(std::chrono::year{2024} / 2 / 29));
  CHECK(survives(std::complex{1.5, -2.5}));
  CHECK(survives(std::complex<float>{1, 2}));
  CHECK(survives(std::complex<long double>{1, 2}));
  CHECK(survives(std::vector<std::complex<double>>{{1, 2}, {3, 4}}));
  CHECK(survives(std::filesystem::path{"/usr/lib"}));
#if defined(__cpp_lib_expected)
  CHECK(survives(std::expected<int, std::string>{1}));
  CHECK(survives(std::expected<int, std::string>{std::unexpected{"no"}}));
  CHECK(survives(std::expected<void, int>{}));
  CHECK(survives(std::expected<void, int>{std::unexpected{7}}));
#endif
}

TEST_CASE("pickle: what owns an object is given one of its own", "[pickle]") {
  CHECK(copy_of(std::unique_ptr<int>{}) == nullptr);
  CHECK(*copy_of(std::make_unique<std::string>("x")) == "x");
  CHECK(*copy_of(std::make_shared<const int>(7)) == 7);
  CHECK(copy_of(std::make_unique<Final>()) != nullptr);
  std::vector<std::unique_ptr<int>> owners;
  owners.push_back(std::make_unique<int>(1));
  owners.push_back(nullptr);
  const auto copies = copy_of(owners);
  CHECK((copies.size() == 2 && *copies[0] == 1 && copies[1] == nullptr));
  const auto one = std::make_shared<int>(1);
  const auto two = copy_of(std::pair{one, one});
  CHECK((*two.first == 1 && *two.second == 1 && two.first != two.second));
}

TEST_CASE("pickle: aggregates need no help", "[pickle]") {
  CHECK(survives(Nothing{}));
  CHECK(survives(Point{1, 2}));
  const Shape shape{{'a', 'b', 'c'},          1.5,          "triangle",
                    {{0, 0}, {1, 0}, {0, 1}}, Color::green, {{true, false}, {false, true}}};
  CHECK(survives(shape));
  CHECK(survives(Tree{1, {{2, {}}, {3, {{4, {}}}}}}));
  CHECK(survives(Nested{{}, {{1, 2}, {3, 4}}, {shape}, {{}, {{}, {}, {}}}}));
  CHECK(survives(Sixteen{
      1, 2, 3, 4, "e", "f", "g", "h", {'i', 'I'}, {{'j', 'J'}, {'k', 'K'}}, 1.5, Color::red, true, false, {1, 2}, 3}));
  ThirtyTwo most{};
  most.d6 = 31;
  most.last = "32";
  CHECK(survives(most));
  CHECK(survives(Span{{1, 2}, {{{3, 4}, {5, 6}}}}));
  CHECK(survives(std::vector<Padded>{{'a', 1}, {'b', 2}}));
}

TEST_CASE("pickle: classes say what is theirs, or conc::pickler does", "[pickle]") {
  CHECK(survives(Account{"Ann", 100}));
  CHECK(survives(std::map<int, Account>{{1, {"Ann", 100}}, {2, {"Bob", -5}}}));
  CHECK(survives(Interval{1, 2}));
  CHECK(survives(std::vector<Interval>{{1, 2}, {3, 4}}));
  CHECK(survives(std::optional<Interval>{Interval{1, 2}}));
  CHECK(survives(std::map<Interval, Interval>{{{1, 2}, {3, 4}}}));
  CHECK(survives(Celsius{20}));
  CHECK(survives(std::vector<Silent>(3)));
  Remembers both;
  both.x = 1;
  both.y = 2;
  CHECK((copy_of(both).x == 1 && copy_of(both).y == 2));
  Mixed mixed;
  mixed.number = 3;
  CHECK(copy_of(mixed).number == 3);
  CHECK(copy_of(Link{1, std::make_unique<Link>(2, nullptr)}).next->value == 2);
}

TEST_CASE("pickle: what is nothing but plain values travels as its bytes", "[pickle]") {
  CHECK(survives(Money{1234}));
  CHECK(survives(std::vector<Money>{Money{1}, Money{2}}));
  const auto adder = [](int base) { return [base](int n) { return base + n; }; };
  CHECK(copy_of(adder(40))(2) == 42);
  CHECK(copy_of([] { return 7; })() == 7);
  const auto kept_elsewhere = [n = std::abs(-7)] { return n; };
  STATIC_CHECK(picklable<decltype(kept_elsewhere)>);
  CHECK(copy_of(kept_elsewhere)() == 7);
  CHECK(std::optional{kept_elsewhere}.has_value());  // asks whether it can be assigned
}

TEST_CASE("pickle: variables are read where they are", "[pickle]") {
  conc::detail::ByteBuffer bytes;
  Pickler out{bytes};
  const int numbers[2][2] = {{1, 2}, {3, 4}};
  const std::string words[2] = {"a", "b"};
  out(numbers, words, Account{"Ann", 100});
  out(std::string{"the rest"});
  Unpickler in{{bytes.data(), bytes.size()}};
  int numbers_again[2][2] = {};
  std::string words_again[2];
  Account account;
  in(numbers_again, words_again, account);
  CHECK((numbers_again[0][1] == 2 && numbers_again[1][1] == 4));
  CHECK((words_again[0] == "a" && words_again[1] == "b"));
  CHECK(account == Account{"Ann", 100});
  CHECK(message_of<conc::PickleError>([&] { in.expect_end(); }) == "Unpickler: 16 bytes are left over");
  CHECK(in.get<const std::string>() == "the rest");
  CHECK(in.remaining() == 0);
  in.expect_end();
}

TEST_CASE("pickle: equal values have equal bytes, whatever is in their padding", "[pickle]") {
  alignas(Padded) unsigned char memory[2][sizeof(Padded)];
  std::memset(memory[0], 0x55, sizeof memory[0]);
  std::memset(memory[1], 0xAA, sizeof memory[1]);
  const auto* const one = ::new (memory[0]) Padded{'a', 1};
  const auto* const two = ::new (memory[1]) Padded{'a', 1};
  CHECK(dumps(*one) == dumps(*two));
  CHECK(dumps(*one).size() == sizeof(char) + sizeof(double));
  CHECK(dumps(std::vector<Point>(3)).size() == sizeof(std::uint64_t) + 3 * sizeof(Point));
}

TEST_CASE("pickle: an archive keeps what the bytes are not enough for", "[pickle]") {
  conc::detail::ByteBuffer bytes;
  Pickler out{bytes};
  CHECK(out.kept().empty());
  auto owner = std::make_shared<int>(1);
  out.keep(owner);
  CHECK(out.kept().size() == 1);
  const std::weak_ptr<int> watched = owner;
  owner.reset();
  CHECK_FALSE(watched.expired());
  out.kept().clear();
  CHECK(watched.expired());
}

TEST_CASE("pickle: whether a type is picklable is known at compile time", "[pickle][P3]") {
  STATIC_CHECK(picklable<int>);
  STATIC_CHECK(picklable<const int>);
  STATIC_CHECK(picklable<Tree>);
  STATIC_CHECK(picklable<Forest>);
  STATIC_CHECK(picklable<std::vector<std::unique_ptr<int>>>);
  STATIC_CHECK(picklable<std::vector<std::map<std::string, std::optional<std::tuple<int, Account>>>>>);
  STATIC_CHECK(picklable<std::pair<const int, const std::string>>);
  STATIC_CHECK(picklable<Mixed>);
  STATIC_CHECK(picklable<std::unique_ptr<Final>>);
  STATIC_CHECK(picklable<std::array<Interval, 64>>);

  STATIC_CHECK_FALSE(picklable<void>);
  STATIC_CHECK_FALSE(picklable<int&>);
  STATIC_CHECK_FALSE(picklable<int*>);
  STATIC_CHECK_FALSE(picklable<const char*>);
  STATIC_CHECK_FALSE(picklable<std::nullptr_t>);
  STATIC_CHECK_FALSE(picklable<int[3]>);
  STATIC_CHECK_FALSE(picklable<void()>);
  STATIC_CHECK_FALSE(picklable<void (*)()>);
  STATIC_CHECK_FALSE(picklable<int Point::*>);
  STATIC_CHECK_FALSE(picklable<std::string_view>);
  STATIC_CHECK_FALSE(picklable<std::span<int>>);
  STATIC_CHECK_FALSE(picklable<std::reference_wrapper<int>>);
  STATIC_CHECK_FALSE(picklable<std::function<void()>>);
  STATIC_CHECK_FALSE(picklable<std::mutex>);
  STATIC_CHECK_FALSE(picklable<std::atomic<int>>);
  STATIC_CHECK_FALSE(picklable<std::thread>);
  STATIC_CHECK_FALSE(picklable<std::weak_ptr<int>>);
  STATIC_CHECK_FALSE(picklable<std::unique_ptr<int[]>>);
  STATIC_CHECK_FALSE(picklable<std::unique_ptr<Virtual>>);
  STATIC_CHECK_FALSE(picklable<std::shared_ptr<Virtual>>);
  STATIC_CHECK_FALSE(picklable<std::unique_ptr<int, void (*)(int*)>>);
  STATIC_CHECK_FALSE(picklable<std::shared_ptr<void>>);
  STATIC_CHECK_FALSE(picklable<Union>);
  STATIC_CHECK_FALSE(picklable<HasUnion>);
  STATIC_CHECK_FALSE(picklable<HasReference>);
  STATIC_CHECK_FALSE(picklable<HasConstReference>);
  STATIC_CHECK_FALSE(picklable<HasConst>);
  STATIC_CHECK_FALSE(picklable<HasPointer>);
  STATIC_CHECK_FALSE(picklable<NamedVector>);
  STATIC_CHECK_FALSE(picklable<ForgetsItsOwn>);
  STATIC_CHECK_FALSE(picklable<NeedsArgument>);
  STATIC_CHECK_FALSE(picklable<Loose>);
  STATIC_CHECK_FALSE(picklable<ThirtyThree>);
  STATIC_CHECK_FALSE(picklable<Immovable>);
  STATIC_CHECK_FALSE(picklable<LeakyForest>);
  STATIC_CHECK_FALSE(picklable<TupleLike>);
  STATIC_CHECK_FALSE(picklable<std::set<int, bool (*)(int, int)>>);
  STATIC_CHECK_FALSE(picklable<std::map<int, int, Remembering>>);
  STATIC_CHECK_FALSE(picklable<std::unordered_set<int, std::size_t (*)(int)>>);
  STATIC_CHECK_FALSE(picklable<std::priority_queue<int, std::vector<int>, Remembering>>);

  STATIC_CHECK_FALSE(picklable<std::vector<int*>>);
  STATIC_CHECK_FALSE(picklable<std::vector<std::vector<HasPointer>>>);
  STATIC_CHECK_FALSE(picklable<std::map<std::string, std::string_view>>);
  STATIC_CHECK_FALSE(picklable<std::map<int*, int>>);
  STATIC_CHECK_FALSE(picklable<std::set<std::string_view>>);
  STATIC_CHECK_FALSE(picklable<std::forward_list<int*>>);
  STATIC_CHECK_FALSE(picklable<std::array<int*, 2>>);
  STATIC_CHECK_FALSE(picklable<std::stack<int*>>);
  STATIC_CHECK_FALSE(picklable<std::tuple<int, int*>>);
  STATIC_CHECK_FALSE(picklable<std::tuple<int&>>);
  STATIC_CHECK_FALSE(picklable<std::pair<int, std::function<void()>>>);
  STATIC_CHECK_FALSE(picklable<std::optional<int*>>);
  STATIC_CHECK_FALSE(picklable<std::variant<int, int*>>);
  STATIC_CHECK_FALSE(picklable<std::unique_ptr<int*>>);
  STATIC_CHECK_FALSE(picklable<std::shared_ptr<HasPointer>>);

  int number = 0;
  const auto by_value = [number] { return number; };
  const auto by_reference = [&number] { return number; };
  const auto by_pointer = [pointer = &number] { return *pointer; };
  const auto with_string = [text = std::string{}] { return text; };
  STATIC_CHECK(picklable<decltype(by_value)>);
  STATIC_CHECK_FALSE(picklable<decltype(by_reference)>);
  STATIC_CHECK_FALSE(picklable<decltype(by_pointer)>);
  STATIC_CHECK_FALSE(picklable<decltype(with_string)>);
  CHECK(by_value() + by_reference() + by_pointer() == 0);
  CHECK(with_string().empty());
}

TEST_CASE("pickle: bytes are read as they arrive", "[pickle]") {
  std::string large(100'000, 'x');
  large[77'777] = 'y';
  const std::tuple value{std::map<std::string, std::vector<int>>{{"a", {1, 2}}, {"b", std::vector<int>(5000, 7)}},
                         large, std::vector<std::string>(3000, "item"), std::vector<bool>(9999, true)};
  using Value = std::remove_const_t<decltype(value)>;
  const std::string bytes = dumps(value);
  for (const std::size_t most : {std::size_t{1}, std::size_t{7}, std::size_t{4096}, std::size_t{1} << 20}) {
    Dribble source{bytes + "the next frame", most};
    Unpickler in{source, bytes.size()};
    CHECK(in.remaining() == bytes.size());
    CHECK(in.get<Value>() == value);
    in.expect_end();
    CHECK(source.given() == bytes.size());
    CHECK(source.wrong() == 0);
  }
}

TEST_CASE("pickle: small values are fetched many at a time, large blocks in a few pieces", "[pickle]") {
  const std::pair value{std::vector<std::string>(1000, "item"), std::vector<char>(1 << 20)};
  Dribble source{dumps(value), std::size_t{1} << 30};
  Unpickler in{source, dumps(value).size()};
  CHECK(in.get<std::remove_const_t<decltype(value)>>() == value);
  CHECK(source.calls() < 30);
}
