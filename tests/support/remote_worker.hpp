// SPDX-License-Identifier: MIT
/// @file
/// RemoteWorker: a worker process and the two pipes to it, one call at a time.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <conc/detail/byte_buffer.hpp>
#include <conc/detail/descriptor.hpp>
#include <conc/detail/frame.hpp>
#include <conc/detail/remote_code.hpp>
#include <conc/detail/worker_process.hpp>
#include <conc/error.hpp>
#include <conc/pickle.hpp>
#include <cstddef>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace conc_test {

class RemoteWorker {
 public:
  explicit RemoteWorker(conc::StartMethod method = conc::StartMethod::fork_server,
                        const std::vector<std::string>& preload = {}) {
    conc::detail::Pipe to;
    conc::detail::Pipe from;
    to.open("RemoteWorker");
    from.open("RemoteWorker");
    process = conc::detail::WorkerProcess::start(method, std::move(to.read_end), std::move(from.write_end), preload);
    calls = std::move(to.write_end);
    results = std::move(from.read_end);
  }

  /// Sends a call and does not wait for it.
  template <class F, class... Args>
  void send(F fn, Args... args) {
    using Code = conc::detail::RemoteCode<F, Args...>;
    conc::detail::check_remote_call<F, Args...>();
    conc::detail::ByteBuffer bytes;
    bytes.extend(sizeof(conc::detail::FrameHeader));
    conc::Pickler pickler{bytes};
    pickler(Code::key());
    conc::detail::save_call(pickler, fn, args...);
    conc::detail::FrameHeader header{};
    header.kind = conc::detail::FrameKind::call;
    header.id = 1;
    header.length = bytes.size() - sizeof header;
    std::memcpy(bytes.data(), &header, sizeof header);
    std::string_view rest{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    while (!rest.empty()) {
      const ssize_t written = conc::detail::write_without_signal(calls.number(), rest);
      if (written <= 0) throw std::runtime_error{"the worker reads no calls"};
      rest.remove_prefix(static_cast<std::size_t>(written));
    }
  }

  /// Runs fn(args...) in the worker. @return what it returns. @throws std::runtime_error if the worker ends instead, or throws
  template <class F, class... Args>
  auto call(F fn, Args... args) {
    using Result = typename conc::detail::RemoteCode<F, Args...>::Result;
    send(fn, args...);
    conc::detail::FrameHeader header{};
    std::vector<std::byte> bytes;
    read(&header, sizeof header);
    bytes.resize(header.length);
    read(bytes.data(), bytes.size());
    if (header.kind != conc::detail::FrameKind::result) throw std::runtime_error{"the call failed"};
    conc::Unpickler unpickler{std::span<const std::byte>{bytes}};
    if constexpr (!std::is_void_v<Result>) return unpickler.get<Result>();
  }

  conc::detail::WorkerProcess process;
  conc::detail::Descriptor calls;
  conc::detail::Descriptor results;

 private:
  void read(void* into, std::size_t n) const {
    for (std::size_t done = 0; done < n;) {
      const ssize_t got = ::read(results.number(), static_cast<char*>(into) + done, n - done);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) throw std::runtime_error{"the worker has ended"};
      done += static_cast<std::size_t>(got);
    }
  }
};

}  // namespace conc_test
