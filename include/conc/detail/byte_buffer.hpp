// SPDX-License-Identifier: MIT
/// @file
/// ByteBuffer: bytes that grow. ByteSource: bytes that have not arrived yet.
#pragma once

#include <conc/detail/sync.hpp>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// Bytes in one piece. Room that was never written to is not touched, so it costs no memory on systems that hand out
/// pages on first use; and to grow moves no large piece where the system can remap pages instead.
class ByteBuffer {
 public:
  ByteBuffer() noexcept = default;
  ByteBuffer(ByteBuffer&& other) noexcept
      : begin_{std::exchange(other.begin_, nullptr)},
        size_{std::exchange(other.size_, 0)},
        room_{std::exchange(other.room_, 0)} {}
  ByteBuffer& operator=(ByteBuffer&& other) noexcept {
    ByteBuffer taken{std::move(other)};
    std::swap(begin_, taken.begin_);
    std::swap(size_, taken.size_);
    std::swap(room_, taken.room_);
    return *this;
  }
  ByteBuffer(const ByteBuffer&) = delete;
  ByteBuffer& operator=(const ByteBuffer&) = delete;
  ~ByteBuffer() { std::free(begin_); }

  const std::byte* data() const noexcept { return begin_; }
  std::byte* data() noexcept { return begin_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }

  /// Adds a copy of `n` bytes. @throws std::bad_alloc; nothing has changed then
  void append(const void* from, std::size_t n) {
    std::byte* const into = extend(n);
    if (n > 0) {
      std::memcpy(into, from, n);
    }
  }

  /// Adds `n` bytes that are not initialized. @return the first of them @throws std::bad_alloc; nothing has changed then
  std::byte* extend(std::size_t n) {
    if (n > room_ - size_) {
      grow(n);
    }
    std::byte* const added = begin_ + size_;
    size_ += n;
    return added;
  }

  /// Drops what comes after the first `size` bytes; their room stays.
  void truncate(std::size_t size) noexcept { size_ = size < size_ ? size : size_; }

  /// Makes room for `room` bytes in all, and no more. @throws std::bad_alloc; nothing has changed then
  void reserve(std::size_t room) {
    if (room > room_) {
      void* const moved = std::realloc(begin_, room);
      if (moved == nullptr) {
        throw std::bad_alloc{};
      }
      begin_ = static_cast<std::byte*>(moved);
      room_ = room;
    }
  }

  /// Drops all bytes and their room.
  void clear() noexcept { *this = ByteBuffer{}; }

 private:
  static constexpr std::size_t kLeast = 256;

  [[gnu::cold, gnu::noinline]] void grow(std::size_t n) {
    if (n > static_cast<std::size_t>(-1) / 2 - size_) {
      throw std::bad_alloc{};
    }
    const std::size_t doubled = 2 * room_ > kLeast ? 2 * room_ : kLeast;
    reserve(size_ + n > doubled ? size_ + n : doubled);
  }

  std::byte* begin_ = nullptr;
  std::size_t size_ = 0;
  std::size_t room_ = 0;
};

/// Where an Unpickler gets bytes from that have not arrived yet.
class ByteSource {
 public:
  ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  /// Waits until `at_least` bytes have come, which is more than 0, and stores them and what else has come, up to `at_most`.
  /// @return how many it stored @throws what says that the stream has ended
  virtual std::size_t read(std::byte* into, std::size_t at_least, std::size_t at_most) = 0;

 protected:
  ~ByteSource() = default;
};

}  // namespace conc::inline CONC_ABI::detail
