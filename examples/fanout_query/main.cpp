// SPDX-License-Identifier: MIT
/// @file
/// Requests that have to ask a dozen things each before they can be answered: one after another, with a thread pool, and
/// with one event loop that all of them share.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <fstream>
#include <map>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "errors.hpp"
#include "plan.hpp"
#include "server.hpp"
#include "timeline.hpp"
#include "ways.hpp"

namespace fanout_query {
namespace {

constexpr const char* kDescription =
    "Handles requests at the same time, each in a thread. Each has to ask a server a dozen queries first, which take\n"
    "different times to be answered: one after another (serial), with the workers of a thread pool (pool), and with\n"
    "coroutines on one event loop that all requests share (loop). The server is part of the program.\n\n"
    "Exit code: 0 every request was handled, with the same results in every way; 1 not so, or the chart could not be\n"
    "written; 2 wrong use.\n";

struct Options {
  PlanOptions plan{};
  Faults faults{};
  Settings settings{};
  std::vector<Way> ways{Way::serial, Way::pool, Way::loop};
  bool list = false;
  bool errors = false;
  std::string plot;
};

void complain(const std::string& text) { std::fprintf(stderr, "fanout_query: %s\n", text.c_str()); }

double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

/// When the first request of a run began.
Clock::time_point start_of(const Run& run) { return std::ranges::min(run.outcomes, {}, &Outcome::begin).begin; }

std::vector<std::uint32_t> values_of(const Outcome& outcome) {
  std::vector<std::uint32_t> values;
  for (const Answer& answer : outcome.answers) values.push_back(answer.value);
  return values;
}

/// Says which requests failed. Returns true if none did.
bool report_failures(const Run& run) {
  bool good = true;
  for (std::size_t i = 0; i < run.outcomes.size(); ++i) {
    if (run.outcomes[i].error.empty()) continue;
    complain(std::string(name_of(run.way)) + ": request " + std::to_string(i) + ": " + run.outcomes[i].error);
    good = false;
  }
  return good;
}

void print_head() {
  std::printf("%-7s %8s %8s %8s %9s %9s %9s\n", "way", "threads", "handled", "failed", "p50 ms", "max ms", "total s");
}

void print_row(const Run& run) {
  std::vector<double> times;  // of all requests: a failure takes its time, too
  std::size_t failed = 0;
  Clock::time_point end = start_of(run);
  for (const Outcome& outcome : run.outcomes) {
    times.push_back(seconds(outcome.end - outcome.begin) * 1000);
    end = std::max(end, outcome.end);
    if (!outcome.error.empty()) ++failed;
  }
  std::sort(times.begin(), times.end());
  std::printf("%-7s %8zu %8zu %8zu %9.1f %9.1f %9.3f\n", name_of(run.way), run.threads, times.size() - failed, failed,
              times[(times.size() - 1) / 2], times.back(), seconds(end - start_of(run)));
  std::fflush(stdout);  // the next way takes a while
}

/// Whether no way has got a result that another one did not get.
bool results_agree(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    for (std::size_t i = 0; i < run.outcomes.size(); ++i) {
      const Outcome& first = runs.front().outcomes[i];
      const Outcome& outcome = run.outcomes[i];
      if (first.error.empty() && outcome.error.empty() && values_of(first) != values_of(outcome)) return false;
    }
  }
  return true;
}

void print_results(const Run& run) {
  for (std::size_t i = 0; i < run.outcomes.size(); ++i) {
    std::printf("%s request %zu:", name_of(run.way), i);
    for (const std::uint32_t value : values_of(run.outcomes[i])) std::printf(" %u", value);
    std::printf("\n");
  }
}

/// "12.345 ms"
std::string milliseconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3f ms", seconds * 1000);
  return text;
}

Panel panel_of(const Run& run, const std::vector<Request>& plan) {
  const Clock::time_point start = start_of(run);
  const auto span = [start](const auto& from, const std::string& name) {
    const double begin = seconds(from.begin - start);
    const double end = seconds(from.end - start);
    return Span{.begin = begin, .end = end, .note = name + milliseconds(end - begin)};
  };
  Panel panel{.title = title_of(run.way) + std::string(", ") + std::to_string(run.threads) + " threads"};
  for (std::size_t i = 0; i < run.outcomes.size(); ++i) {
    const Outcome& outcome = run.outcomes[i];
    const std::string name = std::to_string(i);
    Row row{.label = name, .whole = span(outcome, "request " + name + ": "), .failed = !outcome.error.empty()};
    for (std::size_t k = 0; k < outcome.answers.size(); ++k) {
      const Query& query = plan[i][k];
      const double latency = std::chrono::duration<double>(query.latency).count();
      row.parts.push_back(span(outcome.answers[k], "query " + std::to_string(query.number) + ", answered after " +
                                                       milliseconds(latency) + ": "));
    }
    panel.rows.push_back(std::move(row));
  }
  return panel;
}

