// SPDX-License-Identifier: MIT
// What detail/remote_code.hpp promises: a call that another process of the same program can be told to run.
#include <conc/detail/map_result.hpp>
#include <conc/detail/remote_code.hpp>

#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "support.hpp"

using conc::detail::ByteBuffer;
using conc::detail::CodeKey;
using conc::detail::RemoteCode;

namespace {

std::span<const std::byte> view(const ByteBuffer& buffer) { return {buffer.data(), buffer.size()}; }

/// A call as bytes and its key, as they go to another process.
struct Sent {
  CodeKey key;
  ByteBuffer call{};
};

template <class F, class... Args>
Sent send(const F& fn, const Args&... args) {
  conc::detail::check_remote_call<F, Args...>();
  Sent sent{RemoteCode<F, Args...>::key()};
  conc::Pickler pickler{sent.call};
  conc::detail::save_call<F, Args...>(pickler, fn, args...);
  return sent;
}

ByteBuffer run(const Sent& sent) {
  ByteBuffer result;
  conc::Unpickler call{view(sent.call)};
  conc::Pickler pickler{result};
  const conc::detail::Thunk code = conc::detail::find_code(sent.key);
  REQUIRE(code != nullptr);
  code(call, pickler);
  return result;
}

/// The result of the call, all of it having been through bytes.
template <class F, class... Args>
auto remote(F fn, Args... args) {
  using Result = typename RemoteCode<F, Args...>::Result;
  const ByteBuffer result = run(send(fn, args...));
  conc::Unpickler pickled{view(result)};
  if constexpr (!std::is_void_v<Result>) {
    auto value = pickled.get<Result>();
    pickled.expect_end();
    return value;
  } else {
    pickled.expect_end();
  }
}

int add(int a, int b) { return a + b; }
int subtract(int a, int b) noexcept { return a - b; }
int calls = 0;
void count(int n) { calls += n; }

struct Scale {
  int factor;
  int operator()(int x) const { return factor * x; }
};

/// Picklable, but no plain bytes.
struct Greeter {
  std::string greeting;
  std::string operator()(const std::string& name) const { return greeting + ", " + name; }
};

struct OnlyOnce {
  int n;
  int operator()() && { return n; }
};

struct OnlyMoved {
  OnlyMoved() = default;
  explicit OnlyMoved(int number) : n{number} {}
  OnlyMoved(OnlyMoved&&) = default;
  OnlyMoved& operator=(OnlyMoved&&) = default;
  template <class Ar>
  void pickle(Ar& ar) {
    ar(n);
  }
  int n = 0;
};

struct Holder {
  int value = 0;
  auto by_this() {
    return [this] { return value; };
  }
  auto by_copy() {
    return [*this] { return value; };
  }
  int get() const { return value; }
};

union Either {
  int i;
  float f;
};

template <class F>
constexpr bool can_be_sent(const F& /*fn*/) {
  return conc::detail::is_remote_callable<F>;
}

}  // namespace

TEST_CASE("RemoteCode: functions, lambdas and functors are called with copies", "[remote_code]") {
  CHECK(remote(&add, 3, 4) == 7);
  CHECK(remote(&subtract, 3, 4) == -1);
  CHECK(remote([] { return std::string{"no arguments"}; }) == "no arguments");
  CHECK(remote([](std::vector<int> v, const std::string& s) { return s + std::to_string(v.size()); },
               std::vector<int>{1, 2, 3}, std::string{"n="}) == "n=3");
  CHECK(remote([k = 5, d = 0.5](int x) { return k * x + d; }, 4) == 20.5);
  CHECK(remote([yes = true, c = 'c', n = 1L] { return yes ? n + c : 0; }) == 100);  // with padding
  CHECK(remote(Scale{6}, 7) == 42);
  CHECK(remote(Greeter{"Good morning"}, std::string{"Ada"}) == "Good morning, Ada");
  CHECK(remote(OnlyOnce{5}) == 5);
  CHECK(remote(Holder{8}.by_copy()) == 8);
  CHECK(remote([]() -> const std::string { return "const"; }) == "const");
  CHECK(remote([](long n) { return n; }, 3) == 3);  // converted there
  CHECK(remote(&::getppid) == ::getppid());         // of a library
  calls = 0;
  remote(&count, 3);
  remote([](int n) { calls += n; }, 4);
  CHECK(calls == 7);
}

