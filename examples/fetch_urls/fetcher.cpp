// SPDX-License-Identifier: MIT
#include "fetcher.hpp"

#include <algorithm>
#include <cmath>

namespace fetch_urls {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr Seconds kLongestPause{300};

}  // namespace

Fetcher::Fetcher(const FetchOptions& options, conc::Event& stop, Board& board, std::size_t worker)
    : options_(options), stop_(stop), board_(board), worker_(worker), client_(options.limits, stop) {}

Page Fetcher::fetch(const std::string& url) {
  try {
    const Page page = fetch_with_retries(url);
    board_.fetched(worker_, page.seconds);
    return page;
  } catch (...) {
    board_.failed(worker_);
    throw;
  }
}

Page Fetcher::fetch_with_retries(const std::string& url) {
  for (int attempt = 1;; ++attempt) {
    if (stop_.is_set()) throw Interrupted{};
    board_.fetching(worker_, url, attempt);
    try {
      Page page = client_.get(url);
      page.attempts = attempt;
      return page;
    } catch (const FetchError& e) {
      if (!e.temporary() || attempt > options_.retries) {
        throw FetchError(std::string(e.what()) + " (attempt " + std::to_string(attempt) + ")", e.temporary());
      }
    }
    board_.waiting(worker_, attempt + 1);
    pause(attempt);
  }
}

/// Pauses after a failed attempt. What failed together shall not come back together, so the length is half chance.
void Fetcher::pause(int attempt) {
  const Seconds full = std::min(Seconds(options_.backoff) * std::exp2(attempt - 1), kLongestPause);
  std::uniform_real_distribution<double> share(0.5, 1.0);
  if (stop_.wait(full * share(random_))) throw Interrupted{};  // a sleep would have to end before anybody can stop
}

}  // namespace fetch_urls
