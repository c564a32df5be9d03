// SPDX-License-Identifier: MIT
/// @file
/// A master whose daemon threads each run a subprocess: it looks how many are done, waits for them, or leaves them. Or
/// whose work the processes of a pool do, which end with it.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>

#include <conc/process.hpp>

#include "master.hpp"
#include "worker.hpp"

namespace master_worker {
namespace {

constexpr const char* kDescription =
    "Counts primes with subprocesses. In each round the master starts daemon threads, each of which runs one, and "
    "looks\n"
    "every so often which of them are still alive.\n\n"
    "Exit code: 0 all is well, 1 a subprocess failed or could not be started, 2 wrong use.\n";

constexpr std::uint64_t kMost = 10'000'000'000;

void add(CLI::App& app, const char* name, auto& value, auto least, auto most, const char* text) {
  app.add_option(name, value, text)->check(CLI::Range(least, most))->capture_default_str();
}

void add_time(CLI::App& app, const char* name, std::chrono::milliseconds& value, int least, const char* text) {
  app.add_option_function<int>(
         name, [&value](int milliseconds) { value = std::chrono::milliseconds{milliseconds}; }, text)
      ->check(CLI::Range(least, 3'600'000))
      ->default_str(std::to_string(value.count()));
}

bool be_master(CLI::App& app, int argc, char** argv) {
  Plan plan;
  add(app, "--rounds", plan.rounds, 1, 1'000, "How many rounds, one after the other");
  add(app, "--workers", plan.workers, 1, 100, "Threads, and subprocesses, in each round");
  add(app, "--limit", plan.limit, std::uint64_t{1'000}, kMost, "The primes below it are counted");
  add_time(app, "--least-ms", plan.least, 0, "How long each subprocess takes at least, in milliseconds");
  add_time(app, "--poll-ms", plan.poll, 1, "How long the master sleeps between two looks, in milliseconds");
  CLI::Option* const wait = app.add_flag("--wait", plan.wait, "Wait for each one to be done, instead of looking");
  CLI::Option* const early =
      app.add_option(
             "--exit-early", plan.exit_early,
             "Exit once the subprocesses of the first round run; they go on and write their results to this file")
          ->excludes(wait);
  CLI::Option* const together = app.add_flag("--die-together", plan.die_together,
                                             "The subprocesses end when the master ends, however that comes");
  app.add_flag("--pool", plan.pool, "Have a process pool do it, whose workers end with the master anyway")
      ->excludes(early)
      ->excludes(together);
  app.parse(argc, argv);
  return run_master(plan);
}

/// What command_for() says.
bool be_worker(CLI::App& app, int argc, char** argv) {
  Work work;
  app.add_option("--name", work.name)->required();
  app.add_option("--from", work.from)->required();
  app.add_option("--to", work.to)->required()->check(CLI::Range(std::uint64_t{0}, kMost));
  add_time(app, "--least-ms", work.least, 0, "");
  app.add_option("--append", work.append);
  app.add_option("--die-with", work.die_with);
  app.parse(argc, argv);
  do_work(work);
  return true;
}

}  // namespace
}  // namespace master_worker

int main(int argc, char** argv) {
  const bool is_worker = argc > 1 && argv[1] == std::string_view{"worker"};
  if (!is_worker) conc::process_init(argc, argv);  // first: while there is one thread
  std::setvbuf(stdout, nullptr, _IOLBF, 0);        // whoever reads along sees each line at once
  CLI::App app{master_worker::kDescription};
  try {
    const bool well =
        is_worker ? master_worker::be_worker(app, argc - 1, argv + 1) : master_worker::be_master(app, argc, argv);
    return well ? 0 : 1;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "master_worker: %s\n", e.what());
    return 1;
  }
}
