// SPDX-License-Identifier: MIT
/// @file
/// A small HTTP server on the loopback interface, to have something to fetch without a network.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace fetch_urls {

struct ServerOptions {
  std::size_t pages = 0;
  std::size_t bytes = 2'000;            // of each page
  std::chrono::milliseconds delay{20};  // before each answer
  std::size_t fail_every = 0;           // every so manyth page fails at first; 0: none
  int fail_times = 1;                   // how often
};

/// Serves the pages from a thread of its own, at a port that the system chooses.
class Server {
 public:
  /// @throws std::system_error if the system does not let it listen.
  explicit Server(const ServerOptions& options);

  /// Drops all connections.
  ~Server();

  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Where the pages are.
  std::vector<std::string> urls() const;

 private:
  class Implementation;  // keeps Asio, which takes long to compile, out of this header
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace fetch_urls
