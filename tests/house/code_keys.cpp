// SPDX-License-Identifier: MIT
// Offers calls to another process that runs the same executable, and looks at what that returns. With WITH_LIBRARY it is
// linked with the shared library, and has a plugin: code_keys PLUGIN
#include "code_keys.hpp"

#include <dlfcn.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <utility>

namespace {

using conc::detail::CodeKey;

int failures = 0;

void check(bool fine, const std::string& what) {
  if (!fine) {
    ++failures;
    std::printf("WRONG: %s\n", what.c_str());
  }
}

// Each of these is once more in the other file, with the same name and another result.
auto lambda() {
  return [](int n) { return "main's lambda " + std::to_string(n); };
}
struct Functor {
  int factor;
  std::string operator()(int n) const { return "main's functor " + std::to_string(factor * n); }
};
std::string function(int n) { return "main's function " + std::to_string(n); }

}  // namespace

static auto static_lambda() {
  return [](int n) { return "main's static lambda " + std::to_string(n); };
}

namespace {

template <class T>
auto lambda_of_template() {
  return [](T n) { return "template's lambda " + std::to_string(n + 1); };
}

const bool registered = conc::register_exception<ProgramError>();

std::string fail(int n) {
  try {
    throw std::out_of_range{std::to_string(n) + " is too many"};
  } catch (...) {
    std::throw_with_nested(ProgramError{registered ? "it failed" : "not registered"});
  }
}

int destroyed = 0;
struct Counted {
  ~Counted() { ++destroyed; }
};

/// Has a handler and a destructor, wherever a compiler puts its code.
template <int N>
struct Careful {
  std::string operator()(int n) const {
    destroyed = 0;
    try {
      const Counted counted;
      if (n != 0) {
        throw n;
      }
    } catch (int thrown) {
      return std::to_string(N) + " handles " + std::to_string(thrown) + ", destroyed " + std::to_string(destroyed);
    }
    return "nothing was thrown";
  }
};

/// Two calls that need handlers and destructors, in one file: a compiler may make a copy of the frame that notes a throw for
/// each of them.
void check_frames() {
  destroyed = 0;
  int handled = 0;
  auto handles = [&handled] {
    try {
      const Counted counted;
      throw std::out_of_range{"inside"};
    } catch (const std::out_of_range&) {
      ++handled;
    }
  };
  auto lets_go = [] {
    const Counted counted;
    throw std::out_of_range{"outside"};
  };
  try {
    conc::detail::call_traced(handles);
    conc::detail::call_traced(lets_go);
  } catch (const std::out_of_range& error) {
    handled += error.what() == std::string{"outside"} ? 10 : 100;
  }
  check(handled == 11 && destroyed == 2, "a call lost its handler or its destructor");
  check(conc::detail::take_throw_trace().count > 0, "it is not known where an exception was thrown");
}

void offer_own(Offers& offers) {
  offer(offers, "main's lambda 1", lambda(), 1);
  offer(offers, "main's functor 6", Functor{3}, 2);
  offer(offers, "main's function 3", &function, 3);
  offer(offers, "main's static lambda 4", static_lambda(), 4);
  offer(offers, "twice 8", &twice<int>, 4);
  offer(offers, "twice 8", &twice<long>, 4L);
  offer(offers, "template's lambda 6", lambda_of_template<int>(), 5);
  offer(offers, "template's lambda 7", lambda_of_template<long>(), 6L);
  offer(offers, "captured 7 and x", [seven = 7, x = 'x'] { return "captured " + std::to_string(seven) + " and " + x; });
  offer(offers, "ProgramError: it failed, because of std::out_of_range: 5 is too many", &fail, 5);
  offer(offers, "1 handles 6, destroyed 1", Careful<1>{}, 6);
  offer(offers, "2 handles 7, destroyed 1", Careful<2>{}, 7);
  // Two lambdas with one body and two captures: a linker may fold their code into one.
  offer(offers, "8", [n = 8] { return std::to_string(n); });
  offer(offers, "9", [n = 9] { return std::to_string(n); });
}

#if defined(WITH_LIBRARY)
void* load(const char* path) {
  void* const plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (plugin == nullptr) {
    std::printf("%s\n", dlerror());
    std::exit(1);
  }
  return plugin;
}

Offers offers_of_plugin(void* plugin) {
  Offers offers;
  reinterpret_cast<void (*)(Offers&)>(dlsym(plugin, "offer_plugin"))(offers);
  return offers;
}

#endif

/// The result as it travels: with an R before it, or the bytes of an exception with an E.
std::string run(const Offer& offer) {
  conc::detail::ByteBuffer bytes;
  bytes.append("R", 1);
  conc::Pickler pickler{bytes};
  const conc::detail::Thunk code = conc::detail::find_code({offer.hash, offer.offset});
  if (code == nullptr) {
    pickler(std::string{"unknown code"});
  } else {
    try {
      conc::Unpickler call{std::as_bytes(std::span{offer.call})};
      code(call, pickler);
    } catch (...) {
      bytes.truncate(0);
      bytes.append("E", 1);
      conc::detail::save_exception(pickler, std::current_exception());
    }
  }
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// An exception and its causes, by what they can be caught as.
std::string told(const std::exception& error) {
  std::string text = dynamic_cast<const ProgramError*>(&error)        ? "ProgramError: "
                     : dynamic_cast<const LibraryError*>(&error)      ? "LibraryError: "
                     : dynamic_cast<const conc::PickleError*>(&error) ? "PickleError: "
                     : dynamic_cast<const std::out_of_range*>(&error) ? "std::out_of_range: "
                                                                      : "something else: ";
  text += error.what();
  check(dynamic_cast<const conc::RemoteInfo*>(&error) != nullptr, "an exception that nobody sent: " + text);
  try {
    std::rethrow_if_nested(error);
  } catch (const std::exception& cause) {
    text += ", because of " + told(cause);
  }
  return text;
}

std::string told(const std::string& result) {
  conc::Unpickler pickled{std::as_bytes(std::span{result}).subspan(1)};
  if (result[0] == 'R') {
    return pickled.get<std::string>();
  }
  const std::exception_ptr exception = conc::detail::load_exception(pickled, 1);
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    const auto* const info = dynamic_cast<const conc::RemoteInfo*>(&error);
    check(info != nullptr && info->trace().find("      at ") == 0, "it is not known where that was thrown");
    return told(error);
  }
}

std::string read_all(int from) {
  std::string all;
  char some[4096];
  for (ssize_t got = 0; (got = read(from, some, sizeof some)) > 0;) {
    all.append(some, static_cast<std::size_t>(got));
  }
  return all;
}

void write_all(int to, const std::string& bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t put = write(to, bytes.data() + at, bytes.size() - at);
    if (put <= 0) {
      std::exit(1);
    }
    at += static_cast<std::size_t>(put);
  }
}

