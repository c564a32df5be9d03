// SPDX-License-Identifier: MIT
#include "batch.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <new>
#include <optional>
#include <stdexcept>
#include <system_error>

#include <conc/error.hpp>
#include <conc/future.hpp>
#include <conc/process_pool.hpp>
#include <conc/remote_error.hpp>

#include "interpreter.hpp"
#include "progress.hpp"

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace crash_proof {
namespace {

constexpr auto kTimeBetweenLooks = 100ms;
constexpr std::size_t kMostPrinted = 1'000'000;  // bytes of one program: this process keeps them all
constexpr rlim_t kStack = 8 * 1024 * 1024;

// What a worker throws arrives here as what it was, and not only as text.
const bool registered = conc::register_exception<ProgramError>();

// The two functions that run in the workers.

void limit(decltype(RLIMIT_AS) resource, rlim_t most) {
  rlimit limits{};
  if (::getrlimit(resource, &limits) != 0) throw std::system_error(errno, std::generic_category(), "getrlimit");
  limits.rlim_max = std::min(most, limits.rlim_max);
  limits.rlim_cur = limits.rlim_max;
  if (::setrlimit(resource, &limits) != 0) throw std::system_error(errno, std::generic_category(), "setrlimit");
}

/// Called in every worker before its first program. The limits hold for that process alone.
void set_limits(std::uint64_t memory) {
  limit(RLIMIT_CORE, 0);  // a crash is nothing special here: it leaves no core file
  limit(RLIMIT_STACK, kStack);
  if (memory != 0) limit(RLIMIT_AS, memory);
}

std::string run_file(const fs::path& name) {
  std::ifstream file;
  errno = 0;
  file.open(name);
  if (!file) throw std::system_error(errno, std::generic_category(), name.string());
  const std::string program{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) throw std::runtime_error(name.string() + ": it cannot be read");
  std::string printed = run_program(program);
  if (printed.size() > kMostPrinted) throw ProgramError("it prints more than a million bytes");
  return printed;
}

// What remains for this process.

/// "signal 11 (Segmentation fault)", or "exit status 3"
std::string how_it_ended(const conc::WorkerDied& death) {
  const std::optional<int> code = death.exitcode();
  if (!code) return "nobody knows how";
  if (*code >= 0) return "exit status " + std::to_string(*code);
  const char* const name = ::strsignal(-*code);  // NOLINT(concurrency-mt-unsafe): one thread asks
  return "signal " + std::to_string(-*code) + " (" + name + ")";
}

Outcome outcome_of(const conc::Future<std::string>& future) {
  try {
    return {Verdict::done, future.result()};
  } catch (const ProgramError& error) {
    return {Verdict::wrong, error.what()};
  } catch (const std::bad_alloc&) {
    return {Verdict::out_of_memory, ""};
  } catch (const conc::TimeoutError&) {
    return {Verdict::timed_out, ""};
  } catch (const conc::WorkerDied& death) {
    return {Verdict::crashed, how_it_ended(death)};
  } catch (const conc::CancelledError&) {
    return {Verdict::not_run, ""};
  } catch (const std::exception& error) {
    return {Verdict::failed, error.what()};
  }
}

}  // namespace

std::vector<Outcome> run_batch(const std::vector<fs::path>& programs, const Limits& limits, const conc::Event& stop) {
  conc::ProcessPoolExecutor pool{{.max_workers = limits.workers,
                                  .initializer = {set_limits, limits.memory},
                                  .on_worker_death = conc::OnWorkerDeath::respawn}};
  const conc::TaskOptions each{.timeout = limits.time, .retries = limits.retries};
  std::vector<conc::Future<std::string>> futures;
  futures.reserve(programs.size());
  for (const fs::path& program : programs) futures.push_back(pool.submit(each, run_file, program));

  Progress progress{programs.size()};
  while (!pool.wait_idle(kTimeBetweenLooks)) {
    if (stop.is_set()) pool.shutdown({.wait = false, .cancel_futures = true});
    const conc::ProcessPoolStats now = pool.stats();
    progress.show({.finished = now.done + now.failed + now.cancelled, .crashes = now.died, .retried = now.retried});
  }

  std::vector<Outcome> outcomes;
  outcomes.reserve(programs.size());
  for (const conc::Future<std::string>& future : futures) outcomes.push_back(outcome_of(future));
  return outcomes;
}

}  // namespace crash_proof
