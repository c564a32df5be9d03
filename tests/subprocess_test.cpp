// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <conc/subprocess.hpp>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "background.hpp"
#include "process_support.hpp"
#include "support.hpp"
#include "worker.hpp"

namespace {

using namespace std::chrono_literals;
using Catch::Matchers::EndsWith;
using conc::subprocess::CalledProcessError;
using conc::subprocess::check_output;
using conc::subprocess::CompletedProcess;
using conc::subprocess::Output;
using conc::subprocess::run;
using conc::subprocess::status_lost;
using conc::subprocess::TimeoutExpired;
using conc_test::Closed;
using conc_test::Disposition;
using conc_test::error_of;
using conc_test::message_of;
using Strings = std::vector<std::string>;

CompletedProcess shell(const std::string& command) { return run({"sh", "-c", command}, {.capture_output = true}); }

/// Runs a command until its deadline has passed; with more and more time, until it has written a line by then, and has
/// come to its end where it shall have.
TimeoutExpired expire(const std::string& command, bool to_its_end = false) {
  for (std::chrono::milliseconds timeout = 100ms;; timeout *= 2) {
    try {
      run({"sh", "-c", command}, {.capture_output = true, .timeout = timeout});
    } catch (const TimeoutExpired& error) {
      const CompletedProcess& process = error.process();
      if (process.out.find('\n') != std::string::npos && (process.returncode == 0 || !to_its_end)) return error;
      continue;
    }
    throw std::runtime_error{"it ended in time"};
  }
}

/// Takes over what a program has left in the background: it becomes a child of this process when the program is gone.
class Orphanage {
 public:
  Orphanage() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }
  Orphanage(const Orphanage&) = delete;
  Orphanage& operator=(const Orphanage&) = delete;
  ~Orphanage() {
    while (::waitpid(-1, nullptr, 0) > 0) {  // also those that were started just before a deadline that came too early
    }
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
  }

  /// Ends the one whose number was printed. @return whether it ran until now
  static bool end(const std::string& number) {
    const pid_t pid = std::stoi(number);
    int status = 0;
    return ::kill(pid, SIGKILL) == 0 && ::waitpid(pid, &status, 0) == pid && WIFSIGNALED(status);
  }
};

/// A folder for files of a case.
class Folder {
 public:
  Folder() { std::filesystem::create_directory(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }

  std::string path() const { return path_; }
  std::string file(const std::string& name, const std::string& text, mode_t mode) const {
    std::ofstream{path_ / name} << text;
    ::chmod((path_ / name).c_str(), mode);
    return path_ / name;
  }

 private:
  std::filesystem::path path_ = std::filesystem::temp_directory_path() / "folder";
};

std::atomic<int> signals_seen{0};

}  // namespace

TEST_CASE("subprocess: run gives the exit status and what was captured", "[process][P19]") {
  const CompletedProcess done =
      run({"sh", "-c", "cat; echo wrong >&2; exit 3"}, {.input = "right\n", .capture_output = true});
  CHECK(done.args == Strings{"sh", "-c", "cat; echo wrong >&2; exit 3"});
  CHECK(done.returncode == 3);
  CHECK(done.out == "right\n");
  CHECK(done.err == "wrong\n");
  CHECK(run({"true"}).returncode == 0);
  CHECK(run({"true"}).out.empty());
  CHECK(shell("exit 255").returncode == 255);
}

TEST_CASE("subprocess: a program that a signal kills gives the signal's negative number", "[process][P19]") {
  CHECK(shell("kill -9 $$").returncode == -SIGKILL);
  CHECK(shell("kill -TERM $$").returncode == -SIGTERM);
  CHECK(message_of<CalledProcessError>([] {
          run({"sh", "-c", "kill -9 $$"}, {.check = true});
        }) == "subprocess::run: sh -c 'kill -9 $$' was killed by signal 9 (SIGKILL)");
}

