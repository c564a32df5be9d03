// SPDX-License-Identifier: MIT
/// @file
/// Ways to draw lines with several threads.
#pragma once

#include <cstddef>
#include <vector>

#include "canvas.hpp"
#include "chart.hpp"

namespace draw_charts {

struct Mode {
  const char* name;
  bool guarded;  // whether every line must be right
  void (*draw_lines)(Canvas& canvas, const std::vector<Chart>& charts, std::size_t threads);
};

/// serial, unlocked, lock, rlock, synchronized, own.
extern const std::vector<Mode> kModes;

}  // namespace draw_charts
