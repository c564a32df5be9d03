// SPDX-License-Identifier: MIT
// What can two processes expect of the ways to talk to each other? Nothing of conc is measured here: these are the
// figures beside which a pool of processes is to be seen. The worker is a child of the process that measures.
// Axis cores: 2 pins each process to a core of its own, 1 pins all to one core, 0 leaves them where the system puts them.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <pinned.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kFrame = 64;

int must(int result, const char* what) {
  if (result < 0) {
    throw std::system_error{errno, std::generic_category(), what};
  }
  return result;
}

/// Bytes go in at descriptor 1 and come out at descriptor 0.
class DescriptorChannel {
 public:
  DescriptorChannel(const DescriptorChannel&) = delete;
  DescriptorChannel& operator=(const DescriptorChannel&) = delete;
  ~DescriptorChannel() {
    close(ends_[0]);
    close(ends_[1]);
  }

  void write(const std::byte* from, std::size_t size) const {
    while (size > 0) {
      const auto written = ::write(ends_[1], from, std::min(size, most_));
      if (written < 0 && errno == EINTR) {
        continue;
      }
      must(static_cast<int>(std::min<ssize_t>(written, 0)), "write");
      from += written;
      size -= static_cast<std::size_t>(written);
    }
  }

  /// At least one byte, at most `room`.
  std::size_t read(std::byte* into, std::size_t room) const {
    for (;;) {
      const auto got = ::read(ends_[0], into, room);
      if (got > 0) {
        return static_cast<std::size_t>(got);
      }
      if (got == 0 || errno != EINTR) {
        std::abort();
      }
    }
  }

  [[nodiscard]] int descriptor() const { return ends_[0]; }
  /// False: something is there already.
  [[nodiscard]] bool may_sleep() { return true; }
  void woken() {}

 protected:
  DescriptorChannel() = default;
  std::array<int, 2> ends_{-1, -1};
  std::size_t most_ = SIZE_MAX;  // in one call
};

template <int Size>
struct Pipe : DescriptorChannel {
  Pipe() {
    must(pipe2(ends_.data(), O_CLOEXEC), "pipe2");
    if (Size != 0) {
      must(fcntl(ends_[1], F_SETPIPE_SZ, Size), "F_SETPIPE_SZ");
    }
  }
};
using DefaultPipe = Pipe<0>;
using BigPipe = Pipe<1 << 20>;

template <int Type, int Size>
struct Socket : DescriptorChannel {
  Socket() {
    must(socketpair(AF_UNIX, Type | SOCK_CLOEXEC, 0, ends_.data()), "socketpair");
    if (Size != 0) {
      setsockopt(ends_[1], SOL_SOCKET, SO_SNDBUFFORCE, &size_, sizeof size_);
    }
    if (Type == SOCK_SEQPACKET) {
      most_ = std::size_t{1} << 16;
    }
  }
  static constexpr int size_ = Size;
};
using Stream = Socket<SOCK_STREAM, 0>;
using BigStream = Socket<SOCK_STREAM, 1 << 20>;
using Seqpacket = Socket<SOCK_SEQPACKET, 0>;

/// Wakes the one process that sleeps at it: by a futex.
class FutexBell {
 public:
  template <class Done>
  void sleep_until(Done done) {
    while (!done()) {
      asleep_.store(1);  // seq_cst, as the loads in done(): one of the two sees the other
      if (done()) {
        asleep_.store(0);
        return;
      }
      syscall(SYS_futex, &asleep_, FUTEX_WAIT, 1, nullptr, nullptr, 0);
    }
  }
  void ring() {
    if (asleep_.load() != 0 && asleep_.exchange(0) != 0) {
      syscall(SYS_futex, &asleep_, FUTEX_WAKE, 1, nullptr, nullptr, 0);
    }
  }

 private:
  std::atomic<std::uint32_t> asleep_{0};
};

/// The same by an eventfd, which can be polled.
class EventBell {
 public:
  EventBell() : event_{must(eventfd(0, EFD_CLOEXEC), "eventfd")} {}
  EventBell(const EventBell&) = delete;
  EventBell& operator=(const EventBell&) = delete;
  ~EventBell() { close(event_); }

