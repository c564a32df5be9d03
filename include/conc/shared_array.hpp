// SPDX-License-Identifier: MIT
/// @file
/// shared_array: large data that several processes have at once. Not part of conc.hpp.
#pragma once

#if !defined(__linux__)
#error "conc/shared_array.hpp needs Linux (memfd_create)."
#endif

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <conc/detail/descriptor.hpp>
#include <conc/detail/sync.hpp>
#include <conc/error.hpp>
#include <conc/pickle.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI {

namespace detail {

/// Where another process finds memory: a descriptor of a process that has it, and what that must lead to.
struct SharedHandle {
  std::uint64_t bytes;  // 0: no memory
  std::int32_t process;
  std::int32_t descriptor;
  std::uint64_t device;
  std::uint64_t inode;
};

/// Memory that other processes can map too. It has no name: once all processes that have it are gone, it is.
///
/// The file behind it is sealed before anybody else knows it: it can be neither shrunk, so that nobody can pull pages from
/// under another process, nor grown, nor can other seals be put on it.
class SharedMemory {
 public:
  /// `bytes` zeros, more than none. @throws std::bad_alloc; std::system_error without a descriptor
  explicit SharedMemory(std::size_t bytes) : file_{create(bytes)}, bytes_{bytes}, begin_{map()} {}

  /// The memory of `handle`. @throws PickleError if it is not there; std::bad_alloc; std::system_error without a descriptor
  explicit SharedMemory(const SharedHandle& handle)
      : file_{find(handle)}, bytes_{static_cast<std::size_t>(handle.bytes)}, begin_{map()} {}

  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  ~SharedMemory() {
    ::munmap(begin_, bytes_);
    if (!has_file()) {
      file_.release();  // a number that is somebody else's by now
    }
  }

  void* begin() const noexcept { return begin_; }
  std::size_t bytes() const noexcept { return bytes_; }

  /// @throws PickleError if this process, or one that it was forked of, has closed the descriptor
  SharedHandle handle() const {
    if (!has_file()) {
      throw PickleError{"shared_array: its descriptor " + std::to_string(file_.number()) + " was closed"};
    }
    return {bytes_, static_cast<std::int32_t>(sync::process_id()), file_.number(), device_, inode_};
  }

 private:
  static constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

  static Descriptor create(std::size_t bytes) {
    if (bytes > static_cast<std::size_t>((std::numeric_limits<std::ptrdiff_t>::max)())) {
      throw std::bad_alloc{};
    }
    Descriptor file = above_standard(Descriptor{::memfd_create("shared_array", MFD_CLOEXEC | MFD_ALLOW_SEALING)});
    if (!file.is_open()) {
      throw_system_error(errno, "shared_array: no descriptor");
    }
    if (::ftruncate(file.number(), static_cast<off_t>(bytes)) != 0 ||
        ::fcntl(file.number(), F_ADD_SEALS, kSeals) != 0) {
      throw std::bad_alloc{};
    }
    return file;
  }

