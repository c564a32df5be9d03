// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <conc/detail/descriptor.hpp>
#include <conc/error.hpp>
#include <conc/pickle.hpp>
#include <conc/shared_array.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <limits>
#include <new>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "support.hpp"

using conc::PickleError;
using conc::shared_array;
using conc::detail::Descriptor;
using conc::detail::SharedHandle;
using conc::pickle::dumps;
using conc::pickle::loads;

namespace {

struct Point {
  double x = 0;
  double y = 0;
};

void write_all(int to, const void* from, std::size_t size) {
  const auto* next = static_cast<const char*>(from);
  while (size > 0) {
    const ssize_t n = ::write(to, next, size);
    if (n <= 0) std::abort();
    next += n;
    size -= static_cast<std::size_t>(n);
  }
}

/// Whether so much came before the end.
bool read_all(int from, void* into, std::size_t size) {
  auto* next = static_cast<char*>(into);
  while (size > 0) {
    const ssize_t n = ::read(from, next, size);
    if (n <= 0) return false;
    next += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

/// A pipe that texts go through.
struct TextPipe {
  TextPipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    read_end = Descriptor{ends[0]};
    write_end = Descriptor{ends[1]};
  }

  void send(const std::string& text) const {
    const std::size_t size = text.size();
    write_all(write_end.number(), &size, sizeof size);
    write_all(write_end.number(), text.data(), size);
  }

  /// Nothing when the other end was closed.
  std::optional<std::string> receive() const {
    std::size_t size = 0;
    if (!read_all(read_end.number(), &size, sizeof size)) return std::nullopt;
    std::string text(size, '\0');
    if (!read_all(read_end.number(), text.data(), size)) return std::nullopt;
    return text;
  }

  Descriptor read_end;
  Descriptor write_end;
};

/// A child of this process that runs `serve(peer)` and ends with the exit status that it returns. It has the descriptors
/// of peers that are there already, so they must not wait for their end before this one has ended.
class Peer {
 public:
  template <class Serve>
  explicit Peer(Serve serve) : pid_{::fork()} {
    if (pid_ < 0) std::abort();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      to_child_.write_end.close();
      to_parent_.read_end.close();
      std::swap(to_child_, to_parent_);  // the same functions for both
      int status = 99;
      try {
        status = serve(*this);
      } catch (...) {
      }
      ::_exit(status);
    }
    to_child_.read_end.close();
    to_parent_.write_end.close();
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      join();
    }
  }

  pid_t pid() const { return pid_; }
  void send(const std::string& text) const { to_child_.send(text); }
  std::optional<std::string> receive() const { return to_parent_.receive(); }

