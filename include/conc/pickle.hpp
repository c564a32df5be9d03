// SPDX-License-Identifier: MIT
/// @file
/// picklable, Pickler, Unpickler, pickle::dumps and loads: values become bytes, and bytes become values, in another
/// process of the same program.
///
/// What can be pickled:
///   - numbers, bool, enums; std::complex, durations and time points;
///   - strings, containers, container adaptors, std::array, bitset, valarray, pair, tuple, optional, variant, expected,
///     unique_ptr, shared_ptr, filesystem::path, of what can be pickled. What orders or hashes must have no state;
///   - containers of other libraries that have the members of the standard's, and the type of their items, or of their
///     keys, as their first template argument;
///   - aggregates without bases, const members and references, of up to 32 members that can be pickled, arrays among
///     them; bit-fields and anonymous unions do not compile;
///   - classes with a member `template <class Ar> void pickle(Ar& ar) { ar(a, b, c); }` and a default constructor;
///   - types for which conc::pickler is specialized;
///   - other types that are known at compile time to be nothing but plain values: trivially copyable, constexpr, without
///     pointers, references and unions; closures, too. They travel as their bytes, which nobody can check. (To g++ 12 a
///     closure is none of them if somebody asked whether it can be assigned, as std::optional does, before it was asked
///     whether it is picklable.)
///
/// What cannot: pointers, references, views like std::string_view, functions, unions, what holds one of those; pointers to
/// classes with virtual functions, whose objects may be of a derived class. Where the type is used, a static_assert says so
/// in words.
///
/// Two shared_ptr to one object become pointers to two. What is made of values in values, a tree or a list, may be 1,000
/// of them deep; 2,000 containers, pointers and calls of pickle(ar) in each other are too many. Bytes say nothing of their
/// types and have the layout of the machine: they must be loaded as the type that they were saved as, by the same program.
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

/// Whether a T can become bytes, and a T be made of them. Looks into containers, aggregates, optionals and so on; that what
/// pickle(ar) and conc::pickler do can be compiled is taken for granted. T must be complete.
template <class T>
concept picklable = detail::can_pickle<std::remove_cv_t<T>>();

/// To be specialized for a type that shall be picklable and cannot have a member pickle(ar): one without a default
/// constructor, or of another library.
///
///     template <>
///     struct conc::pickler<Interval> {
///       static void save(conc::Pickler& ar, const Interval& x) { ar(x.first(), x.last()); }
///       static Interval load(conc::Unpickler& ar) {
///         const auto first = ar.get<double>();
///         return {first, ar.get<double>()};
///       }
///     };
///
/// load() must read what save() wrote, all of it, and call ar.fail() where that is no T: bytes may have been damaged.
template <class T>
struct pickler;

namespace detail {

// So many containers, pointers, pickle(ar) and pickler<T> in each other fit the stack of a thread: they take up to 3 KiB
// each, with sanitizers.
inline constexpr unsigned kDeepest = 2000;

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_pickle_error(const std::string& what) {
  throw PickleError{what};
}

/// One level of values in values, while it lives.
class Nested {
 public:
  Nested(unsigned& depth, const char* who) : depth_{depth} {
    if (depth == kDeepest) {
      throw_pickle_error(std::string{who} + ": values lie in each other, too deep: " + std::to_string(kDeepest) +
                         " levels");
    }
    ++depth;
  }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;
  ~Nested() { --depth_; }

 private:
  unsigned& depth_;
};

}  // namespace detail

/// The archive that turns values into bytes: what pickle(ar) and pickler<T>::save() are called with.
///
/// @par Thread safety   none: one thread at a time.
/// @par Exceptions      when something throws, what was written by then is in the buffer.
/// @par Cost            numbers are copied; containers of numbers, and of structures that are all numbers without padding,
///                      as one block.
/// @par Python          pickle.Pickler. There is no memo: what is referred to twice is written twice.
class Pickler {
 public:
  static constexpr bool is_saving = true;  ///< for `if constexpr (Ar::is_saving)` in a pickle(ar)

  /// @param into  what the bytes are appended to; it must outlive the Pickler.
  explicit Pickler(detail::ByteBuffer& into) noexcept : into_{into} {}
  Pickler(const Pickler&) = delete;
  Pickler& operator=(const Pickler&) = delete;