TEST_CASE("subprocess: arguments reach the program as they are", "[process]") {
  const Strings hard{"printf", "%s|", "", "two words", "$HOME", "it's", "\n", "*", "\xc3\xa4"};
  CHECK(check_output(hard) == "|two words|$HOME|it's|\n|*|\xc3\xa4|");
}

TEST_CASE("subprocess: large input and large output at the same time do not block each other", "[process][P19]") {
  const auto size = conc_test::scaled(std::size_t{10'000'000});
  std::string input(size, ' ');
  for (std::size_t i = 0; i < size; ++i) input[i] = static_cast<char>(i * i % 251);
  const CompletedProcess done = run({"sh", "-c", "tee /dev/stderr"}, {.input = input, .capture_output = true});
  CHECK(done.returncode == 0);
  CHECK((done.out == input));
  CHECK((done.err == input));
}

TEST_CASE("subprocess: input that the program does not read is dropped, without a signal", "[process][P19]") {
  const std::string much(conc_test::scaled(std::size_t{10'000'000}), 'x');
  signals_seen = 0;
  SECTION("where SIGPIPE would kill") {
    const Disposition deadly{SIGPIPE, SIG_DFL};
    CHECK(run({"true"}, {.input = much}).returncode == 0);
    CHECK(run({"sh", "-c", "exec <&-; exit 4"}, {.input = much}).returncode == 4);
  }
  SECTION("where SIGPIPE has a handler") {
    const Disposition handled{SIGPIPE, [](int) { ++signals_seen; }};
    CHECK(run({"head", "-c", "3"}, {.input = much, .out = Output::capture}).out == "xxx");
    CHECK(signals_seen == 0);
  }
  sigset_t blocked;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  CHECK(::sigismember(&blocked, SIGPIPE) == 0);
}

TEST_CASE("subprocess: a SIGPIPE that was pending before stays pending", "[process]") {
  const Disposition handled{SIGPIPE, [](int) { ++signals_seen; }};
  signals_seen = 0;
  conc_test::Worker worker{[] {
    sigset_t sigpipe;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &sigpipe, nullptr);
    ::pthread_kill(::pthread_self(), SIGPIPE);
    run({"true"}, {.input = std::string(1'000'000, 'x')});
    ::pthread_sigmask(SIG_UNBLOCK, &sigpipe, nullptr);
  }};
  worker.join();
  CHECK(signals_seen == 1);
}

TEST_CASE("subprocess: empty input is the end of the file", "[process]") {
  CHECK(check_output({"wc", "-c"}, {.input = ""}) == "0\n");
}

TEST_CASE("subprocess: env changes the environment, or replaces it", "[process][P19]") {
  ::setenv("CONC_TEST_KEPT", "kept", 1);
  ::setenv("CONC_TEST_GONE", "here", 1);
  const std::string show = "echo $CONC_TEST_KEPT,${CONC_TEST_GONE-gone},$CONC_TEST_NEW";
  CHECK(check_output({"sh", "-c", show}) == "kept,here,\n");
  CHECK(check_output({"sh", "-c", show}, {.env = {{"CONC_TEST_GONE", std::nullopt}, {"CONC_TEST_NEW", "a=b c"}}}) ==
        "kept,gone,a=b c\n");
  CHECK(check_output({"sh", "-c", show}, {.env = {{"CONC_TEST_GONE", ""}}}) == "kept,,\n");
  CHECK(check_output({"/usr/bin/env"}, {.env = {{"A", "1"}, {"B", "2"}, {"A", "3"}}, .replace_env = true}) ==
        "B=2\nA=3\n");
  CHECK(check_output({"/usr/bin/env"}, {.env = {{"A", "1"}, {"A", std::nullopt}}, .replace_env = true}).empty());
  CHECK(check_output({"env"}, {.replace_env = true}).empty());  // without a PATH it is found in /usr/bin
  ::unsetenv("CONC_TEST_KEPT");
  ::unsetenv("CONC_TEST_GONE");
}