TEST_CASE("RemoteCode: only what holds nothing but values can be sent", "[remote_code]") {
  int i = 1;
  int* const p = &i;
  const std::string_view view = "text";
  Holder holder;
  Either either{1};
  CHECK(can_be_sent([] {}));
  CHECK(can_be_sent([i] { return i; }));
  CHECK(can_be_sent([i, d = 1.5, c = 'c'] { return i + d + c; }));
  CHECK(can_be_sent([inner = [i] { return i; }] { return inner(); }));
  CHECK(can_be_sent(holder.by_copy()));
  CHECK(can_be_sent(&add));
  CHECK(can_be_sent(Scale{1}));
  CHECK(can_be_sent(Greeter{}));
  CHECK_FALSE(can_be_sent([&i] { return i; }));
  CHECK_FALSE(can_be_sent([p] { return *p; }));
  CHECK_FALSE(can_be_sent([view] { return view.size(); }));
  CHECK_FALSE(can_be_sent([inner = [&i] { return i; }] { return inner(); }));
  CHECK_FALSE(can_be_sent([get = &Holder::get] { return get != nullptr; }));
  CHECK_FALSE(can_be_sent([either] { return either.i; }));
  CHECK_FALSE(can_be_sent([s = std::string{}] { return s; }));
  CHECK_FALSE(can_be_sent(holder.by_this()));
  CHECK_FALSE(can_be_sent(&Holder::get));
  CHECK_FALSE(can_be_sent(std::function<void()>{}));
}

TEST_CASE("RemoteCode: arguments and results may be types that only move", "[remote_code]") {
  const auto take = [](OnlyMoved moved) { return OnlyMoved{moved.n + 1}; };
  const ByteBuffer result = run(send(take, OnlyMoved{1}));
  conc::Unpickler pickled{view(result)};
  CHECK(pickled.get<OnlyMoved>().n == 2);
}

TEST_CASE("RemoteCode: what the call throws goes out, and nothing was written", "[remote_code]") {
  const Sent sent = send([](int n) -> int { throw std::out_of_range{std::to_string(n)}; }, 5);
  ByteBuffer result;
  conc::Unpickler call{view(sent.call)};
  conc::Pickler pickler{result};
  CHECK_THROWS_AS(conc::detail::find_code(sent.key)(call, pickler), std::out_of_range);
  CHECK(result.empty());
}

TEST_CASE("RemoteCode: a call of the wrong length is not made [FC7]", "[remote_code][fault]") {
  calls = 0;
  const Sent sent = send(&count, 3);
  const conc::detail::Thunk code = conc::detail::find_code(sent.key);
  const auto call_with = [code](std::span<const std::byte> bytes) {
    ByteBuffer result;
    conc::Unpickler call{bytes};
    conc::Pickler pickler{result};
    code(call, pickler);
  };
  std::vector<std::byte> bytes(sent.call.data(), sent.call.data() + sent.call.size());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    CHECK_THROWS_AS(call_with(std::span{bytes}.first(length)), conc::PickleError);
  }
  bytes.push_back(std::byte{0});
  CHECK_THROWS_AS(call_with(bytes), conc::PickleError);
  CHECK(calls == 0);
}

TEST_CASE("RemoteCode: a function's place that is not in code is refused [FC7]", "[remote_code][fault]") {
  int (*const null)(int, int) = nullptr;
  CHECK_THROWS_AS(send(null, 1, 2), conc::PickleError);
  // Memory of the program that is no code, memory of no module, a module that nobody knows.
  static int data = 0;
  const auto place = conc::detail::place_of(reinterpret_cast<std::uintptr_t>(&add));
  REQUIRE(place.has_value());
  const std::uintptr_t base = reinterpret_cast<std::uintptr_t>(&add) - place->offset;
  CHECK(conc::detail::code_at(*place) == reinterpret_cast<std::uintptr_t>(&add));
  CHECK_FALSE(conc::detail::place_of(reinterpret_cast<std::uintptr_t>(&data)).has_value());
  CHECK_FALSE(conc::detail::place_of(reinterpret_cast<std::uintptr_t>(&place)).has_value());
  CHECK_FALSE(conc::detail::place_of(0).has_value());
  CHECK(conc::detail::code_at({place->module, reinterpret_cast<std::uintptr_t>(&data) - base}) == 0);
  CHECK(conc::detail::code_at({place->module, ~std::uint64_t{0}}) == 0);
  CHECK(conc::detail::code_at({place->module + 1, place->offset}) == 0);
  CHECK(conc::detail::code_at({}) == 0);

  Sent wrong = send(&add, 1, 2);
  wrong.call.data()[0] ^= std::byte{1};
  CHECK_THROWS_AS(run(wrong), conc::PickleError);
}