  template <class Done>
  void sleep_until(Done done) {
    while (!done()) {
      if (may_sleep(done)) {
        woken();
      }
    }
  }
  void ring() {
    if (asleep_.load() != 0 && asleep_.exchange(0) != 0) {
      const std::uint64_t one = 1;
      if (write(event_, &one, sizeof one) != sizeof one) {
        std::abort();
      }
    }
  }
  [[nodiscard]] int descriptor() const { return event_; }
  template <class Done>
  [[nodiscard]] bool may_sleep(Done done) {
    asleep_.store(1);
    return !done() || asleep_.exchange(0) == 0;  // 0: the bell has been rung, and the event must be taken
  }
  void woken() const {
    std::uint64_t count = 0;
    if (read(event_, &count, sizeof count) != sizeof count) {
      std::abort();
    }
  }

 private:
  std::atomic<std::uint32_t> asleep_{0};
  int event_;
};

/// A ring of bytes in memory that both processes have.
template <class Bell>
class Ring {
 public:
  Ring() {
    void* const memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      throw std::system_error{errno, std::generic_category(), "mmap"};
    }
    shared_ = new (memory) Shared;
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() {
    shared_->~Shared();
    munmap(shared_, sizeof(Shared));
  }

  void write(const std::byte* from, std::size_t size) {
    while (size > 0) {
      shared_->room.sleep_until([this] { return free() > 0; });
      const std::uint64_t tail = shared_->tail.load(std::memory_order_relaxed);
      const std::size_t at = tail % kRoom;
      const std::size_t now = std::min({size, free(), kRoom - at});
      std::memcpy(shared_->bytes.data() + at, from, now);
      shared_->tail.store(tail + now);
      shared_->data.ring();
      from += now;
      size -= now;
    }
  }
  std::size_t read(std::byte* into, std::size_t room) {
    shared_->data.sleep_until([this] { return filled() > 0; });
    const std::uint64_t head = shared_->head.load(std::memory_order_relaxed);
    const std::size_t at = head % kRoom;
    const std::size_t now = std::min({room, filled(), kRoom - at});
    std::memcpy(into, shared_->bytes.data() + at, now);
    shared_->head.store(head + now);
    shared_->room.ring();
    return now;
  }

  [[nodiscard]] int descriptor() const { return shared_->data.descriptor(); }
  [[nodiscard]] bool may_sleep() {
    return shared_->data.may_sleep([this] { return filled() > 0; });
  }
  void woken() { shared_->data.woken(); }

 private:
  static constexpr std::size_t kRoom = std::size_t{1} << 20;
  struct Shared {
    alignas(128) std::atomic<std::uint64_t> head{0};
    alignas(128) std::atomic<std::uint64_t> tail{0};
    alignas(128) Bell data;
    alignas(128) Bell room;
    alignas(4096) std::array<std::byte, kRoom> bytes;
  };

  [[nodiscard]] std::size_t filled() const { return shared_->tail.load() - shared_->head.load(); }
  [[nodiscard]] std::size_t free() const { return kRoom - filled(); }

  Shared* shared_;
};
using FutexRing = Ring<FutexBell>;
using EventRing = Ring<EventBell>;

void place(std::int64_t cores, std::size_t index) {
  if (cores > 0) {
    const auto& cpus = bench::usable_cpus();
    bench::pin_this_thread(cpus[index % std::min(cpus.size(), static_cast<std::size_t>(cores))]);
  }
}

/// A child that runs `work()`, which does not return by itself.
class Child {
 public:
  template <class Work>
  explicit Child(Work work) : pid_{must(fork(), "fork")} {
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      work();
      std::abort();
    }
  }
  Child(Child&& other) noexcept : pid_{std::exchange(other.pid_, 0)} {}
  Child& operator=(Child&&) = delete;
  ~Child() {
    if (pid_ != 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }

 private:
  pid_t pid_;
};

/// A way there and a way back.
template <class Channel>
struct Line {
  Channel calls;
  Channel results;
};

/// Reads exactly `size` bytes.
template <class Channel>
void read_all(Channel& channel, std::byte* into, std::size_t size) {
  while (size > 0) {
    const std::size_t got = channel.read(into, size);
    into += got;
    size -= got;
  }
}

/// Polls until something is there.
template <class Channel>
void wait_for(Channel& channel) {
  if (channel.may_sleep()) {
    pollfd ready{channel.descriptor(), POLLIN, 0};
    must(poll(&ready, 1, -1), "poll");
    channel.woken();
  }
}

