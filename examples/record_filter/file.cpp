// SPDX-License-Identifier: MIT
#include "file.hpp"

#include <cerrno>
#include <system_error>
#include <utility>

namespace record_filter {
namespace fs = std::filesystem;

namespace {

[[noreturn]] void throw_errno(const fs::path& file) {
  throw std::system_error(errno, std::generic_category(), file.string());
}

}  // namespace

InputFile::InputFile(const fs::path& name) : name_(name), file_(std::fopen(name.c_str(), "rb")) {
  if (!file_) throw_errno(name_);
}

std::size_t InputFile::read(char* to, std::size_t size) {
  const std::size_t got = std::fread(to, 1, size, file_.get());
  if (got < size && std::ferror(file_.get())) throw_errno(name_);
  position_ += got;
  return got;
}

OutputFile::OutputFile(const fs::path& name) : name_(name), file_(std::fopen(name.c_str(), "wb")) {
  if (!file_) throw_errno(name_);
}

OutputFile::~OutputFile() {
  if (file_) std::fclose(file_);
}

void OutputFile::write(const char* from, std::size_t size) {
  if (std::fwrite(from, 1, size, file_) < size) throw_errno(name_);
}

void OutputFile::close() {
  if (std::fclose(std::exchange(file_, nullptr)) != 0) throw_errno(name_);
}

PartialFolder::PartialFolder(fs::path final_name)
    : final_name_(std::move(final_name)),
      path_(final_name_.parent_path() / (std::string(".") + final_name_.filename().string() + ".partial")) {
  fs::remove_all(path_);
  fs::create_directory(path_);
}

PartialFolder::~PartialFolder() {
  if (committed_) return;
  std::error_code ignored;  // The error that led here matters more, and the name tells what the folder is.
  fs::remove_all(path_, ignored);
}

void PartialFolder::commit() {
  fs::rename(path_, final_name_);
  committed_ = true;
}

void require_empty_folder(const fs::path& folder) {
  fs::create_directories(folder);
  const fs::directory_iterator content(folder);
  if (content != fs::directory_iterator{}) {
    throw std::runtime_error(folder.string() + ": is not empty (it holds " + content->path().filename().string() +
                             "); choose another folder, or remove this one");
  }
}

}  // namespace record_filter
