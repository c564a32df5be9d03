// SPDX-License-Identifier: MIT
#include <conc/event.hpp>
#include <conc/stop_token.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "support.hpp"
#include "worker.hpp"

namespace {

/// Bytes that somebody holds: what this thread keeps to be used again is held by nobody.
std::size_t held_bytes() {
  std::size_t kept = 0;
  for (const conc::detail::Shelf& shelf : conc::detail::shelves) {
    for (conc::detail::FreeBlock* list : {shelf.first, shelf.full}) {
      for (; list != nullptr; list = list->next) kept += ::malloc_usable_size(list);
    }
  }
  return conc_test::live_bytes - kept;
}

using conc::StopCallback;
using conc::StopSource;
using conc::StopToken;
using conc_test::elsewhere;
using conc_test::Worker;

static_assert(std::is_nothrow_default_constructible_v<StopToken> && std::is_nothrow_copy_constructible_v<StopToken>);
static_assert(std::is_nothrow_copy_assignable_v<StopToken> && std::is_nothrow_move_assignable_v<StopToken>);
static_assert(std::is_nothrow_copy_constructible_v<StopSource> && std::is_nothrow_copy_assignable_v<StopSource>);
static_assert(!std::is_convertible_v<std::nullptr_t, StopToken>);

using Plain = StopCallback<void (*)()>;
static_assert(!std::is_copy_constructible_v<Plain> && !std::is_move_constructible_v<Plain>);
static_assert(!std::is_copy_assignable_v<Plain> && !std::is_move_assignable_v<Plain>);
static_assert(!std::is_constructible_v<Plain, StopToken, int>);

/// A callback that writes down that it was called.
struct Note {
  std::string* notes;
  char name;
  void operator()() const { *notes += name; }
};
using Noted = StopCallback<Note>;

std::string hook_saw;

void remember(const conc::ExceptHookArgs& args) { hook_saw += conc::detail::describe(args.exception) + ";"; }

}  // namespace

TEST_CASE("StopToken: without a source stop is neither requested nor possible", "[stop_token]") {
  const StopToken token;
  CHECK_FALSE(token.stop_requested());
  CHECK_FALSE(token.stop_possible());
  CHECK(token == StopToken{});
  bool called = false;
  {
    const StopCallback callback{token, [&] { called = true; }};
  }
  CHECK_FALSE(called);
}

TEST_CASE("StopSource: request_stop is true for the first call only, and all handles show it", "[stop_token]") {
  const StopSource source;
  const StopSource copy{source};  // NOLINT(performance-unnecessary-copy-initialization): that is what is tested
  const StopToken token = source.get_token();
  CHECK_FALSE(source.stop_requested());
  CHECK_FALSE(token.stop_requested());
  CHECK(token.stop_possible());
  CHECK(source.stop_possible());
  CHECK(copy.request_stop());
  CHECK_FALSE(copy.request_stop());
  CHECK_FALSE(source.request_stop());
  CHECK_FALSE(StopSource{source}.request_stop());
  for (const bool requested : {source.stop_requested(), copy.stop_requested(), token.stop_requested(),
                               source.get_token().stop_requested(), StopToken{token}.stop_requested()}) {
    CHECK(requested);
  }
  CHECK(token.stop_possible());
  CHECK(source.stop_possible());
  CHECK_FALSE(StopSource{}.stop_requested());  // another one
}

TEST_CASE("StopToken: stop is possible until the last source is gone", "[stop_token]") {
  StopToken token;
  {
    std::optional<StopSource> first{std::in_place};
    token = first->get_token();
    const StopSource second{*first};
    StopSource third;
    third = second;
    first.reset();
    CHECK(token.stop_possible());
  }
  CHECK_FALSE(token.stop_possible());
  CHECK_FALSE(token.stop_requested());
}

