// SPDX-License-Identifier: MIT
/// @file
/// What can be done to a picture.
#pragma once

#include <functional>
#include <string>

#include "picture.hpp"

namespace image_pipeline {

/// Changes a picture. Many threads may call one at once, each for a picture of its own.
using Transform = std::function<void(Picture&)>;

/// "grayscale", "invert", "edges", "blur:RADIUS" or "thumbnail:SIZE".
/// @throws std::invalid_argument if `text` is something else.
Transform parse_transform(const std::string& text);

/// One line for each of them, for a help text.
std::string describe_transforms();

}  // namespace image_pipeline