TEST_CASE("RemoteCode: a key names one callable with one list of arguments, and stays", "[remote_code]") {
  const auto one = [] { return 1; };
  const auto two = [] { return 1; };
  using One = std::remove_cv_t<decltype(one)>;
  using Two = std::remove_cv_t<decltype(two)>;
  CHECK(RemoteCode<One>::key() == RemoteCode<One>::key());
  CHECK_FALSE(RemoteCode<One>::key() == RemoteCode<Two>::key());
  CHECK_FALSE(RemoteCode<int (*)(int, int), int, int>::key() == RemoteCode<int (*)(int, int), int, long>::key());
  STATIC_REQUIRE(noexcept(RemoteCode<One>::key()));
  STATIC_REQUIRE(std::is_same_v<RemoteCode<int (*)(int, int), int, int>::Result, int>);
}

namespace {

class Connection {
 public:
  std::size_t length() const { return host_.size(); }

 private:
  std::string host_;
};
Connection connect(const std::string&) { return {}; }

}  // namespace

TEST_CASE("RemoteCode: a call that cannot be sent has the type that it would have, so that nothing else is wrong",
          "[remote_code]") {
  STATIC_REQUIRE(std::is_same_v<RemoteCode<Connection (*)(const std::string&), std::string>::Result, Connection>);
  STATIC_REQUIRE(std::is_same_v<RemoteCode<int (*)(int&), std::reference_wrapper<int>>::Result, int>);
  STATIC_REQUIRE(std::is_same_v<RemoteCode<int& (*)(int&), std::reference_wrapper<int>>::Result, int&>);
  STATIC_REQUIRE(std::is_same_v<RemoteCode<int && (*)(Connection), Connection>::Result, int>);
  using NoCall = RemoteCode<Connection (*)(const std::string&), int>::Result;
  STATIC_REQUIRE(std::is_convertible_v<NoCall, Connection>);
  STATIC_REQUIRE(std::is_convertible_v<NoCall, std::string>);
  STATIC_REQUIRE(std::is_convertible_v<NoCall, int>);
  CHECK(connect("localhost").length() == 0);
}

TEST_CASE("find_code: what nobody has entered is not known", "[remote_code]") {
  const CodeKey key = RemoteCode<Greeter, std::string>::key();
  CHECK(conc::detail::find_code(key) != nullptr);
  CHECK(conc::detail::find_code({key.hash, key.offset + 1}) == nullptr);
  CHECK(conc::detail::find_code({key.hash + 1, key.offset}) == nullptr);
  CHECK(conc::detail::find_code({}) == nullptr);
}

namespace {

struct NeverCalled {
  void operator()() const {}
};
volatile bool never = false;

}  // namespace

TEST_CASE("RemoteCode: code is entered before main, whether its key was asked for or not", "[remote_code]") {
  if (never) {
    send(NeverCalled{});
  }
  const auto found = conc::detail::code_table.find_if(
      [](const std::string& name, conc::detail::Thunk /*code*/) { return name == typeid(NeverCalled).name(); });
  CHECK(found != nullptr);
}

TEST_CASE("CodeTable: what left is not found, and comes back to its place", "[remote_code]") {
  using Table = conc::detail::CodeTable<const int*>;
  static const int one = 1;
  static const int other = 2;
  static constinit Table table;  // never destroyed
  const CodeKey key{1, 2};
  auto& node = table.enter(key, "one", &one);
  CHECK(table.find(key) == &one);
  // Entered twice: a module that is loaded twice. Each may leave.
  auto& second = table.enter(key, "one", &other);
  CHECK(&second != &node);
  Table::leave(second);
  CHECK(table.find(key) == &one);
  CHECK(&table.enter(key, "one", &other) == &second);
  Table::leave(node);
  CHECK(table.find(key) == &other);
  Table::leave(second);
  CHECK(table.find(key) == nullptr);
  CHECK(table.find_node(key)->name == "one");
  table.enter(key, "one", &one);
  CHECK(table.find(key) == &one);
  // More than it has lists.
  for (std::uint64_t i = 10; i < 2000; ++i) {
    table.enter({i * 0x9e3779b97f4a7c15U, i}, "many", &other);
  }
  std::size_t found = 0;
  for (std::uint64_t i = 10; i < 2000; ++i) {
    found += table.find({i * 0x9e3779b97f4a7c15U, i}) == &other;
  }
  CHECK(found == 1990);
}

