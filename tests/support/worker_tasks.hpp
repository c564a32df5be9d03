// SPDX-License-Identifier: MIT
/// @file
/// What tests of process pools have their workers do, and how they look at them.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <array>
#include <conc/detail/fork_server.hpp>
#include <conc/error.hpp>
#include <conc/future.hpp>
#include <conc/pickle.hpp>
#include <conc/process_pool.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <type_traits>

#include "gate.hpp"
#include "support.hpp"

namespace conc_test {

/// Ways for a process to end in the middle of something.
enum class Death : int {
  segmentation_fault,
  abort,
  kill,
  stack_overflow,
  terminate,
  out_of_noexcept,
  exit_at_once,  // status 0, which is no success
  exit_three,
  quick_exit,
};
inline constexpr std::array all_deaths{Death::segmentation_fault, Death::abort,      Death::kill,
                                       Death::stack_overflow,     Death::terminate,  Death::out_of_noexcept,
                                       Death::exit_at_once,       Death::exit_three, Death::quick_exit};

/// What is said of a process that has died so.
inline std::string words_of(Death death) {
  switch (death) {
    case Death::segmentation_fault:
    case Death::stack_overflow:
      return "was killed by signal 11 (SIGSEGV)";
    case Death::abort:
    case Death::terminate:
    case Death::out_of_noexcept:
      return "was killed by signal 6 (SIGABRT)";
    case Death::kill:
      return "was killed by signal 9 (SIGKILL)";
    case Death::exit_at_once:
      return "ended with exit status 0";
    case Death::exit_three:
      return "ended with exit status 3";
    case Death::quick_exit:
      return "ended with exit status 4";
  }
  return "?";
}

[[gnu::noinline]] inline int go_deeper(const volatile char* above) {
  volatile char here[4096];
  here[0] = above[0];
  return here[0] == 7 ? 0 : go_deeper(here) + here[0];
}
inline void throw_number() { throw 1; }  // NOLINT: on purpose
inline void throw_out_of_noexcept() noexcept { throw_number(); }

[[noreturn]] inline void die(Death death) {
  switch (death) {
    case Death::segmentation_fault: {
      const volatile std::uintptr_t nowhere = 16;  // not null, of which UndefinedBehaviorSanitizer would speak instead
      *reinterpret_cast<volatile int*>(nowhere) = 1;  // NOLINT: on purpose
      break;
    }
    case Death::abort:
      std::abort();
    case Death::kill:
      ::raise(SIGKILL);
      break;
    case Death::stack_overflow: {
      const char top = 1;
      ::_exit(go_deeper(&top));
    }
    case Death::terminate:
      std::terminate();
    case Death::out_of_noexcept:
      throw_out_of_noexcept();
      break;
    case Death::exit_at_once:
      ::_exit(0);
    case Death::exit_three:
      std::exit(3);
    case Death::quick_exit:
      std::quick_exit(4);
  }
  ::_exit(99);
}

/// A value that ends the process in which it is decoded. Bytes before and behind it.
struct DiesWhenDecoded {
  Death death;
  std::string bytes;
};

/// A value that ends the process in which it is encoded.
struct DiesWhenEncoded {
  Death death;
  std::string bytes;
};

// Tasks.

inline int twice(int x) { return 2 * x; }
inline int pid() { return ::getpid(); }
inline int die_as_task(Death death) { die(death); }
inline std::size_t size_of(const std::string& text) { return text.size(); }
inline void wait_for_ever() {
  for (;;) ::pause();
}
/// Makes a file, and never returns.
inline int hang(const std::string& sign) {
  make_file(sign);
  wait_for_ever();
  return 0;
}
/// Makes a file, and dies when the gate is opened.
inline int die_at_gate(Death death, const std::string& sign, const std::string& gate) {
  make_file(sign);
  hold(gate);
  die(death);
}

/// A field of what /proc tells of a process: 0 is its state, 1 its parent. Empty if there is no such process.
inline std::string stat_of(const std::string& process, std::size_t field) {
  std::ifstream file{"/proc/" + process + "/stat"};
  std::string stat;
  std::getline(file, stat);
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream fields{stat.substr(name_end + 1)};
  std::string text;
  for (std::size_t i = 0; i <= field; ++i) fields >> text;
  return text;
}

/// Whether there is no such process, or none that still runs.
inline bool has_ended(int process) {
  const std::string state = stat_of(std::to_string(process), 0);
  return state.empty() || state == "Z" || state == "X";
}

inline int parent_of(int process) { return std::atoi(stat_of(std::to_string(process), 1).c_str()); }

/// How many children a process has, zombies included.
inline std::size_t count_children(int process) {
  std::size_t children = 0;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
    if (stat_of(entry.path().filename().string(), 1) == std::to_string(process)) ++children;
  }
  return children;
}

/// How many workers of this process there are, zombies included: those that the fork server has.
inline std::size_t count_workers() { return count_children(conc::detail::fork_server.pid()); }

/// How many descriptors this process has.
inline std::ptrdiff_t count_descriptors() {
  return std::distance(std::filesystem::directory_iterator{"/proc/self/fd"}, std::filesystem::directory_iterator{});
}

/// The message of the BrokenProcessPool that a future has; what else came of it otherwise.
template <class T>
std::string broken_by(const conc::Future<T>& future) {
  try {
    future.result();
    return "returned";
  } catch (const conc::BrokenProcessPool& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string{"another exception: "} + error.what();
  }
}

/// The future of what is submitted; of what submit() throws otherwise.
template <class F, class... Args>
auto submitted(conc::ProcessPoolExecutor& pool, F fn, Args... args) {
  using Result = std::invoke_result_t<F, Args...>;
  try {
    return pool.submit(fn, args...);
  } catch (...) {
    return conc::make_exceptional_future<Result>(std::current_exception());
  }
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace conc_test

template <>
struct conc::pickler<conc_test::DiesWhenDecoded> {
  static void save(Pickler& ar, const conc_test::DiesWhenDecoded& value) { ar(value.bytes, value.death, value.bytes); }
  static conc_test::DiesWhenDecoded load(Unpickler& ar) {
    std::string bytes;
    auto death = conc_test::Death::kill;
    ar(bytes, death);
    conc_test::die(death);
  }
};

template <>
struct conc::pickler<conc_test::DiesWhenEncoded> {
  static void save(Pickler& ar, const conc_test::DiesWhenEncoded& value) {
    ar(value.bytes);
    conc_test::die(value.death);
  }
  static conc_test::DiesWhenEncoded load(Unpickler& ar) { return {{}, ar.get<std::string>()}; }
};
