// SPDX-License-Identifier: MIT
/// @file
/// Record files: a snappy stream of records, each a length (8 bytes, little-endian) and that many bytes, which are one
/// serialized protobuf message. These classes carry the bytes; what they mean is in record.proto.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "snappy_file.hpp"

namespace record_filter {

class RecordReader {
 public:
  /// @throws std::system_error if the file cannot be opened.
  explicit RecordReader(const std::filesystem::path& name);

  /// Reads the next record into `record`; false at the end of the file.
  ///
  /// Memory follows the bytes that are in the file, not the length that a damaged file claims.
  ///
  /// @throws DamagedFile if the file is damaged or ends within a record.
  /// @throws std::system_error if reading fails.
  bool next(std::string& record);

  /// Reports damage that the caller found in the record that next() gave last.
  [[noreturn]] void fail(const std::string& reason) const;

  /// The number of compressed bytes taken from the file so far.
  std::uint64_t position() const noexcept { return stream_.position(); }

 private:
  SnappyReader stream_;
  std::uint64_t records_ = 0;
};

class RecordWriter {
 public:
  /// Creates the file, or empties it.
  /// @throws std::system_error if that fails.
  explicit RecordWriter(const std::filesystem::path& name);

  /// @throws std::system_error if writing fails.
  void write(std::string_view record);

  /// Writes what is still buffered. Without it the file is cut off.
  /// @throws std::system_error if writing fails.
  void close();

 private:
  SnappyWriter stream_;
};

}  // namespace record_filter
