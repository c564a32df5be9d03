// SPDX-License-Identifier: MIT
/// @file
/// What goes through the pipes between a program and its worker processes: frames, each a header and some bytes.
#pragma once

#include <conc/detail/sync.hpp>
#include <cstdint>

namespace conc::inline CONC_ABI::detail {

enum class FrameKind : std::uint32_t {
  // To the worker.
  greet,       // the first frame: answer that you are ready
  initialize,  // or this: run the call in the bytes first
  call,        // run the call in the bytes, answer with its result or its failure
  process,     // run it and end: the only frame of a Process, which has a name before the call
  release,     // what result `id` shares with the program has been taken over
  end,         // no more. Not the end of the pipe: a process that the program has forked may have that open
  // From the worker.
  ready,
  result,
  shared_result,  // kept alive by the worker until it is released
  failure,        // the bytes are an exception; none if there was no memory for it
};

/// Both ends are the same program, so it travels as it lies in memory.
struct FrameHeader {
  FrameKind kind{};
  std::uint32_t unused = 0;
  std::uint64_t id = 0;      // of the call
  std::uint64_t length = 0;  // of the bytes that follow
};

}  // namespace conc::inline CONC_ABI::detail
