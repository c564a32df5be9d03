// SPDX-License-Identifier: MIT
/// @file
/// Files in the snappy framing format: a sequence of chunks, each with a type (1 byte), the length of its data
/// (3 bytes, little-endian) and the data. The first chunk is the stream identifier; a data chunk holds at most 65,536
/// bytes before compression, and their CRC-32C. The format is published in framing_format.txt of the snappy project.
/// Chunks without a checksum, a later addition to it, are not read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "file.hpp"

namespace record_filter {

/// Reads such a file as one stream of uncompressed bytes. One chunk is in memory at a time.
class SnappyReader {
 public:
  /// @throws std::system_error if the file cannot be opened.
  explicit SnappyReader(const std::filesystem::path& name);

  /// Reads up to `size` bytes and returns how many; fewer only at the end of the file.
  /// @throws DamagedFile if a chunk is cut off, of an unknown kind, or does not match its checksum.
  /// @throws std::system_error if reading fails.
  std::size_t read(char* to, std::size_t size);

  /// The number of compressed bytes taken from the file so far.
  std::uint64_t position() const noexcept { return file_.position(); }

  const std::filesystem::path& name() const noexcept { return file_.name(); }

 private:
  bool next_chunk();
  void read_data(std::size_t length);
  void decode(bool compressed);
  [[noreturn]] void fail(const std::string& reason) const;

  InputFile file_;
  bool identified_ = false;           // the stream identifier was seen
  std::uint64_t chunk_position_ = 0;  // where the current chunk starts in the file
  std::string data_;                  // the current chunk's data, as in the file
  std::string uncompressed_;          // the bytes it stands for
  std::size_t used_ = 0;              // how many of those have been handed out
};

/// Writes such a file. The same bytes give the same file, however they are split into write() calls.
class SnappyWriter {
 public:
  /// Creates the file, or empties it.
  /// @throws std::system_error if that fails.
  explicit SnappyWriter(const std::filesystem::path& name);

  /// @throws std::system_error if writing fails.
  void write(std::string_view bytes);

  /// Writes what is still buffered. Without it the file is cut off.
  /// @throws std::system_error if writing fails.
  void close();

 private:
  void write_chunk();

  OutputFile file_;
  std::string pending_;     // bytes that do not fill a chunk yet
  std::string compressed_;  // room for one compressed chunk
};

/// The CRC-32C (Castagnoli) of `bytes`, not masked.
std::uint32_t crc32c(std::string_view bytes) noexcept;

}  // namespace record_filter