  int join() {
    to_child_.write_end.close();
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  TextPipe to_child_;
  TextPipe to_parent_;
  pid_t pid_;
};

SharedHandle handle_in(const std::string& bytes) {
  SharedHandle handle{};
  REQUIRE(bytes.size() == sizeof handle);
  std::memcpy(&handle, bytes.data(), sizeof handle);
  return handle;
}

std::string bytes_of(const SharedHandle& handle) { return dumps(handle); }

/// What a descriptor of this process leads to, as a handle.
SharedHandle handle_to(int descriptor, std::uint64_t bytes) {
  struct stat status {};
  REQUIRE(::fstat(descriptor, &status) == 0);
  return {bytes, ::getpid(), descriptor, status.st_dev, status.st_ino};
}

std::string error_of(const std::string& bytes) {
  try {
    loads<shared_array<int>>(bytes);
  } catch (const PickleError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("shared_array: is an array of zeros", "[shared_array]") {
  const shared_array<int> numbers(1000);
  CHECK(numbers.size() == 1000);
  CHECK_FALSE(numbers.empty());
  CHECK(std::ranges::count(numbers, 0) == 1000);
  std::iota(numbers.begin(), numbers.end(), 0);
  CHECK(numbers[999] == 999);
  CHECK(numbers.data() == &numbers[0]);
  CHECK(numbers.span().back() == 999);
  CHECK(numbers.end() - numbers.begin() == 1000);
  STATIC_CHECK(conc::picklable<shared_array<Point>>);
  STATIC_CHECK(conc::picklable<std::vector<shared_array<char>>>);
}

TEST_CASE("shared_array: copies values, and copies of it are the same array", "[shared_array]") {
  const std::vector<Point> points{{1, 2}, {3, 4}};
  shared_array<Point> first{points};
  CHECK(first.size() == 2);
  CHECK(first[1].y == 4);
  const shared_array<Point> second = first;
  first[0].x = 5;
  CHECK(second[0].x == 5);
  CHECK(points[0].x == 1);
  const shared_array<Point> third = std::move(first);
  CHECK(third.data() == second.data());
  CHECK(first.empty());
  CHECK(first.data() == nullptr);
  STATIC_CHECK(std::is_nothrow_move_assignable_v<shared_array<Point>>);
  first = second;
  auto& itself = first;
  first = std::move(itself);
  CHECK(first.data() == second.data());
}

TEST_CASE("shared_array: an empty one takes no descriptor and can be sent", "[shared_array]") {
  const int next_before = Descriptor{::dup(STDERR_FILENO)}.number();
  const shared_array<int> none;
  const shared_array<int> zero(0);
  const shared_array<int> copied{std::span<const int>{}};
  CHECK(Descriptor{::dup(STDERR_FILENO)}.number() == next_before);
  CHECK(none.empty());
  CHECK(zero.begin() == zero.end());
  CHECK(copied.span().empty());
  CHECK(loads<shared_array<int>>(dumps(zero)).empty());
}

TEST_CASE("shared_array: unpickled in the same process it is the same memory", "[shared_array]") {
  const shared_array<int> sent(10);
  const auto received = loads<shared_array<int>>(dumps(sent));
  REQUIRE(received.size() == 10);
  received[3] = 4;
  CHECK(sent[3] == 4);
  const auto many = loads<std::vector<shared_array<int>>>(dumps(std::vector{sent, shared_array<int>{}, received}));
  REQUIRE(many.size() == 3);
  CHECK(many[2][3] == 4);
  CHECK(many[1].empty());
}

TEST_CASE("shared_array: another process reads what was written and writes what is read", "[shared_array]") {
  Peer peer{[](const Peer& parent) {
    const auto array = loads<shared_array<int>>(parent.receive().value());
    for (int& number : array) number *= 2;
    parent.send("done");
    return array.size() == 100'000 ? 0 : 1;
  }};
  const shared_array<int> array(100'000);  // the child has nothing of it
  std::iota(array.begin(), array.end(), 0);
  peer.send(dumps(array));
  CHECK(peer.receive() == "done");
  bool doubled = true;
  for (std::size_t i = 0; i < array.size(); ++i) doubled = doubled && array[i] == 2 * static_cast<int>(i);
  CHECK(doubled);
  CHECK(peer.join() == 0);
}

TEST_CASE("shared_array: who has received one can send it on when the first owner is gone", "[shared_array]") {
  Peer middle{[](const Peer& parent) {
    const auto array = loads<shared_array<int>>(parent.receive().value());
    parent.send(dumps(array));
    array[2] = 30;
    parent.receive();
    return 0;
  }};
  std::string pickled;
  {
    Peer maker{[](const Peer& parent) {
      const shared_array<int> array{std::vector{1, 2, 3}};
      parent.send(dumps(array));
      parent.receive();  // until it was received
      return 0;
    }};
    middle.send(maker.receive().value());
    pickled = middle.receive().value();
    CHECK(maker.join() == 0);
  }
  const auto back = loads<shared_array<int>>(pickled);
  CHECK(middle.join() == 0);
  CHECK(back[0] == 1);
  CHECK(back[2] == 30);
}

TEST_CASE("shared_array: PickleError says whose array is gone", "[shared_array]") {
  Peer peer{[](const Peer& parent) {
    const shared_array<int> array(10);
    parent.send(dumps(array));
    parent.receive();
    return 0;
  }};
  const std::string pickled = peer.receive().value();
  const std::string pid = std::to_string(peer.pid());
  ::kill(peer.pid(), SIGKILL);
  CHECK(peer.join() == -SIGKILL);
  CHECK(error_of(pickled) ==
        "shared_array: process " + pid + " is gone, or has dropped the array before it was received here");

  std::string own;
  {
    const shared_array<int> dropped(10);
    own = dumps(dropped);
  }
  CHECK(error_of(own).starts_with("shared_array: process " + std::to_string(::getpid()) + " is gone, or has dropped"));
}

TEST_CASE("shared_array: a Pickler keeps what it has pickled", "[shared_array]") {
  conc::detail::ByteBuffer bytes;
  std::optional<conc::Pickler> out{std::in_place, bytes};
  const auto pickle = [&out] {
    const shared_array<int> array{std::vector{7}};
    (*out)(array, shared_array<int>{});
  };
  pickle();
  CHECK(out->kept().size() == 1);
  {
    conc::Unpickler in{std::span{bytes.data(), bytes.size()}};
    CHECK(in.get<shared_array<int>>()[0] == 7);
  }
  out.reset();
  conc::Unpickler in{std::span{bytes.data(), bytes.size()}};
  CHECK_THROWS_AS(in.get<shared_array<int>>(), PickleError);
}

TEST_CASE("shared_array: a handle with any byte changed is the same array or a PickleError", "[shared_array][FC7]") {
  const shared_array<int> array(10);
  array[9] = 42;
  const std::string right = dumps(array);
  std::size_t refused = 0;
  std::size_t same = 0;  // by the number of another thread of this process
  for (std::size_t at = 0; at < right.size(); ++at) {
    for (const int flip : {1, 2, 4, 8, 16, 32, 64, 128, 255}) {
      std::string changed = right;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      try {
        const auto received = loads<shared_array<int>>(changed);
        same += received.size() == 10 && received[9] == 42 ? 1U : 0U;
      } catch (const PickleError&) {
        ++refused;
      }
    }
  }
  CHECK(refused + same == 9 * right.size());
  CHECK(same <= 9 * sizeof(SharedHandle::process));
  for (std::size_t size = 0; size < right.size(); ++size) {
    CHECK_THROWS_AS(loads<shared_array<int>>(right.substr(0, size)), PickleError);
  }
  CHECK_THROWS_AS(loads<shared_array<int>>(right + "x"), PickleError);
  using Triple = std::array<char, 3>;
  CHECK_THROWS_AS(loads<shared_array<Triple>>(right), PickleError);  // 40 bytes are no elements
}

TEST_CASE("shared_array: a handle to something else is a PickleError", "[shared_array][FC7]") {
  const TextPipe pipe;
  CHECK_THROWS_AS(loads<shared_array<int>>(bytes_of(handle_to(pipe.read_end.number(), 40))), PickleError);
  const Descriptor directory{::open("/tmp", O_RDONLY | O_CLOEXEC)};
  CHECK_THROWS_AS(loads<shared_array<int>>(bytes_of(handle_to(directory.number(), 40))), PickleError);
  const Descriptor null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  CHECK_THROWS_AS(loads<shared_array<int>>(bytes_of(handle_to(null.number(), 40))), PickleError);

  const auto memory = [](unsigned flags, int seals) {
    Descriptor file{::memfd_create("test", MFD_CLOEXEC | flags)};
    REQUIRE(::ftruncate(file.number(), 40) == 0);
    REQUIRE((seals == 0 || ::fcntl(file.number(), F_ADD_SEALS, seals) == 0));
    return file;
  };
  constexpr int right = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  for (const int seals : {0, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SHRINK | F_SEAL_GROW, right | F_SEAL_WRITE}) {
    const Descriptor file = memory(MFD_ALLOW_SEALING, seals);
    CHECK(error_of(bytes_of(handle_to(file.number(), 40))).ends_with("is no shared_array of 40 bytes"));
  }
  const Descriptor unsealable = memory(0, 0);
  CHECK(error_of(bytes_of(handle_to(unsealable.number(), 40))).ends_with("is no shared_array of 40 bytes"));
  const Descriptor sealed = memory(MFD_ALLOW_SEALING, right);
  CHECK(loads<shared_array<int>>(bytes_of(handle_to(sealed.number(), 40))).size() == 10);
  CHECK(error_of(bytes_of(handle_to(sealed.number(), 44))).ends_with("is no shared_array of 44 bytes"));
}

TEST_CASE("shared_array: nobody who has it can take its pages away", "[shared_array]") {
  const shared_array<int> array(2000);
  const SharedHandle handle = handle_in(dumps(array));
  const Descriptor own{::open(("/proc/self/fd/" + std::to_string(handle.descriptor)).c_str(), O_RDWR | O_CLOEXEC)};
  REQUIRE(own.is_open());
  CHECK(::ftruncate(own.number(), 0) == -1);
  CHECK(errno == EPERM);
  CHECK(::ftruncate(own.number(), 1 << 20) == -1);
  CHECK(::fcntl(own.number(), F_ADD_SEALS, F_SEAL_WRITE) == -1);
}

TEST_CASE("shared_array: without a free descriptor it throws std::system_error and later works again",
          "[shared_array][FW12]") {
  const shared_array<int> sent(10);
  const std::string pickled = dumps(sent);
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit none_free = before;
  none_free.rlim_cur = static_cast<rlim_t>(Descriptor{::dup(STDERR_FILENO)}.number());
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none_free) == 0);
  const auto failure_of = [](auto fn) {
    try {
      fn();
    } catch (...) {
      return std::current_exception();
    }
    return std::exception_ptr{};
  };
  const std::exception_ptr created = failure_of([] { shared_array<int>(10); });
  const std::exception_ptr received = failure_of([&pickled] { loads<shared_array<int>>(pickled); });
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  for (const std::exception_ptr& failure : {created, received}) {
    try {
      REQUIRE(failure != nullptr);
      std::rethrow_exception(failure);
    } catch (const std::system_error& error) {
      CHECK(error.code() == std::errc::too_many_files_open);
    }
  }
  CHECK(shared_array<int>(10).size() == 10);
  CHECK(loads<shared_array<int>>(pickled).size() == 10);
}

TEST_CASE("shared_array: more than there can be is std::bad_alloc", "[shared_array][FW12]") {
  constexpr std::size_t most = (std::numeric_limits<std::size_t>::max)();
  for (const std::size_t size : {most, most / 2, most / 8, most / 8 + 1, most / 32}) {
    CHECK_THROWS_AS(shared_array<double>(size), std::bad_alloc);
  }
}

TEST_CASE("shared_array: more than 4 GiB arrive whole", "[shared_array][FC6]") {
  constexpr std::size_t size = (std::size_t{1} << 32) + 3;
  const shared_array<char> array(size);  // its pages are taken as they are written
  array[size - 1] = 'x';
  const auto received = loads<shared_array<char>>(dumps(array));
  CHECK(received.size() == size);
  CHECK(received[size - 1] == 'x');
  CHECK(received[size / 2] == 0);
}

TEST_CASE("shared_array: a process that was forked and closed all descriptors neither sends it nor closes another's",
          "[shared_array]") {
  std::optional<shared_array<int>> array{std::vector{1, 2}};
  const int number = handle_in(dumps(*array)).descriptor;
  Peer peer{[&array, number](const Peer& parent) {
    ::close(number);
    if (::fcntl(STDERR_FILENO, F_DUPFD, number) != number) return 1;
    (*array)[0] = 10;  // the memory is still there
    try {
      dumps(*array);
      return 2;
    } catch (const PickleError& error) {
      parent.send(error.what());
    }
    array.reset();
    return ::fcntl(number, F_GETFD) == 0 ? 0 : 3;
  }};
  CHECK(peer.receive() == "shared_array: its descriptor " + std::to_string(number) + " was closed");
  CHECK(peer.join() == 0);
  CHECK((*array)[0] == 10);
}

TEST_CASE("shared_array: a process that was forked sends it as its own", "[shared_array]") {
  shared_array<int> array{std::vector{1, 2}};
  Peer peer{[&array](const Peer& parent) {
    parent.send(dumps(array));
    parent.receive();
    return 0;
  }};
  const std::string pickled = peer.receive().value();
  array = {};
  CHECK(handle_in(pickled).process == peer.pid());
  CHECK(loads<shared_array<int>>(pickled)[1] == 2);
  CHECK(peer.join() == 0);
}

TEST_CASE("shared_array: processes count in it with std::atomic_ref", "[shared_array][stress]") {
  const int rounds = conc_test::scaled(100'000);
  const auto count = [rounds](const Peer& parent) {
    const auto array = loads<shared_array<int>>(parent.receive().value());
    const std::atomic_ref<int> counter{array[0]};
    for (int i = 0; i < rounds; ++i) counter.fetch_add(1, std::memory_order_relaxed);
    return 0;
  };
  Peer first{count};
  Peer second{count};
  const shared_array<int> array(1);
  first.send(dumps(array));
  second.send(dumps(array));
  CHECK(first.join() == 0);
  CHECK(second.join() == 0);
  CHECK(array[0] == 2 * rounds);
}
