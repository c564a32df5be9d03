// SPDX-License-Identifier: MIT
// Workers that die, stop, close their pipes or cannot be started: what they had comes to an end, and nothing else does.
//
// No process holds a lock that another one could need (FW5): there is none between them.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <conc/detail/frame.hpp>
#include <conc/error.hpp>
#include <conc/event.hpp>
#include <conc/future.hpp>
#include <conc/process_pool.hpp>
#include <conc/wait.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "background.hpp"
#include "gate.hpp"
#include "processes.hpp"
#include "support.hpp"
#include "worker_tasks.hpp"

namespace {

using namespace std::chrono_literals;
using conc::OnWorkerDeath;
using conc::ProcessPoolExecutor;
using conc::StartMethod;
using conc_test::all_deaths;
using conc_test::broken_by;
using conc_test::contains;
using conc_test::count_workers;
using conc_test::Death;
using conc_test::DiesWhenDecoded;
using conc_test::DiesWhenEncoded;
using conc_test::eventually;
using conc_test::Folder;
using conc_test::Gate;
using conc_test::has_ended;
using conc_test::scaled;
using conc_test::words_of;

constexpr std::size_t kLarge = conc_test::sanitizer() == conc_test::Sanitizer::none ? 100'000'000 : 10'000'000;

ProcessPoolExecutor respawning(int workers) {
  return ProcessPoolExecutor{{.max_workers = workers, .on_worker_death = OnWorkerDeath::respawn}};
}

int die_when_decoded(const DiesWhenDecoded& unused) { return static_cast<int>(unused.bytes.size()); }
DiesWhenEncoded die_when_encoded(Death death, std::size_t bytes) { return {death, std::string(bytes, 'x')}; }
std::string text_behind(const std::string& gate, std::size_t size) {
  conc_test::hold(gate);
  return std::string(size, 'r');
}

/// The only worker of a pool.
int only_worker(const ProcessPoolExecutor& pool) {
  const std::vector<int> pids = pool.worker_pids();
  return pids.size() == 1 ? pids[0] : -1;
}

struct Hoarded {
  Hoarded* next;
};
Hoarded* hoard = nullptr;  // a worker's

int release_memory() {
  int blocks = 0;
  for (; hoard != nullptr; ++blocks) std::free(std::exchange(hoard, hoard->next));
  rlimit limit{};
  ::getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_AS, &limit);
  return blocks;
}

/// Takes all memory there is below a limit near what the process has, and throws. If it keeps it, what is thrown has to be
/// told without any.
void use_up_memory(bool keeps) {
  std::size_t pages = 0;
  std::ifstream{"/proc/self/statm"} >> pages;
  rlimit limit{};
  ::getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = pages * 4096 + 10'000'000;
  ::setrlimit(RLIMIT_AS, &limit);
  for (std::size_t size = 1U << 20U; size >= sizeof(Hoarded); size /= 2) {
    while (void* const memory = std::malloc(size)) hoard = ::new (memory) Hoarded{hoard};
  }
  if (!keeps) release_memory();
  throw std::bad_alloc{};
}

/// Whether a process waits in that system call.
bool is_in(int process, long system_call) {
  std::ifstream file{"/proc/" + std::to_string(process) + "/syscall"};
  std::string text;
  std::getline(file, text);
  return text.starts_with(std::to_string(system_call) + " ");
}

/// What the processes that die have to say is no concern of the test's.
struct DropsStderr {
  DropsStderr() = default;
  DropsStderr(const DropsStderr&) = delete;
  DropsStderr& operator=(const DropsStderr&) = delete;
  ~DropsStderr() { conc_test::take_stderr(); }
};

}  // namespace

TEST_CASE("ProcessPoolExecutor: whatever ends the worker ends its task, which says how, and no other",
          "[process_pool][FW2][FW4][P6]") {
  const DropsStderr quiet;
  auto pool = respawning(1);
  for (const Death death : all_deaths) {
    const int worker = pool.submit(&conc_test::pid).result();
    const auto victim = pool.submit(&conc_test::die_as_task, death);
    const auto next = pool.submit(&conc_test::twice, 4);
    CHECK(broken_by(victim) == "ProcessPoolExecutor: worker process " + std::to_string(worker) + " " + words_of(death) +
                                   " while it ran conc_test::die_as_task(conc_test::Death)");
    CHECK(conc_test::message_of<conc::WorkerDied>([&] { victim.result(); }) == broken_by(victim));
    CHECK(next.result() == 8);
    CHECK(pool.submit(&conc_test::pid).result() != worker);
  }
  CHECK(pool.stats().died == all_deaths.size());
  CHECK(pool.stats().failed == all_deaths.size());
  CHECK(pool.stats().retried == 0);
}