TEST_CASE("StopToken: stop stays requested when the source is gone", "[stop_token]") {
  StopToken token;
  {
    const StopSource source;
    token = source.get_token();
    source.request_stop();
  }
  CHECK(token.stop_possible());
  CHECK(token.stop_requested());
  bool called = false;
  const StopCallback callback{token, [&] { called = true; }};
  CHECK(called);
}

TEST_CASE("StopSource: one that was moved from asks nobody", "[stop_token]") {
  StopSource source;
  const StopToken token = source.get_token();
  StopSource target{std::move(source)};
  // NOLINTBEGIN(bugprone-use-after-move,clang-analyzer-cplusplus.Move): that is what is tested
  CHECK_FALSE(source.stop_possible());
  CHECK_FALSE(source.request_stop());
  CHECK_FALSE(source.stop_requested());
  CHECK(source.get_token() == StopToken{});
  CHECK(StopSource{source} == source);  // a copy of nothing
  // NOLINTEND(bugprone-use-after-move,clang-analyzer-cplusplus.Move)
  CHECK_FALSE(token.stop_requested());
  CHECK(token.stop_possible());
  source = std::move(target);
  CHECK(source.get_token() == token);
  CHECK(source.request_stop());
  CHECK(token.stop_requested());
}

TEST_CASE("StopSource: handles are equal if they belong together, and swap", "[stop_token]") {
  StopSource a;
  StopSource b;
  const StopSource same{a};
  CHECK(a == same);
  CHECK(a != b);
  StopToken of_a = a.get_token();
  StopToken of_b = b.get_token();
  CHECK(of_a == same.get_token());
  CHECK(of_a != of_b);
  CHECK(of_a != StopToken{});
  swap(of_a, of_b);
  CHECK(of_a == b.get_token());
  CHECK(of_b == a.get_token());
  of_a.swap(of_b);
  CHECK(of_a == a.get_token());
  swap(a, b);
  CHECK(b == same);
  a.swap(b);
  CHECK(a == same);
  a.request_stop();
  CHECK(of_a.stop_requested());
  CHECK_FALSE(of_b.stop_requested());
  of_a = *&of_a;  // itself
  CHECK(of_a == a.get_token());
}

TEST_CASE("StopCallback: runs on the thread that requests the stop, before request_stop returns", "[stop_token]") {
  const StopSource source;
  int calls = 0;
  std::thread::id caller;
  const StopCallback callback{source.get_token(), [&] {
                                ++calls;
                                caller = std::this_thread::get_id();
                              }};
  CHECK(calls == 0);
  const auto requester = elsewhere([&] {
    source.request_stop();
    return std::pair{std::this_thread::get_id(), calls};
  });
  CHECK(requester == std::pair{caller, 1});
  source.request_stop();
  CHECK(calls == 1);
}

TEST_CASE("StopCallback: runs at once on the constructing thread when stop was requested before", "[stop_token]") {
  const StopSource source;
  elsewhere([&] { return source.request_stop(); });
  std::thread::id caller;
  {
    const StopCallback callback{source.get_token(), [&] { caller = std::this_thread::get_id(); }};
    CHECK(caller == std::this_thread::get_id());
    caller = {};
  }
  CHECK(caller == std::thread::id{});
}

TEST_CASE("StopCallback: is not called when it was destroyed before, or its source was", "[stop_token]") {
  std::string notes;
  auto source = std::make_optional<StopSource>();
  { const Noted callback{source->get_token(), Note{&notes, 'a'}}; }
  const Noted registered{source->get_token(), Note{&notes, 'b'}};
  const StopToken token = source->get_token();
  source.reset();
  const Noted late{token, Note{&notes, 'c'}};
  CHECK(notes.empty());
}

TEST_CASE("StopCallback: all are called in the order of their registration, whichever have left", "[stop_token]") {
  for (unsigned gone = 0; gone < 1U << 4U; ++gone) {
    std::string notes;
    std::string expected;
    const StopSource source;
    std::optional<Noted> callbacks[5];
    for (std::size_t i = 0; i < 4; ++i) callbacks[i].emplace(source.get_token(), Note{&notes, "abcd"[i]});
    for (std::size_t i = 0; i < 4; ++i) {
      if ((gone >> i & 1U) != 0) {
        callbacks[i].reset();
      } else {
        expected += "abcd"[i];
      }
    }
    callbacks[4].emplace(source.get_token(), Note{&notes, 'e'});
    source.request_stop();
    CHECK(notes == expected + "e");
  }
}