  /// Writes values, one after the other; arrays item by item.
  ///
  /// @throws PickleError for a variant without a value, and for values too deep in each other; std::bad_alloc; what
  ///         a pickle(ar) or a pickler<T> throws.
  template <class... T>
  void operator()(const T&... values) {
    (save(values), ...);
  }

  /// Writes bytes as they are. @throws std::bad_alloc
  void write(const void* from, std::size_t n) { into_.append(from, n); }

  /// Writes how many things follow, for Unpickler::read_length(). @throws std::bad_alloc
  void write_length(std::size_t n) {
    const std::uint64_t length = n;
    write(&length, sizeof length);
  }

  /// How many bytes are in the buffer.
  std::size_t written() const noexcept { return into_.size(); }

  /// @throws PickleError, always
  [[noreturn]] void fail(const std::string& what) const { detail::throw_pickle_error("Pickler: " + what); }

  /// Keeps something alive until the bytes have been read: for a value that is pickled as the name of what it stands for.
  void keep(std::shared_ptr<const void> owner) { kept_.push_back(std::move(owner)); }

  /// What is kept; whoever sends the bytes takes it.
  std::vector<std::shared_ptr<const void>>& kept() noexcept { return kept_; }

  /// To be held while the parts of a value are written. @throws PickleError if it lies too deep in others
  [[nodiscard]] detail::Nested nest() { return {depth_, "Pickler"}; }

 private:
  template <class T>
  void save(const T& value) {
    detail::require_picklable<detail::Plain<T>>();
    if constexpr (picklable<detail::Plain<T>>) {
      detail::save_value(*this, value);
    }
  }

  detail::ByteBuffer& into_;
  std::vector<std::shared_ptr<const void>> kept_;
  unsigned depth_ = 0;
};

/// The archive that makes values of bytes: what pickle(ar) and pickler<T>::load() are called with.
///
/// Bytes may be anything: what is no value is PickleError, never undefined behaviour (but for enums whose underlying type
/// is not fixed, and types that are known as bytes only), and the memory that is taken follows the bytes that are there,
/// not the lengths that they claim.
///
/// @par Thread safety   none: one thread at a time.
/// @par Exceptions      when something throws, the Unpickler is somewhere in the middle of a value: of no more use.
/// @par Cost            as Pickler, and what it takes to allocate the values.
/// @par Python          pickle.Unpickler. No code runs but that of the types that are asked for.
class Unpickler {
 public:
  static constexpr bool is_saving = false;  ///< for `if constexpr (Ar::is_saving)` in a pickle(ar)

  /// @param bytes  must stay as they are, as long as the Unpickler lives.
  explicit Unpickler(std::span<const std::byte> bytes) noexcept
      : next_{bytes.data()}, end_{bytes.data() + bytes.size()} {}

  /// Reads bytes while they arrive.
  ///
  /// @param source  gives the bytes, and no more of them than are asked for; it must outlive the Unpickler. What it throws
  ///                leaves the Unpickler.
  /// @param length  how many there are to be. Not trusted: memory is taken as bytes arrive (a gigabyte of address space
  ///                may be set aside before).
  Unpickler(detail::ByteSource& source, std::uint64_t length) noexcept
      : next_{buffer_}, end_{buffer_}, source_{&source}, rest_{length} {}

  Unpickler(const Unpickler&) = delete;
  Unpickler& operator=(const Unpickler&) = delete;

  /// Reads values into variables, one after the other; arrays item by item. Those with a pickle(ar) of their own are
  /// changed where they are, others are assigned.
  ///
  /// @throws PickleError if the bytes are none of such a value, or too few, or make values too deep in each other;
  ///         std::bad_alloc; what the source throws, or a pickle(ar) or a pickler<T>.
  template <class... T>
  void operator()(T&... values) {
    (read_into(values), ...);
  }

  /// Reads a value, which needs no default constructor.
  ///
  /// @throws as operator().
  template <class T>
  T get() {
    detail::require_picklable<std::remove_cv_t<T>>();
    if constexpr (picklable<T>) {
      return detail::Format<std::remove_cv_t<T>>::load(*this);
    }
  }

  /// Reads bytes as they are. @throws PickleError if there are too few; what the source throws
  void read(void* into, std::size_t n) {
    if (n > ready()) {
      read_from_source(static_cast<std::byte*>(into), n);
    } else if (n > 0) {
      std::memcpy(into, next_, n);
      next_ += n;
    }
  }