TEST_CASE("ProcessPoolExecutor: by default a death breaks the pool, in words that name process, end and task",
          "[process_pool][P6][FW2]") {
  Gate gate;
  const Folder folder;
  ProcessPoolExecutor pool{2};
  const auto other = pool.submit(&conc_test::hang, folder.file(0));
  const auto victim = pool.submit(&conc_test::die_at_gate, Death::kill, folder.file(1), gate.path());
  REQUIRE(folder.fills(2));
  std::vector<conc::Future<int>> queued;
  for (int i = 0; i < 20; ++i) queued.push_back(pool.submit(&conc_test::twice, i));
  gate.open();
  std::string why;
  try {
    victim.result();
  } catch (const conc::WorkerDied& error) {
    why = error.what();
    CHECK(contains(why, "worker process " + std::to_string(error.pid()) + " was killed by signal 9 (SIGKILL) while"));
    CHECK(error.exitcode() == -9);
  }
  CHECK_FALSE(contains(why, "the pool is broken"));
  const std::string broken = why.substr(std::string{"ProcessPoolExecutor: "}.size());
  CHECK(broken_by(other) == "ProcessPoolExecutor: the pool is broken: " + broken);
  for (const auto& future : queued) CHECK(broken_by(future) == "ProcessPoolExecutor: the pool is broken: " + broken);
  CHECK(conc_test::message_of<conc::BrokenProcessPool>([&] { pool.submit(&conc_test::twice, 1); }) ==
        "ProcessPoolExecutor::submit: the pool is broken: " + broken);
  CHECK(conc_test::message_of<conc::BrokenProcessPool>([&] { pool.detach(&conc_test::twice, 1); }) != "");
  CHECK(pool.wait_idle(1h));
  pool.shutdown();
  CHECK(pool.stats().failed == 22);
  CHECK(pool.stats().workers == 0);
  CHECK(count_workers() == 0);
}

TEST_CASE("ProcessPoolExecutor: a death while an argument is decoded, before all of it has arrived",
          "[process_pool][FW3][FC4][P7]") {
  const DropsStderr quiet;
  auto pool = respawning(1);
  for (const std::size_t size : {std::size_t{1}, std::size_t{65535}, std::size_t{65536}, std::size_t{65537}, kLarge}) {
    for (const Death death : {Death::kill, Death::segmentation_fault, Death::exit_at_once}) {
      const auto victim = pool.submit(&die_when_decoded, DiesWhenDecoded{death, std::string(size, 'a')});
      const auto next = pool.submit(&conc_test::twice, 4);
      CHECK(contains(broken_by(victim), words_of(death) + " while it ran "));
      CHECK(next.result() == 8);
    }
  }
}

TEST_CASE("ProcessPoolExecutor: a death while a result is encoded", "[process_pool][FW3][FC4][P7]") {
  const DropsStderr quiet;
  auto pool = respawning(1);
  for (const std::size_t size : {std::size_t{1}, std::size_t{65536}, kLarge}) {
    for (const Death death : {Death::kill, Death::abort, Death::exit_at_once}) {
      const auto victim = pool.submit(&die_when_encoded, death, size);
      const auto next = pool.submit(&conc_test::twice, 4);
      CHECK(contains(broken_by(victim), words_of(death) + " while it ran "));
      CHECK(next.result() == 8);
    }
  }
}

TEST_CASE("ProcessPoolExecutor: a worker killed with half a result in its pipe: that half is never decoded",
          "[process_pool][FW3][P7]") {
  for (const bool breaks : {false, true}) {
    Gate gate;
    Gate start;
    ProcessPoolExecutor pool{
        {.max_workers = 2, .on_worker_death = breaks ? OnWorkerDeath::break_pool : OnWorkerDeath::respawn}};
    const auto victim = pool.submit(&text_behind, gate.path(), kLarge);
    CHECK(eventually([&] { return victim.running(); }));
    const int worker = only_worker(pool);
    conc::Event killed;
    bool wrote = false;
    pool.submit(&conc_test::hold, start.path()).add_done_callback([&](const conc::Future<int>&) {
      // As long as this callback runs nobody reads results.
      gate.open();
      wrote = eventually([worker] { return is_in(worker, SYS_write); });
      ::kill(worker, SIGKILL);
      killed.set();
    });
    start.open();
    killed.wait();
    CHECK(wrote);
    CHECK(
        contains(broken_by(victim), "worker process " + std::to_string(worker) + " was killed by signal 9 (SIGKILL)"));
    if (!breaks) CHECK(pool.submit(&text_behind, gate.path(), kLarge).result().size() == kLarge);
  }
}

TEST_CASE("ProcessPoolExecutor: what a worker has answered before its death counts, also if it is read later",
          "[process_pool][P6][P7]") {
  for (const bool breaks : {false, true}) {
    Gate gate;
    Gate start;
    ProcessPoolExecutor pool{
        {.max_workers = 2, .on_worker_death = breaks ? OnWorkerDeath::break_pool : OnWorkerDeath::respawn}};
    const auto answered = pool.submit(&text_behind, gate.path(), std::size_t{1000});
    CHECK(eventually([&] { return answered.running(); }));
    const int worker = only_worker(pool);
    conc::Event killed;
    bool done = false;
    pool.submit(&conc_test::hold, start.path()).add_done_callback([&](const conc::Future<int>&) {
      // As long as this callback runs nobody reads results.
      gate.open();
      done = eventually([worker] { return is_in(worker, SYS_read); });  // for the next call
      ::kill(worker, SIGKILL);
      done = done && eventually([worker] { return has_ended(worker); });
      killed.set();
    });
    start.open();
    killed.wait();
    CHECK(done);
    CHECK(answered.result() == std::string(1000, 'r'));
    pool.shutdown();
    CHECK(pool.stats().done == 2);
  }
}

