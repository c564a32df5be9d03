// SPDX-License-Identifier: MIT
#include "record_file.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace record_filter {
namespace {

using Length = std::array<char, 8>;

constexpr std::uint64_t kMaxMessage = 0x7fffffff;  // protobuf's own limit
constexpr std::size_t kStep = 65536;

}  // namespace

RecordReader::RecordReader(const std::filesystem::path& name) : stream_(name) {}

bool RecordReader::next(std::string& record) {
  Length bytes;
  const std::size_t got = stream_.read(bytes.data(), bytes.size());
  if (got == 0) return false;
  ++records_;
  if (got < bytes.size()) fail("the file ends within its length");

  std::uint64_t length = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) length = length << 8 | static_cast<unsigned char>(bytes[i]);
  if (length > kMaxMessage) fail("its length of " + std::to_string(length) + " bytes is more than a message can have");

  record.clear();
  while (record.size() < length) {
    const std::size_t before = record.size();
    const std::size_t step = std::min<std::size_t>(kStep, static_cast<std::size_t>(length) - before);
    record.resize(before + step);
    const std::size_t now = stream_.read(record.data() + before, step);
    if (now < step) {
      fail("it should hold " + std::to_string(length) + " bytes, but the file ends after " +
           std::to_string(before + now));
    }
  }
  return true;
}

void RecordReader::fail(const std::string& reason) const {
  throw DamagedFile(stream_.name(), "record " + std::to_string(records_) + ": " + reason);
}

RecordWriter::RecordWriter(const std::filesystem::path& name) : stream_(name) {}

void RecordWriter::write(std::string_view record) {
  Length bytes;
  std::uint64_t length = record.size();
  for (char& byte : bytes) {
    byte = static_cast<char>(length & 0xff);
    length >>= 8;
  }
  stream_.write({bytes.data(), bytes.size()});
  stream_.write(record);
}

void RecordWriter::close() { stream_.close(); }

}  // namespace record_filter
