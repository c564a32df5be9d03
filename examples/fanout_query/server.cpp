// SPDX-License-Identifier: MIT
#include "server.hpp"

#include <conc/event_loop.hpp>  // first: it chooses settings of Asio

#include <asio/ip/tcp.hpp>
#include <asio/read_until.hpp>
#include <asio/write.hpp>
#include <charconv>
#include <chrono>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace fanout_query {
namespace {

using asio::ip::tcp;
using namespace std::chrono_literals;

struct ParsedQuery {
  std::uint32_t number = 0;
  std::chrono::microseconds latency{};
};

std::optional<ParsedQuery> parse(std::string_view line) {
  ParsedQuery query;
  std::uint32_t latency = 0;
  const char* const end = line.data() + line.size();
  const auto number = std::from_chars(line.data(), end, query.number);
  if (number.ec != std::errc{} || number.ptr == end || *number.ptr != ' ') return std::nullopt;
  const auto rest = std::from_chars(number.ptr + 1, end, latency);
  if (rest.ec != std::errc{} || rest.ptr == end || *rest.ptr != '\n') return std::nullopt;
  query.latency = std::chrono::microseconds{latency};
  return query;
}

/// A number that the next one tells nothing about, so that no answer is mistaken for another.
std::uint32_t value_of(std::uint32_t number) { return number * 2'654'435'761U; }

bool is_every(std::uint32_t nth, std::uint32_t number) { return nth != 0 && number % nth == 0; }

/// Reads queries and answers them, one after the other, until the client hangs up or is hung up on.
asio::awaitable<void> answer_all(tcp::socket& socket, const Faults& faults) {
  std::string input;
  for (;;) {
    const std::size_t size =
        co_await asio::async_read_until(socket, asio::dynamic_buffer(input, kLongestLine), '\n', asio::use_awaitable);
    const std::optional<ParsedQuery> query = parse(std::string_view(input).substr(0, size));
    input.erase(0, size);
    if (!query || is_every(faults.fail_every, query->number)) co_return;
    if (is_every(faults.mute_every, query->number)) continue;
    co_await conc::sleep(query->latency);
    const std::string answer = std::to_string(query->number) + ' ' + std::to_string(value_of(query->number)) + '\n';
    co_await asio::async_write(socket, asio::buffer(answer), asio::use_awaitable);
  }
}

/// One connection. What a coroutine is given by value lives as long as it does.
asio::awaitable<void> serve(tcp::socket socket, Faults faults) {
  try {
    co_await answer_all(socket, faults);
  } catch (const std::system_error&) {  // the client has hung up: that is how it ends
  }
}

asio::awaitable<void> accept_all(tcp::acceptor& acceptor, Faults faults) {
  for (;;) {
    asio::error_code error;
    tcp::socket socket = co_await acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (error) {  // there may be too many open files: that passes
      co_await conc::sleep(10ms);
    } else {
      conc::run_coroutine_threadsafe(serve(std::move(socket), faults), conc::get_running_loop());
    }
  }
}

}  // namespace

class Server::Implementation {
 public:
  explicit Implementation(const Faults& faults)
      : acceptor_(thread_.loop().context(), tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
        port_(acceptor_.local_endpoint().port()) {
    conc::run_coroutine_threadsafe(accept_all(acceptor_, faults), thread_);
  }

  ~Implementation() { thread_.stop(); }  // ends all coroutines, which may use what follows

  Implementation(const Implementation&) = delete;
  Implementation& operator=(const Implementation&) = delete;

  std::uint16_t port() const noexcept { return port_; }

 private:
  conc::LoopThread thread_{{.name = "server"}};
  tcp::acceptor acceptor_;
  const std::uint16_t port_;
};

Server::Server(const Faults& faults) : implementation_(std::make_unique<Implementation>(faults)) {}
Server::~Server() = default;

std::uint16_t Server::port() const noexcept { return implementation_->port(); }

}  // namespace fanout_query