TEST_CASE("StopCallback: takes callables of any kind", "[stop_token]") {
  static int calls = 0;
  calls = 0;
  struct Overloaded {
    void operator()() & { calls += 10; }
    void operator()() && { calls += 1; }
  };
  Overloaded shared;
  auto moved = std::make_unique<int>(100);
  const StopSource source;
  const Plain function{source.get_token(), [] { calls += 1000; }};
  const StopCallback move_only{source.get_token(), [number = std::move(moved)] { calls += *number; }};
  const StopCallback<Overloaded&> reference{source.get_token(), shared};
  const StopCallback<Overloaded> own{source.get_token(), shared};
  source.request_stop();
  CHECK(calls == 1111);
}

TEST_CASE("StopCallback: may do everything with its own source and token", "[stop_token][G3]") {
  std::string notes;
  const StopSource source;
  std::optional<Noted> inner;
  const StopCallback callback{source.get_token(), [&] {
                                notes += source.request_stop() ? "true " : "false ";
                                notes += source.get_token().stop_requested() ? "true " : "false ";
                                inner.emplace(source.get_token(), Note{&notes, 'i'});  // runs at once
                                inner.reset();
                                notes += StopSource{source}.stop_possible() ? " true" : " false";
                              }};
  const Noted next{source.get_token(), Note{&notes, 'n'}};
  CHECK(source.request_stop());
  CHECK(notes == "false true i truen");
}

TEST_CASE("StopCallback: may destroy itself", "[stop_token]") {
  std::string notes;
  const StopSource source;
  std::unique_ptr<StopCallback<std::function<void()>>> self;
  const std::function<void()> call = [&] {
    std::string& kept = notes;  // the callable is gone in the next line
    self.reset();
    kept += 's';
  };
  self = std::make_unique<StopCallback<std::function<void()>>>(source.get_token(), call);
  const Noted next{source.get_token(), Note{&notes, 'n'}};
  CHECK(source.request_stop());
  CHECK(self == nullptr);
  CHECK(notes == "sn");
}

TEST_CASE("StopCallback: may destroy others, called or not", "[stop_token]") {
  std::string notes;
  const StopSource source;
  std::optional<Noted> called{std::in_place, source.get_token(), Note{&notes, 'c'}};
  std::optional<Noted> next;
  std::optional<Noted> last;
  const StopCallback callback{source.get_token(), [&] {
                                called.reset();
                                next.reset();
                                last.reset();
                                notes += 'd';
                              }};
  next.emplace(source.get_token(), Note{&notes, 'n'});
  const Noted between{source.get_token(), Note{&notes, 'b'}};
  last.emplace(source.get_token(), Note{&notes, 'l'});
  CHECK(source.request_stop());
  CHECK(notes == "cdb");
}

TEST_CASE("StopCallback: may destroy itself, the last source and the last token", "[stop_token][G6]") {
  const std::size_t before = held_bytes();
  {
    std::string notes;
    auto source = std::make_unique<StopSource>();
    std::unique_ptr<Noted> other;
    std::optional<StopCallback<std::function<void()>>> callback;
    const std::function<void()> call = [&] {
      std::string& kept = notes;  // the callable is gone with the callback
      source.reset();
      other.reset();
      callback.reset();
      kept += 'x';
    };
    callback.emplace(source->get_token(), call);
    other = std::make_unique<Noted>(source->get_token(), Note{&notes, 'o'});
    const StopSource* const name = source.get();
    CHECK(name->request_stop());  // AddressSanitizer sees whether it touches what is gone
    CHECK(notes == "x");
  }
  CHECK(held_bytes() == before);
}