/// The chart's file, opened before the work that a wrong name would waste.
std::ofstream open_chart(const std::string& name) {
  std::ofstream file;
  if (name.empty()) return file;
  errno = 0;
  file.open(name);
  if (!file) throw std::system_error(errno, std::generic_category(), name);
  return file;
}

void draw(std::ofstream& file, const Options& options, const std::vector<Request>& plan, const std::vector<Run>& runs) {
  std::vector<Panel> panels;
  for (const Run& run : runs) panels.push_back(panel_of(run, plan));
  write_timeline(file,
                 std::to_string(options.plan.requests) + " requests at once, each asks " +
                     std::to_string(options.plan.queries) + " queries",
                 panels);
  errno = 0;
  file.close();
  if (!file) throw std::system_error(errno, std::generic_category(), options.plot);
}

int run(Options options) {
  std::ofstream chart = open_chart(options.plot);
  const std::vector<Request> plan = make_plan(options.plan);
  const Server server{options.faults};
  options.settings.port = server.port();
  std::vector<Run> runs;
  bool good = true;
  print_head();
  for (const Way way : options.ways) {
    runs.push_back(handle_all(way, plan, options.settings));
    print_row(runs.back());
    good = report_failures(runs.back()) && good;
  }
  const bool agree = results_agree(runs);
  if (runs.size() > 1) std::printf("results: %s\n", agree ? "the same in every way" : "NOT the same in every way");
  if (options.list) {
    for (const Run& run : runs) print_results(run);
  }
  if (std::fflush(stdout) != 0) throw std::system_error(errno, std::generic_category(), "standard output");
  if (chart.is_open()) draw(chart, options, plan, runs);
  return good && agree ? 0 : 1;
}

/// A duration is a number with a unit: 1.5s or 200ms.
void add_duration(CLI::App& app, const std::string& name, std::chrono::milliseconds& value, const std::string& help) {
  const std::map<std::string, double> units{{"ms", 1}, {"s", 1000}, {"min", 60'000}};
  const auto store = [&value, name](const double& ms) {
    if (!(ms >= 1 && ms <= 600'000)) {  // what is not a number is out of range too
      throw CLI::ValidationError(name, "must be from 1ms to 10min");
    }
    value = std::chrono::milliseconds(std::llround(ms));
  };
  app.add_option_function<double>(name, store, help + " [" + std::to_string(value.count()) + "ms]")
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::UNIT_REQUIRED, "TIME"))
      ->option_text("TIME");
}

}  // namespace
}  // namespace fanout_query

int main(int argc, char** argv) {
  using fanout_query::Way;
  const std::map<std::string, std::vector<Way>> ways{{"serial", {Way::serial}},
                                                     {"pool", {Way::pool}},
                                                     {"loop", {Way::loop}},
                                                     {"all", {Way::serial, Way::pool, Way::loop}}};
  fanout_query::Options options;
  std::string way = "all";
  CLI::App app{fanout_query::kDescription};
  const auto add = [&app](const char* name, auto& value, auto least, auto most, const char* text) {
    app.add_option(name, value, text)->check(CLI::Range(least, most))->capture_default_str();
  };
  add("--requests", options.plan.requests, std::size_t{1}, std::size_t{1'000}, "How many, each in a thread");
  add("--queries", options.plan.queries, std::size_t{1}, std::size_t{1'000}, "How many each request asks");
  add("--workers", options.settings.workers, std::size_t{1}, std::size_t{1'000}, "Threads of the pool");
  fanout_query::add_duration(app, "--fastest", options.plan.fastest, "The shortest time that an answer takes");
  fanout_query::add_duration(app, "--slowest", options.plan.slowest, "The longest one");
  add("--seed", options.plan.seed, std::uint32_t{1}, std::uint32_t{2'147'483'646}, "Chooses these times");
  fanout_query::add_duration(app, "--timeout", options.settings.timeout, "How long a request may take");
  app.add_option("--way", way, "serial, pool, loop, or all, one after the other")
      ->check(CLI::IsMember(ways))
      ->option_text("WAY")
      ->capture_default_str();
  app.add_flag("--list", options.list, "Print the results, too");
  app.add_option("--plot", options.plot, "SVG file for a timeline of requests and queries");
  const CLI::Range faults{1U, 1'000'000U};
  app.add_option("--fail-every", options.faults.fail_every, "Every so manyth query the server hangs up")->check(faults);
  app.add_option("--mute-every", options.faults.mute_every, "Every so manyth query is never answered")->check(faults);
  app.add_flag("--errors", options.errors, "Make the usual mistakes with event loops instead, and show what is said");
  try {
    app.parse(argc, argv);
    if (options.plan.fastest > options.plan.slowest) {
      throw CLI::ValidationError("--fastest", "must not be more than --slowest");
    }
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  options.ways = ways.at(way);
  try {
    if (options.errors) return fanout_query::show_errors() ? 0 : 1;
    return fanout_query::run(std::move(options));
  } catch (const std::exception& e) {
    std::fflush(stdout);
    fanout_query::complain(e.what());
    return 1;
  }
}
