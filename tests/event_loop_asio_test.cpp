// SPDX-License-Identifier: MIT
// Asio's operations on an event loop: use_future, sockets, and coroutines that are Asio's own.
// First: it says how Asio is to be compiled.
#include <conc/event_loop.hpp>

#include <algorithm>
#include <array>
#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/connect.hpp>
#include <asio/detached.hpp>
#include <asio/dispatch.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/read.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "background.hpp"
#include "event_loops.hpp"
#include "futures.hpp"

using namespace std::chrono_literals;
using asio::awaitable;
using asio::ip::tcp;
using conc::EventLoop;
using conc::Future;
using conc::LoopThread;
using conc::UsageError;
using conc::use_future;
using conc_test::boom;
using conc_test::Counted;
using conc_test::ending;
using conc_test::message_of;
using conc_test::one_pass;
using conc_test::Reports;

namespace {

const tcp::endpoint kAnyPort{asio::ip::address_v4::loopback(), 0};

/// The code of the std::system_error that the future gives.
template <class T>
std::error_code error_of(const Future<T>& future) {
  try {
    (void)future.result();
    return {};
  } catch (const std::system_error& error) {
    return error.code();
  }
}

/// An operation of Asio's kind that is over when the test says so.
template <class Signature>
struct Operation;
template <class... Args>
struct Operation<void(Args...)> {
  std::function<void(Args...)> end;

  template <class Token>
  auto start(Token&& token) {
    return asio::async_initiate<Token, void(Args...)>(
        [this](auto handler) {
          auto shared = std::make_shared<decltype(handler)>(std::move(handler));
          end = [shared](Args... args) { std::move (*shared)(std::move(args)...); };
        },
        token);
  }
};

awaitable<int> value_of(int value) { co_return value; }
awaitable<void> sleeps_for_ever() { co_await conc::sleep(conc::never); }
awaitable<void> fails() {
  throw std::runtime_error{"boom"};
  co_return;
}

/// Says how its loop answers when it is destroyed.
struct CallsAtItsEnd {
  EventLoop* loop;
  std::string* told;
  CallsAtItsEnd(EventLoop& its, std::string& text) : loop{&its}, told{&text} {}
  CallsAtItsEnd(const CallsAtItsEnd&) = delete;
  CallsAtItsEnd& operator=(const CallsAtItsEnd&) = delete;
  ~CallsAtItsEnd() {
    *told += ending([this] { loop->call_soon_threadsafe([] {}); }) + ";";
  }
};

}  // namespace

// use_future.

TEST_CASE("use_future: a timer gives a future", "[event_loop][use_future]") {
  EventLoop loop;
  asio::steady_timer timer{loop.context(), 2ms};
  const auto begin = std::chrono::steady_clock::now();
  const Future<void> over = timer.async_wait(use_future);
  CHECK_FALSE(over.done());
  loop.run_until_complete(over);
  CHECK(std::chrono::steady_clock::now() - begin >= 2ms);

  timer.expires_after(1h);
  const Future<void> aborted = timer.async_wait(use_future);
  loop.call_soon([&] { timer.cancel(); });
  CHECK(ending([&] { loop.run_until_complete(aborted); }) != "returned");
  CHECK(error_of(aborted) == asio::error::operation_aborted);
}

TEST_CASE("use_future: post, dispatch and co_spawn give futures", "[event_loop][use_future]") {
  LoopThread loop;
  asio::io_context& context = loop.loop().context();
  static_assert(std::is_same_v<decltype(asio::post(context, use_future)), Future<void>>);
  asio::post(context, use_future).result();
  asio::dispatch(context, use_future).result();
  CHECK(asio::co_spawn(context, value_of(3), use_future).result() == 3);
  asio::co_spawn(context, conc::sleep(1ms), use_future).result();
  CHECK(ending([&] { asio::co_spawn(context, fails(), use_future).result(); }) == "boom");
  const auto number = [](int value) -> awaitable<std::string> {
    if (value < 0) throw std::runtime_error{"negative"};
    co_return std::to_string(value);
  };
  CHECK(asio::co_spawn(context, number(12), use_future).result() == "12");
  CHECK(ending([&] { (void)asio::co_spawn(context, number(-1), use_future).result(); }) == "negative");
}

TEST_CASE("use_future: on other contexts too", "[event_loop][use_future]") {
  asio::io_context context;
  asio::steady_timer timer{context, 1ms};
  const Future<void> over = timer.async_wait(use_future);
  const Future<int> value = asio::co_spawn(context, value_of(2), use_future);
  context.run();
  CHECK(over.done());
  CHECK(value.result() == 2);
}

