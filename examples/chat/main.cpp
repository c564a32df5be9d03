// SPDX-License-Identifier: MIT
/// @file
/// A chat server: an event loop does the sockets, a thread pool does what takes long.
#include <conc/event_loop.hpp>  // first: it chooses settings of Asio

#include <CLI/CLI.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/signal_set.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <system_error>

#include <conc/thread_pool.hpp>

#include "server.hpp"

namespace chat {
namespace {

constexpr const char* kDescription =
    "A chat server: every line that a client sends goes to all others. Lines that begin with '/' are commands; /help\n"
    "lists them. Slow ones are done by a thread pool, and hold up nobody. Ctrl-C and SIGTERM say goodbye to all "
    "clients\n"
    "and end the program; a second one ends it at once.\n\n"
    "Exit code: 0 ended by a signal, 1 it could not listen, 2 wrong use.\n";

struct Options {
  std::string address = "127.0.0.1";
  std::uint16_t port = 4242;
  int workers = 2;
  Settings settings{};
};

asio::awaitable<void> serve_until_signal(asio::signal_set& signals, Server& server) {
  co_await signals.async_wait(asio::use_awaitable);
  signals.clear();  // the next one does what it usually does
  co_await server.shut_down();
}

void run(Options options) {
  options.settings.address = {asio::ip::make_address(options.address), options.port};
  conc::ThreadPoolExecutor pool{{.max_workers = options.workers, .thread_name_prefix = "command"}};
  conc::EventLoop loop;
  Server server(loop, pool, options.settings);
  asio::signal_set signals(loop.context(), SIGINT, SIGTERM);
  std::printf("listening on %s port %u\n", options.address.c_str(), server.address().port());
  if (std::fflush(stdout) != 0) throw std::system_error(errno, std::generic_category(), "standard output");
  loop.run_until_complete(serve_until_signal(signals, server));
}

/// Returns what is wrong with it.
std::string check_address(const std::string& text) {
  asio::error_code error;
  asio::ip::make_address(text, error);
  return error ? "'" + text + "' is no address" : "";
}

}  // namespace
}  // namespace chat

int main(int argc, char** argv) {
  chat::Options options;
  chat::Settings& settings = options.settings;
  auto goodbye_ms = settings.limits.goodbye.count();
  CLI::App app{chat::kDescription};
  const auto add = [&app](const char* name, auto& value, auto least, auto most, const char* text) {
    app.add_option(name, value, text)->check(CLI::Range(least, most))->capture_default_str();
  };
  app.add_option("--address", options.address, "Where to listen: 0.0.0.0 lets others in")
      ->check(CLI::Validator(chat::check_address, "ADDRESS"))
      ->capture_default_str();
  add("--port", options.port, 0, 65'535, "The port; 0: the system chooses one");
  add("--max-clients", settings.clients, std::size_t{1}, std::size_t{10'000}, "How many; others are turned away");
  add("--max-line", settings.limits.line, std::size_t{10}, std::size_t{1'000'000}, "The longest line, in bytes");
  add("--max-output", settings.limits.output, std::size_t{1'000}, std::size_t{1'000'000'000},
      "Bytes that may wait for a client that does not read; one more, and it is cut off");
  add("--goodbye-ms", goodbye_ms, 1, 600'000, "How long a client may take to read its last lines, in milliseconds");
  add("--max-primes", settings.primes, 1U, 4'000'000'000U, "The greatest number for /primes");
  add("--workers", options.workers, 1, 1'000, "Threads for slow commands");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  settings.limits.goodbye = std::chrono::milliseconds{goodbye_ms};
  try {
    chat::run(options);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "chat: %s\n", e.what());
    return 1;
  }
  return 0;
}