TEST_CASE("subprocess: the program is looked for in the PATH that it gets", "[process]") {
  const Folder folder;
  folder.file("conc_test_tool", "#!/bin/sh\necho found\n", 0700);
  const auto tool = [&](const std::string& path, const std::string& cwd = "") {
    return check_output({"conc_test_tool"}, {.cwd = cwd, .env = {{"PATH", path}}});
  };
  CHECK(tool("/nowhere:" + folder.path()) == "found\n");
  CHECK(tool(folder.path() + ":/nowhere") == "found\n");
  CHECK(tool("/nowhere::", folder.path()) == "found\n");  // an empty entry is the working directory
  CHECK(tool("../folder", folder.path()) == "found\n");
  CHECK(error_of([&] { tool("/nowhere"); }) == ENOENT);
  CHECK(error_of([&] { tool("/etc/passwd"); }) == ENOENT);  // no directory
  folder.file("conc_test_tool", "", 0600);
  CHECK(error_of([&] { tool(folder.path() + ":/nowhere"); }) == EACCES);
}

TEST_CASE("subprocess: cwd is where the program runs, and where a relative path begins", "[process]") {
  const Folder folder;
  folder.file("here.sh", "#!/bin/sh\npwd -P\n", 0700);
  const std::string path = std::filesystem::canonical(folder.path());
  CHECK(check_output({"pwd", "-P"}, {.cwd = path}) == path + "\n");
  CHECK(check_output({"./here.sh"}, {.cwd = path}) == path + "\n");
  CHECK(std::filesystem::current_path() != path);
}

TEST_CASE("subprocess: output is inherited, captured, discarded, or err goes where out goes", "[process][P19]") {
  const Strings both{"sh", "-c", "echo one; echo two >&2"};
  CHECK(run(both, {.out = Output::capture, .err = Output::to_out}).out == "one\ntwo\n");
  CompletedProcess done = run(both, {.out = Output::discard, .err = Output::capture});
  CHECK(done.out.empty());
  CHECK(done.err == "two\n");
  done = run(both, {.out = Output::capture, .err = Output::discard});
  CHECK(done.out == "one\n");
  CHECK(done.err.empty());
  CHECK(conc_test::take_stderr().empty());
  done = run(both, {.out = Output::capture});
  CHECK(done.out == "one\n");
  CHECK(done.err.empty());
  CHECK(conc_test::take_stderr() == "two\n");
  run(both, {.out = Output::discard, .err = Output::to_out});
  CHECK(check_output(both, {.err = Output::to_out}) == "one\ntwo\n");
}

TEST_CASE("subprocess: check and check_output throw CalledProcessError with what is known", "[process][P19]") {
  const Strings command{"sh", "-c", "echo out; echo err >&2; exit 7"};
  const auto thrown = [](auto call) -> std::optional<CalledProcessError> {
    try {
      call();
      return std::nullopt;
    } catch (const CalledProcessError& error) {
      return error;
    }
  };
  const auto from_run = thrown([&] { run(command, {.capture_output = true, .check = true}); });
  const auto from_check_output = thrown([&] { check_output(command, {.err = Output::capture}); });
  const auto later = thrown([&] { run(command, {.capture_output = true}).check_returncode(); });
  for (const auto& error : {from_run, from_check_output, later}) {
    REQUIRE(error);
    CHECK(error->process().args == command);
    CHECK(error->process().returncode == 7);
    CHECK(error->process().out == "out\n");
    CHECK(error->process().err == "err\n");
    CHECK(error->what() ==
          std::string{"subprocess::run: sh -c 'echo out; echo err >&2; exit 7' ended with exit status 7"});
  }
  CHECK(run({"false"}).returncode == 1);
  run({"true"}, {.check = true}).check_returncode();
  CHECK(message_of<CalledProcessError>([] {
          check_output({"test", "it's", "=", ""});
        }) == "subprocess::run: test 'it'\\''s' = '' ended with exit status 1");
}

