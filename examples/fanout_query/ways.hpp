// SPDX-License-Identifier: MIT
/// @file
/// Three ways to answer requests that have to ask many things first.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "client.hpp"
#include "plan.hpp"

namespace fanout_query {

enum class Way { serial, pool, loop };

const char* name_of(Way way);
const char* title_of(Way way);

/// What became of one request.
struct Outcome {
  std::vector<Answer> answers{};  // in the order of its queries
  std::string error{};            // why there are none; empty: there are
  Clock::time_point begin{};
  Clock::time_point end{};
};

struct Run {
  Way way;
  std::vector<Outcome> outcomes{};  // in the order of the requests
  std::size_t threads = 0;          // of those that handle requests, and of what helps them
};

struct Settings {
  std::uint16_t port = 0;
  std::size_t workers = 64;                   // of the pool that asks
  std::chrono::milliseconds timeout{10'000};  // for a request
};

/// Handles all requests at once, each in a thread.
/// @throws std::system_error if the system has no threads to give.
Run handle_all(Way way, const std::vector<Request>& plan, const Settings& settings);

}  // namespace fanout_query
