// SPDX-License-Identifier: MIT
// What detail/throw_trace.hpp promises: where an exception was thrown, told to who catches it. How it comes out of a worker
// process: remote_exception_test.cpp, process_pool_test.cpp; in programs built in other ways: house/code_keys.cpp.
#include <conc/detail/throw_trace.hpp>
// The header comes first here, and so is known to need no other.
#include <pthread.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <exception>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "support.hpp"

/// Told once, as the worker would send it.
static std::string take_throw_trace() { return conc::detail::describe_places(conc::detail::take_throw_trace().all()); }

// Not in an unnamed namespace: the program exports their names. Cold: their throws stay with the rest of them.
namespace traced {

[[gnu::noinline, gnu::cold]] void innermost(bool fail) {
  if (fail) throw std::runtime_error{"here"};
}
[[gnu::noinline, gnu::cold]] void between(bool fail) {
  innermost(fail);
  asm volatile("");  // not a jump
}
[[gnu::noinline, gnu::cold]] void another() { throw 42; }
[[gnu::noinline, gnu::cold]] void handles() {
  try {
    innermost(true);
  } catch (const std::exception&) {
  }
}
[[gnu::noinline, gnu::cold]] void rethrows() {
  try {
    innermost(true);
  } catch (const std::exception&) {
    throw;
  }
}
[[gnu::noinline, gnu::cold]] void rethrows_pointer() {
  std::exception_ptr caught;
  try {
    innermost(true);
  } catch (const std::exception&) {
    caught = std::current_exception();
  }
  std::rethrow_exception(caught);
}
[[gnu::noinline, gnu::cold]] int recurses(int depth) {
  if (depth == 0) throw std::runtime_error{"deep"};
  const int sum = recurses(depth - 1) + depth;
  asm volatile("");
  return sum;
}

}  // namespace traced