TEST_CASE("subprocess: a program that does not end in time is killed, and what it wrote is there",
          "[process][timeout][P19]") {
  const auto begin = std::chrono::steady_clock::now();
  const TimeoutExpired error = expire("echo $$; exec sleep 1000");
  CHECK(std::chrono::steady_clock::now() - begin >= 100ms);
  CHECK(error.process().returncode == -SIGKILL);
  CHECK(error.process().args == Strings{"sh", "-c", "echo $$; exec sleep 1000"});
  CHECK(
      error.what() ==
      std::string{"subprocess::run: sh -c 'echo $$; exec sleep 1000' did not end before the deadline and was killed"});
  CHECK(::kill(std::stoi(error.process().out), 0) == -1);  // gone, and waited for
  CHECK_THROWS_AS(run({"sleep", "1000"}, {.timeout = 1ms}), conc::TimeoutError);
  CHECK_THROWS_AS(check_output({"sleep", "1000"}, {.timeout = -1s}), conc::Error);
  CHECK_THROWS_AS(run({"sleep", "1000"}, {.timeout = (std::chrono::steady_clock::time_point::min)()}), TimeoutExpired);
  CHECK(run({"true"}, {.timeout = 1h}).returncode == 0);
  CHECK(run({"true"}, {.timeout = conc::Deadline::after(1h)}).returncode == 0);
}

TEST_CASE("subprocess: the deadline counts also for one that writes without end, or reads nothing",
          "[process][timeout][P19]") {
  const CompletedProcess endless = expire("while echo y; do :; done").process();
  CHECK(endless.returncode == -SIGKILL);
  CHECK(endless.out.substr(0, 4) == "y\ny\n");
  CHECK_THROWS_AS(run({"sleep", "1000"}, {.input = std::string(1'000'000, 'x'), .timeout = 20ms}), TimeoutExpired);
}

TEST_CASE("subprocess: after the kill it does not wait for those that still hold the output",
          "[process][timeout][P19]") {
  const Orphanage orphanage;
  const TimeoutExpired error = expire("sleep 20 & echo $!; wait");
  CHECK(error.process().returncode == -SIGKILL);
  CHECK_THAT(error.what(), EndsWith("did not end before the deadline and was killed"));
  CHECK(Orphanage::end(error.process().out));  // it was left alone
}

