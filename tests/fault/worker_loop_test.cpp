// SPDX-License-Identifier: MIT
// A worker process that has no memory at some moment of a call: what it answers is whole, and it goes on.
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <conc/detail/byte_buffer.hpp>
#include <conc/detail/descriptor.hpp>
#include <conc/detail/frame.hpp>
#include <conc/detail/remote_exception.hpp>
#include <conc/detail/shipment.hpp>
#include <conc/detail/worker_loop.hpp>
#include <conc/error.hpp>
#include <conc/pickle.hpp>
#include <cstddef>
#include <exception>
#include <map>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "allocations.hpp"

namespace {

using conc::detail::CallBytes;
using conc::detail::FrameHeader;
using conc::detail::FrameKind;

std::string twice(const std::string& text) { return text + text; }

std::string fail(const std::string& text) {
  try {
    throw std::invalid_argument{text};
  } catch (...) {
    std::throw_with_nested(std::out_of_range{text});
  }
}

/// A worker's loop in this process, with the other ends of its pipes. It has answered that it is ready.
class Worker {
 public:
  Worker() {
    calls_.open("Worker");
    results_.open("Worker");
    loop_.emplace(calls_.read_end.number(), results_.write_end.number());
    const FrameHeader greet{.kind = FrameKind::greet};
    REQUIRE(write(&greet, sizeof greet));
    REQUIRE(run());
    REQUIRE(read_frame().first.kind == FrameKind::ready);
  }

  /// Has it run the call. Allocates nothing itself. @return false if it did not understand
  bool run(const CallBytes& call) { return write(call.bytes().data(), call.bytes().size()) && run(); }

  /// What it has answered, in words.
  std::string answer() const {
    const auto [header, bytes] = read_frame();
    conc::Unpickler unpickler{std::span{bytes}};
    try {
      return conc::detail::Answer{unpickler, header.kind == FrameKind::failure, 1}.take<std::string>();
    } catch (const std::out_of_range& error) {
      const auto* const nested = dynamic_cast<const std::nested_exception*>(&error);
      return nested != nullptr && nested->nested_ptr() != nullptr ? "its exception, and the cause" : "no cause";
    } catch (const conc::RemoteError& error) {
      return error.what() == "std::out_of_range: " + std::string(100, 'x') ? "its name and text" : error.what();
    } catch (const std::bad_alloc& error) {
      if (dynamic_cast<const conc::RemoteInfo*>(&error) == nullptr) return "no memory here";
      return bytes.empty() ? "no memory to tell" : "no memory for the call";
    }
  }

 private:
  bool write(const void* data, std::size_t size) const {
    return ::write(calls_.write_end.number(), data, size) == static_cast<ssize_t>(size);
  }
  bool run() {
    const FrameHeader end{.kind = FrameKind::end};
    return write(&end, sizeof end) && loop_->run() == 0;
  }
  std::pair<FrameHeader, std::vector<std::byte>> read_frame() const {
    FrameHeader header;
    const int from = results_.read_end.number();
    REQUIRE(::read(from, &header, sizeof header) == static_cast<ssize_t>(sizeof header));
    std::vector<std::byte> bytes(static_cast<std::size_t>(header.length));
    REQUIRE(::read(from, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    return {header, bytes};
  }

  conc::detail::Pipe calls_;
  conc::detail::Pipe results_;
  std::optional<conc::detail::WorkerLoop> loop_;
};

/// How often it answers what, if each allocation of the call fails once; and at last, if none does.
template <class F>
std::map<std::string, int> answers_to(F fn) {
  Worker worker;
  CallBytes call;
  call.pack(FrameKind::call, fn, std::string(100, 'x'));
  std::map<std::string, int> answers;
  bool understood = true;
  bool lives = true;
  conc_test::fail_each_allocation([&] { understood = worker.run(call) && understood; },
                                  [&](bool got_through) {
                                    lives = lives && got_through;
                                    ++answers[worker.answer()];
                                  });
  ++answers[worker.answer()];
  CHECK(understood);
  CHECK(lives);
  return answers;
}

}  // namespace

TEST_CASE("WorkerLoop: whenever memory runs out in a call, its answer is whole, and the worker goes on",
          "[process_pool][FR2][P4][P5]") {
  const std::map<std::string, int> results = answers_to(&twice);
  CHECK(results.at(std::string(200, 'x')) == 1);
  CHECK(results.at("no memory for the call") >= 2);
  CHECK(results.size() == 2);

  std::map<std::string, int> failures = answers_to(&fail);
  for (const auto& [answer, n] : failures) UNSCOPED_INFO(n << " " << answer);
  CHECK(failures["its exception, and the cause"] >= 1);
  CHECK(failures["no memory for the call"] >= 2);
  CHECK(failures["no memory to tell"] >= 5);
  failures["its name and text"] += 0;  // if there was no memory for its value
  CHECK(failures.size() == 4);
}
