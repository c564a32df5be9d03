// SPDX-License-Identifier: MIT
/// @file
/// ProcessWorkers: the workers of a Broker as processes, each with a pipe for its calls and one for its answers.
///
/// Nobody shares a pipe, so the death of a worker costs what it had and nothing else. The manager never waits in a read or
/// a write: it waits for all pipes and all processes at once, in poll(2). A process's end shows in its pidfd, whoever holds
/// its pipes open by then.
///
/// A worker reads nothing while it writes an answer. So whoever begins one, never writes the rest, and reads on, has made it
/// up: a task has written into the pipe. If there is nothing to read, the worker is sent something that means nothing.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/sysinfo.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <conc/detail/broker.hpp>
#include <conc/detail/byte_buffer.hpp>
#include <conc/detail/descriptor.hpp>
#include <conc/detail/frame.hpp>
#include <conc/detail/shipment.hpp>
#include <conc/detail/sync.hpp>
#include <conc/detail/worker_process.hpp>
#include <conc/pickle.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI::detail {

/// How workers are started.
struct WorkerSetup {
  StartMethod start_method;
  std::vector<std::string> preload;
  CallBytes initializer;  // or empty
};

/// All members but wake() belong to the manager.
class ProcessWorkers {
 public:
  using Parcel = Shipment;

  ProcessWorkers(std::size_t most, const WorkerSetup& setup) : setup_{setup}, lines_(most) {
    bell_.open("ProcessPoolExecutor");
    set_nonblocking(bell_.read_end);
    set_nonblocking(bell_.write_end);
  }

  void start(std::size_t i) {
    Pipe calls;
    Pipe results;
    calls.open("ProcessPoolExecutor");
    results.open("ProcessPoolExecutor");
    set_nonblocking(calls.write_end);
    set_nonblocking(results.read_end);
    Line line;
    const ByteBuffer& initializer = setup_.initializer.bytes();
    line.letters.append(initializer.data(), initializer.size());
    if (initializer.empty()) {
      line.add_letter({.kind = FrameKind::greet});
    }
    line.process.emplace(WorkerProcess::start(setup_.start_method, std::move(calls.read_end),
                                              std::move(results.write_end), setup_.preload));
    line.calls = std::move(calls.write_end);
    line.results = std::move(results.read_end);
    lines_[i] = std::move(line);
  }

  void send(std::size_t i, Shipment& shipment) {
    shipment.call.set_id(shipment.id);
    lines_[i].begins.reserve(lines_[i].unanswered + 1);
    lines_[i].outgoing.push_back(&shipment);
    if (shipment.call.bytes().size() > kPipe) {
      widen(lines_[i].calls);
    }
    ++lines_[i].unanswered;
  }
  void close(std::size_t i) noexcept { lines_[i].closes = true; }
  void kill(std::size_t i, int signal) noexcept {
    lines_[i].process->signal(signal);
    lines_[i].hang_up();
  }

  void wake() noexcept {
    const NoCancellation whole;
    static_cast<void>(!::write(bell_.write_end.number(), "", 1));  // a full pipe rings as well
  }

  int pid(std::size_t i) const noexcept { return lines_[i].process->pid(); }
  std::string describe(std::size_t i) const { return "worker process " + std::to_string(pid(i)); }

  template <class Broker>
  void wait(Broker& broker, sync::TimePoint end) {
    polled_.clear();
    polled_.push_back({bell_.read_end.number(), POLLIN, 0});
    for (Line& line : lines_) {
      if (line.process) {
        line.write();
        end = line.silent_until < end ? line.silent_until : end;
        end = line.looked_at < end ? line.looked_at : end;
        polled_.push_back({line.process->pidfd(), POLLIN, 0});
        polled_.push_back({line.results.number(), POLLIN, 0});
        polled_.push_back({line.has_more_to_write() ? line.calls.number() : -1, POLLOUT, 0});
      }
    }
    poll(end);
    if (polled_[0].revents != 0) {
      char rings[64];
      static_cast<void>(!::read(bell_.read_end.number(), rings, sizeof rings));
    }
    const pollfd* seen = polled_.data() + 1;
    for (std::size_t i = 0; i < lines_.size(); ++i) {
      Line& line = lines_[i];
      if (!line.process) {
        continue;
      }
      if (seen[0].revents != 0) {
        bury(broker, i);
      } else if (seen[1].revents != 0) {
        read(broker, i);
      } else if (is_over(line.silent_until)) {
        line.silent_until = sync::forever;
        broker.on_garbage(i, "closed its pipe");
      } else if (is_over(line.looked_at)) {
        line.looked_at = sync::now() + kSilence;
        if (line.has_made_up_its_answer()) {
          refuse(broker, i, kNoAnswer);
        }
      }
      seen += 3;
    }
  }

