// SPDX-License-Identifier: MIT
// What goes to the workers of a ProcessPoolExecutor and comes back: sizes, and values that cannot be sent after all.
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <conc/error.hpp>
#include <conc/future.hpp>
#include <conc/pickle.hpp>
#include <conc/process_pool.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "background.hpp"
#include "gate.hpp"
#include "processes.hpp"
#include "support.hpp"
#include "worker_tasks.hpp"

namespace {

using conc::ProcessPoolExecutor;
using conc_test::contains;
using conc_test::message_of;
using conc_test::outcome;

/// Where a value throws.
enum class Place : int { nowhere, saved_by_program, loaded_by_worker, saved_by_worker, loaded_by_program };

/// A value that throws when it is pickled or unpickled in one of four places.
struct Grenade {
  Place place;
  int value;
};

const int program = ::getpid();
bool in_program() { return ::getpid() == program; }

/// Bytes that look like chance; eight at a time, as there may be many.
std::vector<std::uint8_t> pattern(std::size_t size) {
  std::vector<std::uint8_t> bytes(size);
  std::uint64_t state = 1;
  for (std::size_t at = 0; at < size; at += sizeof state) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    std::memcpy(bytes.data() + at, &state, std::min(sizeof state, size - at));
  }
  return bytes;
}
std::uint64_t checksum(const std::vector<std::uint8_t>& bytes) {
  std::uint64_t sum = bytes.size();
  for (std::size_t at = 0; at < bytes.size(); at += sizeof sum) {
    std::uint64_t part = 0;
    std::memcpy(&part, bytes.data() + at, std::min(sizeof part, bytes.size() - at));
    sum = (sum ^ part) * 1099511628211U;
  }
  return sum;
}
std::vector<std::uint8_t> echo(std::vector<std::uint8_t> bytes) { return bytes; }
Grenade pass(Grenade grenade) { return {grenade.place, grenade.value + 1}; }

/// A list so deep that whoever goes through it by recursion has no stack left.
struct Link {
  std::unique_ptr<Link> next;

  Link() = default;
  Link(Link&&) = default;
  Link& operator=(Link&&) = default;
  ~Link() {
    for (std::unique_ptr<Link> rest = std::move(next); rest != nullptr;) rest = std::move(rest->next);
  }
  template <class Ar>
  void pickle(Ar& ar) {
    ar(next);
  }
};
Link chain(int links) {
  Link first;
  for (int i = 1; i < links; ++i) {
    auto next = std::make_unique<Link>();
    next->next = std::move(first.next);
    first.next = std::move(next);
  }
  return first;
}
int length_of(const Link& first) {
  int length = 1;
  for (const Link* link = first.next.get(); link != nullptr; link = link->next.get()) ++length;
  return length;
}

/// The most memory that this process has had at once, in bytes.
std::size_t peak() {
  std::ifstream status{"/proc/self/status"};
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoul(line.substr(6)) * 1024;
  }
  return 0;
}
void forget_peak() { std::ofstream{"/proc/self/clear_refs"} << "5"; }

}  // namespace

template <>
struct conc::pickler<Grenade> {
  static void save(Pickler& ar, const Grenade& grenade) {
    ar(grenade.place, grenade.value);
    if (grenade.place == (in_program() ? Place::saved_by_program : Place::saved_by_worker)) {
      throw std::domain_error{"cannot be saved"};
    }
  }
  static Grenade load(Unpickler& ar) {
    Grenade grenade{};
    ar(grenade.place, grenade.value);
    if (grenade.place == (in_program() ? Place::loaded_by_program : Place::loaded_by_worker)) {
      throw std::domain_error{"cannot be loaded"};
    }
    return grenade;
  }
};

TEST_CASE("ProcessPoolExecutor: arguments and results of every size arrive as they are",
          "[process_pool][payload][FC6]") {
  ProcessPoolExecutor pool{1};
  std::vector<std::size_t> sizes{0, 1, 2, 4095, 4096, 1'000'000};
  for (std::size_t size = 65'450; size <= 65'540; ++size) sizes.push_back(size);  // where a pipe, or a buffer, is full
  for (std::size_t size = 131'000; size <= 131'080; size += 7) sizes.push_back(size);
  for (const std::size_t size : sizes) {
    const auto bytes = pattern(size);
    CHECK(pool.submit(&checksum, bytes).result() == checksum(bytes));
    CHECK(pool.submit(&pattern, size).result() == bytes);
    CHECK(pool.submit(&echo, bytes).result() == bytes);
  }
  CHECK(pool.worker_pids().size() == 1);
}

TEST_CASE("ProcessPoolExecutor: many calls of mixed sizes, one behind the other", "[process_pool][payload]") {
  ProcessPoolExecutor pool{2};
  std::vector<conc::Future<std::vector<std::uint8_t>>> futures;
  std::vector<std::size_t> sizes;
  std::uint32_t state = 7;
  for (int i = 0; i < conc_test::scaled(600); ++i) {
    state = state * 1664525U + 1013904223U;
    sizes.push_back(i % 50 == 0 ? 300'000 : (state >> 16U) % 3'000);
    futures.push_back(pool.submit(&echo, pattern(sizes.back())));
  }
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < futures.size(); ++i) wrong += futures[i].result() == pattern(sizes[i]) ? 0U : 1U;
  CHECK(wrong == 0);
}

