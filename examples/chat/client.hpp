// SPDX-License-Identifier: MIT
/// @file
/// One connection: lines come and go.
#pragma once

#include <conc/event_loop.hpp>  // first: it chooses settings of Asio

#include <asio/ip/tcp.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace chat {

/// What one client may cost.
struct Limits {
  std::size_t line = 1'000;                  // bytes of a line from it
  std::size_t output = 100'000;              // bytes that wait until it reads
  std::chrono::milliseconds goodbye{1'000};  // how long it may take to read its last lines
};

/// All of this happens on the loop's thread, so nothing needs a lock. Every coroutine of a client shares it.
class Client : public std::enable_shared_from_this<Client> {
 public:
  Client(asio::ip::tcp::socket socket, const Limits& limits) : socket_(std::move(socket)), limits_(limits) {}

  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Waits for the next line. One that is too long is dropped, and the client is told.
  /// @return nothing once there are no more: the client has closed the connection, or its half of it.
  /// @throws std::system_error if the connection is lost or the coroutine is cancelled.
  asio::awaitable<std::optional<std::string>> read_line();

  /// Has a line sent as fast as the client reads; does not wait for that. If too much waits already, the connection is
  /// lost.
  void send(std::string_view line);

  /// Whether the connection is lost because the client did not read.
  bool does_not_read() const noexcept { return does_not_read_; }

  /// The last thing to do: waits until the client has got all lines, as long as it may take, and hangs up.
  asio::awaitable<void> hang_up();

  std::string nick{};
  conc::Future<void> reading{};  // what takes its lines
  conc::Future<void> command{};  // its slow command, once there was one

 private:
  asio::awaitable<void> write();
  asio::awaitable<void> finish();
  void lose();

  asio::ip::tcp::socket socket_;
  const Limits limits_;
  std::string input_;              // what came after the last line
  std::string output_;             // what is to be written
  std::size_t being_written_ = 0;  // bytes that write() has taken from there
  conc::Future<void> writing_;     // of write(), which runs while there is something to write
  bool is_writing_ = false;
  bool is_at_end_ = false;  // the client has closed its side; Asio would wait for ever for more
  bool is_lost_ = false;
  bool does_not_read_ = false;
};

}  // namespace chat
