// SPDX-License-Identifier: MIT
/// @file
/// The FNV-1a hash with 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/. The same bytes give the same number on
/// every machine and in every run, which std::hash does not promise.
#pragma once

#include <cstdint>
#include <string_view>

namespace record_filter {

class Fnv1a {
 public:
  void update(std::string_view bytes) noexcept {
    for (const char c : bytes) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }

  std::uint64_t value() const noexcept { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325;
};

inline std::uint64_t fnv1a(std::string_view bytes) noexcept {
  Fnv1a hash;
  hash.update(bytes);
  return hash.value();
}

}  // namespace record_filter
