// SPDX-License-Identifier: MIT
// Bytes that are no values, values that are too deep, memory that runs out.
#include <conc/pickle.hpp>

#include <algorithm>
#include <array>
#include <bitset>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <forward_list>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <queue>
#include <random>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <valarray>
#include <variant>
#include <vector>

#include "allocations.hpp"
#include "background.hpp"
#include "pickled.hpp"
#include "support.hpp"

namespace {

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using conc::PickleError;
using conc::Pickler;
using conc::Unpickler;
using conc::pickle::dumps;
using conc::pickle::loads;
using conc_test::Account;
using conc_test::Color;
using conc_test::Everything;
using conc_test::everything;
using conc_test::Interval;
using conc_test::largest_allocation;
using conc_test::Link;
using conc_test::live_bytes;
using conc_test::message_of;
using conc_test::Point;
using conc_test::scaled;
using conc_test::Shape;
using conc_test::SmallTypes;
using conc_test::Tree;

template <class T>
std::string refusal(std::string_view bytes) {
  return message_of<PickleError>([bytes] { static_cast<void>(loads<T>(bytes)); });
}

/// Whether every beginning of the bytes of a value is refused, and its bytes with one more.
template <class T>
bool needs_all(const T& value) {
  const std::string bytes = dumps(value);
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    if (refusal<T>(std::string_view{bytes}.substr(0, n)).empty()) return false;
  }
  return refusal<T>(bytes + "x") == "Unpickler: 1 bytes are left over";
}

/// Whether a container of items that claims `n` of them is refused, and nothing large is allocated for it.
template <class T>
bool refuses_length(std::uint64_t n) {
  std::string bytes = dumps(n) + std::string(100, '\0');
  largest_allocation = 0;
  return !refusal<T>(bytes).empty() && largest_allocation < 1024;
}
template <class T>
bool refuses_lengths() {
  bool all = true;
  for (const std::uint64_t n :
       {std::uint64_t{101}, std::uint64_t{1} << 31, (std::uint64_t{1} << 32) + 1, std::uint64_t{100'000'000'000},
        std::uint64_t{1} << 61, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    all = all && refuses_length<T>(n);
  }
  return all;
}

/// It cannot be made of a number.
struct Fragile {
  std::string text;
  Fragile() = default;
  explicit Fragile(int /*number*/) { throw std::runtime_error{"broken"}; }
  template <class Ar>
  void pickle(Ar& ar) {
    ar(text);
  }
};

/// The stream ends after some bytes, whatever length was promised.
class Ending : public conc::detail::ByteSource {
 public:
  explicit Ending(std::string bytes) : bytes_{std::move(bytes)} {}
  std::size_t read(std::byte* into, std::size_t at_least, std::size_t at_most) override {
    const std::size_t n = std::min(at_most, bytes_.size() - given_);
    if (n < at_least) throw std::runtime_error{"the stream has ended"};
    std::memcpy(into, bytes_.data() + given_, n);
    given_ += n;
    return n;
  }

 private:
  std::string bytes_;
  std::size_t given_ = 0;
};

/// Damages bytes in one to four places.
class Damage {
 public:
  explicit Damage(std::uint64_t seed) : random_{seed} {}

  std::string to(std::string bytes) {
    for (std::size_t n = below(4) + 1; n > 0; --n) change(bytes);
    return bytes;
  }

  std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_() % n); }

 private:
  void change(std::string& bytes) {
    static constexpr std::array<std::uint64_t, 8> kLengths{
        0, 1, 2, 255, 1U << 20, std::uint64_t{1} << 32, std::uint64_t{1} << 61, ~std::uint64_t{0}};
    const std::size_t at = below(bytes.size() + 1);
    const std::size_t rest = bytes.size() - at;
    switch (below(6)) {
      case 0:
        bytes.resize(at);
        break;
      case 1:
        bytes.insert(at, bytes, below(bytes.size() + 1), below(16));
        break;
      case 2:
        bytes.erase(at, below(16));
        break;
      case 3:
        if (rest >= sizeof(std::uint64_t))
          std::memcpy(bytes.data() + at, &kLengths[below(kLengths.size())], sizeof(std::uint64_t));
        break;
      case 4:
        if (rest > 0) bytes[at] = static_cast<char>(random_());
        break;
      default:
        if (rest > 0) bytes[at] = static_cast<char>(static_cast<unsigned char>(bytes[at]) ^ (1U << below(8)));
    }
  }

  std::minstd_rand random_;
};

