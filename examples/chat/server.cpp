// SPDX-License-Identifier: MIT
#include "server.hpp"

#include <algorithm>
#include <asio/write.hpp>
#include <charconv>
#include <chrono>
#include <exception>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "primes.hpp"

namespace chat {
namespace {

using asio::ip::tcp;
using namespace std::chrono_literals;

constexpr std::size_t kLongestNick = 20;

/// What others wrote must not command the terminal of who reads it.
std::string printable(std::string_view text) {
  std::string result(text);
  std::replace_if(
      result.begin(), result.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, '?');
  return result;
}

bool is_nick(std::string_view text) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  return !text.empty() && text.size() <= kLongestNick && text.find_first_not_of(kAllowed) == std::string_view::npos;
}

std::optional<std::uint32_t> parse_number(std::string_view text) {
  std::uint32_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  return error == std::errc{} && rest == end ? std::optional(number) : std::nullopt;
}

/// A new socket has room for a line: this does not wait.
void turn_away(tcp::socket socket) {
  asio::error_code ignored;
  asio::write(socket, asio::buffer(std::string_view("* the server is full: try again later\n")), ignored);
}

}  // namespace

Server::Server(conc::EventLoop& loop, conc::ThreadPoolExecutor& pool, const Settings& settings)
    : loop_(loop), pool_(pool), settings_(settings), acceptor_(loop.context(), settings.address) {
  conc::run_coroutine_threadsafe(accept_all(), loop_);
}

asio::awaitable<void> Server::accept_all() {
  for (;;) {
    asio::error_code error;
    tcp::socket socket = co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted) co_return;  // no more clients are wanted
    if (error) {                                             // there may be too many open files: that passes
      co_await conc::sleep(10ms);
    } else if (clients_.size() < settings_.clients) {
      welcome(std::move(socket));
    } else {
      turn_away(std::move(socket));
    }
  }
}

void Server::welcome(tcp::socket socket) {
  asio::error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);  // machines that are gone are noticed, some day
  // The system would queue megabytes for a client that does not read.
  socket.set_option(asio::socket_base::send_buffer_size(65'536), ignored);
  const ClientPtr client = std::make_shared<Client>(std::move(socket), settings_.limits);
  clients_.emplace(client, conc::run_coroutine_threadsafe(serve(client), loop_));
  client->reading = conc::run_coroutine_threadsafe(obey_all(client), loop_);
}

/// A client from its welcome to its end.
asio::awaitable<void> Server::serve(ClientPtr client) {
  enter(client);
  try {
    co_await conc::awaitable(client->reading);
  } catch (const std::exception&) {  // the connection is lost, or the server is shut down
  }
  if (client->command.valid()) client->command.cancel();
  leave(client);
  client->send(goodbye_);  // nothing comes after it: who has left hears no more
  co_await client->hang_up();
  clients_.erase(client);
}

/// Does what the client wants until it wants no more.
asio::awaitable<void> Server::obey_all(ClientPtr client) {
  while (const std::optional<std::string> line = co_await client->read_line()) {
    if (!obey(client, *line)) co_return;
  }
  // It may have closed its half of the connection alone, and wait for what it has asked for.
  if (client->command.valid()) co_await conc::awaitable(client->command);
}

asio::awaitable<void> Server::count_primes_for(ClientPtr client, std::uint32_t limit) {
  const conc::Future<std::uint32_t> primes = pool_.submit(count_primes, limit);
  try {
    const std::uint32_t count = co_await conc::awaitable(primes);
    client->send("* there are " + std::to_string(count) + " primes below " + std::to_string(limit));
  } catch (const conc::CancelledError&) {
    primes.request_stop();  // a worker has better things to do than to count for nobody
  }
}

asio::awaitable<void> Server::shut_down() {
  acceptor_.close();
  goodbye_ = "* the server is shut down: goodbye";
  room_.clear();  // that one after the other leaves is no news now
  std::vector<asio::awaitable<void>> ends;
  for (const auto& [client, serving] : clients_) {
    client->reading.cancel();
    ends.push_back(conc::awaitable(serving));
  }
  co_await conc::gather(std::move(ends));
}

void Server::enter(const ClientPtr& client) {
  do {
    client->nick = "guest" + std::to_string(++last_guest_);
  } while (!room_.emplace(client->nick, client).second);
  client->send("* welcome, " + client->nick + ": /help says what you can do");
  tell_all_but(client, "* " + client->nick + " is here");
}

void Server::leave(const ClientPtr& client) {
  room_.erase(client->nick);
  tell_all_but(client, "* " + client->nick + (client->does_not_read() ? " is cut off: it does not read" : " has left"));
}

/// All get the lines in the same order, for this is one thread.
void Server::tell_all_but(const ClientPtr& client, const std::string& line) {
  for (const auto& [nick, other] : room_) {
    if (other != client) other->send(line);
  }
}

/// @return whether the client stays.
bool Server::obey(const ClientPtr& client, std::string_view line) {
  const std::size_t space = std::min(line.find(' '), line.size());
  const std::string_view command = line.substr(0, space);
  const std::string_view argument = line.substr(std::min(space + 1, line.size()));
  if (line.empty()) {
    return true;
  } else if (!line.starts_with('/')) {
    tell_all_but(client, client->nick + ": " + printable(line));
  } else if (command == "/who") {
    list(client);
  } else if (command == "/nick") {
    rename(client, std::string(argument));
  } else if (command == "/primes") {
    start_counting(client, argument);
  } else if (command == "/quit") {
    return false;
  } else {
    client->send(
        "* /who lists who is here, /nick NAME gives you a name, /primes N counts primes, /quit ends; all else is "
        "said to all");
  }
  return true;
}

void Server::list(const ClientPtr& client) {
  std::string names;
  for (const auto& [nick, other] : room_) names += (names.empty() ? "* here: " : ", ") + nick;
  client->send(names);
}

void Server::rename(const ClientPtr& client, const std::string& nick) {
  if (!is_nick(nick)) {
    client->send("* a name has 1 to " + std::to_string(kLongestNick) + " letters, digits, '_' and '-'");
  } else if (!room_.emplace(nick, client).second) {
    client->send("* the name " + nick + " is taken");
  } else {
    const std::string old = std::exchange(client->nick, nick);
    room_.erase(old);
    client->send("* you are " + nick);
    tell_all_but(client, "* " + old + " is now " + nick);
  }
}

void Server::start_counting(const ClientPtr& client, std::string_view number) {
  const std::optional<std::uint32_t> limit = parse_number(number);
  if (!limit || *limit > settings_.primes) {
    client->send("* /primes takes a number up to " + std::to_string(settings_.primes));
  } else if (client->command.valid() && !client->command.done()) {
    client->send("* one after the other: your last primes are not counted yet");
  } else {
    client->command = conc::run_coroutine_threadsafe(count_primes_for(client, *limit), loop_);
  }
}

}  // namespace chat
