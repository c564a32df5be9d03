// SPDX-License-Identifier: MIT
/// @file
/// picklable, Pickler, Unpickler: values become bytes, and bytes values, for another process of the same program.
#pragma once

#include <conc/detail/byte_buffer.hpp>
#include <conc/detail/pickle_formats.hpp>
#include <conc/detail/sync.hpp>
#include <conc/error.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI {

/// Whether a T can become bytes, and a T be made of them: known at compile time, with all that it consists of.
template <class T>
concept picklable = detail::can_pickle<std::remove_cv_t<T>>();

namespace detail {

inline constexpr unsigned kDeepest = 1000;

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_pickle_error(const std::string& what) {
  throw PickleError{what};
}

/// Counts how deep values lie in each other.
class Nesting {
 public:
  Nesting(unsigned& depth, const char* who) : depth_{depth} {
    if (depth == kDeepest) {
      throw_pickle_error(std::string{who} + ": values lie in each other more than " + std::to_string(kDeepest) +
                         " deep");
    }
    ++depth;
  }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;
  ~Nesting() { --depth_; }

 private:
  unsigned& depth_;
};

}  // namespace detail

/// The archive that turns values into bytes.
class Pickler {
 public:
  static constexpr bool is_saving = true;

  explicit Pickler(detail::ByteBuffer& into) noexcept : into_{into} {}
  Pickler(const Pickler&) = delete;
  Pickler& operator=(const Pickler&) = delete;

  template <class... T>
  void operator()(const T&... values) {
    (save(values), ...);
  }

  void write(const void* from, std::size_t n) { into_.append(from, n); }
  void write_length(std::size_t n) {
    const std::uint64_t length = n;
    write(&length, sizeof length);
  }
  std::size_t written() const noexcept { return into_.size(); }

  /// What must live until the bytes were read.
  void keep(std::shared_ptr<const void> owner) { kept_.push_back(std::move(owner)); }
  const std::vector<std::shared_ptr<const void>>& kept() const noexcept { return kept_; }
  std::vector<std::shared_ptr<const void>> take_kept() noexcept { return std::exchange(kept_, {}); }

  detail::Nesting nest() { return {depth_, "Pickler"}; }

 private:
  template <class T>
  void save(const T& value) {
    static_assert(picklable<std::remove_all_extents_t<T>>, "this type is not picklable");
    detail::save_value(*this, value);
  }

  detail::ByteBuffer& into_;
  std::vector<std::shared_ptr<const void>> kept_;
  unsigned depth_ = 0;
};

/// The archive that makes values of bytes. What is wrong with them is PickleError.
class Unpickler {
 public:
  static constexpr bool is_saving = false;

  explicit Unpickler(std::span<const std::byte> bytes) noexcept
      : next_{bytes.data()}, end_{bytes.data() + bytes.size()} {}
  Unpickler(detail::ByteSource& source, std::uint64_t length) noexcept
      : next_{buffer_}, end_{buffer_}, source_{&source}, rest_{length} {}
  Unpickler(const Unpickler&) = delete;
  Unpickler& operator=(const Unpickler&) = delete;

  template <class... T>
  void operator()(T&... values) {
    (read_one(values), ...);
  }

  template <class T>
  T get() {
    static_assert(picklable<T>, "this type is not picklable");
    return detail::Format<std::remove_cv_t<T>>::load(*this);
  }

  /// How many bytes have not been read.
  std::uint64_t remaining() const noexcept { return ready() + rest_; }

  void expect_end() {
    if (remaining() > 0) {
      fail(std::to_string(remaining()) + " bytes are left over");
    }
  }

  void read(void* into, std::size_t n) {
    if (n > ready()) {
      read_slowly(static_cast<std::byte*>(into), n);
    } else if (n > 0) {
      std::memcpy(into, next_, n);
      next_ += n;
    }
  }

  void skip(std::size_t n) {
    std::byte dropped[64];
    for (; n > 0; n -= (std::min)(n, sizeof dropped)) {
      read(dropped, (std::min)(n, sizeof dropped));
    }
  }

  /// A length of things that have `least` bytes each, at least.
  std::size_t read_length(std::size_t least) {
    std::uint64_t length = 0;
    read(&length, sizeof length);
    if (length > remaining() / least) {
      fail("a length of " + std::to_string(length) + " where " + std::to_string(remaining()) + " bytes remain");
    }
    return static_cast<std::size_t>(length);
  }

  /// How many things of `size` bytes to make room for.
  std::size_t room_for(std::size_t size) const noexcept {
    constexpr std::uint64_t kMost = std::uint64_t{256} << 20;
    return static_cast<std::size_t>((std::min)(remaining(), source_ == nullptr ? ~std::uint64_t{0} : kMost) / size);
  }

  [[noreturn]] void fail(const std::string& what) const { detail::throw_pickle_error("Unpickler: " + what); }

  detail::Nesting nest() { return {depth_, "Unpickler"}; }

 private:
  std::size_t ready() const noexcept { return static_cast<std::size_t>(end_ - next_); }

  template <class T>
  void read_one(T& value) {
    static_assert(picklable<std::remove_all_extents_t<T>>, "this type is not picklable");
    detail::read_value(*this, value);
  }

  [[gnu::noinline]] void read_slowly(std::byte* into, std::size_t n) {
    if (n > remaining()) {
      fail(std::to_string(n) + " bytes are needed where " + std::to_string(remaining()) + " remain");
    }
    const std::size_t here = ready();
    if (here > 0) {
      std::memcpy(into, next_, here);
      next_ += here;
    }
    for (into += here, n -= here; n >= sizeof buffer_;) {
      const std::size_t got = source_->read(into, 1, n);
      into += got;
      n -= got;
      rest_ -= got;
    }
    if (n > 0) {
      const auto most = static_cast<std::size_t>((std::min)(std::uint64_t{sizeof buffer_}, rest_));
      const std::size_t got = source_->read(buffer_, n, most);
      rest_ -= got;
      std::memcpy(into, buffer_, n);
      next_ = buffer_ + n;
      end_ = buffer_ + got;
    }
  }

  const std::byte* next_;
  const std::byte* end_;
  detail::ByteSource* source_ = nullptr;
  std::uint64_t rest_ = 0;  // what the source has still to give
  unsigned depth_ = 0;
  std::byte buffer_[8192];
};

namespace pickle {

template <picklable T>
std::string dumps(const T& value) {
  detail::ByteBuffer bytes;
  Pickler out{bytes};
  out(value);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <picklable T>
T loads(std::string_view bytes) {
  Unpickler in{std::as_bytes(std::span{bytes})};
  T value = in.get<T>();
  in.expect_end();
  return value;
}

}  // namespace pickle

}  // namespace conc::inline CONC_ABI
