// SPDX-License-Identifier: MIT
#include "ways.hpp"

#include <exception>
#include <utility>

#include <conc/error.hpp>
#include <conc/thread_pool.hpp>

namespace fanout_query {
namespace {

using Answers = std::vector<Answer>;

// The three ways for one request. Each is called by the threads of all requests at the same time.

/// Takes as long as all queries together.
Answers ask_one_after_another(std::uint16_t port, const Request& request, Clock::time_point deadline) {
  Answers answers;
  for (const Query& query : request) answers.push_back(ask_and_wait(port, query, deadline));
  return answers;
}

/// Takes as long as the slowest query, as long as there is a worker for every query of every request.
Answers ask_with_pool(conc::ThreadPoolExecutor& pool, std::uint16_t port, const Request& request,
                      Clock::time_point deadline) {
  const auto ask_one = [port, deadline](const Query& query) { return ask_and_wait(port, query, deadline); };
  Answers answers;
  for (Answer answer : pool.map({.timeout = deadline}, ask_one, request)) answers.push_back(answer);
  return answers;
}

asio::awaitable<Answers> ask_all(std::uint16_t port, Request request) {
  std::vector<asio::awaitable<Answer>> questions;
  for (const Query& query : request) questions.push_back(ask(port, query));
  co_return co_await conc::gather(std::move(questions));
}

/// Takes as long as the slowest query. The one thread of the loop waits for the queries of all requests.
Answers ask_on_loop(conc::EventLoop& loop, std::uint16_t port, const Request& request, Clock::time_point deadline) {
  return conc::run_coroutine_threadsafe(conc::wait_for(ask_all(port, request), deadline), loop).result();
}

template <class Ask>
Outcome handle(const Request& request, std::chrono::milliseconds timeout, const Ask& ask_queries) {
  Outcome outcome{.begin = Clock::now()};
  try {
    outcome.answers = ask_queries(request, outcome.begin + timeout);
  } catch (const conc::TimeoutError&) {
    outcome.error = "not all queries were answered within " + std::to_string(timeout.count()) + " ms";
  } catch (const std::exception& e) {
    outcome.error = e.what();
  }
  outcome.end = Clock::now();
  return outcome;
}

/// Handles each request in a thread, as a server does for its clients.
template <class Ask>
Run handle_each(Way way, const std::vector<Request>& plan, std::chrono::milliseconds timeout, const Ask& ask_queries) {
  conc::ThreadPoolExecutor requests{{.max_workers = static_cast<int>(plan.size()), .thread_name_prefix = "request"}};
  const auto handle_one = [&](const Request& request) { return handle(request, timeout, ask_queries); };
  Run run{.way = way};
  for (Outcome outcome : requests.map(handle_one, plan)) run.outcomes.push_back(std::move(outcome));
  run.threads = requests.stats().workers;
  return run;
}

}  // namespace

const char* name_of(Way way) {
  switch (way) {
    case Way::serial:
      return "serial";
    case Way::pool:
      return "pool";
    case Way::loop:
      break;
  }
  return "loop";
}

const char* title_of(Way way) {
  switch (way) {
    case Way::serial:
      return "one after another";
    case Way::pool:
      return "with a thread pool";
    case Way::loop:
      break;
  }
  return "with one event loop";
}

Run handle_all(Way way, const std::vector<Request>& plan, const Settings& settings) {
  const std::uint16_t port = settings.port;
  switch (way) {
    case Way::serial:
      return handle_each(way, plan, settings.timeout, [port](const Request& request, Clock::time_point deadline) {
        return ask_one_after_another(port, request, deadline);
      });
    case Way::pool: {
      conc::ThreadPoolExecutor pool{{.max_workers = static_cast<int>(settings.workers), .thread_name_prefix = "query"}};
      Run run = handle_each(way, plan, settings.timeout, [&](const Request& request, Clock::time_point deadline) {
        return ask_with_pool(pool, port, request, deadline);
      });
      run.threads += pool.stats().workers;
      return run;
    }
    case Way::loop:
      break;
  }
  conc::LoopThread loop;
  Run run = handle_each(way, plan, settings.timeout, [&](const Request& request, Clock::time_point deadline) {
    return ask_on_loop(loop, port, request, deadline);
  });
  ++run.threads;
  return run;
}

}  // namespace fanout_query