  template <class Broker>
  void end_all(Broker& broker) noexcept {
    for (std::size_t i = 0; i < lines_.size(); ++i) {
      if (lines_[i].process) {
        kill(i, SIGKILL);
        lines_[i].results.close();
        bury(broker, i);
      }
    }
  }

 private:
  /// What the manager has of one worker.
  struct Line {
    std::optional<WorkerProcess> process;
    Descriptor calls;
    Descriptor results;
    // To the worker: letters of the broker itself, and calls. What was begun is ended first.
    ByteBuffer letters;
    std::size_t letters_written = 0;
    std::vector<Shipment*> outgoing;
    std::size_t first = 0;          // of `outgoing` that is not written whole
    std::size_t first_written = 0;  // of that
    bool closes = false;            // when all of it is written and answered: then nothing is left to release
    bool said_end = false;
    std::size_t unanswered = 0;  // calls
    // A pipe tells how much in it was not read: so it is known what a worker that dies has not even begun to read.
    std::uint64_t written = 0;          // bytes
    std::uint64_t read_before = 0;      // bytes, when the pipe was closed here
    std::vector<std::uint64_t> begins;  // how much was written before each call that is not answered
    // From the worker.
    ByteBuffer incoming;
    sync::TimePoint silent_until = sync::forever;  // when its process must have ended, since its pipe has
    sync::TimePoint looked_at = sync::forever;     // when to look again at an answer of which a part has come
    std::uint64_t read_until_answer = 0;           // bytes, when that part came
    bool asked = false;                            // since then

    void add_letter(const FrameHeader& header) { letters.append(&header, sizeof header); }
    [[nodiscard]] bool has_more_to_write() const noexcept {
      return calls.is_open() && (!letters.empty() || first < outgoing.size());
    }

    /// Whether the worker has got a call, as a whole, that it has not answered.
    [[nodiscard]] bool owes_an_answer() const noexcept { return unanswered > outgoing.size() - first; }
    /// Whether the worker may have read anything of the first call that it has not answered.
    [[nodiscard]] bool has_begun() const noexcept { return !begins.empty() && read_so_far() > begins.front(); }

    /// A part of an answer has come.
    void expect_the_rest() {
      if (looked_at == sync::forever) {
        read_until_answer = read_so_far();
        asked = false;
      }
      looked_at = sync::now() + kSilence;
    }
    /// Of one of which a part has come, and nothing for a while.
    bool has_made_up_its_answer() {
      if (read_so_far() > read_until_answer) {  // asked before the other pipe is: there the answer was written first
        return results.is_open() && unread(results) == 0;
      }
      if (!std::exchange(asked, true)) {
        add_letter({.kind = FrameKind::release});
      }
      return false;
    }

    /// Nothing more goes to the worker, whose calls may come to their ends elsewhere.
    void hang_up() noexcept {
      close_calls();
      letters.clear();
      outgoing.clear();
      letters_written = first = first_written = 0;
    }

    /// Writes what the pipe takes.
    void write() {
      while (has_more_to_write()) {
        constexpr int kMost = 64;
        iovec parts[kMost];
        int count = 0;
        const auto add = [&parts, &count](const ByteBuffer& bytes, std::size_t from) {
          parts[count++] = {const_cast<std::byte*>(bytes.data() + from), bytes.size() - from};
        };
        const bool in_a_call = first_written > 0;
        if (!in_a_call && !letters.empty()) {
          add(letters, letters_written);
        }
        for (std::size_t k = first; k < outgoing.size() && count < kMost; ++k) {
          add(outgoing[k]->call.bytes(), k == first ? first_written : 0);
          if (in_a_call && !letters.empty()) {
            break;
          }
        }
        const ssize_t done = ::writev(calls.number(), parts, count);
        if (done < 0) {
          if (errno != EAGAIN && errno != EINTR) {
            close_calls();  // its process has ended, or will be seen to have closed its pipes
          }
          if (errno != EINTR) {
            return;
          }
          continue;
        }
        advance(static_cast<std::size_t>(done), in_a_call);
      }
      if (closes && unanswered == 0 && calls.is_open()) {
        if (std::exchange(said_end, true)) {
          close_calls();
        } else {
          add_letter({.kind = FrameKind::end});
          write();
        }
      }
    }