/// The other process: what it is told to run stands on its standard input.
int serve() {
  std::vector<std::string> results;
  for (const Offer& offer : conc::pickle::loads<Offers>(read_all(0))) {
    results.push_back(run(offer));
  }
  write_all(1, conc::pickle::dumps(results));
  return 0;
}

/// What the calls return in another process, which has loaded the plugin if there is one.
std::vector<std::string> run_elsewhere(const char* program, const char* plugin, const Offers& offers) {
  int calls[2];
  int results[2];
  if (pipe(calls) != 0 || pipe(results) != 0) {
    std::exit(1);
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, calls[0], 0);
  posix_spawn_file_actions_adddup2(&actions, results[1], 1);
  for (const int fd : {calls[0], calls[1], results[0], results[1]}) {
    posix_spawn_file_actions_addclose(&actions, fd);
  }
  std::vector<char*> arguments{const_cast<char*>(program), const_cast<char*>("--serve"), const_cast<char*>(plugin),
                               nullptr};
  pid_t child = 0;
  if (posix_spawn(&child, "/proc/self/exe", &actions, nullptr, arguments.data(), environ) != 0) {
    std::exit(1);
  }
  posix_spawn_file_actions_destroy(&actions);
  close(calls[0]);
  close(results[1]);
  write_all(calls[1], conc::pickle::dumps(offers));
  close(calls[1]);
  const std::string bytes = read_all(results[0]);
  close(results[0]);
  int status = 0;
  waitpid(child, &status, 0);
  check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the other process failed");
  return conc::pickle::loads<std::vector<std::string>>(bytes);
}

