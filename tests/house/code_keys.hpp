// SPDX-License-Identifier: MIT
/// What the files of the program code_keys share: calls that are offered to another process, and what they must return.
#pragma once

#include <conc/detail/remote_code.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

struct Offer {
  std::uint64_t hash;
  std::uint64_t offset;
  std::string call;
  std::string expected;
};
using Offers = std::vector<Offer>;

template <class F, class... Args>
void offer(Offers& offers, const std::string& expected, const F& fn, const Args&... args) {
  conc::detail::check_remote_call<F, Args...>();
  conc::detail::ByteBuffer bytes;
  conc::Pickler pickler{bytes};
  conc::detail::save_call<F, Args...>(pickler, fn, args...);
  const conc::detail::CodeKey key = conc::detail::RemoteCode<F, Args...>::key();
  offers.push_back({key.hash, key.offset, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, expected});
}

/// An instantiation of each file that uses it.
template <class T>
std::string twice(T value) {
  return "twice " + std::to_string(value + value);
}

/// Registered by the program.
struct [[gnu::visibility("default")]] ProgramError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// Registered by the shared library and by the plugin alone.
struct [[gnu::visibility("default")]] LibraryError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void offer_others(Offers& offers);   // of the other file
void offer_library(Offers& offers);  // of the shared library
std::string library_function(int n);

// Of the plugin, which is loaded by hand.
extern "C" void offer_plugin(Offers& offers);