TEST_CASE("use_future: what the handler would be called with is the result", "[event_loop][use_future]") {
  using Error = asio::error_code;
  Operation<void()> nothing;
  const Future<void> a = nothing.start(use_future);
  nothing.end();
  a.result();

  Operation<void(int)> one;
  const Future<int> b = one.start(use_future);
  one.end(5);
  CHECK(b.result() == 5);

  Operation<void(int, std::string)> two;
  const Future<std::tuple<int, std::string>> c = two.start(use_future);
  two.end(6, "six");
  CHECK(c.result() == std::tuple{6, std::string{"six"}});

  Operation<void(Error, int, std::string)> with_error;
  const Future<std::tuple<int, std::string>> d = with_error.start(use_future);
  with_error.end({}, 7, "seven");
  CHECK(d.result() == std::tuple{7, std::string{"seven"}});
  const Future<std::tuple<int, std::string>> e = with_error.start(use_future);
  with_error.end(asio::error::eof, 0, "");
  CHECK(error_of(e) == asio::error::eof);

  Operation<void(std::exception_ptr, int, int)> with_exception;
  const Future<std::tuple<int, int>> f = with_exception.start(use_future);
  with_exception.end(nullptr, 8, 9);
  CHECK(f.result() == std::tuple{8, 9});
  const Future<std::tuple<int, int>> g = with_exception.start(use_future);
  with_exception.end(boom(), 0, 0);
  CHECK(ending([&] { (void)g.result(); }) == "boom");

  Operation<void(std::exception_ptr)> only_exception;
  const Future<void> h = only_exception.start(use_future);
  only_exception.end(nullptr);
  h.result();
  const Future<void> i = only_exception.start(use_future);
  only_exception.end(boom());
  CHECK(ending([&] { i.result(); }) == "boom");
}

TEST_CASE("use_future: lvalues are errors too, and move-only values are moved", "[event_loop][use_future]") {
  conc::detail::FutureHandler<asio::error_code, std::unique_ptr<int>> handler;
  const Future<std::unique_ptr<int>> future = handler.get_future();
  asio::error_code error = asio::error::eof;
  handler(error, std::make_unique<int>(1));
  CHECK(error_of(future) == asio::error::eof);
  conc::detail::FutureHandler<std::exception_ptr, std::unique_ptr<int>> other;
  std::exception_ptr none;
  other(none, std::make_unique<int>(2));
  CHECK(*other.get_future().result() == 2);
}

TEST_CASE("use_future: cancel of the future does not cancel the operation", "[event_loop][use_future]") {
  EventLoop loop;
  asio::steady_timer timer{loop.context(), 1ms};
  const Future<void> future = timer.async_wait(use_future);
  CHECK(future.cancel());
  CHECK(timer.cancel() == 1);  // it was still there
  one_pass(loop);
  for (const bool fails : {false, true}) {
    Operation<void(asio::error_code, int)> operation;
    const Future<int> result = operation.start(use_future);
    CHECK(result.cancel());
    operation.end(fails ? asio::error_code{asio::error::eof} : asio::error_code{}, 1);
    CHECK(result.cancelled());
    Operation<void(std::exception_ptr, int)> other;
    const Future<int> cancelled = other.start(use_future);
    CHECK(cancelled.cancel());
    other.end(fails ? boom() : nullptr, 1);
    CHECK(cancelled.cancelled());
  }
}

TEST_CASE("use_future: an operation that is dropped leaves BrokenPromise", "[event_loop][use_future][V6]") {
  std::vector<Future<void>> futures;
  {
    EventLoop loop;
    asio::io_context context;
    asio::steady_timer timer{loop.context(), 1h};
    asio::steady_timer other{context, 1h};
    futures.push_back(timer.async_wait(use_future));
    futures.push_back(asio::post(loop.context(), use_future));
    futures.push_back(asio::co_spawn(loop.context(), sleeps_for_ever(), use_future));
    futures.push_back(other.async_wait(use_future));
    loop.run_until_complete(asio::post(loop.context(), use_future));
    for (const Future<void>& future : futures) (void)future;
    loop.close();
  }
  CHECK(futures[1].done());
  futures[1].result();
  futures.erase(futures.begin() + 1);
  for (const Future<void>& future : futures) CHECK(ending([&] { future.result(); }) == "BrokenPromise");
}

TEST_CASE("use_future: a coroutine of a loop awaits it, and a thread waits for it", "[event_loop][use_future][V13]") {
  LoopThread loop;
  const auto main = [&]() -> awaitable<int> {
    asio::steady_timer timer{loop.loop().context(), 1ms};
    co_await conc::awaitable(timer.async_wait(use_future));
    co_return co_await conc::awaitable(asio::co_spawn(loop.loop().context(), value_of(6), use_future));
  };
  CHECK(conc::run_coroutine_threadsafe(main(), loop).result() == 6);
}