TEST_CASE("StopCallback: the destructor waits while the callback runs on another thread", "[stop_token]") {
  const StopSource source;
  conc::Event running;
  conc::Event go_on;
  int done = 0;  // no atomic: ThreadSanitizer sees whether the destructor orders it
  const auto call = [&] {
    running.set();
    go_on.wait();
    done = 1;
  };
  using Waiting = StopCallback<decltype(call)>;
  std::optional<Waiting> callback{std::in_place, source.get_token(), call};
  const void* const address = &*callback;
  int others = 0;
  std::optional<StopCallback<void (*)()>> later{std::in_place, source.get_token(), [] {}};
  Worker requester{[&] { source.request_stop(); }};
  running.wait();
  int seen = 0;
  Worker destroyer{[&] {
    callback.reset();
    seen = done;
  }};
  CHECK(destroyer.falls_asleep_on(address));
  CHECK_FALSE(source.request_stop());  // waits for nothing
  later.reset();                       // another one that does not run: nobody waits for it
  const StopCallback at_once{source.get_token(), [&] { ++others; }};
  CHECK(others == 1);
  CHECK(destroyer.sleeps_on(address));
  go_on.set();
  destroyer.join();
  requester.join();
  CHECK(seen == 1);
}

TEST_CASE("StopCallback: the destructor waits for its own callback, not for those that come after", "[stop_token]") {
  const StopSource source;
  conc::Event first_running;
  conc::Event first_go_on;
  conc::Event second_running;
  conc::Event first_destroyed;
  const auto first_call = [&] {
    first_running.set();
    first_go_on.wait();
  };
  std::optional<StopCallback<decltype(first_call)>> first{std::in_place, source.get_token(), first_call};
  const StopCallback second{source.get_token(), [&] {
                              second_running.set();
                              first_destroyed.wait();  // hangs if the destructor of the first waits for this one
                            }};
  const void* const address = &*first;
  Worker requester{[&] { source.request_stop(); }};
  first_running.wait();
  Worker destroyer{[&] {
    first.reset();
    first_destroyed.set();
  }};
  CHECK(destroyer.falls_asleep_on(address));
  first_go_on.set();
  destroyer.join();
  requester.join();
  CHECK(second_running.is_set());
}

TEST_CASE("StopSource: may be destroyed by who sees the stop, while request_stop is at the callbacks", "[stop_token]") {
  auto source = std::make_unique<StopSource>();
  conc::Event running;
  conc::Event destroyed;
  int calls = 0;
  {
    const StopCallback first{source->get_token(), [&] {
                               running.set();
                               destroyed.wait();
                               ++calls;
                             }};
    const StopCallback second{source->get_token(), [&] { ++calls; }};
    StopSource* const name = source.get();
    Worker requester{[name] { name->request_stop(); }};
    running.wait();
    source.reset();
    destroyed.set();
    requester.join();
  }
  CHECK(calls == 2);
}

TEST_CASE("StopCallback: an exception out of it is reported, and the next ones are called", "[stop_token][T10]") {
  std::string notes;
  const StopSource source;
  const StopCallback first{source.get_token(), [] { throw std::runtime_error{"the first"}; }};
  const Noted second{source.get_token(), Note{&notes, 's'}};
  const StopCallback third{source.get_token(), [] { throw 42; }};
  const Noted fourth{source.get_token(), Note{&notes, 'f'}};
  CHECK(source.request_stop());
  CHECK(notes == "sf");
  CHECK(conc_test::take_stderr() ==
        "Exception in thread unknown, in a StopCallback: std::runtime_error: the first\n"
        "Exception in thread unknown, in a StopCallback: int\n");

  hook_saw.clear();
  conc::set_excepthook(&remember);
  {
    const StopCallback at_once{source.get_token(), [] { throw std::runtime_error{"at once"}; }};
  }
  conc::set_excepthook(nullptr);
  CHECK(hook_saw == "std::runtime_error: at once;");
  CHECK(conc_test::take_stderr().empty());
}