TEST_CASE("ProcessPoolExecutor: a task that its worker had not begun to read is not blamed for the death",
          "[process_pool][FW1][FW3][P6][P7]") {
  // One that the pipe takes as a whole, and one that fills it.
  for (const std::size_t size : {std::size_t{10}, kLarge}) {
    for (const bool breaks : {false, true}) {
      ProcessPoolExecutor pool{{.max_workers = 1,
                                .on_worker_death = breaks ? OnWorkerDeath::break_pool : OnWorkerDeath::respawn,
                                .retries = 1}};
      const int worker = pool.submit(&conc_test::pid).result();
      ::kill(worker, SIGSTOP);
      REQUIRE(eventually([worker] { return conc_test::stat_of(std::to_string(worker), 0) == "T"; }));
      const auto sent = pool.submit({.retries = 0}, &conc_test::size_of, std::string(size, 'a'));
      CHECK(eventually([&] { return sent.running(); }));
      const auto next = pool.submit(&conc_test::size_of, std::string(size, 'b'));
      CHECK_FALSE(sent.wait(20ms));
      ::kill(worker, SIGKILL);
      if (breaks) {
        const std::string why = "ProcessPoolExecutor: the pool is broken: worker process " + std::to_string(worker) +
                                " was killed by signal 9 (SIGKILL) before it began a call";
        CHECK(broken_by(sent) == why);
        CHECK(broken_by(next) == why);
      } else {
        CHECK(sent.result() == size);
        CHECK(next.result() == size);
        CHECK(pool.stats().failed == 0);
        CHECK(pool.stats().retried == 0);
      }
      CHECK(pool.stats().died == 1);
    }
  }
}

TEST_CASE("ProcessPoolExecutor: a task for a worker that is dead already, which nobody has seen, is run by another one",
          "[process_pool][FW1][P6]") {
  conc::Event sent;
  conc::Future<std::size_t> small;
  conc::Future<std::size_t> large;
  int worker = 0;
  auto pool = respawning(1);
  pool.submit(&conc_test::pid).add_done_callback([&](const conc::Future<int>& future) {
    // As long as this callback runs nobody looks at workers.
    worker = future.result();
    ::kill(worker, SIGKILL);
    if (!eventually([worker] { return has_ended(worker); })) return;
    small = pool.submit(&conc_test::size_of, std::string(10, 'a'));
    large = pool.submit(&conc_test::size_of, std::string(kLarge, 'a'));
    sent.set();
  });
  REQUIRE(sent.wait(20s));
  CHECK(small.result() == 10);
  CHECK(large.result() == kLarge);
  pool.shutdown();
  CHECK(pool.stats().died == 1);
  CHECK(pool.stats().failed == 0);
}