/// Has one thread of the core of index `workers` run `batch()` again and again; it counts as `operations`. The first one
/// is not measured. `start()` is called before, by the same thread: children die with the thread that has forked them.
template <class Start, class Batch>
void measure(benchmark::State& state, std::int64_t cores, std::size_t workers, std::int64_t operations, Start start,
             Batch batch) {
  std::thread{[&] {
    place(cores, workers);
    const auto children = start();
    batch();
    while (state.KeepRunningBatch(operations)) {
      const Clock::time_point begin = Clock::now();
      batch();
      state.SetIterationTime(std::chrono::duration<double>{Clock::now() - begin}.count());
    }
  }}.join();
}

/// How long is it from a message to its answer, when both sleep until they are needed? With Polled, the parent polls
/// before it reads, as a thread does that looks after several workers.
template <class Channel, bool Polled>
void BM_Transport_round_trip(benchmark::State& state) {
  constexpr int kRounds = 1'000;
  const std::int64_t cores = state.range(0);
  Line<Channel> line;
  std::array<std::byte, kFrame> frame{};
  measure(
      state, cores, 1, kRounds,
      [&] {
        return Child{[&] {
          place(cores, 0);
          for (;;) {
            read_all(line.calls, frame.data(), kFrame);
            line.results.write(frame.data(), kFrame);
          }
        }};
      },
      [&] {
        for (int i = 0; i < kRounds; ++i) {
          line.calls.write(frame.data(), kFrame);
          if constexpr (Polled) {
            wait_for(line.results);
          }
          read_all(line.results, frame.data(), kFrame);
        }
      });
}

/// How many messages can go one way, each written by itself and read by itself?
template <class Channel>
void BM_Transport_messages(benchmark::State& state) {
  constexpr int kMessages = 20'000;
  const std::int64_t cores = state.range(0);
  Line<Channel> line;
  std::array<std::byte, kFrame> frame{};
  measure(
      state, cores, 1, kMessages,
      [&] {
        return Child{[&] {
          place(cores, 0);
          for (;;) {
            for (int i = 0; i < kMessages; ++i) {
              read_all(line.calls, frame.data(), kFrame);
            }
            line.results.write(frame.data(), kFrame);
          }
        }};
      },
      [&] {
        for (int i = 0; i < kMessages; ++i) {
          line.calls.write(frame.data(), kFrame);
        }
        read_all(line.results, frame.data(), kFrame);
      });
}

/// How many tasks that do nothing could a pool have done? The parent keeps at most `depth` calls at each worker: it
/// writes as many as there is room for at once, polls, and reads what has come. A worker reads what has come and writes
/// each result by itself, or with gather all results of what it has read at once.
template <class Channel>
void BM_Transport_tasks(benchmark::State& state) {
  constexpr std::size_t kBuffer = 1'024 * kFrame;
  const auto workers = static_cast<std::size_t>(state.range(0));
  const auto depth = static_cast<std::size_t>(state.range(1));
  const std::size_t tasks = std::min<std::size_t>(20'000, 1'000 * depth);
  const bool gather = state.range(2) != 0;
  const std::int64_t cores = state.range(3);
  std::vector<Line<Channel>> lines(workers);
  std::vector<std::byte> buffer(kBuffer);
  const auto serve = [&](std::size_t worker) {
    place(cores, worker);
    for (std::size_t in_part = 0;;) {
      in_part += lines[worker].calls.read(buffer.data(), kBuffer);
      const std::size_t whole = in_part / kFrame;
      in_part %= kFrame;
      for (std::size_t i = 0; i < whole && !gather; ++i) {
        lines[worker].results.write(buffer.data(), kFrame);
      }
      if (gather) {
        lines[worker].results.write(buffer.data(), whole * kFrame);
      }
    }
  };
  std::vector<std::size_t> busy(workers);  // tasks at each worker
  std::vector<std::size_t> in_part(workers);
  std::vector<pollfd> ready(workers);
  measure(
      state, cores, workers, static_cast<std::int64_t>(tasks),
      [&] {
        std::vector<Child> children;
        for (std::size_t i = 0; i < workers; ++i) {
          children.emplace_back([&serve, i] { serve(i); });
          ready[i] = {lines[i].results.descriptor(), POLLIN, 0};
        }
        return children;
      },
      [&] {
        for (std::size_t sent = 0, done = 0; done < tasks;) {
          for (std::size_t i = 0; i < workers; ++i) {
            const std::size_t more = std::min(depth - busy[i], tasks - sent);
            lines[i].calls.write(buffer.data(), more * kFrame);
            busy[i] += more;
            sent += more;
          }
          std::vector<bool> asleep(workers);
          bool all = true;
          for (std::size_t i = 0; i < workers; ++i) {
            asleep[i] = lines[i].results.may_sleep();
            all = all && asleep[i];
          }
          must(poll(ready.data(), workers, all ? -1 : 0), "poll");
          for (std::size_t i = 0; i < workers; ++i) {
            if ((ready[i].revents & POLLIN) != 0 || !asleep[i]) {
              if ((ready[i].revents & POLLIN) != 0) {
                lines[i].results.woken();
              }
              in_part[i] += lines[i].results.read(buffer.data(), kBuffer);
              done += in_part[i] / kFrame;
              busy[i] -= in_part[i] / kFrame;
              in_part[i] %= kFrame;
            }
          }
        }
      });
}

