// SPDX-License-Identifier: MIT
/// @file
/// Files with lists of URLs.
#pragma once

#include <string>
#include <vector>

namespace fetch_urls {

/// Reads a file with one URL a line. Empty lines do not matter, nor what follows a '#' that starts a line or follows a
/// blank. "-" is the standard input.
/// @throws std::runtime_error with the file and the line, if it cannot be read, or if a line holds something else.
std::vector<std::string> read_urls(const std::string& file);

}  // namespace fetch_urls