   private:
    static std::uint64_t unread(const Descriptor& pipe) noexcept {
      int bytes = 0;
      return ::ioctl(pipe.number(), FIONREAD, &bytes) == 0 ? static_cast<std::uint64_t>(bytes) : 0;
    }
    [[nodiscard]] std::uint64_t read_so_far() const noexcept {
      return calls.is_open() ? written - unread(calls) : read_before;
    }

    void close_calls() noexcept {
      if (calls.is_open()) {
        read_before = read_so_far();
        calls.close();
      }
    }

    void advance(std::size_t done, bool in_a_call) noexcept {
      std::uint64_t at = std::exchange(written, written + done);
      if (!in_a_call && !letters.empty()) {
        const std::size_t part = done < letters.size() - letters_written ? done : letters.size() - letters_written;
        letters_written += part;
        at += part;
        done -= part;
        if (letters_written < letters.size()) {
          return;
        }
        letters.clear();
        letters_written = 0;
      }
      while (done > 0) {
        Shipment& shipment = *outgoing[first];
        const std::size_t size = shipment.call.bytes().size();
        const std::size_t left = size - first_written;
        if (first_written == 0) {
          begins.push_back(at);  // there is room: see send()
        }
        if (done < left) {
          first_written += done;
          return;
        }
        at += left;
        done -= left;
        first_written = 0;
        // One that is too large for the pipe was begun, if it is written whole.
        if (shipment.for_good || (shipment.for_good_once_begun && size > kWidePipe && unread(calls) < size)) {
          shipment.call.drop_bytes();
        }
        ++first;
      }
      if (first == outgoing.size()) {
        outgoing.clear();
        first = 0;
      }
    }
  };

  void poll(sync::TimePoint end) {
    std::timespec left{};
    if (end != sync::forever) {
      const auto rest = std::chrono::ceil<std::chrono::nanoseconds>(end - sync::now());
      const auto nanoseconds = rest.count() > 0 ? rest.count() : 0;
      left = {static_cast<std::time_t>(nanoseconds / 1'000'000'000), static_cast<long>(nanoseconds % 1'000'000'000)};
    }
    if (::ppoll(polled_.data(), polled_.size(), end == sync::forever ? nullptr : &left, nullptr) < 0) {
      for (pollfd& entry : polled_) {
        entry.revents = 0;
      }
      if (errno != EINTR) {
        throw_system_error(errno, "ProcessPoolExecutor: poll");
      }
    }
  }

  /// Reads what is there, and tells the broker. @return how many bytes
  template <class Broker>
  std::size_t read(Broker& broker, std::size_t i) {
    Line& line = lines_[i];
    const std::size_t before = line.incoming.size();
    const std::size_t room = before < kPipe ? kPipe : kWidePipe;
    std::byte* into = nullptr;
    try {
      into = line.incoming.extend(room);
    } catch (const std::bad_alloc&) {
      line.incoming = {};
      line.results.close();
      broker.on_garbage(i, "answered with more than there is memory for");
      return 0;
    }
    const ssize_t got = ::read(line.results.number(), into, room);
    const bool ended = got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
    line.incoming.truncate(before + static_cast<std::size_t>(got < 0 ? 0 : got));
    if (ended) {
      line.results.close();
      line.silent_until = sync::now() + kSilence;
    }
    if (got <= 0) {
      return 0;
    }
    open_frames(broker, i);
    return static_cast<std::size_t>(got);
  }

  /// The process has ended, or is about to.
  template <class Broker>
  void bury(Broker& broker, std::size_t i) {
    drain(broker, i);
    broker.on_end(i, lines_[i].process->reap(), lines_[i].has_begun());
    lines_[i] = Line{};
  }

  /// The process has ended. What it wrote is still there, and only that is read: somebody else may hold its pipe by now.
  template <class Broker>
  void drain(Broker& broker, std::size_t i) {
    const Descriptor& results = lines_[i].results;
    int left = 0;
    if (!results.is_open() || ::ioctl(results.number(), FIONREAD, &left) != 0) {
      return;
    }
    std::size_t got = 1;
    for (auto rest = static_cast<std::size_t>(left); rest > 0 && got > 0 && results.is_open();
         rest -= got < rest ? got : rest) {
      got = read(broker, i);
    }
  }