TEST_CASE("ProcessPoolExecutor: forty megabytes each way, in a few times as much memory",
          "[process_pool][payload][FC6]") {
  constexpr std::size_t size = conc_test::sanitizer() == conc_test::Sanitizer::none ? 40'000'000 : 10'000'000;
  ProcessPoolExecutor pool{1};
  CHECK(pool.submit(&conc_test::pid).result() != ::getpid());
  forget_peak();
  auto bytes = pattern(size);
  const std::uint64_t sum = checksum(bytes);
  CHECK(pool.submit(&checksum, bytes).result() == sum);
  const auto peak_of_worker = [&pool] { return pool.submit(&peak).result(); };
  const std::size_t worker_argument = peak_of_worker();
  CHECK(pool.submit(&pattern, size).result() == bytes);
  const std::size_t worker_result = peak_of_worker();
  bytes = {};
  CHECK(checksum(pool.submit(&pattern, size).result()) == sum);
  if (conc_test::sanitizer() == conc_test::Sanitizer::none) {
    CHECK(worker_argument <= size + 10'000'000);    // straight to where it belongs
    CHECK(worker_result <= 2 * size + 10'000'000);  // the value and its bytes
    CHECK(peak() <= 4 * size + 10'000'000);
  }
}

TEST_CASE("ProcessPoolExecutor: more than two gigabytes each way", "[process_pool][payload][FC6][long]") {
  if (!conc_test::long_form() || conc_test::sanitizer() != conc_test::Sanitizer::none) return;
  constexpr std::size_t two_gigabytes = std::size_t{1} << 31U;
  for (const std::size_t size : {two_gigabytes - 1, two_gigabytes, two_gigabytes + 1, 2 * two_gigabytes + 1}) {
    ProcessPoolExecutor pool{1};
    {
      const std::string text(size, 'g');
      CHECK(
          pool.submit([](const std::string& got) { return got.size() + (got.back() == 'g' ? 0 : 1); }, text).result() ==
          size);
    }
    const auto made = pool.submit([](std::size_t bytes) { return std::string(bytes, 'r'); }, size);
    CHECK(made.result().size() == size);
    CHECK(made.result().back() == 'r');
  }
}

TEST_CASE("ProcessPoolExecutor: a value that cannot be encoded or decoded fails its own future, and nothing else",
          "[process_pool][payload][P3][P5][FC1][FC2][FC3]") {
  ProcessPoolExecutor pool{1};
  const int worker = pool.submit(&conc_test::pid).result();
  for (const Place place :
       {Place::saved_by_program, Place::loaded_by_worker, Place::saved_by_worker, Place::loaded_by_program}) {
    const auto before = pool.submit(&pass, Grenade{Place::nowhere, 1});
    const auto future = pool.submit(&pass, Grenade{place, 1});
    const auto after = pool.submit(&pass, Grenade{Place::nowhere, 2});
    CHECK(contains(message_of<std::domain_error>([&] { future.result(); }), "cannot be"));
    CHECK(before.result().value == 2);
    CHECK(after.result().value == 3);
  }
  CHECK(pool.wait_idle(conc::never));
  CHECK(pool.submit(&conc_test::pid).result() == worker);
  CHECK(pool.stats().died == 0);
  CHECK(outcome([&] { pool.detach(&pass, Grenade{Place::saved_by_program, 1}); }) == "cannot be saved");
}

TEST_CASE("ProcessPoolExecutor: a large argument that the worker stops decoding is skipped",
          "[process_pool][payload][FC3]") {
  ProcessPoolExecutor pool{1};
  const int worker = pool.submit(&conc_test::pid).result();
  for (const std::size_t size : {std::size_t{100}, std::size_t{70'000}, std::size_t{5'000'000}}) {
    const auto future = pool.submit([](const Grenade&, const std::string& text) { return text.size(); },
                                    Grenade{Place::loaded_by_worker, 1}, std::string(size, 'a'));
    const auto next = pool.submit(&pattern, std::size_t{10});
    CHECK(contains(message_of<std::domain_error>([&] { future.result(); }), "cannot be loaded"));
    CHECK(next.result() == pattern(10));
  }
  CHECK(pool.submit(&conc_test::pid).result() == worker);
}

TEST_CASE("ProcessPoolExecutor: values in values a million deep are a PickleError, here and there",
          "[process_pool][payload][FC8]") {
  ProcessPoolExecutor pool{1};
  const int worker = pool.submit(&conc_test::pid).result();
  CHECK(pool.submit(&length_of, chain(400)).result() == 400);
  const int deep = conc_test::scaled(1'000'000);
  const auto argument = pool.submit(&length_of, chain(deep));
  CHECK(contains(message_of<conc::PickleError>([&] { argument.result(); }), "too deep"));
  const auto result = pool.submit(&chain, deep);
  CHECK(contains(message_of<conc::PickleError>([&] { result.result(); }), "too deep"));
  CHECK(pool.submit(&conc_test::pid).result() == worker);
}

TEST_CASE("ProcessPoolExecutor: a result that only moves comes through", "[process_pool][payload]") {
  ProcessPoolExecutor pool{1};
  auto future =
      pool.submit([](std::unique_ptr<int> x) { return std::make_unique<int>(*x + 1); }, std::make_unique<int>(4));
  CHECK(*std::move(future).result() == 5);
}
