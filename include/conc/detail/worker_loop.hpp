// SPDX-License-Identifier: MIT
/// @file
/// serve(): all that a worker process does. It reads calls, runs them one after the other, and writes what became of them.
#pragma once

#if !defined(__linux__)
#error "conc: worker processes need Linux (pidfd)."
#endif

#include <unistd.h>

#include <cerrno>
#include <conc/detail/byte_buffer.hpp>
#include <conc/detail/frame.hpp>
#include <conc/detail/registry.hpp>
#include <conc/detail/remote_code.hpp>
#include <conc/detail/remote_exception.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/throw_trace.hpp>
#include <conc/error.hpp>
#include <conc/pickle.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI::detail {

/// The worker's end of the pipe with the calls. Reads many small ones at once, and large ones straight to where they
/// belong. When the program has gone, so has whoever could want anything from this process: it ends.
class CallReader final : public ByteSource {
 public:
  explicit CallReader(int descriptor) : descriptor_{descriptor}, buffer_(kBuffer) {}

  /// Skips what is left of the frame.
  void skip() {
    while (left_ > 0) {
      std::byte unwanted[4096];
      read(unwanted, 1, sizeof unwanted);
    }
  }

  /// The header of the next frame. @return false at the end
  bool next(FrameHeader& header) {
    skip();
    if (begin_ == end_) {
      // Nothing more to do for the moment: whoever reads what the tasks have printed gets it now.
      std::fflush(stdout);
    }
    if (!fill(sizeof header)) {
      return false;
    }
    std::memcpy(&header, buffer_.data() + begin_, sizeof header);
    begin_ += sizeof header;
    left_ = header.length;
    return true;
  }

  /// The bytes of the frame, if they are here already or are few enough to wait for; empty if they are to be read.
  std::span<const std::byte> whole_frame() {
    if (left_ > kBuffer || !fill(static_cast<std::size_t>(left_))) {
      return {};
    }
    const std::span<const std::byte> bytes{buffer_.data() + begin_, static_cast<std::size_t>(left_)};
    begin_ += bytes.size();
    left_ = 0;
    return bytes;
  }
  [[nodiscard]] std::uint64_t left() const noexcept { return left_; }

  std::size_t read(std::byte* into, std::size_t at_least, std::size_t at_most) override {
    if (at_most > left_) {
      at_most = static_cast<std::size_t>(left_);
    }
    if (at_least > at_most) {
      throw PickleError{"the call is cut off"};
    }
    std::size_t got = end_ - begin_ < at_most ? end_ - begin_ : at_most;
    std::memcpy(into, buffer_.data() + begin_, got);
    begin_ += got;
    while (got < at_least) {
      got += read_some(into + got, at_most - got);
    }
    left_ -= got;
    return got;
  }

 private:
  static constexpr std::size_t kBuffer = 65536;  // what a pipe holds

  /// Sees to it that so many bytes are in the buffer. @return false at the end
  bool fill(std::size_t wanted) {
    if (end_ - begin_ >= wanted) {
      return true;
    }
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= std::exchange(begin_, 0);
    while (end_ < wanted) {
      const std::size_t got =
          end_ == 0 ? read_or_end(buffer_.data(), kBuffer) : read_some(buffer_.data() + end_, kBuffer - end_);
      if (got == 0) {
        return false;
      }
      end_ += got;
    }
    return true;
  }

  /// @return 0 at the end
  std::size_t read_or_end(std::byte* into, std::size_t most) const noexcept {
    for (;;) {
      const ssize_t got = ::read(descriptor_, into, most);
      if (got >= 0) {
        return static_cast<std::size_t>(got);
      }
      if (errno != EINTR) {
        return 0;
      }
    }
  }

  std::size_t read_some(std::byte* into, std::size_t most) const noexcept {
    const std::size_t got = read_or_end(into, most);
    if (got == 0) {
      ::_exit(1);  // in the middle of a call
    }
    return got;
  }

  const int descriptor_;
  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0;  // of what was read and not yet looked at
  std::size_t end_ = 0;
  std::uint64_t left_ = 0;  // of the frame
};

/// A worker process's only job.
class WorkerLoop {
 public:
  WorkerLoop(int calls, int results) : reader_{calls}, results_{results} {}