/// Bytes of values of the small types, in their order.
std::array<std::string, SmallTypes::size> samples() {
  return {dumps(std::map<std::string, std::vector<int>>{{"a", {1, 2}}, {"b", {}}, {"c", {3}}}),
          dumps(std::vector<std::vector<std::string>>{{"a"}, {}, {"b", "c"}}),
          dumps(Tree{1, {{2, {}}, {3, {{4, {}}}}}}),
          dumps(Link{1, std::make_unique<Link>(2, std::make_unique<Link>(3, nullptr))}),
          dumps(Shape{{'a', 'b', 'c'}, 1.5, "shape", {{1, 2}}, Color::red, {}}),
          dumps(std::vector<std::variant<std::monostate, bool, std::string>>{true, "text", std::monostate{}}),
          dumps(std::set<Interval>{{1, 2}, {3, 4}}),
          dumps(std::tuple{std::optional{Account{"Ann", 1}}, std::vector<bool>(11, true), std::make_shared<Point>()})};
}

}  // namespace

TEST_CASE("pickle: bytes that end too early, or too late, are refused", "[pickle][FC7]") {
  CHECK(needs_all(everything()));
  CHECK(needs_all(1));
  CHECK(needs_all(true));
  CHECK(needs_all(1.5L));
  CHECK(needs_all(std::string{"text"}));
  CHECK(needs_all(std::tuple{}));
  CHECK(needs_all(std::bitset<100>{}));
  CHECK(needs_all(std::array<int, 0>{}));
  CHECK(needs_all(Link{1, std::make_unique<Link>(2, nullptr)}));
}