TEST_CASE("StopCallback: a callable that cannot be constructed is not registered", "[stop_token][G4]") {
  struct Stubborn {
    bool* called;
    explicit Stubborn(bool* flag) : called{flag} { throw std::runtime_error{"no"}; }
    void operator()() const { *called = true; }
  };
  const std::size_t before = held_bytes();
  {
    const StopSource source;
    bool called = false;
    CHECK_THROWS_AS((StopCallback<Stubborn>{source.get_token(), &called}), std::runtime_error);
    CHECK(source.request_stop());
    CHECK_FALSE(called);
    CHECK_THROWS_AS((StopCallback<Stubborn>{source.get_token(), &called}), std::runtime_error);
    CHECK_FALSE(called);
  }
  CHECK(held_bytes() == before);
}

TEST_CASE("StopCallback: the callable is destroyed without a lock held", "[stop_token][G3]") {
  struct Last {
    StopSource source;
    bool* destroyed;
    Last(StopSource of, bool* flag) : source{std::move(of)}, destroyed{flag} {}
    Last(Last&& other) noexcept : source{std::move(other.source)}, destroyed{std::exchange(other.destroyed, nullptr)} {}
    Last(const Last&) = delete;
    Last& operator=(const Last&) = delete;
    ~Last() {
      if (destroyed == nullptr) return;
      const StopCallback other{source.get_token(), [] {}};
      source.request_stop();
      *destroyed = true;
    }
    void operator()() const {}
  };
  for (const bool stopped : {false, true}) {
    bool destroyed = false;
    const StopSource source;
    {
      const StopCallback callback{source.get_token(), Last{source, &destroyed}};
      if (stopped) source.request_stop();
    }
    CHECK(destroyed);
    CHECK(source.stop_requested());
  }
}

TEST_CASE("StopCallback: registration allocates nothing, and the last handle frees the state", "[stop_token]") {
  const std::size_t before = held_bytes();
  {
    StopSource source;
    StopToken token = source.get_token();
    const std::size_t with_state = held_bytes();
    CHECK(with_state > before);
    std::string notes;  // short enough for no allocation
    const Noted first{token, Note{&notes, 'a'}};
    const Noted second{token, Note{&notes, 'b'}};
    const StopSource copy{source};
    CHECK(held_bytes() == with_state);
    CHECK(copy.request_stop());
    CHECK(held_bytes() == with_state);
    CHECK(notes == "ab");
    source = StopSource{};
    token = {};
  }
  CHECK(held_bytes() == before);
}

TEST_CASE("StopCallback: keeps no state that can do nothing more for it", "[stop_token]") {
  for (const bool stopped : {false, true}) {
    std::string notes;
    const std::size_t before = held_bytes();
    StopToken token;
    {
      const StopSource source;
      token = source.get_token();
      if (stopped) source.request_stop();
    }
    CHECK(held_bytes() > before);
    std::size_t during = before;
    const StopCallback callback{std::move(token), [&] {
                                  notes += 'c';
                                  during = held_bytes();
                                }};
    CHECK(notes == (stopped ? "c" : ""));
    CHECK(during == before);
    CHECK(held_bytes() == before);
  }
}

TEST_CASE("StopSource: what came before request_stop is visible to who sees it", "[stop_token][G7]") {
  for (int round = 0; round < conc_test::scaled(200); ++round) {
    const StopSource source;
    int message = 0;  // no atomic: ThreadSanitizer sees whether the stop orders it
    int seen = 0;
    int called_with = 0;
    Worker reader{[&, token = source.get_token()] {
      while (!token.stop_requested()) std::this_thread::yield();
      seen = message;
    }};
    Worker late{[&, token = source.get_token()] {
      while (!token.stop_requested()) std::this_thread::yield();
      const StopCallback callback{token, [&] { called_with = message; }};
    }};
    message = round + 1;
    source.request_stop();
    reader.join();
    late.join();
    CHECK(seen == round + 1);
    CHECK(called_with == round + 1);
  }
}
