// SPDX-License-Identifier: MIT
#include "client.hpp"

#include <array>
#include <asio/read_until.hpp>
#include <asio/write.hpp>
#include <exception>
#include <system_error>

namespace chat {

asio::awaitable<std::optional<std::string>> Client::read_line() {
  bool too_long = false;  // the rest of such a line is to be dropped, too
  while (!is_at_end_) {
    asio::error_code error;
    const std::size_t size = co_await asio::async_read_until(socket_, asio::dynamic_buffer(input_, limits_.line + 1),
                                                             '\n', asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::not_found) {  // the buffer is full
      if (!too_long) send("* a line has at most " + std::to_string(limits_.line) + " bytes: yours is dropped");
      too_long = true;
      input_.clear();
    } else if (error == asio::error::eof) {
      is_at_end_ = true;
      if (!input_.empty() && !too_long) co_return std::exchange(input_, {});  // the last line may lack its end
    } else if (error) {
      throw std::system_error(error);
    } else {
      std::string line = input_.substr(0, size - 1);
      input_.erase(0, size);
      if (line.ends_with('\r')) line.pop_back();
      if (!too_long) co_return line;
      too_long = false;
    }
  }
  co_return std::nullopt;
}

void Client::send(std::string_view line) {
  if (is_lost_) return;
  if (being_written_ + output_.size() + line.size() + 1 > limits_.output) {
    does_not_read_ = true;
    lose();
    return;
  }
  output_.append(line).append("\n");
  if (!is_writing_) {
    is_writing_ = true;
    // The lambda, and with it the client, lives as long as the coroutine.
    writing_ =
        conc::run_coroutine_threadsafe([self = shared_from_this()] { return self->write(); }, conc::get_running_loop());
  }
}

/// Takes all that there is and writes it; meanwhile there may be more.
asio::awaitable<void> Client::write() {
  while (!output_.empty()) {
    const std::string lines = std::exchange(output_, {});
    being_written_ = lines.size();
    asio::error_code error;
    co_await asio::async_write(socket_, asio::buffer(lines), asio::redirect_error(asio::use_awaitable, error));
    being_written_ = 0;
    if (error) {
      lose();
      break;
    }
  }
  is_writing_ = false;
}

/// Whatever waits for the socket ends with an error.
void Client::lose() {
  is_lost_ = true;
  output_.clear();
  asio::error_code ignored;
  socket_.close(ignored);
}

asio::awaitable<void> Client::hang_up() {
  try {
    co_await conc::wait_for(finish(), limits_.goodbye);
  } catch (const std::exception&) {  // it has got what it has got
  }
  lose();
}

asio::awaitable<void> Client::finish() {
  if (writing_.valid()) co_await conc::awaitable(writing_);
  socket_.shutdown(asio::socket_base::shutdown_send);  // the client has got all when it closes its side
  // A socket that is closed with something unread throws away what its client has not got yet.
  for (std::array<char, 512> unread{}; !is_at_end_;) {
    asio::error_code error;
    co_await socket_.async_read_some(asio::buffer(unread), asio::redirect_error(asio::use_awaitable, error));
    if (error) is_at_end_ = true;
  }
}

}  // namespace chat