  /// @return the exit status
  int run() {
    FrameHeader header;
    while (reader_.next(header)) {
      switch (header.kind) {
        case FrameKind::greet:
          answer(header, FrameKind::ready, [] {});
          continue;
        case FrameKind::initialize:
          answer(header, FrameKind::ready, [this] {
            ByteBuffer nothing;
            Pickler unwanted{nothing};
            with_call([&unwanted](Unpickler& bytes) { run_call(bytes, unwanted); });
          });
          continue;
        case FrameKind::call:
          answer(header, FrameKind::result, [this, &header] {
            Pickler pickler{buffer_};
            with_call([&pickler](Unpickler& bytes) { run_call(bytes, pickler); });
            if (!pickler.kept().empty()) {
              kept_.push_back({header.id, pickler.kept()});
            }
          });
          continue;
        case FrameKind::end:
          return 0;
        case FrameKind::process:
          return run_process();
        case FrameKind::release:
          std::erase_if(kept_, [&header](const Kept& kept) { return kept.id == header.id; });
          continue;
        case FrameKind::ready:
        case FrameKind::result:
        case FrameKind::shared_result:
        case FrameKind::failure:
          break;
      }
      return 1;  // nobody sends that to a worker
    }
    return 0;
  }

 private:
  struct Kept {
    std::uint64_t id;
    std::vector<std::shared_ptr<const void>> objects;
  };

  /// @param run  appends to the buffer what is to be answered
  template <class Run>
  void answer(const FrameHeader& call, FrameKind on_success, Run run) {
    FrameHeader header{.kind = on_success, .id = call.id};
    buffer_.clear();
    buffer_.append(&header, sizeof header);
    const std::size_t kept = kept_.size();
    try {
      run();
      if (kept_.size() != kept) {
        header.kind = FrameKind::shared_result;
      }
    } catch (...) {
      header.kind = FrameKind::failure;
      buffer_.truncate(sizeof header);
      try {
        Pickler again{buffer_};
        save_exception(again, std::current_exception());
      } catch (const std::bad_alloc&) {  // the task has left no memory, and lives
        buffer_.truncate(sizeof header);
      }
    }
    reader_.skip();  // nothing is answered that is not here as a whole
    header.length = buffer_.size() - sizeof header;
    std::memcpy(buffer_.data(), &header, sizeof header);
    write_all();
    if (buffer_.size() > kMostKept) {
      buffer_ = {};
    }
  }

  int run_process() {
    std::string name;
    int status = 0;
    try {
      ByteBuffer nothing;
      Pickler unwanted{nothing};
      with_call([&name, &unwanted](Unpickler& bytes) {
        bytes(name);
        sync::set_thread_name(name.c_str());
        run_call(bytes, unwanted);
      });
    } catch (...) {
      const std::string line = "Exception in process " + name + ": " + describe(std::current_exception()) + "\n" +
                               describe_places(take_throw_trace().all());
      std::fwrite(line.data(), 1, line.size(), stderr);
      status = 1;
    }
    registry.join_at_exit();  // the threads of the call may go on, if they are no daemons
    return status;
  }

  template <class F>
  void with_call(F use) {
    const std::uint64_t length = reader_.left();
    const std::span<const std::byte> bytes = reader_.whole_frame();
    if (bytes.size() == length) {
      Unpickler unpickler{bytes};
      use(unpickler);
    } else {
      Unpickler unpickler{reader_, length};
      use(unpickler);
    }
  }

  static void run_call(Unpickler& bytes, Pickler& result) {
    CodeKey key;
    bytes(key);
    const Thunk thunk = find_code(key);
    if (thunk == nullptr) {
      throw PickleError{
          "the worker process does not know the code of the call: it came with a plugin that was loaded "
          "after the worker was started (see ProcessPoolOptions::preload)"};
    }
    thunk(bytes, result);
  }

  void write_all() const noexcept {
    const std::byte* at = buffer_.data();
    const std::byte* const end = at + buffer_.size();
    while (at != end) {
      const ssize_t written = ::write(results_, at, static_cast<std::size_t>(end - at));
      if (written >= 0) {
        at += written;
      } else if (errno != EINTR) {
        ::_exit(1);  // nobody wants it any more
      }
    }
  }

  static constexpr std::size_t kMostKept = std::size_t{1} << 20U;  // bytes for the next result

  CallReader reader_;
  const int results_;
  ByteBuffer buffer_;
  std::vector<Kept> kept_;
};

/// What else a worker process has to do before it ends: it has had a pool of its own. Null if there is nothing.
using BeforeEnd = void (*)() noexcept;
[[gnu::visibility("default")]] inline constinit BeforeEnd before_worker_ends = nullptr;

/// What a worker process does from its start to its end: the calls that come through one pipe, until that is closed.
/// Results go into the other one.
[[noreturn]] inline void serve(int calls, int results) noexcept {
  int status = 1;
  {
    WorkerLoop loop{calls, results};
    status = loop.run();
  }
  if (before_worker_ends != nullptr) {
    before_worker_ends();
  }
  std::fflush(nullptr);
  ::_exit(status);  // what the program has registered with atexit is not for its workers
}

}  // namespace conc::inline CONC_ABI::detail