TEST_CASE("use_future: sockets", "[event_loop][use_future]") {
  LoopThread loop;
  asio::io_context& context = loop.loop().context();
  tcp::acceptor acceptor{context, kAnyPort};
  tcp::socket client{context};
  Future<tcp::socket> accepted = acceptor.async_accept(use_future);
  client.async_connect(acceptor.local_endpoint(), use_future).result();
  tcp::socket server = std::move(accepted).result();
  const std::string text(100'000, 'x');
  std::string received(text.size(), ' ');
  const Future<std::size_t> read = asio::async_read(server, asio::buffer(received), use_future);
  CHECK(asio::async_write(client, asio::buffer(text), use_future).result() == text.size());
  CHECK(read.result() == text.size());
  CHECK(received == text);
  std::array<char, 10> few{};
  const Future<std::size_t> end = server.async_read_some(asio::buffer(few), use_future);
  client.close();
  CHECK(error_of(end) == asio::error::eof);
  server.close();
  acceptor.close();
  const std::vector<tcp::endpoint> nobody{tcp::endpoint{asio::ip::address_v4::loopback(), 1}};
  const Future<tcp::endpoint> refused = asio::async_connect(client, nobody, use_future);
  CHECK(error_of(refused) == asio::error::connection_refused);
}

// Coroutines and sockets.

TEST_CASE("EventLoop: coroutines talk through sockets, and time runs beside", "[event_loop][V10][V13]") {
  EventLoop loop;
  tcp::acceptor acceptor{loop.context(), kAnyPort};
  constexpr int clients = 10;
  const auto echo = [](tcp::socket socket) -> awaitable<void> {
    std::array<char, 64> data{};
    try {
      for (;;) {
        const std::size_t size = co_await socket.async_read_some(asio::buffer(data), asio::use_awaitable);
        co_await asio::async_write(socket, asio::buffer(data, size), asio::use_awaitable);
      }
    } catch (const std::system_error& error) {
      if (error.code() != asio::error::eof) throw;
    }
  };
  const auto serve = [&]() -> awaitable<void> {
    for (;;) {
      tcp::socket socket = co_await acceptor.async_accept(asio::use_awaitable);
      (void)conc::run_coroutine_threadsafe(echo(std::move(socket)), loop);
    }
  };
  const auto ask = [&](int number) -> awaitable<std::string> {
    tcp::socket socket{loop.context()};
    co_await socket.async_connect(acceptor.local_endpoint(), asio::use_awaitable);
    std::string text = "client " + std::to_string(number);
    std::string answer(text.size(), ' ');
    co_await asio::async_write(socket, asio::buffer(text), asio::use_awaitable);
    co_await conc::sleep(1ms);
    co_await asio::async_read(socket, asio::buffer(answer), asio::use_awaitable);
    co_return answer;
  };
  const Future<void> server = conc::run_coroutine_threadsafe(serve(), loop);
  std::vector<awaitable<std::string>> all;
  for (int i = 0; i < clients; ++i) all.push_back(ask(i));
  const std::vector<std::string> answers = loop.run_until_complete(conc::gather(std::move(all)));
  REQUIRE(answers.size() == clients);
  for (int i = 0; i < clients; ++i) CHECK(answers[static_cast<std::size_t>(i)] == "client " + std::to_string(i));
  CHECK(server.running());
  CHECK(server.cancel());
  loop.close();
}

TEST_CASE("wait_for: a read that never ends", "[event_loop][V13]") {
  EventLoop loop;
  tcp::acceptor acceptor{loop.context(), kAnyPort};
  tcp::socket client{loop.context()};
  client.connect(acceptor.local_endpoint());
  tcp::socket server = acceptor.accept();
  std::array<char, 8> data{};
  const auto read = [&]() -> awaitable<std::size_t> {
    co_return co_await client.async_read_some(asio::buffer(data), asio::use_awaitable);
  };
  CHECK(ending([&] { (void)loop.run_until_complete(conc::wait_for(read(), 2ms)); }) == "TimeoutError");
  asio::write(server, asio::buffer("1234", 4));
  CHECK(loop.run_until_complete(conc::wait_for(read(), 1h)) == 4);  // nothing was taken meanwhile
}

// Handlers and callbacks beside each other.

TEST_CASE("EventLoop: a timer that fires while a pass is posted loses nothing that was posted",
          "[event_loop][V1][V9]") {
  EventLoop loop;
  for (int round = 0; round < 20; ++round) {
    std::vector<int> called;
    const auto when = EventLoop::time() + 1ms;
    asio::steady_timer timer{loop.context(), when};
    timer.async_wait([&](const asio::error_code& /*error*/) {  // ready together with the call below, and before it
      loop.call_soon([&] { loop.call_soon([&] { called.push_back(1); }); });
      asio::post(loop.context(), [&] { called.push_back(2); });
    });
    loop.call_at(when + 1us, [&] { called.push_back(3); });
    loop.call_soon([&] {
      asio::post(loop.context(), [&] {
        while (std::chrono::steady_clock::now() < when + 1ms) {
        }
      });
    });
    loop.call_later(20ms, [&] { loop.stop(); });
    loop.run_forever();
    std::sort(called.begin(), called.end());
    REQUIRE(called == std::vector<int>{1, 2, 3});
  }
}

// Coroutines that are Asio's own.

TEST_CASE("EventLoop: close destroys coroutines of Asio where they are suspended", "[event_loop][V6][FM16]") {
  std::atomic<int> alive{0};
  std::string told;
  const conc::Promise<void> promise;
  {
    EventLoop loop;
    const auto waiting = [&](auto wait) -> awaitable<void> {
      const Counted counted{alive};
      const CallsAtItsEnd calls{loop, told};
      co_await wait();
      told += "woken;";
    };
    const auto spawn = [&](auto wait) { asio::co_spawn(loop.context(), waiting(std::move(wait)), asio::detached); };
    spawn([] { return sleeps_for_ever(); });
    spawn([&] { return conc::awaitable(promise.get_future()); });
    spawn([]() -> awaitable<void> { (void)co_await conc::gather(sleeps_for_ever(), sleeps_for_ever()); });
    spawn([] { return conc::wait_for(sleeps_for_ever(), 1h); });
    spawn([&]() -> awaitable<void> {
      asio::steady_timer timer{loop.context(), 1h};
      co_await timer.async_wait(asio::use_awaitable);
    });
    for (int i = 0; i < 10; ++i) one_pass(loop);
    CHECK(alive == 5);
    loop.close();
    CHECK(alive == 0);
  }
  CHECK(told == "UsageError;UsageError;UsageError;UsageError;UsageError;");
  promise.set_result();  // nobody waits any more
}

TEST_CASE("EventLoop: a coroutine that is destroyed while it is suspended has ended", "[event_loop][V13][FM16]") {
  EventLoop loop;
  std::string told;
  for (int kind = 0; kind < 3; ++kind) {
    Operation<void()> operation;
    const auto lost = [&]() -> awaitable<void> { co_await operation.start(asio::use_awaitable); };
    const auto waits = [&]() -> awaitable<void> {
      try {
        co_await sleeps_for_ever();
      } catch (const conc::CancelledError&) {
        told += "cancelled;";
        throw;
      }
    };
    const auto main = [&]() -> awaitable<void> {
      if (kind == 0) {
        co_await lost();
      } else if (kind == 1) {
        (void)co_await conc::gather(waits(), lost(), waits());
      } else {
        co_await conc::wait_for(lost(), 1h);
      }
    };
    loop.call_later(2ms, [&] { operation.end = nullptr; });  // and with it the handler
    CHECK(ending([&] { loop.run_until_complete(main()); }) != "returned");
  }
  CHECK(told == "cancelled;cancelled;");
}

TEST_CASE("gather: what a child waited for is gone, and so is how it was to be cancelled", "[event_loop][V13][FM16]") {
  using Waiter = asio::async_result<asio::use_awaitable_t<>, void()>::handler_type;
  struct Source {  // gives its waiter up when it is destroyed; until then it can be cancelled
    awaitable<void> wait() {
      return asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
          [this](Waiter handler) {
            asio::cancellation_slot slot = asio::get_associated_cancellation_slot(handler);
            waiter.emplace(std::move(handler));
            slot.assign([this](asio::cancellation_type) { cancelled = true; });
          },
          asio::use_awaitable);
    }
    std::optional<Waiter> waiter;
    bool cancelled = false;
  };
  EventLoop loop;
  auto source = std::make_unique<Source>();
  bool other_ended = false;
  const Future<void> task = conc::run_coroutine_threadsafe(
      [&]() -> awaitable<void> {
        const auto on_source = [&]() -> awaitable<void> { co_await source->wait(); };
        const auto other = [&]() -> awaitable<void> {
          try {
            co_await conc::sleep(conc::never);
          } catch (const conc::CancelledError&) {
            other_ended = true;
            throw;
          }
        };
        (void)co_await conc::gather(on_source(), other());
      },
      loop);
  one_pass(loop);
  REQUIRE(source->waiter.has_value());
  loop.call_soon([&] { source.reset(); });
  task.add_done_callback([&](const Future<void>&) { loop.stop(); });
  loop.run_forever();
  CHECK(task.cancelled());
  CHECK(other_ended);
}

