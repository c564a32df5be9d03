// SPDX-License-Identifier: MIT
/// @file
/// Who is there, and what they say to each other.
#pragma once

#include <conc/event_loop.hpp>  // first: it chooses settings of Asio

#include <asio/ip/tcp.hpp>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <conc/thread_pool.hpp>

#include "client.hpp"

namespace chat {

struct Settings {
  asio::ip::tcp::endpoint address{asio::ip::address_v4::loopback(), 0};
  std::size_t clients = 100;
  std::uint32_t primes = 10'000'000;  // the greatest number that /primes takes
  Limits limits{};
};

/// Lives on the loop: its sockets and its coroutines are there, and what it has is touched on the loop's thread alone.
class Server {
 public:
  /// Listens from now on. @param pool  does what takes long.
  /// @throws std::system_error if the system does not let it listen.
  Server(conc::EventLoop& loop, conc::ThreadPoolExecutor& pool, const Settings& settings);

  /// Closes the loop: whatever uses the server has ended then.
  ~Server() { loop_.close(); }

  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  asio::ip::tcp::endpoint address() const { return acceptor_.local_endpoint(); }

  /// Says goodbye to all clients and waits until they are gone, as long as that may take.
  asio::awaitable<void> shut_down();

 private:
  using ClientPtr = std::shared_ptr<Client>;

  asio::awaitable<void> accept_all();
  void welcome(asio::ip::tcp::socket socket);
  asio::awaitable<void> serve(ClientPtr client);
  asio::awaitable<void> obey_all(ClientPtr client);
  asio::awaitable<void> count_primes_for(ClientPtr client, std::uint32_t limit);

  void enter(const ClientPtr& client);
  void leave(const ClientPtr& client);
  void tell_all_but(const ClientPtr& client, const std::string& line);
  bool obey(const ClientPtr& client, std::string_view line);
  void rename(const ClientPtr& client, const std::string& nick);
  void list(const ClientPtr& client);
  void start_counting(const ClientPtr& client, std::string_view number);

  conc::EventLoop& loop_;
  conc::ThreadPoolExecutor& pool_;
  const Settings settings_;
  asio::ip::tcp::acceptor acceptor_;
  std::string goodbye_ = "* goodbye";
  std::uint64_t last_guest_ = 0;
  std::map<std::string, ClientPtr> room_;  // who is there, by nick
  std::map<ClientPtr, conc::Future<void>>
      clients_;  // all connections, with serve() of each: who has left may be listening
};

}  // namespace chat
