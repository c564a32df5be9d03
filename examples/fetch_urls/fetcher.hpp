// SPDX-License-Identifier: MIT
/// @file
/// One worker's way to fetch a URL: attempt after attempt, with growing pauses.
#pragma once

#include <chrono>
#include <cstddef>
#include <random>
#include <string>

#include <conc/event.hpp>

#include "board.hpp"
#include "http_client.hpp"

namespace fetch_urls {

struct FetchOptions {
  Limits limits{};
  int retries = 2;
  std::chrono::milliseconds backoff{100};  // the pause before the second attempt; it doubles for each further one
};

/// Only one thread may use a fetcher at a time, so each worker has its own.
class Fetcher {
 public:
  /// @param stop    once it is set, nothing more is fetched.
  /// @param board   hears what is going on, under the number `worker`.
  Fetcher(const FetchOptions& options, conc::Event& stop, Board& board, std::size_t worker);

  /// @throws FetchError that tells how many attempts there were; Interrupted.
  Page fetch(const std::string& url);

 private:
  Page fetch_with_retries(const std::string& url);
  void pause(int attempt);

  const FetchOptions options_;
  conc::Event& stop_;
  Board& board_;
  const std::size_t worker_;
  HttpClient client_;
  std::minstd_rand random_{std::random_device{}()};
};

}  // namespace fetch_urls
