// SPDX-License-Identifier: MIT
// What detail/remote_code.hpp promises: a call that another process of the same program can be told to run.
#include <conc/detail/map_result.hpp>
#include <conc/detail/remote_code.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
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

}  // namespace

TEST_CASE("RemoteCode: functions, lambdas and functors are called with copies [P4]", "[remote_code]") {
  CHECK(remote(&add, 3, 4) == 7);
  CHECK(remote(&subtract, 3, 4) == -1);
  CHECK(remote([] { return std::string{"no arguments"}; }) == "no arguments");
  CHECK(remote([](std::vector<int> v, const std::string& s) { return s + std::to_string(v.size()); },
               std::vector<int>{1, 2, 3}, std::string{"n="}) == "n=3");
  CHECK(remote([k = 5, d = 0.5](int x) { return k * x + d; }, 4) == 20.5);
  CHECK(remote(Scale{6}, 7) == 42);
  calls = 0;
  remote(&count, 3);
  CHECK(calls == 3);
}

TEST_CASE("RemoteCode: map()'s tasks can be sent, and what they return", "[remote_code][map]") {
  using Call = conc::detail::MapCall<int (*)(int, int), std::tuple<int, int>>;
  Call call{&add, {{1, 2}, {3, 4}}};
  const auto chunk = remote(std::move(call));
  CHECK(chunk.results.size() == 2);
  CHECK(chunk.results[1].value == 7);
  CHECK(chunk.error == nullptr);
}
