// SPDX-License-Identifier: MIT
/// @file
/// Three ways to fetch a list of URLs.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <conc/event.hpp>

#include "board.hpp"
#include "fetcher.hpp"

namespace fetch_urls {

enum class Mode { serial, map, completed };

const char* name_of(Mode mode);

/// What became of one URL.
struct Outcome {
  std::string url;
  Page page{};
  std::string error{};       // why there is no page; empty: there is one
  bool interrupted = false;  // there is none because the user wants to stop
};

/// What all workers share.
struct Work {
  const std::vector<std::string>& urls;
  const FetchOptions& options;
  std::size_t workers;
  conc::Event& stop;
  Board& board;
};

/// Fetches every URL, whatever becomes of the others. The outcomes are in the order in which they arrived here.
std::vector<Outcome> fetch_all(Mode mode, const Work& work);

}  // namespace fetch_urls