TEST_CASE("subprocess: what is left in a pipe is read without waiting for its end", "[process][P19]") {
  const std::string text(10'000, 'x');
  std::string out;
  std::string err;
  conc::detail::Exchange exchange{{}, out, err};
  conc::detail::Pipe pipes[2];
  for (const int i : {0, 1}) {
    pipes[i].open("test");
    exchange.from_program[i] = std::move(pipes[i].read_end);
  }
  REQUIRE(::write(pipes[0].write_end.number(), text.data(), text.size()) == 10'000);
  exchange.drain();
  CHECK((out == text));
  CHECK(err.empty());
}

TEST_CASE("subprocess: output that is held open is waited for, as long as the deadline allows",
          "[process][timeout][P19]") {
  const Orphanage orphanage;
  CHECK(check_output({"sh", "-c", "(sleep 0.1; echo late) & echo early"}) == "early\nlate\n");
  const TimeoutExpired error = expire("sleep 20 & echo $!", true);
  CHECK(error.process().returncode == 0);
  CHECK_THAT(error.what(), EndsWith("has ended, but what it left in the background holds its output open"));
  CHECK(Orphanage::end(error.process().out));
}

TEST_CASE("subprocess: input that is left when the program ends is dropped, whoever could still read it",
          "[process][P19]") {
  const Orphanage orphanage;
  const CompletedProcess done = run({"sh", "-c", "exec 3<&0; sleep 20 <&3 >/dev/null & echo $!"},
                                    {.input = std::string(1'000'000, 'x'), .out = Output::capture});
  CHECK(done.returncode == 0);
  CHECK(Orphanage::end(done.out));  // it did not wait for that one
}

TEST_CASE("subprocess: a program that has ended in time is no timeout, however late that is seen",
          "[process][timeout][P19]") {
  std::string out;
  std::string err;
  conc::detail::Exchange exchange{"never read", out, err};
  conc::detail::Child child;
  {
    conc::detail::SpawnPlan plan;
    conc::detail::Pipe pipes[2];
    for (conc::detail::Pipe& pipe : pipes) pipe.open("test");
    plan.duplicate(pipes[0].read_end.number(), STDIN_FILENO);
    plan.duplicate(pipes[1].write_end.number(), STDOUT_FILENO);
    plan.isolate();
    exchange.to_program = std::move(pipes[0].write_end);
    exchange.from_program[0] = std::move(pipes[1].read_end);
    child.prepare();
    pid_t pid = 0;
    REQUIRE(conc::detail::start_program(pid, plan, {"echo", "here"}, {}) == 0);
    child.adopt(pid);
    siginfo_t info{};
    REQUIRE(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) == 0);
  }
  CHECK(exchange.run(child, conc::detail::sync::now()));
  CHECK(child.reap() == 0);
  CHECK(out == "here\n");
}

TEST_CASE("subprocess: what it says of a program that ends about the deadline is true", "[process][timeout][P19]") {
  for (int i = 0; i < conc_test::scaled(400); ++i) {  // from before its end to after it
    try {
      const auto timeout = std::chrono::microseconds{300 + 5 * i};
      const CompletedProcess done = run({"echo", "x"}, {.out = Output::capture, .timeout = timeout});
      CHECK(done.out == "x\n");
    } catch (const TimeoutExpired& error) {
      const std::string killed = error.process().returncode == -SIGKILL ? " and was killed" : "";
      CHECK(error.what() == "subprocess::run: echo x did not end before the deadline" + killed);
    }
  }
}

TEST_CASE("subprocess: output that is not captured is not waited for", "[process]") {
  const Orphanage orphanage;
  const CompletedProcess done = run({"sh", "-c", "sleep 20 >/dev/null 2>&1 & echo $!"}, {.out = Output::capture});
  CHECK(done.returncode == 0);
  CHECK(Orphanage::end(done.out));
}

TEST_CASE("subprocess: a program that cannot be started is std::system_error that names it", "[process][G5]") {
  const Folder folder;
  const std::string text = folder.file("text", "", 0600);
  const std::string no_program = folder.file("no_program", "neither binary nor script", 0700);
  const auto started = [](const std::string& program, const std::string& cwd) {
    return [=] { run({program, "argument"}, {.cwd = cwd}); };
  };
  CHECK(error_of(started("no_such_program", "")) == ENOENT);
  CHECK(error_of(started("/no/such/program", "")) == ENOENT);
  CHECK(error_of(started("", "")) == ENOENT);
  CHECK(error_of(started(text, "")) == EACCES);
  CHECK(error_of(started(folder.path(), "")) == EACCES);
  CHECK(error_of(started(text + "/below", "")) == ENOTDIR);
  CHECK(error_of(started(no_program, "")) == ENOEXEC);
  CHECK(error_of(started("true", folder.path() + "/nowhere")) == ENOENT);
  CHECK(error_of(started("true", text)) == ENOTDIR);
  CHECK(message_of<std::system_error>(started("no_such_program", "")) ==
        "subprocess::run: no_such_program: No such file or directory");
  CHECK(message_of<std::system_error>(started("no_such_program", "/")) ==
        "subprocess::run: no_such_program: No such file or directory");
  CHECK(message_of<std::system_error>(started("true", "/nowhere")) ==
        "subprocess::run: the working directory /nowhere: No such file or directory");
}

TEST_CASE("subprocess: options that contradict each other and zero bytes are UsageError", "[process][G5]") {
  const std::string zero{"a\0b", 3};
  const auto misuse = [](Strings args, conc::subprocess::Options options = {}) {
    return message_of<conc::UsageError>([&] { run(args, options); });
  };
  CHECK(misuse({}) == "subprocess::run: args is empty, its first must be the program");
  CHECK(misuse({"true", zero}) == "subprocess::run: one of args has a zero byte in it");
  CHECK(misuse({"true"}, {.cwd = zero}) == "subprocess::run: cwd has a zero byte in it");
  CHECK(misuse({"true"}, {.env = {{"A", zero}}}) == "subprocess::run: env has a zero byte in it");
  CHECK(misuse({"true"}, {.env = {{zero, "1"}}}) == "subprocess::run: env has a zero byte in it");
  CHECK(misuse({"true"}, {.env = {{"A=B", "1"}}}) == "subprocess::run: env: \"A=B\" cannot be the name of a variable");
  CHECK(misuse({"true"}, {.env = {{"", "1"}}}) == "subprocess::run: env: \"\" cannot be the name of a variable");
  CHECK(misuse({"true"}, {.out = Output::discard, .capture_output = true}) ==
        "subprocess::run: capture_output with out or err");
  CHECK(misuse({"true"}, {.out = Output::to_out}) == "subprocess::run: Output::to_out is for err only");
  CHECK(message_of<conc::UsageError>([] { check_output({"true"}, {.capture_output = true}); }) ==
        "subprocess::check_output: out is captured anyway");
  CHECK_THROWS_AS(check_output({"true"}, {.out = Output::discard}), conc::UsageError);
}

TEST_CASE("subprocess: children that are not its own are neither reaped nor signalled", "[process][P18]") {
  pid_t ended = 0;
  pid_t running = 0;
  char* const yes[] = {const_cast<char*>("true"), nullptr};
  char* const nap[] = {const_cast<char*>("sleep"), const_cast<char*>("1000"), nullptr};
  REQUIRE(::posix_spawnp(&ended, "true", nullptr, nullptr, yes, environ) == 0);
  REQUIRE(::posix_spawnp(&running, "sleep", nullptr, nullptr, nap, environ) == 0);
  siginfo_t info{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(ended), &info, WEXITED | WNOWAIT) == 0);
  CHECK(shell("exit 5").returncode == 5);
  CHECK_THROWS_AS(run({"sleep", "1000"}, {.timeout = 1ms}), TimeoutExpired);
  CHECK_THROWS_AS(run({"no_such_program"}), std::system_error);
  int status = -1;
  CHECK(::waitpid(ended, &status, 0) == ended);
  CHECK(status == 0);
  CHECK(::waitpid(running, &status, WNOHANG) == 0);
  CHECK(::kill(running, SIGKILL) == 0);
  CHECK(::waitpid(running, &status, 0) == running);
}

