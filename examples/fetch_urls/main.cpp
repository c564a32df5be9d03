// SPDX-License-Identifier: MIT
/// @file
/// Fetches URLs one by one and with a thread pool, and compares the times.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <conc/cpu_count.hpp>
#include <conc/event.hpp>

#include "board.hpp"
#include "fetcher.hpp"
#include "http_client.hpp"
#include "modes.hpp"
#include "progress.hpp"
#include "server.hpp"
#include "stop.hpp"
#include "url_file.hpp"

namespace fetch_urls {
namespace {

constexpr const char* kDescription =
    "Fetches URLs one by one (serial), with the map() of a thread pool (map) and with futures that are looked at as\n"
    "they are done (completed), and prints how long each took. Pages are counted and not kept.\n\n"
    "Exit code: 0 every page was fetched, 1 some were not, 2 wrong use, 128 + n stopped by signal n.\n";

struct Options {
  std::vector<std::string> urls;
  std::string file;
  std::vector<Mode> modes{Mode::completed};
  std::size_t workers = 0;  // 0: choose
  bool list = false;
  FetchOptions fetch{};
  ServerOptions server{};
};

/// For one line of text that others wrote: no character of it may command the terminal.
std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, '?');
  return text;
}

void complain(const std::string& text) { std::cerr << "fetch_urls: " + printable(text) + '\n'; }

struct Run {
  Mode mode;
  double seconds;
  std::vector<Outcome> outcomes;
};

/// Fetches everything once, and shows the progress meanwhile. Every run has a server of its own, so that all meet the
/// same failures.
Run run(Mode mode, const Options& options, conc::Event& stop) {
  std::vector<std::string> urls = options.urls;
  std::optional<Server> server;
  if (options.server.pages > 0) {
    server.emplace(options.server);
    for (std::string& url : server->urls()) urls.push_back(std::move(url));
  }
  const std::size_t workers = mode == Mode::serial ? 1 : std::min(options.workers, urls.size());
  Board board(urls.size(), workers);
  const Progress progress(board);
  const auto start = std::chrono::steady_clock::now();
  std::vector<Outcome> outcomes =
      fetch_all(mode, {.urls = urls, .options = options.fetch, .workers = workers, .stop = stop, .board = board});
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return {mode, seconds.count(), std::move(outcomes)};
}

/// Says what became of the URLs. Returns true if every page was fetched.
bool report(const Run& run, bool list) {
  std::size_t interrupted = 0;
  bool good = true;
  for (const Outcome& outcome : run.outcomes) {
    if (outcome.interrupted) {
      ++interrupted;
    } else if (!outcome.error.empty()) {
      complain(outcome.url + ": " + outcome.error);
    } else if (list) {
      std::printf("%ld %9zu bytes %9.1f ms  %s\n", outcome.page.status, outcome.page.bytes, outcome.page.seconds * 1000,
                  printable(outcome.url).c_str());
    }
    good = good && outcome.error.empty();
  }
  if (interrupted > 0) complain("interrupted: " + std::to_string(interrupted) + " URLs were not fetched");
  return good;
}

void print_row(const Run& run, const Run& first) {
  std::vector<double> seconds;
  std::size_t bytes = 0;
  std::size_t retried = 0;
  for (const Outcome& outcome : run.outcomes) {
    if (!outcome.error.empty()) continue;
    seconds.push_back(outcome.page.seconds);
    bytes += outcome.page.bytes;
    if (outcome.page.attempts > 1) ++retried;
  }
  const std::string speedup = first.mode != Mode::serial ? "-" : [&] {
    char text[32];
    std::snprintf(text, sizeof(text), "%.1f", first.seconds / run.seconds);
    return std::string(text);
  }();
  std::printf("%-9s %8zu %8zu %8zu %12zu %9.3f %9.1f %9.1f %9.1f %9s\n", name_of(run.mode), seconds.size(),
              run.outcomes.size() - seconds.size(), retried, bytes, run.seconds,
              static_cast<double>(seconds.size()) / run.seconds, percentile(seconds, 0.5) * 1000,
              percentile(seconds, 0.99) * 1000, speedup.c_str());
}

void print_table(const std::vector<Run>& runs) {
  std::printf("%-9s %8s %8s %8s %12s %9s %9s %9s %9s %9s\n", "mode", "fetched", "failed", "retried", "bytes", "seconds",
              "URLs/s", "p50 ms", "p99 ms", "speed-up");
  for (const Run& run : runs) print_row(run, runs.front());
}