/// @return how many were right
std::size_t compare(const Offers& offers, const std::vector<std::string>& results) {
  std::size_t right = 0;
  check(results.size() == offers.size(), "not every call was answered");
  for (std::size_t i = 0; i < results.size(); ++i) {
    const std::string result = told(results[i]);
    const bool same = result == offers[i].expected;
    right += same;
    check(same, "expected \"" + offers[i].expected + "\", and it was \"" + result + "\"");
  }
  return right;
}

void check_keys_differ(const Offers& offers) {
  for (std::size_t i = 0; i < offers.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const bool same_key = offers[i].hash == offers[j].hash && offers[i].offset == offers[j].offset;
      // The key of a function pointer is that of its type.
      check(!same_key || offers[i].call != offers[j].call,
            "\"" + offers[i].expected + "\" and \"" + offers[j].expected + "\" have one key and one text");
    }
  }
}

#if defined(WITH_LIBRARY)
void check_plugin(const char* program, const char* path, const Offers& others) {
  void* plugin = load(path);
  const Offers offers = offers_of_plugin(plugin);
  compare(offers, run_elsewhere(program, path, offers));
  compare(others, run_elsewhere(program, path, others));
  // A process that has not loaded it says so.
  for (const std::string& bytes : run_elsewhere(program, nullptr, offers)) {
    const std::string result = told(bytes);
    check(result == "unknown code" ||
              result.find("the library that it belongs to is not loaded there") != std::string::npos,
          "without the plugin the result was \"" + result + "\"");
  }
  // When it is unloaded, its code is known no more; when it is back, it is.
  const CodeKey key{offers[0].hash, offers[0].offset};
  check(conc::detail::find_code(key) != nullptr, "code of a plugin that is loaded is not known");
  dlclose(plugin);
  check(dlopen(path, RTLD_NOW | RTLD_NOLOAD) == nullptr, "the plugin cannot be unloaded");
  check(conc::detail::find_code(key) == nullptr, "code of a plugin that was unloaded is still known");
  plugin = load(path);
  const Offers again = offers_of_plugin(plugin);
  check(again[0].hash == key.hash && again[0].offset == key.offset, "a plugin that is back has another key");
  compare(again, run_elsewhere(program, path, again));
  check(conc::detail::find_code(key) != nullptr, "code of a plugin that is back is not known");
  dlclose(plugin);
}
#endif

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--serve") == 0) {
#if defined(WITH_LIBRARY)
    if (argc > 2) {
      load(argv[2]);
    }
#endif
    return serve();
  }
  check_frames();
  Offers offers;
  offer_own(offers);
  offer_others(offers);
#if defined(WITH_LIBRARY)
  offer_library(offers);
  offer(offers, "library's function 30", &library_function, 30);
#endif
  check_keys_differ(offers);
  const std::size_t right = compare(offers, run_elsewhere(argv[0], nullptr, offers));
  // Keys that nobody has given out, and functions that are none.
  Offer wrong = offers[0];
  wrong.offset += 1;
  check(told(run(wrong)) == "unknown code", "a key with another offset was accepted");
#if defined(WITH_LIBRARY)
  check_plugin(argv[0], argv[1], offers);
#endif
  std::printf("%zu right, %d wrong\n", right, failures);
  return failures == 0 && right == offers.size() ? 0 : 1;
}
