// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>
#include <pinned.hpp>

#include <fstream>
#include <string>
#include <thread>

namespace bench {

/// There only in a program that must do something before it has a second thread.
[[gnu::weak]] void prepare(int argc, char** argv);

}  // namespace bench

namespace {

std::string cpu_model() {
  std::ifstream info{"/proc/cpuinfo"};
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) {
      return line.substr(line.find(':') + 2);
    }
  }
  return "unknown";
}

}  // namespace

int main(int argc, char** argv) {
  if (bench::prepare != nullptr) {
    bench::prepare(argc, argv);
  }
  // A process that has never had a second thread gets cheaper mutexes from the C library, which no program that needs
  // them is in.
  std::thread{[] {}}.join();

  benchmark::AddCustomContext("cpu_model", cpu_model());
  benchmark::AddCustomContext("usable_cpus", std::to_string(bench::usable_cpus().size()));
#if defined(__clang__)
  benchmark::AddCustomContext("compiler", "clang " __clang_version__);
#else
  benchmark::AddCustomContext("compiler", "g++ " __VERSION__);
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