/// How long do so many bytes take, from memory that is there to memory that is there?
template <class Channel>
void BM_Transport_bytes(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0)) << 10;
  const std::int64_t cores = state.range(1);
  Line<Channel> line;
  std::vector<std::byte> bytes(size);
  std::array<std::byte, kFrame> frame{};
  measure(
      state, cores, 1, 1,
      [&] {
        return Child{[&] {
          place(cores, 0);
          std::vector<std::byte> into(size);
          for (;;) {
            read_all(line.calls, into.data(), size);
            line.results.write(frame.data(), kFrame);
          }
        }};
      },
      [&] {
        line.calls.write(bytes.data(), size);
        read_all(line.results, frame.data(), kFrame);
      });
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(size));
}

void placed(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("cores")->Arg(2)->Arg(1)->Arg(0)->UseManualTime();
}
void task_axes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"workers", "depth", "gather", "cores"})->UseManualTime();
  for (const std::int64_t workers : {1, 2}) {
    for (const std::int64_t depth : {1, 2, 4, 16, 64}) {
      benchmark->Args({workers, depth, 0, 2})->Args({workers, depth, 1, 2})->Args({workers, depth, 0, 0});
    }
  }
}
void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"KiB", "cores"})->ArgsProduct({{64, 1'024, 16'384, 65'536}, {2, 0}})->UseManualTime();
}

#define FOR_EVERY_CHANNEL(function, name, axes, ...)                                               \
  BENCHMARK(function<DefaultPipe __VA_OPT__(, ) __VA_ARGS__>)->Name(name "/pipe")->Apply(axes);    \
  BENCHMARK(function<BigPipe __VA_OPT__(, ) __VA_ARGS__>)->Name(name "/pipe_1MiB")->Apply(axes);   \
  BENCHMARK(function<Stream __VA_OPT__(, ) __VA_ARGS__>)->Name(name "/stream")->Apply(axes);       \
  BENCHMARK(function<Seqpacket __VA_OPT__(, ) __VA_ARGS__>)->Name(name "/seqpacket")->Apply(axes); \
  BENCHMARK(function<EventRing __VA_OPT__(, ) __VA_ARGS__>)->Name(name "/ring_eventfd")->Apply(axes)
FOR_EVERY_CHANNEL(BM_Transport_round_trip, "BM_Transport_round_trip", placed, false);
BENCHMARK(BM_Transport_round_trip<FutexRing, false>)->Name("BM_Transport_round_trip/ring_futex")->Apply(placed);
FOR_EVERY_CHANNEL(BM_Transport_round_trip, "BM_Transport_polled_round_trip", placed, true);
FOR_EVERY_CHANNEL(BM_Transport_messages, "BM_Transport_messages", placed);
BENCHMARK(BM_Transport_messages<FutexRing>)->Name("BM_Transport_messages/ring_futex")->Apply(placed);
FOR_EVERY_CHANNEL(BM_Transport_tasks, "BM_Transport_tasks", task_axes);
FOR_EVERY_CHANNEL(BM_Transport_bytes, "BM_Transport_bytes", sizes);
BENCHMARK(BM_Transport_bytes<BigStream>)->Name("BM_Transport_bytes/stream_1MiB")->Apply(sizes);
BENCHMARK(BM_Transport_bytes<FutexRing>)->Name("BM_Transport_bytes/ring_futex")->Apply(sizes);

}  // namespace