int fetch(const Options& options) {
  ::signal(SIGPIPE, SIG_IGN);  // a peer that hangs up is an error of one request, no reason to die
  conc::Event& stop = stop_on_signals();
  const Curl curl;
  std::vector<Run> runs;
  bool good = true;
  for (const Mode mode : options.modes) {
    if (stop.is_set()) break;
    runs.push_back(run(mode, options, stop));
    good = report(runs.back(), options.list) && good;
  }
  print_table(runs);
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    complain("the output cannot be written");
    good = false;
  }
  if (stop_signal() != 0) return 128 + stop_signal();
  return good ? 0 : 1;
}

/// Completes the options with what is in the file. Throws if something is wrong with it.
void read_file(Options& options) {
  if (!options.file.empty()) {
    for (std::string& url : read_urls(options.file)) options.urls.push_back(std::move(url));
  }
  if (options.urls.empty() && options.server.pages == 0) {
    throw std::runtime_error("there are no URLs; name some, or use --file or --serve");
  }
}

/// A duration is a number with a unit: 1.5s or 200ms.
void add_duration(CLI::App& app, const std::string& name, std::chrono::milliseconds& value, int least_ms,
                  const std::string& help) {
  const std::map<std::string, double> units{{"ms", 1}, {"s", 1000}, {"min", 60'000}};
  const auto store = [&value, name, least_ms](const double& ms) {
    if (!(ms >= least_ms && ms <= 3'600'000)) {  // what is not a number is out of range too
      throw CLI::ValidationError(name, "must be from " + std::to_string(least_ms) + "ms to 60min");
    }
    value = std::chrono::milliseconds(std::llround(ms));
  };
  app.add_option_function<double>(name, store, help + " [" + std::to_string(value.count()) + "ms]")
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::UNIT_REQUIRED, "TIME"))
      ->option_text("TIME");
}

}  // namespace
}  // namespace fetch_urls

int main(int argc, char** argv) {
  using fetch_urls::Mode;
  const std::map<std::string, std::vector<Mode>> modes{{"serial", {Mode::serial}},
                                                       {"map", {Mode::map}},
                                                       {"completed", {Mode::completed}},
                                                       {"all", {Mode::serial, Mode::map, Mode::completed}}};
  fetch_urls::Options options;
  std::string mode = "completed";
  options.workers = std::min<std::size_t>(32, conc::usable_cpu_count() + 4);

  CLI::App app{fetch_urls::kDescription};
  app.add_option("urls", options.urls, "What to fetch: http://... or https://...");
  app.add_option("--file", options.file, "A file with more: one a line, '#' starts a comment; -: standard input");
  app.add_option("--mode", mode, "serial, map, completed, or all, one after the other")
      ->check(CLI::IsMember(modes))
      ->option_text("MODE")
      ->capture_default_str();
  app.add_option("--workers", options.workers, "Threads of the pool, but no more than URLs")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1'000}))
      ->capture_default_str();
  app.add_flag("--list", options.list,
               "Print a line for each page: as it arrives, or with --mode map in the order of the URLs");
  fetch_urls::add_duration(app, "--timeout", options.fetch.limits.timeout, 1, "How long one attempt may take");
  app.add_option("--retry", options.fetch.retries, "How often to try again after a failure that may pass")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  fetch_urls::add_duration(
      app, "--backoff", options.fetch.backoff, 0,
      "The pause before the second attempt; it doubles up to 5min; up to half of it is left out by chance");
  app.add_option("--max-bytes", options.fetch.limits.bytes, "The longest page to accept")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 40))
      ->capture_default_str();
  app.add_option("--max-redirects", options.fetch.limits.redirects, "How many redirects to follow")
      ->check(CLI::Range(0, 50))
      ->capture_default_str();
  app.add_option("--serve", options.server.pages, "Start a server on this machine, and fetch so many pages from it")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1'000'000}));
  fetch_urls::add_duration(app, "--delay", options.server.delay, 0, "How long that server waits before it answers");
  app.add_option("--bytes", options.server.bytes, "The size of its pages")
      ->check(CLI::Range(std::size_t{0}, std::size_t{100'000'000}))
      ->capture_default_str();
  app.add_option("--fail-every", options.server.fail_every, "Every so manyth of its pages fails at first (503)")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--fail-times", options.server.fail_times, "How often these fail")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  options.modes = modes.at(mode);
  try {
    fetch_urls::read_file(options);
  } catch (const std::exception& e) {
    fetch_urls::complain(e.what());
    return 2;
  }
  try {
    return fetch_urls::fetch(options);
  } catch (const std::exception& e) {
    fetch_urls::complain(e.what());
    return 1;
  }
}
