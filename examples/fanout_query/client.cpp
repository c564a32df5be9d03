// SPDX-License-Identifier: MIT
#include "client.hpp"

#include <asio/ip/tcp.hpp>
#include <asio/read_until.hpp>
#include <asio/write.hpp>
#include <charconv>
#include <string_view>
#include <system_error>

#include "server.hpp"

namespace fanout_query {
namespace {

using asio::ip::tcp;

tcp::endpoint server_at(std::uint16_t port) { return {asio::ip::address_v4::loopback(), port}; }

std::string text_of(const Query& query) {
  return std::to_string(query.number) + ' ' + std::to_string(query.latency.count()) + '\n';
}

/// The value of an answer, which must be that to this query.
std::uint32_t parse(const Query& query, std::string_view line) {
  const std::string prefix = std::to_string(query.number) + ' ';
  std::uint32_t value = 0;
  if (line.starts_with(prefix)) {
    const char* const end = line.data() + line.size();
    const auto [rest, error] = std::from_chars(line.data() + prefix.size(), end, value);
    if (error == std::errc{} && (rest == end || *rest == '\n')) return value;
  }
  throw QueryError(query, "this is not its answer: " + std::string(line));
}

QueryError failure(const Query& query, const std::error_code& error) {
  return {query, error == asio::error::eof ? "the server hung up" : error.message()};
}

}  // namespace

Answer ask_and_wait(std::uint16_t port, const Query& query, Clock::time_point deadline) {
  Answer answer{.begin = Clock::now()};
  tcp::iostream stream;
  stream.expires_at(deadline);  // all that follows ends by then
  stream.connect(server_at(port));
  stream << text_of(query) << std::flush;
  std::string line;
  if (!std::getline(stream, line)) {
    if (stream.error() == asio::error::timed_out) throw conc::TimeoutError{"ask_and_wait: there is no answer"};
    throw failure(query, stream.error());
  }
  answer.value = parse(query, line);
  answer.end = Clock::now();
  return answer;
}

asio::awaitable<Answer> ask(std::uint16_t port, Query query) {
  Answer answer{.begin = Clock::now()};
  try {
    tcp::socket socket(co_await asio::this_coro::executor);
    co_await socket.async_connect(server_at(port), asio::use_awaitable);
    const std::string text = text_of(query);
    co_await asio::async_write(socket, asio::buffer(text), asio::use_awaitable);
    std::string line;
    co_await asio::async_read_until(socket, asio::dynamic_buffer(line, kLongestLine), '\n', asio::use_awaitable);
    answer.value = parse(query, line);
  } catch (const std::system_error& e) {
    if (e.code() == asio::error::operation_aborted) throw;  // nobody waits for the answer any more
    throw failure(query, e.code());
  }
  answer.end = Clock::now();
  co_return answer;
}

}  // namespace fanout_query
