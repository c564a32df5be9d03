// SPDX-License-Identifier: MIT
/// @file
/// Files that close themselves and say what went wrong, and a folder that appears whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

namespace record_filter {

/// A file whose content is not what it should be. The text starts with the file's name.
class DamagedFile : public std::runtime_error {
 public:
  DamagedFile(const std::filesystem::path& file, const std::string& reason)
      : std::runtime_error(file.string() + ": " + reason) {}
};

/// A file read from front to back.
class InputFile {
 public:
  /// @throws std::system_error if the file cannot be opened.
  explicit InputFile(const std::filesystem::path& name);

  /// Reads up to `size` bytes and returns how many; fewer only at the end of the file.
  /// @throws std::system_error if reading fails.
  std::size_t read(char* to, std::size_t size);

  /// The number of bytes read so far.
  std::uint64_t position() const noexcept { return position_; }

  const std::filesystem::path& name() const noexcept { return name_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const noexcept { std::fclose(file); }
  };

  std::filesystem::path name_;
  std::unique_ptr<std::FILE, Close> file_;
  std::uint64_t position_ = 0;
};

/// A file written from front to back.
class OutputFile {
 public:
  /// Creates the file, or empties it.
  /// @throws std::system_error if that fails.
  explicit OutputFile(const std::filesystem::path& name);

  /// Closes the file if close() was not called; then nobody learns whether the last bytes were written.
  ~OutputFile();

  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// @throws std::system_error if writing fails.
  void write(const char* from, std::size_t size);

  /// @throws std::system_error if the bytes still buffered cannot be written (a full disk often shows only here).
  void close();

 private:
  std::filesystem::path name_;
  std::FILE* file_;
};

/// A folder under construction. It is filled under a hidden name beside its final one and gets the final name in one
/// step, so that nobody ever sees it half filled, even if the process is killed.
class PartialFolder {
 public:
  /// Creates the hidden folder, empty: what a killed run left in its place is removed.
  explicit PartialFolder(std::filesystem::path final_name);

  /// Removes the hidden folder, unless it was committed.
  ~PartialFolder();

  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;

  /// Where to put the files until then.
  const std::filesystem::path& path() const noexcept { return path_; }

  /// Gives the folder its final name.
  /// @throws std::filesystem::filesystem_error if a folder of that name exists and is not empty.
  void commit();

 private:
  std::filesystem::path final_name_;
  std::filesystem::path path_;
  bool committed_ = false;
};

/// Makes sure that `folder` exists and is empty.
/// @throws std::runtime_error if it holds anything, or cannot be created.
void require_empty_folder(const std::filesystem::path& folder);

}  // namespace record_filter
