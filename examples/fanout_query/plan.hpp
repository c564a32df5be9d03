// SPDX-License-Identifier: MIT
/// @file
/// What is to be asked: the same in every run with the same options.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fanout_query {

/// One sub-query. It names how long its answer takes, as a real one has a cost of its own.
struct Query {
  std::uint32_t number = 0;  // from 1 on, over all requests
  std::chrono::microseconds latency{};
};

using Request = std::vector<Query>;

struct PlanOptions {
  std::size_t requests = 20;
  std::size_t queries = 12;  // of each request
  std::chrono::milliseconds fastest{10};
  std::chrono::milliseconds slowest{60};
  std::uint32_t seed = 1;
};

std::vector<Request> make_plan(const PlanOptions& options);

}  // namespace fanout_query