namespace {

/// Calls it, and tells where what comes out was thrown; "nothing came out" if so.
template <class F>
std::string trace_of(F fn) {
  try {
    conc::detail::call_traced(fn);
  } catch (...) {
    return take_throw_trace();
  }
  return "nothing came out";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct Counts {
  explicit Counts(int& destroyed) : destroyed_{destroyed} {}
  Counts(const Counts&) = delete;
  Counts& operator=(const Counts&) = delete;
  ~Counts() { ++destroyed_; }

 private:
  int& destroyed_;
};

}  // namespace

namespace traced {
[[gnu::noinline, gnu::cold]] std::string outside() {
  std::string trace = trace_of([] { between(true); });
  asm volatile("");
  return trace;
}
}  // namespace traced

TEST_CASE("call_traced: tells the calls that led to the throw, innermost first", "[throw_trace]") {
  const std::string trace = traced::outside();
  INFO(trace);
  CHECK(trace.starts_with("      at traced::innermost(bool)+0x"));
  CHECK(has(trace, "traced::between(bool)+0x"));
  CHECK(trace.ends_with("\n"));
  CHECK_FALSE(has(trace, "__cxa_throw"));
  CHECK_FALSE(has(trace, "_Unwind"));
  CHECK_FALSE(has(trace, "traced::outside"));  // who has made the call
  CHECK_FALSE(has(trace, "at main+"));
  CHECK_FALSE(has(trace, "call_traced"));
  CHECK(trace_of([] { traced::another(); }).starts_with("      at traced::another()+0x"));
}

TEST_CASE("call_traced: the ways of std::apply are left out, and nothing else", "[throw_trace]") {
  using conc::detail::is_way_of_apply;
  CHECK(is_way_of_apply("      at decltype(auto) std::apply<int (*)(int), std::tuple<int> >(int (*&&)(int))+0x12"));
  CHECK(is_way_of_apply("      at std::__invoke_result<void (*)()>::type std::__invoke<void (*)()>(void (*&&)())+0x1"));
  CHECK_FALSE(is_way_of_apply("      at app::apply(int)+0x12"));
  CHECK_FALSE(is_way_of_apply("      at app::f<std::apply<int> >()+0x12"));
  CHECK_FALSE(is_way_of_apply("      at app::f(std::__invoke<int>)+0x12"));
  CHECK_FALSE(is_way_of_apply("      at ./program+0x12"));
  const std::string trace = trace_of([] { std::apply(&traced::between, std::tuple{true}); });
  INFO(trace);
  CHECK(has(trace, "traced::between(bool)"));
  CHECK_FALSE(has(trace, "std::"));
}

TEST_CASE("call_traced: what the call catches itself leaves no trace", "[throw_trace]") {
  CHECK(trace_of([] { traced::handles(); }) == "nothing came out");
  CHECK(take_throw_trace().empty());
  // Neither does an exception of before.
  CHECK(has(trace_of([] { traced::between(true); }), "innermost"));
  CHECK(trace_of([] { traced::between(false); }) == "nothing came out");
  CHECK(take_throw_trace().empty());
  // Not even of one that nobody has asked for.
  auto fails = [] { traced::between(true); };
  auto succeeds = [] { traced::between(false); };
  CHECK_THROWS(conc::detail::call_traced(fails));
  conc::detail::call_traced(succeeds);
  CHECK(take_throw_trace().empty());
  const std::string later = trace_of([] {
    traced::handles();
    traced::another();
  });
  CHECK(later.starts_with("      at traced::another()"));
  CHECK_FALSE(has(later, "innermost"));
}

TEST_CASE("call_traced: a trace is told once", "[throw_trace]") {
  CHECK_FALSE(trace_of([] { traced::another(); }).empty());
  CHECK(take_throw_trace().empty());
}

TEST_CASE("call_traced: what is thrown again is told from there", "[throw_trace]") {
  for (void (*const again)() : {&traced::rethrows, &traced::rethrows_pointer}) {
    const std::string trace = trace_of(again);
    INFO(trace);
    CHECK(has(trace, "traced::rethrows"));
    CHECK_FALSE(has(trace, "traced::innermost"));
    CHECK_FALSE(has(trace, "_Unwind"));
  }
}

TEST_CASE("call_traced: of a deep stack the innermost calls are told", "[throw_trace]") {
  const std::string trace = trace_of([] { traced::recurses(1000); });
  CHECK(trace.starts_with("      at traced::recurses(int)+0x"));
  const auto lines = std::count(trace.begin(), trace.end(), '\n');
  CHECK(lines > conc::detail::ThrowTrace::kDepth / 2);
  CHECK(lines <= conc::detail::ThrowTrace::kDepth);
}

TEST_CASE("call_traced: the stack is unwound as ever", "[throw_trace]") {
  int destroyed = 0;
  std::string trace = trace_of([&destroyed] {
    const Counts outer{destroyed};
    try {
      const Counts inner{destroyed};
      traced::between(true);
    } catch (const std::logic_error&) {
      destroyed = 100;  // another type: it is not for this handler
    }
  });
  CHECK(destroyed == 2);
  CHECK(has(trace, "innermost"));

  // One within the other, each with its handler.
  std::string inner;
  trace = trace_of([&inner] {
    inner = trace_of([] { traced::another(); });
    traced::between(true);
  });
  CHECK(inner.starts_with("      at traced::another()"));
  CHECK(trace.starts_with("      at traced::innermost(bool)"));
}

TEST_CASE("call_traced: threads have traces of their own", "[throw_trace]") {
  std::vector<int> wrong(4);
  conc_test::run_threads(wrong.size(), [&wrong](std::size_t index) {
    for (int i = 0; i < 200; ++i) {
      const std::string trace =
          index % 2 == 0 ? trace_of([] { traced::between(true); }) : trace_of([] { traced::another(); });
      wrong[index] += has(trace, "traced::another") != (index % 2 == 1);
      wrong[index] += has(trace, "traced::between") != (index % 2 == 0);
    }
  });
  CHECK(wrong == std::vector<int>(wrong.size()));
}

namespace {

/// What a thread leaves behind that ends in the middle of a traced call.
struct Ended {
  int destroyed = 0;
  bool returned = false;
};

void* end_in_the_middle(void* argument) {
  auto& ended = *static_cast<Ended*>(argument);
  const Counts outer{ended.destroyed};
  auto call = [&ended] {
    const Counts inner{ended.destroyed};
    ::pthread_exit(nullptr);
  };
  conc::detail::call_traced(call);
  ended.returned = true;
  return nullptr;
}

}  // namespace

TEST_CASE("call_traced: a thread may end in it", "[throw_trace]") {
  Ended ended;
  pthread_t thread{};
  REQUIRE(::pthread_create(&thread, nullptr, &end_in_the_middle, &ended) == 0);
  REQUIRE(::pthread_join(thread, nullptr) == 0);
  CHECK(ended.destroyed == 2);
  CHECK_FALSE(ended.returned);
}
