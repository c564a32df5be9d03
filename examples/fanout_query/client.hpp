// SPDX-License-Identifier: MIT
/// @file
/// Asks the server one query, over a connection of its own: once for threads, and once for coroutines.
#pragma once

#include <conc/event_loop.hpp>  // first: it chooses settings of Asio

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "plan.hpp"

namespace fanout_query {

using Clock = std::chrono::steady_clock;

struct Answer {
  std::uint32_t value = 0;
  Clock::time_point begin{};  // when it was asked, and when the answer was there
  Clock::time_point end{};
};

/// Why there is no answer.
class QueryError : public std::runtime_error {
 public:
  QueryError(const Query& query, const std::string& reason)
      : std::runtime_error("query " + std::to_string(query.number) + ": " + reason) {}
};

/// The calling thread waits for the answer.
/// @throws QueryError; conc::TimeoutError once the deadline has passed.
Answer ask_and_wait(std::uint16_t port, const Query& query, Clock::time_point deadline);

/// The same for a coroutine, which needs no thread while it waits. Its deadline is given by whoever awaits it.
/// @throws QueryError; std::system_error if it is cancelled.
asio::awaitable<Answer> ask(std::uint16_t port, Query query);

}  // namespace fanout_query
