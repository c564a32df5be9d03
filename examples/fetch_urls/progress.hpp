// SPDX-License-Identifier: MIT
/// @file
/// Shows on stderr what is on the board: on a terminal a picture of all workers, otherwise plain lines.
#pragma once

#include <cstddef>
#include <string>

#include <conc/event.hpp>
#include <conc/thread.hpp>

#include "board.hpp"

namespace fetch_urls {

/// While it exists a thread of its own does the showing, and nobody else should write to the terminal. The workers only
/// write to the board: lines of many threads would mix.
class Progress {
 public:
  explicit Progress(const Board& board);

  /// Removes the picture.
  ~Progress();

  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

 private:
  void show();
  void show_pictures();
  void show_lines();

  const Board& board_;
  conc::Event finished_;
  conc::Thread thread_;
};

}  // namespace fetch_urls
