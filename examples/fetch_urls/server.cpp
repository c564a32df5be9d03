// SPDX-License-Identifier: MIT
#include "server.hpp"

// One thread runs all handlers, so they need no fences among them; ThreadSanitizer does not know fences.
#define ASIO_DISABLE_FENCED_BLOCK
#include <asio.hpp>
#include <charconv>
#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

#include <conc/thread.hpp>

namespace fetch_urls {
namespace {

using asio::ip::tcp;
using namespace std::chrono_literals;

constexpr std::string_view kPath = "/page/";
constexpr std::string_view kEndOfHead = "\r\n\r\n";
constexpr std::size_t kLongestHead = 16'384;

std::string make_answer(const char* status, std::string_view body) {
  return std::string("HTTP/1.1 ") + status +
         "\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) + std::string(kEndOfHead) +
         std::string(body);
}

/// What there is to serve, and which page has to fail how often.
class Pages {
 public:
  explicit Pages(const ServerOptions& options)
      : good_(make_answer("200 OK", std::string(options.bytes, '.'))), failures_left_(options.pages) {
    if (options.fail_every == 0) return;
    for (std::size_t i = options.fail_every; i <= options.pages; i += options.fail_every) {
      failures_left_[i - 1] = options.fail_times;
    }
  }

  std::size_t count() const noexcept { return failures_left_.size(); }

  /// The answer to a request "GET /page/7 HTTP/1.1 ...".
  std::string answer(std::string_view request) {
    if (!request.starts_with("GET ")) return make_answer("405 Method Not Allowed", "only GET\n");
    request.remove_prefix(4);
    const std::string_view target = request.substr(0, request.find(' '));
    if (!target.starts_with(kPath)) return make_answer("404 Not Found", "no such page\n");
    std::size_t number = 0;
    const char* const end = target.data() + target.size();
    const auto [rest, error] = std::from_chars(target.data() + kPath.size(), end, number);
    if (error != std::errc{} || rest != end || number >= count()) return make_answer("404 Not Found", "no such page\n");
    if (failures_left_[number] == 0) return good_;
    --failures_left_[number];
    return make_answer("503 Service Unavailable", "try again\n");
  }

 private:
  std::string good_;
  std::vector<int> failures_left_;
};

/// One connection: reads a request, waits, answers, reads the next. It lives as long as one of these is under way.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, Pages& pages, std::chrono::milliseconds delay)
      : socket_(std::move(socket)), timer_(socket_.get_executor()), pages_(pages), delay_(delay) {}

  void read() {
    asio::async_read_until(socket_, asio::dynamic_buffer(input_, kLongestHead), kEndOfHead,
                           [self = shared_from_this()](std::error_code error, std::size_t size) {
                             if (!error) self->wait(size);
                           });
  }

 private:
  void wait(std::size_t size) {
    output_ = pages_.answer(std::string_view(input_).substr(0, size));
    input_.erase(0, size);
    timer_.expires_after(delay_);
    timer_.async_wait([self = shared_from_this()](std::error_code error) {
      if (!error) self->write();
    });
  }

  void write() {
    asio::async_write(socket_, asio::buffer(output_), [self = shared_from_this()](std::error_code error, std::size_t) {
      if (!error) self->read();
    });
  }

  tcp::socket socket_;
  asio::steady_timer timer_;
  Pages& pages_;
  const std::chrono::milliseconds delay_;
  std::string input_;
  std::string output_;
};

}  // namespace

class Server::Implementation {
 public:
  explicit Implementation(const ServerOptions& options)
      : pages_(options),
        delay_(options.delay),
        acceptor_(context_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
        port_(acceptor_.local_endpoint().port()),
        timer_(context_),
        thread_({.name = "server"}, [this] { context_.run(); }) {
    accept();
    thread_.start();
  }

  ~Implementation() {
    context_.stop();
    thread_.join();
  }

  Implementation(const Implementation&) = delete;
  Implementation& operator=(const Implementation&) = delete;

  std::vector<std::string> urls() const {
    const std::string prefix = "http://127.0.0.1:" + std::to_string(port_);
    std::vector<std::string> urls;
    urls.reserve(pages_.count());
    for (std::size_t i = 0; i < pages_.count(); ++i) urls.push_back(prefix + std::string(kPath) + std::to_string(i));
    return urls;
  }

 private:
  void accept() {
    acceptor_.async_accept([this](std::error_code error, tcp::socket socket) {
      if (error) return accept_later();
      socket.set_option(tcp::no_delay(true), error);  // if it fails, answers are late
      std::make_shared<Session>(std::move(socket), pages_, delay_)->read();
      accept();
    });
  }

  /// There may be too many open files: that passes.
  void accept_later() {
    timer_.expires_after(10ms);
    timer_.async_wait([this](std::error_code error) {
      if (!error) accept();
    });
  }

  Pages pages_;
  const std::chrono::milliseconds delay_;
  asio::io_context context_{1};
  tcp::acceptor acceptor_;
  const std::uint16_t port_;
  asio::steady_timer timer_;
  conc::Thread thread_;
};

Server::Server(const ServerOptions& options) : implementation_(std::make_unique<Implementation>(options)) {}
Server::~Server() = default;

std::vector<std::string> Server::urls() const { return implementation_->urls(); }

}  // namespace fetch_urls
