// SPDX-License-Identifier: MIT
#include "modes.hpp"

#include <deque>
#include <exception>
#include <unordered_map>
#include <utility>

#include <conc/future.hpp>
#include <conc/thread_pool.hpp>
#include <conc/wait.hpp>

namespace fetch_urls {
namespace {

/// Turns an exception into an outcome: one bad URL must not end the loop over the others.
template <class GetPage>
Outcome outcome_of(const std::string& url, GetPage get_page) {
  Outcome outcome{.url = url};
  try {
    outcome.page = get_page();
  } catch (const Interrupted& e) {
    outcome.error = e.what();
    outcome.interrupted = true;
  } catch (const std::exception& e) {
    outcome.error = e.what();
  }
  return outcome;
}

/// One after the other, in this thread.
std::vector<Outcome> fetch_serially(const Work& work) {
  Fetcher fetcher(work.options, work.stop, work.board, 0);
  std::vector<Outcome> outcomes;
  for (const std::string& url : work.urls) {
    outcomes.push_back(outcome_of(url, [&] { return fetcher.fetch(url); }));
  }
  return outcomes;
}

/// A pool whose workers have a fetcher each.
class FetcherPool {
 public:
  explicit FetcherPool(const Work& work)
      : pool_({.max_workers = static_cast<int>(work.workers), .thread_name_prefix = "fetch"}) {
    for (std::size_t i = 0; i < work.workers; ++i) fetchers_.emplace_back(work.options, work.stop, work.board, i);
  }

  /// The fetcher of the worker that calls this.
  Fetcher& fetcher() { return fetchers_.at(pool_.worker_index().value()); }

  conc::ThreadPoolExecutor& pool() { return pool_; }

 private:
  std::deque<Fetcher> fetchers_;   // a deque, for fetchers cannot move
  conc::ThreadPoolExecutor pool_;  // the last member: its workers end before their fetchers do
};

/// map() gives the results in the order of the URLs. The first exception would end its loop: so the workers hand out
/// outcomes, and throw nothing.
std::vector<Outcome> fetch_with_map(const Work& work) {
  FetcherPool workers(work);
  const auto fetch = [&workers](const std::string& url) {
    return outcome_of(url, [&] { return workers.fetcher().fetch(url); });
  };
  std::vector<Outcome> outcomes;
  for (Outcome outcome : workers.pool().map(fetch, work.urls)) outcomes.push_back(std::move(outcome));
  return outcomes;
}

/// as_completed() gives the futures in the order in which they are done. Each holds its page or its exception, and each
/// is asked for it.
std::vector<Outcome> fetch_as_completed(const Work& work) {
  FetcherPool workers(work);
  std::vector<conc::Future<Page>> futures;
  std::unordered_map<conc::Future<Page>, std::string> url_of;
  for (const std::string& url : work.urls) {
    futures.push_back(workers.pool().submit([&workers, &url] { return workers.fetcher().fetch(url); }));
    url_of.emplace(futures.back(), url);
  }
  std::vector<Outcome> outcomes;
  for (const conc::Future<Page>& future : conc::as_completed(futures)) {
    outcomes.push_back(outcome_of(url_of.at(future), [&future] { return future.result(); }));
  }
  return outcomes;
}

}  // namespace

const char* name_of(Mode mode) {
  switch (mode) {
    case Mode::serial:
      return "serial";
    case Mode::map:
      return "map";
    case Mode::completed:
      break;
  }
  return "completed";
}

std::vector<Outcome> fetch_all(Mode mode, const Work& work) {
  switch (mode) {
    case Mode::serial:
      return fetch_serially(work);
    case Mode::map:
      return fetch_with_map(work);
    case Mode::completed:
      break;
  }
  return fetch_as_completed(work);
}

}  // namespace fetch_urls
