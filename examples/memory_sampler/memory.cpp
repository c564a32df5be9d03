// SPDX-License-Identifier: MIT
#include "memory.hpp"

#include <cerrno>
#include <fstream>
#include <stdexcept>
#include <string>
#include <system_error>

namespace memory_sampler {

std::uint64_t proportional_set_size() {
  const std::string file = "/proc/self/smaps_rollup";
  errno = 0;
  std::ifstream input(file);
  if (!input) throw std::system_error(errno, std::generic_category(), file);
  std::uint64_t kib = 0;
  for (std::string word; input >> word;) {
    if (word == "Pss:" && input >> kib) return kib * 1024;
  }
  throw std::runtime_error(file + ": has no Pss");
}

}  // namespace memory_sampler
