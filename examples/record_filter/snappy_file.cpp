// SPDX-License-Identifier: MIT
#include "snappy_file.hpp"

#include <snappy.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace record_filter {
namespace {

constexpr std::size_t kMaxChunk = 65536;  // bytes before compression
constexpr std::size_t kHeaderSize = 4;
constexpr std::size_t kChecksumSize = 4;

constexpr unsigned kCompressed = 0x00;
constexpr unsigned kUncompressed = 0x01;
constexpr unsigned kFirstSkippable = 0x80;  // up to 0xfe, which is padding
constexpr unsigned kStreamIdentifier = 0xff;

constexpr std::string_view kIdentifier = "sNaPpY";

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  constexpr std::uint32_t kPolynomial = 0x82f63b78;  // Castagnoli, bits reversed
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? kPolynomial : 0);
    table[byte] = crc;
  }
  return table;
}

/// The format stores checksums rotated and shifted, since a checksum of data that holds its own checksum is weak.
std::uint32_t masked_checksum(std::string_view bytes) noexcept {
  const std::uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

std::uint32_t load_little_endian(const char* from, std::size_t size) noexcept {
  std::uint32_t value = 0;
  for (std::size_t i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(from[i]);
  return value;
}

void store_little_endian(std::uint32_t value, char* to, std::size_t size) noexcept {
  for (std::size_t i = 0; i < size; ++i, value >>= 8) to[i] = static_cast<char>(value & 0xff);
}

std::array<char, kHeaderSize> make_header(unsigned type, std::size_t length) noexcept {
  std::array<char, kHeaderSize> header{static_cast<char>(type)};
  store_little_endian(static_cast<std::uint32_t>(length), header.data() + 1, kHeaderSize - 1);
  return header;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) noexcept {
  static constexpr auto kTable = make_crc_table();
  std::uint32_t crc = 0xffffffffu;
  for (const char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

SnappyReader::SnappyReader(const std::filesystem::path& name) : file_(name) {}

std::size_t SnappyReader::read(char* to, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    if (used_ == uncompressed_.size() && !next_chunk()) break;
    const std::size_t step = std::min(size - done, uncompressed_.size() - used_);
    std::memcpy(to + done, uncompressed_.data() + used_, step);
    used_ += step;
    done += step;
  }
  return done;
}

/// Takes one chunk from the file; false at the end of the file.
bool SnappyReader::next_chunk() {
  uncompressed_.clear();
  used_ = 0;
  chunk_position_ = file_.position();

  std::array<char, kHeaderSize> header;
  const std::size_t got = file_.read(header.data(), header.size());
  if (got == 0 && identified_) return false;
  if (got < header.size()) fail(identified_ ? "is cut off within its header" : "there is no snappy stream identifier");

  const unsigned type = static_cast<unsigned char>(header[0]);
  const std::size_t length = load_little_endian(header.data() + 1, kHeaderSize - 1);
  if (!identified_ && (type != kStreamIdentifier || length != kIdentifier.size())) {
    fail("there is no snappy stream identifier");
  }

  read_data(length);
  if (type == kStreamIdentifier) {
    if (data_ != kIdentifier) fail("the stream identifier is damaged");
    identified_ = true;
  } else if (type == kCompressed || type == kUncompressed) {
    decode(type == kCompressed);
  } else if (type < kFirstSkippable) {
    fail("its type " + std::to_string(type) + " is unknown");
  }
  return true;
}

void SnappyReader::read_data(std::size_t length) {
  data_.resize(length);  // at most 16 MiB, whatever a damaged header says
  const std::size_t got = file_.read(data_.data(), length);
  if (got < length) {
    fail("it should hold " + std::to_string(length) + " bytes, but the file ends after " + std::to_string(got));
  }
}

/// Turns data_ into uncompressed_ and checks it.
void SnappyReader::decode(bool compressed) {
  if (data_.size() < kChecksumSize) fail("it is too short for a checksum");
  const std::uint32_t checksum = load_little_endian(data_.data(), kChecksumSize);
  const std::string_view body = std::string_view(data_).substr(kChecksumSize);

  std::size_t size = body.size();
  if (compressed && !snappy::GetUncompressedLength(body.data(), body.size(), &size)) fail("it cannot be uncompressed");
  if (size > kMaxChunk) fail("it holds " + std::to_string(size) + " bytes; 65536 are allowed");

  uncompressed_.resize(size);
  if (!compressed) {
    body.copy(uncompressed_.data(), size);
  } else if (!snappy::RawUncompress(body.data(), body.size(), uncompressed_.data())) {
    fail("it cannot be uncompressed");
  }
  if (masked_checksum(uncompressed_) != checksum) fail("its checksum does not match");
}

void SnappyReader::fail(const std::string& reason) const {
  throw DamagedFile(file_.name(), "chunk at byte " + std::to_string(chunk_position_) + ": " + reason);
}

SnappyWriter::SnappyWriter(const std::filesystem::path& name)
    : file_(name), compressed_(snappy::MaxCompressedLength(kMaxChunk), '\0') {
  const auto header = make_header(kStreamIdentifier, kIdentifier.size());
  file_.write(header.data(), header.size());
  file_.write(kIdentifier.data(), kIdentifier.size());
}

void SnappyWriter::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t step = std::min(bytes.size(), kMaxChunk - pending_.size());
    pending_.append(bytes.substr(0, step));
    bytes.remove_prefix(step);
    if (pending_.size() == kMaxChunk) write_chunk();
  }
}

void SnappyWriter::close() {
  if (!pending_.empty()) write_chunk();
  file_.close();
}

void SnappyWriter::write_chunk() {
  std::size_t compressed_size = 0;
  snappy::RawCompress(pending_.data(), pending_.size(), compressed_.data(), &compressed_size);
  const bool worth_it = compressed_size < pending_.size();
  const std::string_view body = worth_it ? std::string_view(compressed_.data(), compressed_size) : pending_;

  const auto header = make_header(worth_it ? kCompressed : kUncompressed, kChecksumSize + body.size());
  std::array<char, kChecksumSize> checksum;
  store_little_endian(masked_checksum(pending_), checksum.data(), checksum.size());

  file_.write(header.data(), header.size());
  file_.write(checksum.data(), checksum.size());
  file_.write(body.data(), body.size());
  pending_.clear();
}

}  // namespace record_filter