  static Descriptor find(const SharedHandle& handle) {
    const std::string path = "/proc/" + std::to_string(handle.process) + "/fd/" + std::to_string(handle.descriptor);
    // Found but not opened yet: if the handle is wrong this may be anything, and to open it could wait or do something.
    const Descriptor found{::open(path.c_str(), O_PATH | O_CLOEXEC)};
    if (!found.is_open()) {
      throw_not_found(handle, errno);
    }
    struct stat status {};
    if (::fstat(found.number(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_dev != handle.device ||
        status.st_ino != handle.inode) {
      throw_not_found(handle, ENOENT);
    }
    Descriptor file = above_standard(
        Descriptor{::open(("/proc/self/fd/" + std::to_string(found.number())).c_str(), O_RDWR | O_CLOEXEC)});
    if (!file.is_open()) {
      throw_not_found(handle, errno);
    }
    // The size counts once it is certain that it cannot change.
    const int seals = ::fcntl(file.number(), F_GET_SEALS);
    if (seals < 0 || (seals & (kSeals | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != kSeals ||
        ::fstat(file.number(), &status) != 0 || !std::cmp_equal(status.st_size, handle.bytes)) {
      throw PickleError{"shared_array: descriptor " + std::to_string(handle.descriptor) + " of process " +
                        std::to_string(handle.process) + " is no shared_array of " + std::to_string(handle.bytes) +
                        " bytes"};
    }
    return file;
  }

  [[noreturn, gnu::cold]] static void throw_not_found(const SharedHandle& handle, int error) {
    if (error == EMFILE || error == ENFILE) {
      throw_system_error(error, "shared_array: no descriptor");
    }
    if (error == ENOMEM) {
      throw std::bad_alloc{};
    }
    throw PickleError{"shared_array: process " + std::to_string(handle.process) +
                      (error == ENOENT || error == ESRCH
                           ? " is gone, or has dropped the array before it was received here"
                           : " does not share it with this one: " + std::generic_category().message(error))};
  }

  void* map() {
    struct stat status {};
    if (::fstat(file_.number(), &status) != 0) {
      throw_system_error(errno, "shared_array");
    }
    device_ = status.st_dev;
    inode_ = status.st_ino;
    void* const begin = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file_.number(), 0);
    if (begin == MAP_FAILED) {
      throw std::bad_alloc{};
    }
    return begin;
  }

  /// A process that was forked may have closed all descriptors that it does not know.
  bool has_file() const noexcept {
    struct stat status {};
    return ::fstat(file_.number(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_;
  }

  Descriptor file_;
  std::size_t bytes_;
  std::uint64_t device_ = 0;
  std::uint64_t inode_ = 0;
  void* begin_;
};

}  // namespace detail

/// An array in memory that processes share: sent to a worker process, or received from one, it is the same array there,
/// and no element is copied, however many there are. Copies of a shared_array are the same array too.
///
///     conc::shared_array<double> samples{std::size_t{1} << 27};          // 1 GiB of zeros
///     pool.submit(fill, samples).result();                               // void fill(conc::shared_array<double>)
///     use(samples[0]);                                                   // what the worker wrote
///
/// T is what can travel as bytes: trivially copyable, and without pointers and references.
///
/// @par Thread safety   as std::shared_ptr: copies may be used by several threads, one copy not. The elements are memory
///      as any other: what two threads, or two processes, access at the same time, one of them writing, is a data race.
/// @par Memory ordering what was written before submit() is visible to the task; what the task wrote is visible to who has
///      got its result. There is no other synchronization between processes, but std::atomic_ref works where it is
///      lock-free. A worker that dies may leave anything in the array.
/// @par Lifetime        the memory lives as long as a copy does in any process; nothing is left when all are killed. A
///      pickled array must live until it was unpickled: pools and Process see to that, also for what a task returns.
/// @par Cost            a file descriptor and a mapping in each process that has it. Elements take memory as they are first
///      written. To send it costs as much as a few numbers; to touch it, a page fault per page in each process that does.
/// @par Python          multiprocessing.shared_memory.SharedMemory, and ShareableList: but typed, and without a name, so
///      there is nothing to close or to unlink.
template <class T>
class shared_array {
  static_assert(std::is_same_v<T, std::remove_cv_t<T>>, "shared_array<T>: T must not be const or volatile");
  static_assert(
      detail::BitCastable<T>,
      "shared_array<T>: T must be trivially copyable and hold no pointer, reference, view or union: they mean "
      "nothing in another process");
  static_assert(alignof(T) <= 4096, "shared_array<T>: T must not be aligned to more than a page");

 public:
  using value_type = T;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = T&;
  using pointer = T*;
  using iterator = T*;

  /// No elements; takes neither memory nor a descriptor.
  shared_array() noexcept = default;

  /// `size` elements all of whose bytes are zero.
  /// @throws std::bad_alloc if there is no such memory, std::system_error if this process may have no more descriptors
  explicit shared_array(size_type size) {
    if (size > (std::numeric_limits<std::size_t>::max)() / sizeof(T)) {
      throw std::bad_array_new_length{};
    }
    if (size > 0) {
      hold(std::make_shared<detail::SharedMemory>(size * sizeof(T)));
    }
  }

  /// Copies of `values`. @throws as above
  explicit shared_array(std::span<const T> values) : shared_array(values.size()) {
    if (!values.empty()) {
      std::memcpy(data_, values.data(), values.size_bytes());
    }
  }

  shared_array(const shared_array&) noexcept = default;
  shared_array& operator=(const shared_array&) noexcept = default;
  /// Leaves `other` without elements.
  shared_array(shared_array&& other) noexcept
      : memory_{std::move(other.memory_)},
        data_{std::exchange(other.data_, nullptr)},
        size_{std::exchange(other.size_, 0)} {}
  shared_array& operator=(shared_array&& other) noexcept {
    shared_array taken{std::move(other)};
    std::swap(memory_, taken.memory_);
    std::swap(data_, taken.data_);
    std::swap(size_, taken.size_);
    return *this;
  }
  ~shared_array() = default;

  /// The elements, also of a const shared_array, which like a std::span is only a way to them.
  T* data() const noexcept { return data_; }
  size_type size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  T& operator[](size_type index) const noexcept { return data_[index]; }
  T* begin() const noexcept { return data_; }
  T* end() const noexcept { return data_ + size_; }
  std::span<T> span() const noexcept { return {data_, size_}; }

 private:
  friend struct pickler<shared_array>;

  void hold(std::shared_ptr<detail::SharedMemory> memory) noexcept {
    memory_ = std::move(memory);
    data_ = static_cast<T*>(memory_->begin());
    size_ = memory_->bytes() / sizeof(T);
  }

  std::shared_ptr<detail::SharedMemory> memory_;  // null where there are no elements
  T* data_ = nullptr;
  size_type size_ = 0;
};

/// A shared_array travels as a handle, which the process that receives it must use while the sender still has the array.
/// Loading throws PickleError where that is not so, or where the handle is no such thing.
template <class T>
struct pickler<shared_array<T>> {
  static void save(Pickler& out, const shared_array<T>& array) {
    if (array.empty()) {
      out(detail::SharedHandle{});
    } else {
      out(array.memory_->handle());
      out.keep(array.memory_);
    }
  }

  static shared_array<T> load(Unpickler& in) {
    const auto handle = in.get<detail::SharedHandle>();
    shared_array<T> array;
    if (handle.bytes % sizeof(T) != 0) {
      throw PickleError{"shared_array: " + std::to_string(handle.bytes) + " bytes are no elements of " +
                        std::to_string(sizeof(T)) + " bytes"};
    }
    if (handle.bytes > 0) {
      array.hold(std::make_shared<detail::SharedMemory>(handle));
    }
    return array;
  }
};

}  // namespace conc::inline CONC_ABI