TEST_CASE("gather: a child that ends before the next one begins, among others that the loop knows",
          "[event_loop][V13][V6]") {
  EventLoop loop;
  int ended = 0;
  const auto child = [&]() -> awaitable<void> {
    try {
      co_await conc::sleep(conc::never);
    } catch (const conc::CancelledError&) {
      ++ended;
      throw;
    }
  };
  const auto stranger = [&]() -> awaitable<void> { co_await conc::wait_for(child(), conc::never); };
  const auto ends_at_once = [&]() -> awaitable<int> {
    asio::co_spawn(loop.context(), stranger(), asio::detached);  // the loop knows its child, but not it
    co_await asio::dispatch(asio::use_awaitable);
    co_return 1;
  };
  const auto ends_later = []() -> awaitable<int> {
    co_await conc::sleep(1ms);
    co_return 2;
  };
  const auto both = [&]() -> awaitable<int> {
    const auto [one, two] = co_await conc::gather(ends_at_once(), ends_later());
    co_return one + two;
  };
  CHECK(loop.run_until_complete(both()) == 3);
  CHECK(ended == 0);
  loop.close();
  CHECK(ended == 1);
}

TEST_CASE("EventLoop: coroutines inside gather may refer to who waits for them, also where close destroys both",
          "[event_loop][V13][FM16]") {
  struct Reads {
    const std::string* text;
    std::size_t* sum;
    ~Reads() { *sum += text->size(); }
  };
  std::size_t sum = 0;
  {
    EventLoop loop;
    const auto child = [&sum](const std::string& text) -> awaitable<void> {
      const Reads reads{&text, &sum};
      co_await conc::sleep(conc::never);
    };
    const auto parent = [&]() -> awaitable<void> {
      const std::string text(100, 'x');
      (void)co_await conc::gather(child(text), child(text));
    };
    asio::co_spawn(loop.context(), parent(), asio::detached);
    for (int i = 0; i < 10; ++i) one_pass(loop);
  }
  CHECK(sum == 200);
}

