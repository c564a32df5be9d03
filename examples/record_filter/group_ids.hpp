// SPDX-License-Identifier: MIT
/// @file
/// The set of group ids to keep, read from a CSV file (RFC 4180).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <unordered_set>

namespace record_filter {

using GroupIds = std::unordered_set<std::uint64_t>;

/// Reads the numbers in the column named `column`; the file's first row names the columns.
///
/// A number is decimal, or hexadecimal after "0x". Empty lines are skipped; other columns are not looked at.
///
/// @throws std::runtime_error naming file and line if the column is missing, or a row has no such number in it.
/// @throws std::system_error if the file cannot be read.
GroupIds read_group_ids(const std::filesystem::path& csv, const std::string& column);

}  // namespace record_filter