TEST_CASE("CodeTable: threads enter, leave and find at once", "[remote_code]") {
  static const int one = 1;
  static constinit conc::detail::CodeTable<const int*> table;
  const CodeKey stays{7, 7};
  table.enter(stays, "stays", &one);
  std::vector<int> wrong(4);
  conc_test::run_threads(wrong.size(), [&](std::size_t index) {
    for (int i = conc_test::scaled(2000); i > 0; --i) {
      // All in the list of the one that stays.
      const CodeKey mine{7 + 512 * static_cast<std::uint64_t>(i % 8), 7};
      auto& node = table.enter(mine, "comes and goes", &one);
      wrong[index] += table.find(stays) != &one || (i % 8 != 0 && table.find_node(mine)->name != "comes and goes");
      if (i % 8 != 0) {
        table.leave(node);
      }
    }
  });
  CHECK(wrong == std::vector<int>(4));
}

TEST_CASE("RemoteCode: threads send, find and call at once", "[remote_code]") {
  std::vector<int> sums(4);
  conc_test::run_threads(sums.size(), [&](std::size_t index) {
    for (int i = conc_test::scaled(1000); i > 0; --i) {
      const Sent sent = send(&add, 1, 1);
      ByteBuffer result;
      conc::Unpickler call{view(sent.call)};
      conc::Pickler pickler{result};
      conc::detail::find_code(sent.key)(call, pickler);
      sums[index] += conc::Unpickler{view(result)}.get<int>();
    }
  });
  CHECK(sums == std::vector<int>(4, 2 * conc_test::scaled(1000)));
}

TEST_CASE("RemoteCode: a task of map() can be sent, and what it returns", "[remote_code][map]") {
  using conc::detail::MapCall;
  const auto chunk = remote(MapCall<int (*)(int, int), std::tuple<int, int>>{&add, {{1, 2}, {3, 4}}});
  REQUIRE(chunk.results.size() == 2);
  CHECK(chunk.results[0].value == 3);
  CHECK(chunk.results[1].value == 7);
  CHECK(chunk.error == nullptr);

  const auto lengths = [k = std::size_t{1}](const std::string& s) { return s.size() + k; };
  using Lengths = MapCall<std::remove_cv_t<decltype(lengths)>, std::tuple<std::string>>;
  const auto of_strings = remote(Lengths{lengths, {{"four"}, {"three"}}});
  REQUIRE(of_strings.results.size() == 2);
  CHECK(of_strings.results[1].value == 6);

  calls = 0;
  const auto nothing = remote(MapCall<void (*)(int), std::tuple<int>>{&count, {{1}, {2}, {3}}});
  CHECK(nothing.results.size() == 3);
  CHECK(calls == 6);

  const auto truths = remote(MapCall<bool (*)(int), std::tuple<int>>{[](int n) { return n > 1; }, {{1}, {2}}});
  REQUIRE(truths.results.size() == 2);
  CHECK_FALSE(truths.results[0].value);
  CHECK(truths.results[1].value);

  const auto none = remote(MapCall<int (*)(int, int), std::tuple<int, int>>{&add, {}});
  CHECK(none.results.empty());
}

TEST_CASE("RemoteCode: a task of map() brings the results before the exception, and the exception",
          "[remote_code][map]") {
  const auto fail_at_3 = [](int n) {
    if (n == 3) {
      throw std::out_of_range{"three"};
    }
    return 10 * n;
  };
  using Call = conc::detail::MapCall<std::remove_cv_t<decltype(fail_at_3)>, std::tuple<int>>;
  const auto chunk = remote(Call{fail_at_3, {{1}, {2}, {3}, {4}}});
  REQUIRE(chunk.results.size() == 2);
  CHECK(chunk.results[1].value == 20);
  REQUIRE(chunk.error != nullptr);
  try {
    std::rethrow_exception(chunk.error);
  } catch (const std::out_of_range& error) {
    CHECK(std::string{error.what()} == "three");
    CHECK(dynamic_cast<const conc::RemoteInfo&>(error).pid() == ::getpid());
  }
}