TEST_CASE("pickle: a length that cannot be is refused before memory is taken for it", "[pickle][FC6]") {
  CHECK(refuses_lengths<std::string>());
  CHECK(refuses_lengths<std::vector<char>>());
  CHECK(refuses_lengths<std::vector<Point>>());
  CHECK(refuses_lengths<std::vector<std::monostate>>());
  CHECK(refuses_lengths<std::vector<std::tuple<>>>());
  CHECK(refuses_lengths<std::vector<std::string>>());
  CHECK(refuses_lengths<std::vector<Account>>());
  CHECK(refuses_lengths<std::deque<Shape>>());
  CHECK(refuses_lengths<std::list<bool>>());
  CHECK(refuses_lengths<std::forward_list<std::optional<int>>>());
  CHECK(refuses_lengths<std::set<Interval>>());
  CHECK(refuses_lengths<std::unordered_set<int>>());
  CHECK(refuses_lengths<std::map<int, int>>());
  CHECK(refuses_lengths<std::unordered_map<std::string, int>>());
  CHECK(refuses_lengths<std::valarray<int>>());
  CHECK(refuses_lengths<std::queue<int>>());
  CHECK(refuses_length<std::vector<bool>>(809));
  CHECK(refuses_length<std::vector<bool>>(~std::uint64_t{0}));
  CHECK_THAT(refusal<std::vector<int>>(dumps(std::uint64_t{100'000'000'000})),
             ContainsSubstring("a length of 100000000000 where 0 bytes remain"));
}

TEST_CASE("pickle: memory is taken as bytes arrive, not as a stream promises them", "[pickle][FC6]") {
  constexpr std::uint64_t kPromised = 100'000'000'000;
  const std::string bytes = dumps(kPromised - 8) + std::string(1000, 'x');
  const auto load = [&]<class T>(T* /*what*/) {
    Ending source{bytes};
    Unpickler in{source, kPromised};
    return message_of<std::runtime_error>([&] { static_cast<void>(in.get<T>()); });
  };
  const std::size_t before = live_bytes;
  CHECK(load(static_cast<std::deque<char>*>(nullptr)) == "the stream has ended");
  CHECK(load(static_cast<std::list<char>*>(nullptr)) == "the stream has ended");
  largest_allocation = 0;
  CHECK(load(static_cast<std::string*>(nullptr)) == "the stream has ended");
  CHECK(load(static_cast<std::vector<char>*>(nullptr)) == "the stream has ended");
  CHECK(largest_allocation <= (std::size_t{1} << 30) + 1);  // of addresses; next to none of it was touched
  CHECK(live_bytes == before);
}

TEST_CASE("pickle: what is no value of its type is refused", "[pickle][FC7]") {
  CHECK(refusal<bool>("\2") == "Unpickler: a bool that is neither true nor false");
  CHECK_FALSE(refusal<std::optional<int>>("\3").empty());
  CHECK_FALSE(refusal<std::unique_ptr<int>>("\3").empty());
  CHECK(refusal<std::variant<int, bool>>("\2") == "Unpickler: alternative 2 of a variant that has 2");
  CHECK(refusal<std::bitset<5>>("\x20") == "Unpickler: more bits than there are");
  CHECK_FALSE(refusal<std::vector<bool>>(dumps(std::uint64_t{3}) + "\x08").empty());
  CHECK(refusal<std::set<int>>(dumps(std::vector<int>{1, 1})) == "Unpickler: equal keys");
  CHECK(refusal<std::map<int, int>>(dumps(std::vector<Point>{{1, 1}, {1, 2}})) == "Unpickler: equal keys");
  CHECK(refusal<Interval>(dumps(Point{2, 1})) == "Unpickler: an interval from 2 to 1");
  CHECK(loads<std::set<int>>(dumps(std::vector<int>{3, 1, 2})) == std::set<int>{1, 2, 3});
}

TEST_CASE("pickle: a variant without a value cannot be saved", "[pickle][FC1]") {
  std::variant<int, Fragile> variant;
  CHECK(message_of<std::runtime_error>([&] { variant.emplace<1>(1); }) == "broken");
  REQUIRE(variant.valueless_by_exception());
  CHECK(message_of<PickleError>([&] { static_cast<void>(dumps(variant)); }) == "Pickler: a variant without a value");
}

TEST_CASE("pickle: bytes that were damaged give a value or an error, and nothing else", "[pickle][FC7]") {
  const auto small = samples();
  const std::string large = dumps(everything());
  Damage damage{42};
  const int rounds = scaled(1'000'000);
  int values = 0;
  std::size_t most_for_small = 0;
  for (int i = 0; i < rounds; ++i) {
    if (i % 50 == 0) {
      const std::string bytes = damage.to(large);
      values += conc_test::loads_or_refuses<Everything>(bytes) ? 1 : 0;
    } else {
      const std::size_t which = damage.below(SmallTypes::size);
      const std::string bytes = damage.to(small[which]);
      largest_allocation = 0;
      values += SmallTypes::load_or_refuse(which, bytes) ? 1 : 0;
      most_for_small = std::max(most_for_small, largest_allocation.load());
    }
  }
  CHECK(values > rounds / 100);
  CHECK(values < rounds);
  CHECK(most_for_small < 4096);
}

TEST_CASE("pickle: bytes of one type give a value of another, or an error", "[pickle][FC7]") {
  const auto bytes = samples();
  for (const std::string& each : bytes) {
    for (std::size_t which = 0; which < SmallTypes::size; ++which) SmallTypes::load_or_refuse(which, each);
  }
  SUCCEED();
}

TEST_CASE("pickle: values that lie too deep in each other are refused, both ways", "[pickle][FC8]") {
  constexpr int kDepth = 1'000'000;
  std::unique_ptr<Link> list;
  for (int i = 0; i < kDepth; ++i) list = std::make_unique<Link>(i, std::move(list));
  CHECK_THAT(message_of<PickleError>([&] { static_cast<void>(dumps(list)); }),
             StartsWith("Pickler: values lie in each other"));

  const std::string link = dumps(1) + dumps(true);
  const std::string branch = dumps(1) + dumps(std::uint64_t{1});
  std::string links = dumps(true);
  std::string branches;
  for (int i = 0; i < kDepth; ++i) {
    links += link;
    branches += branch;
  }
  CHECK_THAT(refusal<std::unique_ptr<Link>>(links), StartsWith("Unpickler: values lie in each other"));
  CHECK_THAT(refusal<Tree>(branches), StartsWith("Unpickler: values lie in each other"));
}

TEST_CASE("pickle: a thousand values in each other are no problem", "[pickle][FC8]") {
  Link list;
  Tree tree;
  for (int i = 1; i < 1000; ++i) {
    list = Link{i, std::make_unique<Link>(std::move(list))};
    Tree above{i, {}};
    above.children.push_back(std::move(tree));
    tree = std::move(above);
  }
  const Link copy = loads<Link>(dumps(list));
  int length = 0;
  for (const Link* link = &copy; link != nullptr; link = link->next.get()) ++length;
  CHECK(length == 1000);
  CHECK(loads<Tree>(dumps(tree)) == tree);
  // What was too deep once does not count for what comes after it.
  conc::detail::ByteBuffer bytes;
  Pickler out{bytes};
  for (int i = 0; i < 10; ++i) {
    Link deep;
    for (int k = 0; k < 2000; ++k) deep = Link{k, std::make_unique<Link>(std::move(deep))};
    CHECK_FALSE(message_of<PickleError>([&] { out(deep); }).empty());
    CHECK(message_of<PickleError>([&] { out(tree); }).empty());
  }
}

TEST_CASE("pickle: whenever memory runs out, nothing is lost", "[pickle][FR2]") {
  const std::string bytes = dumps(everything());
  const std::size_t before = live_bytes;
  bool refused = true;
  const int allocations = conc_test::fail_each_allocation(
      [&] { static_cast<void>(loads<Everything>(bytes)); },
      [&](bool got_through) { refused = refused && !got_through && live_bytes == before; });
  CHECK(allocations > 10);
  CHECK(refused);
}

TEST_CASE("ByteBuffer: keeps its bytes while it grows, and memory that is not written to is not used",
          "[pickle][FC6]") {
  conc::detail::ByteBuffer buffer;
  CHECK(buffer.empty());
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    const std::string part(static_cast<std::size_t>(i % 7), static_cast<char>('a' + i % 26));
    buffer.append(part.data(), part.size());
    expected += part;
  }
  CHECK(std::string(reinterpret_cast<const char*>(buffer.data()), buffer.size()) == expected);
  buffer.truncate(5);
  buffer.truncate(100);
  CHECK(buffer.size() == 5);
  conc::detail::ByteBuffer other{std::move(buffer)};
  CHECK(other.size() == 5);
  buffer = std::move(other);
  CHECK(std::memcmp(buffer.data(), expected.data(), 5) == 0);
  CHECK_THROWS_AS(buffer.extend(~std::size_t{0}), std::bad_alloc);
  if (conc_test::sanitizer() == conc_test::Sanitizer::none) {  // they end the process instead
    CHECK_THROWS_AS(buffer.extend(~std::size_t{0} / 2 - 10), std::bad_alloc);
  }
  CHECK(buffer.size() == 5);
  buffer.clear();
  CHECK(buffer.empty());
  CHECK(buffer.extend(0) == buffer.data());
}