TEST_CASE("ProcessPoolExecutor: workers that never begin a call, one after the other, break the pool",
          "[process_pool][FW18][P6]") {
  // The end of the pipe from which calls are read. The initializer is too large to be read together with what follows.
  constexpr auto close_calls = [](const std::string& text) {
    for (int number = 3; number < 16; ++number) {
      struct stat kind {};
      const bool is_pipe = ::fstat(number, &kind) == 0 && S_ISFIFO(kind.st_mode);
      if (is_pipe && (::fcntl(number, F_GETFL) & O_ACCMODE) == O_RDONLY) ::close(number);
    }
    return text.size();
  };
  ProcessPoolExecutor pool{{.max_workers = 1,
                            .initializer = {close_calls, std::string(100'000, 'x')},
                            .on_worker_death = OnWorkerDeath::respawn}};
  const auto never = pool.submit(&conc_test::twice, 1);
  CHECK(contains(broken_by(never), " ended with exit status 0 before it began a call, and so did those before it"));
  CHECK_THROWS_AS(pool.submit(&conc_test::twice, 1), conc::BrokenProcessPool);
}

TEST_CASE("ProcessPoolExecutor: large arguments and large results at once fill both pipes, and all arrive",
          "[process_pool][P7]") {
  ProcessPoolExecutor pool{2};
  std::vector<conc::Future<std::string>> futures;
  for (int i = 0; i < 6; ++i) {
    futures.push_back(
        pool.submit([](std::string text) { return text; }, std::string(kLarge / 5, static_cast<char>('a' + i))));
  }
  for (std::size_t i = 0; i < futures.size(); ++i) {
    CHECK(futures[i].result() == std::string(kLarge / 5, static_cast<char>('a' + static_cast<int>(i))));
  }
}

TEST_CASE("ProcessPoolExecutor: the death of an idle worker is noticed", "[process_pool][FW1][P6]") {
  {
    auto pool = respawning(1);
    const int worker = pool.submit(&conc_test::pid).result();
    ::kill(worker, SIGKILL);
    CHECK(eventually([&] { return pool.stats().died == 1; }));
    CHECK(pool.worker_pids().empty());
    CHECK(pool.stats().failed == 0);
    CHECK(pool.submit(&conc_test::pid).result() != worker);
  }
  ProcessPoolExecutor pool{1};
  const int worker = pool.submit(&conc_test::pid).result();
  ::kill(worker, SIGKILL);
  CHECK(eventually([&] { return pool.worker_pids().empty(); }));
  std::string why;  // a task may still be accepted the moment before
  CHECK(eventually([&] {
    why = conc_test::message_of<conc::BrokenProcessPool>(
        [&] { static_cast<void>(pool.submit(&conc_test::twice, 1).exception()); });
    return !why.empty();
  }));
  CHECK(why == "ProcessPoolExecutor::submit: the pool is broken: worker process " + std::to_string(worker) +
                   " was killed by signal 9 (SIGKILL)");
}

TEST_CASE("ProcessPoolExecutor: what waits behind a task that kills its worker is run all the same, once",
          "[process_pool][FW2][P6]") {
  for (int round = 0; round < scaled(10); ++round) {
    const Folder folder;
    Gate gate;
    ProcessPoolExecutor pool{{.max_workers = 1, .on_worker_death = OnWorkerDeath::respawn, .prefetch = 16}};
    for (int i = 0; i < 50; ++i) pool.submit(&conc_test::twice, i).wait();  // it answers quickly, so that it gets many
    const auto victim = pool.submit(&conc_test::die_at_gate, Death::kill, folder.file(0), gate.path());
    std::vector<conc::Future<void>> others;
    for (int i = 1; i <= 30; ++i) others.push_back(pool.submit(&conc_test::make_file, folder.file(i)));
    REQUIRE(folder.fills(1));
    gate.open();
    CHECK(contains(broken_by(victim), "was killed by signal 9"));
    for (const auto& other : others) other.result();
    CHECK(folder.count() == 31);
    pool.shutdown();
    CHECK(pool.stats().failed == 1);
    CHECK(pool.stats().retried == 0);
    CHECK(pool.stats().done == 50 + 30);
  }
}

TEST_CASE("ProcessPoolExecutor: a task whose worker dies is run again as often as it may be", "[process_pool][P6]") {
  // It dies in its first runs: as many as there are files.
  constexpr auto die_at_first = [](const std::string& path, int times) {
    for (int i = 0; i < times; ++i) {
      const std::string file = path + std::to_string(i);
      const int descriptor = ::open(file.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
      if (descriptor >= 0) conc_test::die(Death::kill);
    }
    return times;
  };
  const Folder folder;
  ProcessPoolExecutor pool{{.max_workers = 2, .on_worker_death = OnWorkerDeath::respawn, .retries = 2}};
  CHECK(pool.submit(die_at_first, folder.file(1), 2).result() == 2);
  CHECK(pool.stats().retried == 2);
  CHECK(pool.stats().died == 2);
  CHECK(contains(broken_by(pool.submit(die_at_first, folder.file(2), 5)), "was killed by signal 9"));
  CHECK(pool.stats().retried == 4);
  CHECK(broken_by(pool.submit({.retries = 0}, die_at_first, folder.file(3), 1)) != "returned");
  CHECK(pool.stats().retried == 4);
  CHECK(pool.submit({.retries = 5}, die_at_first, folder.file(4), 5).result() == 5);
  CHECK(pool.stats().done == 2);
  CHECK(pool.stats().failed == 2);
}

TEST_CASE("ProcessPoolExecutor: what a task throws is an answer, and not tried again", "[process_pool][P6]") {
  ProcessPoolExecutor pool{{.max_workers = 1, .on_worker_death = OnWorkerDeath::respawn, .retries = 5}};
  const Folder folder;
  const auto failed = pool.submit(
      [](const std::string& path) {
        const int descriptor = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
        if (descriptor < 0) return;
        throw std::runtime_error{"once"};
      },
      folder.file(0));
  CHECK(conc_test::message_of<std::runtime_error>([&] { failed.result(); }) == "once");
  CHECK(pool.stats().retried == 0);
}

TEST_CASE("ProcessPoolExecutor: what a dying worker says on stderr is kept", "[process_pool][FW4]") {
  auto pool = respawning(1);
  const auto victim = pool.submit([] {
    static_cast<void>(!::write(STDERR_FILENO, "last words\n", 11));
    conc_test::die(Death::abort);
  });
  CHECK(broken_by(victim) != "returned");
  CHECK(contains(conc_test::take_stderr(), "last words\n"));
  CHECK(broken_by(pool.submit(&conc_test::die_as_task, Death::terminate)) != "returned");
  CHECK(contains(conc_test::take_stderr(), "terminate"));
}

TEST_CASE("ProcessPoolExecutor: what a worker prints is printed when it has nothing more to do",
          "[process_pool][FW16]") {
  // stderr is a file in memory here, which is then the workers' stdout as well.
  const int before = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  std::string text;
  {
    ProcessPoolExecutor pool{1};
    pool.submit([] { std::printf("printed by a task\n"); }).result();
    CHECK(eventually([&text] { return contains(text += conc_test::take_stderr(), "printed by a task\n"); }));
  }
  ::dup2(before, STDOUT_FILENO);
  ::close(before);
  CHECK(text == "printed by a task\n");
}

TEST_CASE("ProcessPoolExecutor: a task that closes the standard descriptors harms nobody", "[process_pool][FW16]") {
  ProcessPoolExecutor pool{1};
  const int worker = pool.submit(&conc_test::pid).result();
  CHECK(pool.submit([] {
              for (int number = 0; number <= 2; ++number) ::close(number);
              return ::getpid();
            })
            .result() == worker);
  CHECK(pool.submit([] { return std::printf("nowhere") > 0; }).result());
  CHECK(pool.submit(&conc_test::pid).result() == worker);
}

TEST_CASE("ProcessPoolExecutor: a task that closes all descriptors costs its worker", "[process_pool][FW16][P5]") {
  auto pool = respawning(2);
  const Folder folder;
  Gate gate;
  const auto other = pool.submit(&conc_test::hold, gate.path());
  for (const bool goes_on : {false, true}) {
    const auto victim = pool.submit(
        [](bool waits) {
          ::closefrom(0);
          if (waits) conc_test::wait_for_ever();
        },
        goes_on);
    const std::string why = broken_by(victim);
    INFO(why);
    CHECK(contains(why, goes_on ? "closed its pipe and was killed while it ran" : "while it ran"));
    CHECK(pool.submit(&conc_test::twice, 2).result() == 4);
  }
  gate.open();
  CHECK(other.result() == 1);
}

TEST_CASE("ProcessPoolExecutor: a worker that writes nonsense into its pipe is ended, and the pool goes on",
          "[process_pool][P5][FC7]") {
  auto pool = respawning(1);
  for (const int first : {0, 1, 4, 8, 255}) {
    const auto victim = pool.submit(
        [](int byte) {
          // Whatever it has open; one of them is the pipe.
          const std::string nonsense(100, static_cast<char>(byte));
          for (int number = 3; number < 10; ++number) {
            static_cast<void>(!::write(number, nonsense.data(), nonsense.size()));
          }
          conc_test::wait_for_ever();
        },
        first);
    const std::string why = broken_by(victim);
    INFO(first << ": " << why);
    CHECK(contains(why, "wrote what is no answer into its pipe and was killed"));
    CHECK(pool.submit(&conc_test::twice, 2).result() == 4);
  }
}

namespace {

/// The end of the pipe that answers go into.
int results_pipe() {
  for (int number = 3; number < 16; ++number) {
    struct stat kind {};
    const bool is_pipe = ::fstat(number, &kind) == 0 && S_ISFIFO(kind.st_mode);
    if (is_pipe && (::fcntl(number, F_GETFL) & O_ACCMODE) == O_WRONLY) return number;
  }
  return -1;
}

/// Begins an answer to the call that is the task, the first one of the pool, which has so many bytes.
int begin_an_answer(std::uint64_t bytes) {
  const conc::detail::FrameHeader header{.kind = conc::detail::FrameKind::result, .id = 1, .length = bytes};
  return ::write(results_pipe(), &header, sizeof header) == sizeof header ? 0 : 1;
}

}  // namespace

TEST_CASE("ProcessPoolExecutor: a worker that begins an answer and never ends it is ended, and the pool goes on",
          "[process_pool][P5][FC6][FC7]") {
  const struct {
    std::uint64_t bytes;
    const char* why;
  } answers[] = {{1000, "wrote what is no answer into its pipe and was killed"},
                 {1'000'000'000, "wrote what is no answer into its pipe and was killed"},
                 {std::uint64_t{1} << 60U, "announced more than there is memory for and was killed"},
                 {~std::uint64_t{0}, "announced more than there is memory for and was killed"}};
  for (const auto& answer : answers) {
    for (const int behind : {0, 20}) {
      auto pool = respawning(1);
      const auto victim = pool.submit(&begin_an_answer, answer.bytes);
      std::vector<conc::Future<int>> others;
      for (int i = 0; i < behind; ++i) others.push_back(pool.submit(&conc_test::twice, i));
      const std::string why = broken_by(victim);
      INFO(answer.bytes << ": " << why);
      CHECK(contains(why, answer.why));
      for (int i = 0; i < behind; ++i) CHECK(others[static_cast<std::size_t>(i)].result() == 2 * i);
      CHECK(pool.submit(&conc_test::twice, 2).result() == 4);
    }
  }
}

TEST_CASE("ProcessPoolExecutor: a worker that is stopped in the middle of an answer may go on later",
          "[process_pool][FW6][P5]") {
  Gate gate;
  Gate start;
  ProcessPoolExecutor pool{2};
  const auto stopped = pool.submit(&text_behind, gate.path(), kLarge);
  CHECK(eventually([&] { return stopped.running(); }));
  const int worker = only_worker(pool);
  conc::Event seen;
  bool wrote = false;
  pool.submit(&conc_test::hold, start.path()).add_done_callback([&](const conc::Future<int>&) {
    // As long as this callback runs nobody reads results.
    gate.open();
    wrote = eventually([worker] { return is_in(worker, SYS_write); });
    ::kill(worker, SIGSTOP);
    wrote = wrote && eventually([worker] { return conc_test::stat_of(std::to_string(worker), 0) == "T"; });
    seen.set();
  });
  start.open();
  seen.wait();
  CHECK(wrote);
  CHECK_FALSE(stopped.wait(500ms));  // it is looked at several times
  CHECK(only_worker(pool) == -1);    // that one and the other
  ::kill(worker, SIGCONT);
  CHECK(stopped.result() == std::string(kLarge, 'r'));
  CHECK(pool.submit(&conc_test::twice, 2).result() == 4);
  CHECK(pool.stats().died == 0);
}

TEST_CASE("ProcessPoolExecutor: a death is noticed although a child of the worker holds its pipes open",
          "[process_pool][FW17][P7]") {
  for (const bool breaks : {false, true}) {
    Gate gate;  // the children live until it opens
    const Folder folder;
    ProcessPoolExecutor pool{
        {.max_workers = 1, .on_worker_death = breaks ? OnWorkerDeath::break_pool : OnWorkerDeath::respawn}};
    const auto victim = pool.submit(
        [](const std::string& until, const std::string& sign) {
          if (::fork() == 0) {
            conc_test::make_file(sign);
            conc_test::hold(until);
            ::_exit(0);
          }
          conc_test::hold(until + "x");  // fails at once
        },
        gate.path(), folder.file(0));
    CHECK(conc_test::outcome([&] { victim.result(); }) == "no gate");
    REQUIRE(folder.fills(1));
    const auto dead = pool.submit(&conc_test::die_as_task, Death::exit_at_once);
    CHECK(contains(broken_by(dead), "ended with exit status 0"));
    if (!breaks) {
      CHECK(pool.submit(&conc_test::twice, 2).result() == 4);
    }
    pool.shutdown();
    gate.open();
  }
}

TEST_CASE("ProcessPoolExecutor: a stopped worker stops no other", "[process_pool][FW6][P12]") {
  const Folder folder;
  ProcessPoolExecutor pool{2};
  const auto stopped = pool.submit(&conc_test::hang, folder.file(0));
  REQUIRE(folder.fills(1));
  const int worker = only_worker(pool);
  ::kill(worker, SIGSTOP);
  for (int i = 0; i < 20; ++i) CHECK(pool.submit(&conc_test::twice, i).result() == 2 * i);
  CHECK(conc_test::message_of<conc::TimeoutError>([&] { (void)stopped.result(10ms); }) != "");
  pool.kill_workers();
  INFO(broken_by(stopped));
  CHECK(contains(broken_by(stopped), "the pool is broken: kill_workers() was called"));
  pool.shutdown();
  CHECK(has_ended(worker));
  CHECK(count_workers() == 0);
}

TEST_CASE("ProcessPoolExecutor: a stopped worker is killed when its task's time is over", "[process_pool][FW6][P12]") {
  ProcessPoolExecutor pool{1};
  const auto victim = pool.submit({.timeout = 50ms, .retries = 1}, [] { ::raise(SIGSTOP); });
  CHECK(conc_test::message_of<conc::TimeoutError>([&] { victim.result(); }) != "");
  CHECK(pool.submit(&conc_test::twice, 2).result() == 4);
  CHECK(pool.stats().died == 0);
  CHECK(pool.stats().retried == 1);
}

TEST_CASE("ProcessPoolExecutor: all workers killed at once", "[process_pool][FW7]") {
  for (const int workers : {1, 2, 5, 13}) {
    for (const bool breaks : {false, true}) {
      const Folder folder;
      ProcessPoolExecutor pool{
          {.max_workers = workers, .on_worker_death = breaks ? OnWorkerDeath::break_pool : OnWorkerDeath::respawn}};
      std::vector<conc::Future<int>> futures;
      for (int i = 0; i < workers; ++i) futures.push_back(pool.submit(&conc_test::hang, folder.file(i)));
      std::vector<conc::Future<int>> queued;
      for (int i = 0; i < 20; ++i) queued.push_back(pool.submit(&conc_test::twice, i));
      REQUIRE(folder.fills(static_cast<std::size_t>(workers)));
      for (const int worker : pool.worker_pids()) ::kill(worker, SIGKILL);
      for (const auto& future : futures) CHECK(broken_by(future) != "returned");
      int wrong = 0;
      for (int i = 0; i < 20; ++i) {
        const auto& future = queued[static_cast<std::size_t>(i)];
        wrong += breaks ? broken_by(future) == "returned" : future.result() != 2 * i;
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("ProcessPoolExecutor: workers that die one after the other, a tenth of a millisecond apart",
          "[process_pool][FW7][P7]") {
  constexpr auto die_after = [](int tenths) {
    const auto end = std::chrono::steady_clock::now() + tenths * 100us;
    while (std::chrono::steady_clock::now() < end) {
    }
    conc_test::die(Death::kill);
  };
  for (const int workers : {1, 2, 5, 13}) {
    for (const bool breaks : {false, true}) {
      ProcessPoolExecutor pool{
          {.max_workers = workers, .on_worker_death = breaks ? OnWorkerDeath::break_pool : OnWorkerDeath::respawn}};
      std::vector<conc::Future<void>> futures;
      int refused = 0;
      for (int i = 0; i < 2 * workers; ++i) {
        try {
          futures.push_back(pool.submit(die_after, i));
        } catch (const conc::BrokenProcessPool&) {
          ++refused;
        }
      }
      CHECK((breaks || refused == 0));
      int wrong = 0;
      for (const auto& future : futures) wrong += broken_by(future).starts_with("ProcessPoolExecutor: ") ? 0 : 1;
      CHECK(wrong == 0);
      if (!breaks) {
        CHECK(pool.submit(&conc_test::twice, 2).result() == 4);
        CHECK(pool.stats().died == static_cast<std::size_t>(2 * workers));
      }
    }
  }
}

TEST_CASE("ProcessPoolExecutor: a death after shutdown: what is queued still comes to its end", "[process_pool][P7]") {
  for (const bool breaks : {false, true}) {
    Gate gate;
    const Folder folder;
    ProcessPoolExecutor pool{
        {.max_workers = 1, .on_worker_death = breaks ? OnWorkerDeath::break_pool : OnWorkerDeath::respawn}};
    const auto victim = pool.submit(&conc_test::die_at_gate, Death::kill, folder.file(0), gate.path());
    std::vector<conc::Future<int>> queued;
    for (int i = 0; i < 20; ++i) queued.push_back(pool.submit(&conc_test::twice, i));
    REQUIRE(folder.fills(1));
    pool.shutdown({.wait = false});
    gate.open();
    CHECK(contains(broken_by(victim), "SIGKILL"));
    for (int i = 0; i < 20; ++i) {
      const auto& future = queued[static_cast<std::size_t>(i)];
      if (breaks) {
        CHECK(contains(broken_by(future), "the pool is broken"));
      } else {
        CHECK(future.result() == 2 * i);
      }
    }
    pool.shutdown();
    CHECK(count_workers() == 0);
  }
}

TEST_CASE("ProcessPoolExecutor: tasks of every start method that die", "[process_pool][P6][FW2]") {
  const DropsStderr quiet;
  for (const StartMethod method : {StartMethod::fork_server, StartMethod::spawn, StartMethod::fork}) {
    // ThreadSanitizer ends a child of a process with several threads that starts a thread; this one starts none.
    ProcessPoolExecutor pool{
        {.max_workers = 2, .start_method = method, .on_worker_death = OnWorkerDeath::respawn, .retries = 1}};
    for (const Death death : {Death::kill, Death::abort, Death::exit_at_once, Death::quick_exit}) {
      const auto victim = pool.submit(&conc_test::die_as_task, death);
      CHECK(contains(broken_by(victim), words_of(death)));
      CHECK(pool.submit(&conc_test::twice, 4).result() == 8);
    }
    CHECK(pool.stats().died == 8);
  }
}

TEST_CASE("ProcessPoolExecutor: an initializer that kills its worker breaks the pool, with the cause",
          "[process_pool][FW18][P11]") {
  const DropsStderr quiet;
  for (const bool breaks : {true, false}) {
    ProcessPoolExecutor pool{{.max_workers = 2,
                              .initializer = {&conc_test::die_as_task, Death::kill},
                              .on_worker_death = breaks ? OnWorkerDeath::break_pool : OnWorkerDeath::respawn,
                              .retries = 3}};
    std::vector<conc::Future<int>> futures;
    std::string refused;
    for (int i = 0; i < 5; ++i) {
      try {
        futures.push_back(pool.submit(&conc_test::twice, i));
      } catch (const conc::BrokenProcessPool& error) {
        refused = error.what();
      }
    }
    REQUIRE_FALSE(futures.empty());
    for (const auto& future : futures) {
      const std::string why = broken_by(future);
      INFO(why);
      CHECK(contains(why, "was killed by signal 9 (SIGKILL) before it was initialized"));
    }
    CHECK(conc_test::message_of<conc::BrokenProcessPool>([&] { pool.submit(&conc_test::twice, 1); }) != "");
    CHECK(pool.stats().retried == 0);  // no task is to blame
    pool.shutdown();
    CHECK(count_workers() == 0);
  }
}

TEST_CASE("ProcessPoolExecutor: children and processes that are not its own are left alone", "[process_pool][P18]") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[1]);
    char unused = 0;
    ::_exit(::read(ends[0], &unused, 1) == 0 ? 7 : 8);
  }
  ::close(ends[0]);
  for (const StartMethod method : {StartMethod::fork_server, StartMethod::spawn}) {
    ProcessPoolExecutor pool{{.max_workers = 2, .start_method = method, .on_worker_death = OnWorkerDeath::respawn}};
    CHECK(broken_by(pool.submit(&conc_test::die_as_task, Death::kill)) != "returned");
    CHECK(pool.submit(&conc_test::twice, 4).result() == 8);
    pool.kill_workers();
  }
  siginfo_t info{};
  CHECK(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0);
  CHECK(info.si_pid == 0);  // it lives
  ::close(ends[1]);
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 7);
}

TEST_CASE("ProcessPoolExecutor: a program that waits for all its children, or ignores SIGCHLD",
          "[process_pool][FW15][P18]") {
  for (const StartMethod method : {StartMethod::fork_server, StartMethod::spawn}) {
    for (const bool ignores : {false, true}) {
      struct sigaction action {};
      struct sigaction before {};
      action.sa_handler = SIG_IGN;
      if (ignores) ::sigaction(SIGCHLD, &action, &before);
      std::atomic<bool> ends{false};
      std::atomic<int> taken{0};
      conc_test::Worker thief{[&] {
        while (!ends) {
          if (::waitpid(-1, nullptr, WNOHANG) > 0) ++taken;
        }
      }};
      {
        ProcessPoolExecutor pool{{.max_workers = 2, .start_method = method, .on_worker_death = OnWorkerDeath::respawn}};
        for (int i = 0; i < scaled(20); ++i) {
          const std::string why = broken_by(pool.submit(&conc_test::die_as_task, Death::kill));
          INFO(why);
          CHECK(contains(why, "while it ran"));
          if (method == StartMethod::fork_server) CHECK(contains(why, "SIGKILL"));  // no thief knows of these
          CHECK(pool.submit(&conc_test::twice, i).result() == 2 * i);
        }
      }
      ends = true;
      thief.join();
      if (method == StartMethod::fork_server) CHECK(taken == 0);
      if (ignores) ::sigaction(SIGCHLD, &before, nullptr);
    }
  }
}

TEST_CASE("ProcessPoolExecutor: descriptors that run out when a worker is started", "[process_pool][FW12]") {
  const std::ptrdiff_t before = conc_test::count_descriptors();
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t usual = limit.rlim_cur;
  const auto set_limit = [&limit](rlim_t most) {
    limit.rlim_cur = most;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  };
  int failures = 0;
  {
    ProcessPoolExecutor pool{2};
    bool works = false;
    for (rlim_t most = 3; !works; ++most) {
      const auto early = [&] {
        set_limit(most);
        const auto future = pool.submit(&conc_test::twice, 4);
        future.wait();
        set_limit(usual);
        return future;
      }();
      try {
        works = early.result() == 8;
      } catch (const std::system_error& error) {
        REQUIRE(error.code() == std::errc::too_many_files_open);
        ++failures;
        REQUIRE(pool.worker_pids().empty());
      }
    }
    CHECK(pool.stats().failed == static_cast<std::size_t>(failures));
    CHECK(pool.submit(&conc_test::twice, 5).result() == 10);

    // With one worker there, a second one is only missed.
    Gate gate;
    const auto held = pool.submit(&conc_test::hold, gate.path());
    CHECK(eventually([&] { return held.running(); }));
    set_limit(static_cast<rlim_t>(conc_test::count_descriptors()) + 2);
    const auto queued = pool.submit(&conc_test::twice, 6);
    CHECK_FALSE(queued.wait(10ms));
    set_limit(usual);
    const auto second = pool.submit(&conc_test::twice, 7);
    CHECK(second.result() == 14);
    gate.open();  // the other may have gone to the first worker
    CHECK(queued.result() == 12);
  }
  CHECK(failures >= 7);  // two pipes, the working directory, the pidfd
  CHECK(conc_test::count_descriptors() == before);
}

TEST_CASE("ProcessPoolExecutor: descriptors that run out when a pool is made", "[process_pool][FW12]") {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t usual = limit.rlim_cur;
  limit.rlim_cur = 3;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  std::exception_ptr thrown;
  try {
    const ProcessPoolExecutor pool{1};
  } catch (...) {
    thrown = std::current_exception();
  }
  limit.rlim_cur = usual;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  REQUIRE(thrown != nullptr);
  CHECK(conc_test::message_of<std::system_error>([&] {
          std::rethrow_exception(thrown);
        }).starts_with("ProcessPoolExecutor: no pipe"));
  ProcessPoolExecutor pool{1};
  CHECK(pool.submit(&conc_test::twice, 4).result() == 8);
}

TEST_CASE("ProcessPoolExecutor: a task that has left its worker no memory gets std::bad_alloc, and the worker goes on",
          "[process_pool][P4][P5]") {
  if (conc_test::sanitizer() != conc_test::Sanitizer::none) SKIP("a sanitizer does not live with a limit on addresses");
  ProcessPoolExecutor pool{1};
  const int worker = pool.submit(&::getpid).result();
  for (const bool keeps : {false, true}) {
    const auto used = pool.submit(&use_up_memory, keeps);
    bool caught = false;
    try {
      used.result();
    } catch (const std::bad_alloc& error) {
      caught = true;
      const auto* const remote = dynamic_cast<const conc::RemoteInfo*>(&error);
      REQUIRE(remote != nullptr);
      CHECK(remote->type() == "std::bad_alloc");
      CHECK(remote->pid() == worker);
      CHECK(remote->trace().empty() == keeps);  // it takes memory to tell
    }
    CHECK(caught);
    CHECK((pool.submit(&release_memory).result() > 0) == keeps);
  }
  CHECK(only_worker(pool) == worker);
  CHECK(pool.stats().failed == 2);
}
