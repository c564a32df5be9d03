// SPDX-License-Identifier: MIT
/// @file
/// A small server on the loopback interface, which answers each query after the time that it names.
///
/// A connection carries lines. A query is "NUMBER MICROSECONDS", its answer "NUMBER VALUE".
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace fanout_query {

constexpr std::size_t kLongestLine = 100;

/// What is to go wrong. Which queries meet it follows from their numbers: in each way the same ones.
struct Faults {
  std::uint32_t fail_every = 0;  // every so manyth query is not answered: the server hangs up; 0: none
  std::uint32_t mute_every = 0;  // every so manyth query is never answered
};

/// Serves from an event loop of its own, at a port that the system chooses.
class Server {
 public:
  /// @throws std::system_error if the system does not let it listen.
  explicit Server(const Faults& faults);

  /// Drops all connections.
  ~Server();

  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::uint16_t port() const noexcept;

 private:
  class Implementation;  // keeps Asio, which takes long to compile, out of this header
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace fanout_query
