// SPDX-License-Identifier: MIT
/// @file
/// Folder and Gate: how a test meets with tasks that may run in another process, and tasks that do it.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <stdexcept>
#include <string>

#include "support.hpp"

namespace conc_test {

/// A directory for files that tasks make.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tasks_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }

  std::string file(int number) const { return path_ + "/" + std::to_string(number); }
  /// How many files are there.
  std::size_t count() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator{path_}, {}));
  }
  /// Waits until there are so many files.
  bool fills(std::size_t files) const {
    return eventually([this, files] { return count() >= files; });
  }

 private:
  std::string path_;
};

/// Holds the tasks that call hold(gate.path()) until it is opened, once and for all: the end of a pipe that can only be
/// opened for reading when somebody writes.
class Gate {
 public:
  Gate() {
    if (::mkfifo(path().c_str(), 0600) != 0) std::abort();
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  ~Gate() {
    open();
    ::close(descriptor_);
  }

  std::string path() const { return folder_.file(0); }
  void open() {
    if (descriptor_ < 0) descriptor_ = ::open(path().c_str(), O_RDWR | O_CLOEXEC);
  }

 private:
  Folder folder_;
  int descriptor_ = -1;
};

inline int hold(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw std::runtime_error{"no gate"};
  ::close(descriptor);
  return 1;
}

inline void make_file(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  if (descriptor < 0) throw std::runtime_error{"no file"};
  ::close(descriptor);
}

}  // namespace conc_test
