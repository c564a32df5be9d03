// SPDX-License-Identifier: MIT
/// @file
/// subprocess::run and check_output: another program, run to its end. Not part of conc.hpp.
#pragma once

#if !defined(__linux__)
#error "conc/subprocess.hpp needs Linux (pidfd)."
#endif

#include <fcntl.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <conc/deadline.hpp>
#include <conc/detail/child.hpp>
#include <conc/detail/descriptor.hpp>
#include <conc/detail/exchange.hpp>
#include <conc/detail/sync.hpp>
#include <conc/error.hpp>
#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI {

namespace subprocess {

/// Where the program's standard output, or its standard error, goes.
enum class Output {
  inherit,  ///< where that of this process goes
  capture,  ///< into the CompletedProcess
  discard,  ///< to /dev/null
  to_out,   ///< only for standard error: where standard output goes
};

/// Variables and their values; std::nullopt takes a variable away.
using Environment = std::vector<std::pair<std::string, std::optional<std::string>>>;

/// The returncode where the exit status went elsewhere: this process ignores SIGCHLD, or somebody waited for all children.
inline constexpr int status_lost = (std::numeric_limits<int>::min)();

struct Options {
  std::optional<std::string> input{};  ///< what the program reads; {}: it reads what this process would. "": nothing.
  Output out = Output::inherit;
  Output err = Output::inherit;
  bool capture_output = false;  ///< out and err = Output::capture
  std::string cwd{};            ///< the program's working directory; empty: that of this process
  Deadline timeout{};           ///< when to kill it
  bool check = false;           ///< whether a returncode other than 0 is a CalledProcessError
  Environment env{};            ///< what differs from the environment of this process
  bool replace_env = false;     ///< `env` is the whole environment
};

/// A program that has ended.
struct CompletedProcess {
  std::vector<std::string> args{};
  int returncode = 0;  ///< the exit status; -N if signal N killed it; or status_lost
  std::string out{};   ///< what was captured
  std::string err{};

  /// @throws CalledProcessError unless returncode is 0.
  void check_returncode() const;
};

/// The program ended with something else than 0.
class [[gnu::visibility("default")]] CalledProcessError : public Error {
 public:
  explicit CalledProcessError(CompletedProcess process);
  [[nodiscard]] const CompletedProcess& process() const noexcept { return *process_; }

 private:
  std::shared_ptr<const CompletedProcess> process_;  // shared: the copy of an exception must not throw
};

/// The deadline passed first, and the program was killed. process() has what it had written until then.
class [[gnu::visibility("default")]] TimeoutExpired : public TimeoutError {
 public:
  TimeoutExpired(CompletedProcess process, const std::string& what)
      : TimeoutError{what}, process_{std::make_shared<const CompletedProcess>(std::move(process))} {}
  [[nodiscard]] const CompletedProcess& process() const noexcept { return *process_; }

 private:
  std::shared_ptr<const CompletedProcess> process_;
};

}  // namespace subprocess

namespace detail {

/// The command as one would type it into a shell.
inline std::string as_typed(const std::vector<std::string>& args) {
  std::string line;
  for (const std::string& arg : args) {
    line += line.empty() ? "" : " ";
    if (!arg.empty() && arg.find_first_of(" \t\n\"'\\$`*?[](){}<>|&;#~!") == std::string::npos) {
      line += arg;
      continue;
    }
    line += '\'';
    for (const char c : arg) {
      c == '\'' ? line += "'\\''" : line += c;
    }
    line += '\'';
  }
  return line;
}

/// The strings "NAME=value" that the program gets.
inline std::vector<std::string> environment_for(const subprocess::Options& options) {
  const subprocess::Environment& changes = options.env;
  const auto is_changed = [&changes](std::string_view name, std::size_t from) {
    for (std::size_t i = from; i < changes.size(); ++i) {
      if (changes[i].first == name) {
        return true;
      }
    }
    return false;
  };
  std::vector<std::string> strings;
  for (char** entry = options.replace_env ? nullptr : environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text{*entry};
    if (!is_changed(text.substr(0, text.find('=')), 0)) {
      strings.emplace_back(text);
    }
  }
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const auto& [name, value] = changes[i];
    if (value && !is_changed(name, i + 1)) {  // of several the last one counts
      strings.push_back(name + "=" + *value);
    }
  }
  return strings;
}

inline void check_usage(const std::vector<std::string>& args, const subprocess::Options& options) {
  const auto check = [](const std::string& text, const char* what) {
    if (text.find('\0') != std::string::npos) {
      throw_usage_error(std::string{"subprocess::run: "} + what + " has a zero byte in it");
    }
  };
  if (args.empty()) {
    throw_usage_error("subprocess::run: args is empty, its first must be the program");
  }
  for (const std::string& arg : args) {
    check(arg, "one of args");
  }
  check(options.cwd, "cwd");
  for (const auto& [name, value] : options.env) {
    if (name.empty() || name.find('=') != std::string::npos) {
      throw_usage_error("subprocess::run: env: \"" + name + "\" cannot be the name of a variable");
    }
    check(name, "env");
    check(value.value_or(""), "env");
  }
  using subprocess::Output;
  if (options.capture_output && (options.out != Output::inherit || options.err != Output::inherit)) {
    throw_usage_error("subprocess::run: capture_output with out or err");
  }
  if (options.out == Output::to_out) {
    throw_usage_error("subprocess::run: Output::to_out is for err only");
  }
}

}  // namespace detail

