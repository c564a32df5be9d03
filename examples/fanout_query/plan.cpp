// SPDX-License-Identifier: MIT
#include "plan.hpp"

#include <random>

namespace fanout_query {

std::vector<Request> make_plan(const PlanOptions& options) {
  const std::chrono::microseconds fastest = options.fastest;
  const std::chrono::microseconds choices = options.slowest - options.fastest + std::chrono::microseconds{1};
  std::minstd_rand random{options.seed};  // the standard says what it gives: the same everywhere
  std::vector<Request> plan(options.requests);
  std::uint32_t number = 0;
  for (Request& request : plan) {
    for (std::size_t i = 0; i < options.queries; ++i) {
      request.push_back({.number = ++number, .latency = fastest + std::chrono::microseconds{random()} % choices});
    }
  }
  return plan;
}

}  // namespace fanout_query
