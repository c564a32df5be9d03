// SPDX-License-Identifier: MIT
/// @file
/// Reads and writes PNG files, with libpng.
#pragma once

#include <cstddef>
#include <filesystem>
#include <stdexcept>

#include "picture.hpp"

namespace image_pipeline {

/// Why a file could not be read or written; the text does not name the file.
class PngError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Reads a PNG file of any kind; 16 bits of a colour become 8.
/// @throws PngError if it cannot be read, is damaged, or has more than `max_pixels`: no memory is taken for those.
Picture read_png(const std::filesystem::path& file, std::size_t max_pixels);

/// Writes a PNG file with 8 bits for each colour and alpha. It is made under a hidden name beside its own and renamed
/// when it is whole, so that nobody sees it half written, even if the process is killed.
/// @throws PngError if it cannot be written, or a file of that name exists.
void write_png(const std::filesystem::path& file, const Picture& picture);

}  // namespace image_pipeline