TEST_CASE("EventLoop: a coroutine whose loop was stopped goes on in the next run", "[event_loop][V5][FM16]") {
  EventLoop loop;
  std::string told;
  const auto steps = [&]() -> awaitable<void> {
    for (int i = 0; i < 3; ++i) {
      co_await conc::sleep(1ms);
      told += std::to_string(i);
      loop.stop();
    }
  };
  asio::co_spawn(loop.context(), steps(), asio::detached);
  for (int i = 0; i < 3; ++i) {
    loop.run_forever();
    CHECK(told.size() == static_cast<std::size_t>(i + 1));
  }
  CHECK(told == "012");
}

TEST_CASE("EventLoop: what a handler of a coroutine throws goes to the exception handler", "[event_loop][V8]") {
  Reports reports;
  EventLoop loop{{.exception_handler = reports.handler()}};
  asio::co_spawn(loop.context(), fails(), [&](const std::exception_ptr& exception) {
    loop.stop();
    std::rethrow_exception(exception);
  });
  loop.run_forever();
  CHECK(reports.take() == std::vector<std::string>{"exception in a handler: boom"});
}

TEST_CASE("EventLoop: a coroutine cannot close its loop, and may schedule", "[event_loop][V6][FM16]") {
  EventLoop loop;
  std::string order;
  const auto main = [&]() -> awaitable<std::string> {
    loop.call_soon([&] { order += "a"; });
    std::string text = message_of<UsageError>([&] { loop.close(); });
    co_await conc::sleep(0s);
    order += "b";
    co_return text;
  };
  CHECK(loop.run_until_complete(main()) == "EventLoop::close: Cannot close a running event loop");
  CHECK(order == "ab");
  CHECK(loop.run_until_complete(asio::co_spawn(loop.context(), main(), use_future)) ==
        "EventLoop::close: Cannot close a running event loop");
  CHECK_FALSE(loop.is_closed());
}

TEST_CASE("EventLoop: handlers of Asio know the loop that runs them", "[event_loop][V4]") {
  EventLoop loop;
  bool same = false;
  asio::post(loop.context(), [&] {
    same = &conc::get_running_loop() == &loop && loop.is_running();
    loop.stop();
  });
  loop.run_forever();
  CHECK(same);
}