TEST_CASE("subprocess: where SIGCHLD is ignored the end is noticed and the status is lost", "[process][P18][FW15]") {
  const Disposition ignored{SIGCHLD, SIG_IGN};
  const CompletedProcess done = shell("echo here; exit 3");
  CHECK(done.out == "here\n");
  CHECK(done.returncode == status_lost);
  CHECK(run({"true"}).returncode == status_lost);
  CHECK(message_of<CalledProcessError>([] { run({"true"}, {.check = true}); }) ==
        "subprocess::run: true ended, and somebody else took its exit status");
  CHECK_THROWS_AS(run({"sleep", "1000"}, {.timeout = 10ms}), TimeoutExpired);
}

TEST_CASE("subprocess: somebody who waits for all children takes the status, not the result", "[process][P18][FW15]") {
  const Disposition thief{SIGCHLD,
                          [](int) {
                            const int kept = errno;
                            while (::waitpid(-1, nullptr, WNOHANG) > 0) {
                            }
                            errno = kept;
                          },
                          SA_RESTART};
  for (int i = 0; i < conc_test::scaled(50); ++i) {
    const CompletedProcess done = shell("echo here; exit 3");
    REQUIRE(done.out == "here\n");
    REQUIRE((done.returncode == 3 || done.returncode == status_lost));
  }
  CHECK_THROWS_AS(run({"sleep", "1000"}, {.timeout = 10ms}), TimeoutExpired);
}