namespace subprocess {

inline CalledProcessError::CalledProcessError(CompletedProcess process)
    : Error{"subprocess::run: " + detail::as_typed(process.args) + " " +
            detail::how_it_ended(process.returncode == status_lost ? std::nullopt : std::optional{process.returncode})},
      process_{std::make_shared<const CompletedProcess>(std::move(process))} {}

inline void CompletedProcess::check_returncode() const {
  if (returncode != 0) {
    throw CalledProcessError{*this};
  }
}

/// Runs a program and waits for its end.
///
///     const auto done = conc::subprocess::run({"git", "log", "-1"}, {.capture_output = true, .timeout = 5s});
///
/// Waits also until nobody holds captured output open any more: what a program leaves in the background may still write.
/// With a timeout that wait has an end. Input that the program has not read is dropped when it ends, whatever it has left
/// in the background. The program gets no descriptor of this process but the standard ones, no blocked signal, and
/// SIGPIPE, SIGXFSZ and SIGCHLD as the system sets them.
///
/// @param args     the program and its arguments. No shell looks at them; say {"sh", "-c", command} for one. A program without
///                 a slash is looked for in the PATH it will get, a relative path begins in its working directory.
/// @throws std::system_error if it cannot be started: ENOENT if there is no such program or directory, EACCES, EMFILE…;
///         the message names what is missing. TimeoutExpired if it did not end in time: then it was killed. CalledProcessError
///         if `check` is set and it ended with something else than 0. UsageError for options that contradict each
///         other, and for a zero byte. std::bad_alloc. Whatever it throws, no process and no descriptor is left.
/// @par Thread safety   any thread, any time; but for setenv(3) at the same time, as everything that reads the environment.
///                      Waits only for its own child, never for others, and changes no signal of this process. If it
///                      ignores SIGCHLD, or waits for all children elsewhere, the returncode may be status_lost.
/// @par Lifetime        a program whose thread ends with the process, as that of a daemon, goes on. One that this process
///                      has no right to kill, as sudo's, is waited for all the same.
/// @par Cost            a process: about a millisecond, however large this one is. Captured output is held in memory.
/// @par Python          subprocess.run. Output that was not captured is "", input and output are bytes. env is merged into
///                      the environment unless replace_env. FileNotFoundError is std::system_error, and
///                      SubprocessError is conc::Error.
inline CompletedProcess run(std::vector<std::string> args, const Options& options = {}) {
  detail::check_usage(args, options);
  const detail::sync::TimePoint end = options.timeout.resolve();
  CompletedProcess done{.args = std::move(args)};
  detail::Exchange exchange{options.input ? std::string_view{*options.input} : std::string_view{}, done.out, done.err};
  detail::Child child;
  {
    detail::SpawnPlan plan;
    detail::Pipe input;
    if (options.input) {
      input.open("subprocess::run");
      if (::fcntl(input.write_end.number(), F_SETFL, O_NONBLOCK) != 0) {
        detail::throw_system_error(errno, "subprocess::run: no pipe");
      }
      plan.duplicate(input.read_end.number(), STDIN_FILENO);
      exchange.to_program = std::move(input.write_end);
    }
    detail::Pipe output[2];
    for (const int i : {0, 1}) {
      const Output to = options.capture_output ? Output::capture : i == 0 ? options.out : options.err;
      const int number = i == 0 ? STDOUT_FILENO : STDERR_FILENO;
      if (to == Output::capture) {
        output[i].open("subprocess::run");
        plan.duplicate(output[i].write_end.number(), number);
        exchange.from_program[i] = std::move(output[i].read_end);
      } else if (to == Output::discard) {
        plan.discard(number);
      } else if (to == Output::to_out) {
        plan.duplicate(STDOUT_FILENO, number);
      }
    }
    if (!options.cwd.empty()) {
      plan.change_directory(options.cwd);
    }
    plan.isolate();
    child.prepare();
    pid_t pid = 0;
    if (const int error = detail::start_program(pid, plan, done.args, detail::environment_for(options)); error != 0) {
      detail::throw_not_started(error, done.args.front(), options.cwd);
    }
    child.adopt(pid);
  }  // closes the program's ends of the pipes
  const bool in_time = exchange.run(child, end);
  if (!in_time) {
    child.kill();
  }
  done.returncode = child.reap().value_or(status_lost);
  if (!in_time) {
    exchange.drain();
    const bool killed = done.returncode == -SIGKILL;  // it may have ended just before
    const std::string what = "subprocess::run: " + detail::as_typed(done.args) +
                             (exchange.ended() ? " has ended, but what it left in the background holds its output open"
                              : killed         ? " did not end before the deadline and was killed"
                                               : " did not end before the deadline");
    throw TimeoutExpired{std::move(done), what};
  }
  if (options.check) {
    done.check_returncode();
  }
  return done;
}

/// The captured standard output of a program that must end with 0.
///
/// @throws as run() with `check`. UsageError if `out` or `capture_output` is set.
/// @par Python  subprocess.check_output.
inline std::string check_output(std::vector<std::string> args, Options options = {}) {
  if (options.capture_output || options.out != Output::inherit) {
    detail::throw_usage_error("subprocess::check_output: out is captured anyway");
  }
  options.out = Output::capture;
  options.check = true;
  return run(std::move(args), options).out;
}

}  // namespace subprocess

}  // namespace conc::inline CONC_ABI