  /// Tells the broker of every frame that has arrived whole.
  template <class Broker>
  void open_frames(Broker& broker, std::size_t i) {
    Line& line = lines_[i];
    std::span<const std::byte> rest{line.incoming.data(), line.incoming.size()};
    FrameHeader header;
    while (rest.size() >= sizeof header && line.results.is_open()) {
      std::memcpy(&header, rest.data(), sizeof header);
      if (!makes_sense(header) || !broker.expects(i, header.id) || (header.id != 0 && !line.owes_an_answer())) {
        refuse(broker, i, kNoAnswer);  // its length is not waited for, which may be any
        break;
      }
      if (header.length > rest.size() - sizeof header) {
        if (header.length > kPipe) {
          widen(line.results);
        }
        if (header.length > kWidePipe && line.looked_at == sync::forever && header.length > memory_of_the_machine()) {
          refuse(broker, i, "announced more than there is memory for");
          break;
        }
        line.expect_the_rest();
        break;
      }
      line.looked_at = sync::forever;
      open_frame(broker, i, header, rest.subspan(sizeof header, static_cast<std::size_t>(header.length)));
      rest = rest.subspan(sizeof header + static_cast<std::size_t>(header.length));
    }
    if (rest.empty() && line.incoming.size() > kMostKept) {
      line.incoming = {};
    } else if (rest.size() < line.incoming.size()) {
      std::memmove(line.incoming.data(), rest.data(), rest.size());
      line.incoming.truncate(rest.size());
    }
  }

  /// No more is read from a worker that is to be killed.
  template <class Broker>
  void refuse(Broker& broker, std::size_t i, const char* what) {
    lines_[i].results.close();
    lines_[i].looked_at = sync::forever;
    broker.on_garbage(i, what);
  }

  /// In bytes, swap space included.
  static std::uint64_t memory_of_the_machine() noexcept {
    struct sysinfo info {};
    ::sysinfo(&info);
    return (std::uint64_t{info.totalram} + info.totalswap) * info.mem_unit;
  }

  static bool is_over(sync::TimePoint time) noexcept { return time != sync::forever && time <= sync::now(); }

  static bool makes_sense(const FrameHeader& header) noexcept {
    const FrameKind kind = header.kind;
    const bool succeeded = kind == FrameKind::result || kind == FrameKind::shared_result;
    return header.unused == 0 && ((succeeded && header.id != 0) || kind == FrameKind::failure ||
                                  (kind == FrameKind::ready && header.id == 0 && header.length == 0));
  }

  template <class Broker>
  void open_frame(Broker& broker, std::size_t i, const FrameHeader& header, std::span<const std::byte> bytes) {
    const int sender = pid(i);
    const bool failed = header.kind == FrameKind::failure;
    if (header.kind == FrameKind::ready) {
      broker.on_ready(i);
      return;
    }
    if (header.id == 0) {
      Unpickler unpickler{bytes};
      broker.on_initializer_failed(i, detail::describe(load_exception(unpickler, sender)));
      return;
    }
    --lines_[i].unanswered;
    if (!lines_[i].begins.empty()) {  // else it was killed, and makes up answers
      lines_[i].begins.erase(lines_[i].begins.begin());
    }
    broker.on_answer(i, header.id, failed ? Arrival::failed : Arrival::succeeded,
                     [&bytes, failed, sender](Shipment& shipment) {
                       Unpickler unpickler{bytes};
                       shipment.arrive({unpickler, failed, sender});
                     });
    if (header.kind == FrameKind::shared_result) {
      lines_[i].add_letter({.kind = FrameKind::release, .id = header.id});
    }
  }

  static void set_nonblocking(const Descriptor& end) {
    if (::fcntl(end.number(), F_SETFL, O_NONBLOCK) != 0) {
      throw_system_error(errno, "ProcessPoolExecutor: no pipe");
    }
  }

  /// Has the pipe hold more, which carries large frames two to three times as fast from CPU to CPU. Only then: the system
  /// gives each user so many pages, and those who come too late get tiny pipes.
  static void widen(const Descriptor& end) noexcept {
    ::fcntl(end.number(), F_SETPIPE_SZ, static_cast<int>(kWidePipe));
  }

  static constexpr std::size_t kPipe = 65536;  // what a pipe holds
  static constexpr std::size_t kWidePipe = std::size_t{1} << 20U;
  static constexpr std::size_t kMostKept = kWidePipe;  // bytes for what comes next
  static constexpr std::chrono::milliseconds kSilence{100};
  static constexpr const char* kNoAnswer = "wrote what is no answer into its pipe";

  const WorkerSetup& setup_;
  std::vector<Line> lines_;
  std::vector<pollfd> polled_;
  // A pipe: Linux takes a write to one for the last thing that the writer does for now, and lets the reader run on the
  // same CPU. An eventfd has the manager woken on another one, which takes several times as long.
  Pipe bell_;
};

}  // namespace conc::inline CONC_ABI::detail