  /// @return the next bytes, which are then read; null if they are not here in one piece, and then none is read
  const std::byte* take(std::size_t n) noexcept {
    if (n > ready()) {
      return nullptr;
    }
    return std::exchange(next_, next_ + n);
  }

  /// Reads bytes that nobody needs. @throws as read()
  void skip(std::size_t n) {
    for (std::byte dropped[64]; n > 0;) {
      const std::size_t step = n < sizeof dropped ? n : sizeof dropped;
      read(dropped, step);
      n -= step;
    }
  }

  /// Reads a length written by write_length().
  ///
  /// @param least  how many bytes each of the things has, at least; more than 0.
  /// @throws PickleError if so many are not there.
  std::size_t read_length(std::size_t least) {
    std::uint64_t length = 0;
    read(&length, sizeof length);
    if (length > remaining() / least || length != static_cast<std::size_t>(length)) {
      fail("a length of " + std::to_string(length) + " where " + std::to_string(remaining()) + " bytes remain");
    }
    return static_cast<std::size_t>(length);
  }

  /// For how many things of `size` bytes room may be made before they have been read: for reserve().
  std::size_t room_for(std::size_t size) const noexcept {
    constexpr std::uint64_t kMost = std::uint64_t{1} << 30;  // only set aside, and used when so much has come
    const std::uint64_t room = source_ != nullptr && remaining() > kMost ? kMost : remaining();
    return static_cast<std::size_t>(room / size);
  }

  /// Whether the bytes come from a source.
  bool is_streaming() const noexcept { return source_ != nullptr; }

  /// How many bytes have not been read.
  std::uint64_t remaining() const noexcept { return ready() + rest_; }

  /// @throws PickleError if bytes are left over.
  void expect_end() const {
    if (remaining() > 0) {
      fail(std::to_string(remaining()) + " bytes are left over");
    }
  }

  /// @throws PickleError, always
  [[noreturn]] void fail(const std::string& what) const { detail::throw_pickle_error("Unpickler: " + what); }

  /// To be held while the parts of a value are read. @throws PickleError if it lies too deep in others
  [[nodiscard]] detail::Nested nest() { return {depth_, "Unpickler"}; }

 private:
  std::size_t ready() const noexcept { return static_cast<std::size_t>(end_ - next_); }

  template <class T>
  void read_into(T& value) {
    static_assert(!std::is_const_v<T>, "pickle: ar(x) cannot load into a const x");
    detail::require_picklable<detail::Plain<T>>();
    if constexpr (picklable<detail::Plain<T>> && !std::is_const_v<T>) {
      detail::read_value(*this, value);
    }
  }

  /// What is more than the small buffer holds goes to where it belongs, and to nowhere else.
  [[gnu::noinline]] void read_from_source(std::byte* into, std::size_t n) {
    if (n > remaining()) {
      fail(std::to_string(n) + " bytes are needed where " + std::to_string(remaining()) + " remain");
    }
    const std::size_t here = ready();
    if (here > 0) {
      std::memcpy(into, next_, here);
      next_ += here;
      into += here;
      n -= here;
    }
    if (n >= sizeof buffer_) {
      rest_ -= source_->read(into, n, n);
      return;
    }
    const std::size_t most = rest_ < sizeof buffer_ ? static_cast<std::size_t>(rest_) : sizeof buffer_;
    const std::size_t got = source_->read(buffer_, n, most);
    rest_ -= got;
    std::memcpy(into, buffer_, n);
    next_ = buffer_ + n;
    end_ = buffer_ + got;
  }

  const std::byte* next_;
  const std::byte* end_;
  detail::ByteSource* source_ = nullptr;
  std::uint64_t rest_ = 0;  // what the source has still to give
  unsigned depth_ = 0;
  std::byte buffer_[8192];
};

namespace pickle {

/// The bytes of a value.
///
/// @throws as Pickler::operator().
/// @par Python  pickle.dumps. The bytes are for this program only.
template <class T>
std::string dumps(const T& value) {
  detail::ByteBuffer bytes;
  Pickler out{bytes};
  out(value);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The value of bytes: `loads<T>(bytes)`.
///
/// @throws as Unpickler::operator(); PickleError, too, if bytes are left over.
/// @par Python  pickle.loads, which finds the type in the bytes.
template <class T>
T loads(std::string_view bytes) {
  Unpickler in{{reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}};
  T value = in.get<T>();
  in.expect_end();
  return value;
}

}  // namespace pickle

}  // namespace conc::inline CONC_ABI
