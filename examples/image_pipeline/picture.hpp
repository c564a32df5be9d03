// SPDX-License-Identifier: MIT
/// @file
/// A picture in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace image_pipeline {

/// Colours as sRGB, not multiplied by alpha.
struct Pixel {
  std::uint8_t red = 0;
  std::uint8_t green = 0;
  std::uint8_t blue = 0;
  std::uint8_t alpha = 0;  // 255: opaque
};
static_assert(sizeof(Pixel) == 4, "pixels must lie one behind the other, as libpng reads and writes them");

/// Pixels, row after row from the top, each from left to right.
struct Picture {
  std::size_t width = 0;
  std::size_t height = 0;
  std::vector<Pixel> pixels{};

  Picture() = default;
  Picture(std::size_t w, std::size_t h) : width(w), height(h), pixels(w * h) {}

  Pixel& at(std::size_t x, std::size_t y) { return pixels[y * width + x]; }
  const Pixel& at(std::size_t x, std::size_t y) const { return pixels[y * width + x]; }
};

}  // namespace image_pipeline
