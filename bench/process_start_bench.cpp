// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <conc/detail/byte_buffer.hpp>
#include <conc/detail/descriptor.hpp>
#include <conc/detail/frame.hpp>
#include <conc/detail/remote_code.hpp>
#include <conc/pickle.hpp>
#include <conc/process.hpp>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace bench {

void prepare(int argc, char** argv);
void prepare(int argc, char** argv) { conc::process_init(argc, argv); }

}  // namespace bench

namespace {

using conc::StartMethod;
using conc::detail::Descriptor;
using conc::detail::FrameHeader;
using conc::detail::FrameKind;
using conc::detail::Pipe;
using conc::detail::WorkerProcess;

int same(int n) { return n; }

/// A worker that can be asked one thing.
struct Worker {
  explicit Worker(StartMethod method) {
    Pipe to;
    Pipe from;
    to.open("Worker");
    from.open("Worker");
    process = WorkerProcess::start(method, std::move(to.read_end), std::move(from.write_end));
    calls = std::move(to.write_end);
    results = std::move(from.read_end);
  }

  void ask() const {
    conc::detail::ByteBuffer bytes;
    bytes.extend(sizeof(FrameHeader));
    conc::Pickler pickler{bytes};
    pickler(conc::detail::RemoteCode<int (*)(int), int>::key());
    conc::detail::save_call(pickler, &same, 7);
    FrameHeader header;
    header.kind = FrameKind::call;
    header.length = bytes.size() - sizeof header;
    std::memcpy(bytes.data(), &header, sizeof header);
    if (::write(calls.number(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
      std::abort();
    }
  }

  void wait() const {
    FrameHeader header;
    int answer = 0;
    if (::read(results.number(), &header, sizeof header) != sizeof header ||
        ::read(results.number(), &answer, sizeof answer) != sizeof answer || answer != 7) {
      std::abort();
    }
  }

  WorkerProcess process;
  Descriptor calls;
  Descriptor results;
};

/// Memory that the program has and its workers do not need.
std::vector<char> resident(const benchmark::State& state) {
  return std::vector<char>(static_cast<std::size_t>(state.range(0)) << 20, 'x');
}

/// How long until four workers have been started and have answered? Their end is not measured.
template <StartMethod Method>
void BM_WorkerProcess_four(benchmark::State& state) {
  std::vector<char> memory = resident(state);
  benchmark::DoNotOptimize(memory.data());
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    std::array<Worker, 4> workers{Worker{Method}, Worker{Method}, Worker{Method}, Worker{Method}};
    for (const Worker& worker : workers) {
      worker.ask();
    }
    for (const Worker& worker : workers) {
      worker.wait();
    }
    state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
}
BENCHMARK(BM_WorkerProcess_four<StartMethod::fork_server>)
    ->Name("BM_WorkerProcess_four/conc")
    ->ArgName("resident_MiB")
    ->Arg(0)
    ->Arg(2'048)
    ->UseManualTime();
BENCHMARK(BM_WorkerProcess_four<StartMethod::spawn>)
    ->Name("BM_WorkerProcess_four/conc_spawn")
    ->ArgName("resident_MiB")
    ->Arg(0)
    ->Arg(2'048)
    ->UseManualTime();
BENCHMARK(BM_WorkerProcess_four<StartMethod::fork>)
    ->Name("BM_WorkerProcess_four/conc_fork")
    ->ArgName("resident_MiB")
    ->Arg(0)
    ->Arg(2'048)
    ->UseManualTime();

/// What does a process cost that ends at once, from its start until it was waited for?
void BM_Process_run(benchmark::State& state) {
  std::vector<char> memory = resident(state);
  benchmark::DoNotOptimize(memory.data());
  for (auto _ : state) {
    conc::Process process{[] {}};
    process.start();
    process.join();
  }
}
BENCHMARK(BM_Process_run)->Name("BM_Process_run/conc")->ArgName("resident_MiB")->Arg(0)->Arg(2'048)->UseRealTime();

/// Likewise, as one writes it by hand.
void BM_fork_run(benchmark::State& state) {
  std::vector<char> memory = resident(state);
  benchmark::DoNotOptimize(memory.data());
  for (auto _ : state) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
  }
}
BENCHMARK(BM_fork_run)->Name("BM_Process_run/fork")->ArgName("resident_MiB")->Arg(0)->Arg(2'048)->UseRealTime();

}  // namespace