TEST_CASE("subprocess: the program gets the standard descriptors and no others", "[process][P19][FW13]") {
  const int leaky = ::open("/dev/null", O_RDONLY);  // as std::ofstream opens its file, without O_CLOEXEC
  std::atomic<int> wrong{0};
  const int rounds = conc_test::scaled(20);
  conc_test::run_threads(8, [&](std::size_t index) {
    for (int i = 0; i < rounds; ++i) {
      const CompletedProcess done = run({"sh", "-c", "cat >/dev/null; ls /proc/$$/fd; exit " + std::to_string(index)},
                                        {.input = "x", .capture_output = true, .timeout = 1h});
      const auto expected = static_cast<int>(index);
      // dash opens none of its own here; others may keep 255 for themselves.
      if (done.returncode != expected || !done.err.empty() ||
          (done.out != "0\n1\n2\n" && done.out != "0\n1\n2\n255\n")) {
        ++wrong;
      }
    }
  });
  ::close(leaky);
  CHECK(wrong == 0);
}

TEST_CASE("subprocess: the standard descriptors of this process may be closed", "[process]") {
  const auto run_without = [](std::vector<int> numbers, const conc::subprocess::Options& options) {
    const Closed closed{std::move(numbers)};
    return run({"sh", "-c", "cat; echo err >&2"}, options);
  };
  CompletedProcess done = run_without({0, 1, 2}, {.input = "in", .capture_output = true});
  CHECK(done.returncode == 0);
  CHECK(done.out == "in");
  CHECK(done.err == "err\n");
  // The pipe would be made of 0 and 1, and what becomes the program's 1 would overwrite it.
  done = run_without({0, 1}, {.out = Output::discard, .err = Output::capture});
  CHECK_THAT(done.err, EndsWith("err\n"));
  // Nothing of conc's own gets the number of the standard output that is missing.
  CHECK(error_of([&] { run_without({1}, {.err = Output::to_out}); }) == EBADF);
}

TEST_CASE("subprocess: the program's signals are those of a fresh process", "[process]") {
  const Disposition pipe_ignored{SIGPIPE, SIG_IGN};
  const Disposition hup_ignored{SIGHUP, SIG_IGN};  // as nohup does, for its child
  std::string status;
  conc_test::Worker worker{[&] {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    status = check_output({"cat", "/proc/self/status"});
  }};
  worker.join();
  const auto mask = [&status](const std::string& label) {
    return std::stoull(status.substr(status.find(label) + label.size()), nullptr, 16);
  };
  CHECK(mask("SigBlk:\t") == 0);
  const auto is_ignored = [&](int signal) { return (mask("SigIgn:\t") >> (signal - 1) & 1U) != 0; };
  CHECK_FALSE(is_ignored(SIGPIPE));
  CHECK(is_ignored(SIGHUP));
}

TEST_CASE("subprocess: signals that interrupt it change nothing", "[process][FT5]") {
  const Disposition handled{SIGUSR1, [](int) { ++signals_seen; }};
  signals_seen = 0;
  const std::string input(1'000'000, 'x');
  CompletedProcess done;
  std::atomic<bool> over{false};
  conc_test::Worker worker{[&] {
    done = run({"sh", "-c", "sleep 0.2; cat; exit 6"}, {.input = input, .capture_output = true, .timeout = 1h});
    over = true;
  }};
  while (!over) {
    worker.send(SIGUSR1);
    std::this_thread::yield();
  }
  worker.join();
  CHECK(signals_seen > 0);
  CHECK(done.returncode == 6);
  CHECK((done.out == input));
}

TEST_CASE("subprocess: many threads run programs at once", "[process][P19]") {
  std::atomic<int> wrong{0};
  const int rounds = conc_test::scaled(20);
  const std::string input(100'000, 'x');
  conc_test::run_threads(8, [&](std::size_t index) {
    const std::string mine = std::to_string(index) + input;
    for (int i = 0; i < rounds; ++i) {
      if (check_output({"cat"}, {.input = mine}) != mine) ++wrong;
      if (run({"false"}).returncode != 1) ++wrong;
      try {
        run({"sleep", "1000"}, {.input = mine, .capture_output = true, .timeout = 1ms});
        ++wrong;
      } catch (const TimeoutExpired&) {
      }
    }
  });
  CHECK(wrong == 0);
}
