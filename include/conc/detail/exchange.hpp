// SPDX-License-Identifier: MIT
/// @file
/// Exchange: input for a program that runs, and its output, both at the same time.
#pragma once

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <conc/detail/child.hpp>
#include <conc/detail/descriptor.hpp>
#include <conc/detail/sync.hpp>
#include <cstddef>
#include <ctime>
#include <string>
#include <string_view>

namespace conc::inline CONC_ABI::detail {

/// What goes to and comes from a program while it runs.
class Exchange {
 public:
  Exchange(std::string_view input, std::string& out, std::string& err) : rest_{input}, into_{&out, &err} {}

  Descriptor to_program;
  Descriptor from_program[2];

  /// Writes the input and reads what comes, until the program has ended and nobody holds its output open any more. Input
  /// that is left when it ends is dropped, whoever has the other end by then.
  /// @return false if `end` came first
  bool run(Child& child, sync::TimePoint end) {
    int pidfd = child.pidfd();
    for (bool last = false;;) {
      ended_ = pidfd < 0;
      if (ended_) {
        to_program.close();
      }
      if (ended_ && !from_program[0].is_open() && !from_program[1].is_open()) {
        return true;
      }
      if (last) {
        return false;
      }
      // Looked at in this order: where the program is seen to have ended, it holds no output open any more.
      pollfd fds[4] = {{pidfd, POLLIN, 0},
                       {to_program.number(), POLLOUT, 0},
                       {from_program[0].number(), POLLIN, 0},
                       {from_program[1].number(), POLLIN, 0}};
      last = !poll(fds, end);
      if (fds[0].revents != 0) {
        pidfd = -1;
      }
      if (fds[1].revents != 0) {
        write();
      }
      for (const std::size_t i : {0U, 1U}) {
        // POLLHUP: nobody writes any more, so what is left has an end, and no read waits for it.
        for (int events = fds[i + 2].revents; events != 0; events &= POLLHUP) {
          if (read(i, kMost) == 0) {
            from_program[i].close();
            break;
          }
        }
      }
    }
  }

  /// Reads what is there already.
  void drain() {
    for (const std::size_t i : {0U, 1U}) {
      int there = 0;
      if (from_program[i].is_open() && ::ioctl(from_program[i].number(), FIONREAD, &there) == 0) {
        auto left = static_cast<std::size_t>(there);
        for (std::size_t got = 1; left > 0 && got > 0; left -= got) {
          got = read(i, left);
        }
      }
    }
  }

  /// Whether the program was seen to have ended.
  bool ended() const noexcept { return ended_; }

 private:
  static constexpr std::size_t kMost = 65536;  // what a pipe holds

  /// Waits until one of them is ready. @return false if `end` had passed before it looked
  bool poll(pollfd (&fds)[4], sync::TimePoint end) {
    std::timespec left{};
    const sync::TimePoint now = sync::now();
    const bool in_time = now < end;
    if (in_time) {
      const auto span = std::chrono::duration_cast<std::chrono::nanoseconds>(end - now).count();
      left.tv_sec = static_cast<std::time_t>(span / 1'000'000'000);
      left.tv_nsec = static_cast<long>(span % 1'000'000'000);
    }
    sync::ThreadRecord& record = sync::this_thread();
    record.waits_in.store("subprocess::run", mo::relaxed);  // relaxed, four times: only reports read these
    record.waits_for.store(this, mo::relaxed);
    const int ready = ::ppoll(fds, 4, end == sync::forever ? nullptr : &left, nullptr);
    record.waits_in.store(nullptr, mo::relaxed);
    record.waits_for.store(nullptr, mo::relaxed);
    if (ready < 0) {
      if (errno != EINTR) {
        throw_system_error(errno, "subprocess::run: poll");
      }
      for (pollfd& fd : fds) {
        fd.revents = 0;
      }
    }
    return in_time;
  }

  void write() {
    const ssize_t written = write_without_signal(to_program.number(), rest_);
    if (written >= 0) {
      rest_.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EPIPE) {
      rest_ = {};  // the program does not want the rest
    } else if (errno != EAGAIN && errno != EINTR) {
      throw_system_error(errno, "subprocess::run: cannot write the input");
    }
    if (rest_.empty()) {
      to_program.close();
    }
  }

  /// @return how many bytes came; 0 at the end
  std::size_t read(std::size_t i, std::size_t most) {
    if (buffer_.empty()) {
      buffer_.resize(kMost);
    }
    ssize_t got = 0;
    while ((got = ::read(from_program[i].number(), buffer_.data(), most < buffer_.size() ? most : buffer_.size())) <
           0) {
      if (errno != EINTR) {
        throw_system_error(errno, "subprocess::run: cannot read the output");
      }
    }
    into_[i]->append(buffer_, 0, static_cast<std::size_t>(got));
    return static_cast<std::size_t>(got);
  }

  std::string_view rest_;  // of the input
  std::string* into_[2];
  std::string buffer_;
  bool ended_ = false;
};

}  // namespace conc::inline CONC_ABI::detail
