// SPDX-License-Identifier: MIT
// For libFuzzer: the first byte says which type the others are loaded as, and whether they arrive in pieces. The target
// "fuzz" compiles and runs it.
#include <conc/pickle.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <fstream>
#include <queue>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "pickled.hpp"

namespace {

using conc_test::Everything;
using conc_test::SmallTypes;
using MoreTypes = conc_test::Types<Everything, std::deque<std::forward_list<conc_test::Shape>>,
                                   std::priority_queue<std::string>, std::unordered_set<std::string>>;
constexpr std::size_t kTypes = SmallTypes::size + MoreTypes::size;

bool load_or_refuse(std::size_t which, std::string_view bytes) {
  return which < SmallTypes::size ? SmallTypes::load_or_refuse(which, bytes)
                                  : MoreTypes::load_or_refuse(which - SmallTypes::size, bytes);
}

/// Gives no byte that is not needed.
class Pieces : public conc::detail::ByteSource {
 public:
  explicit Pieces(std::string_view bytes) : bytes_{bytes} {}
  std::size_t read(std::byte* into, std::size_t at_least, std::size_t at_most) override {
    if (at_least == 0 || at_least > at_most || at_most > bytes_.size()) std::abort();
    std::memcpy(into, bytes_.data(), at_least);
    bytes_.remove_prefix(at_least);
    return at_least;
  }

 private:
  std::string_view bytes_;
};

void load_in_pieces(std::string_view bytes) {
  Pieces source{bytes};
  conc::Unpickler in{source, bytes.size()};
  try {
    static_cast<void>(in.get<Everything>());
    in.expect_end();
  } catch (const conc::PickleError&) {
  }
}

void write_seed(const std::filesystem::path& folder, std::size_t which, const std::string& bytes) {
  std::ofstream file{folder / ("seed" + std::to_string(which)), std::ios::binary};
  file << static_cast<char>(which) << bytes;
}

}  // namespace

/// Writes a value to begin with into the folder of inputs.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  for (int i = 1; i < *argc; ++i) {
    const std::string argument = (*argv)[i];
    if (!argument.starts_with('-') && std::filesystem::is_directory(argument)) {
      write_seed(argument, SmallTypes::size, conc::pickle::dumps(conc_test::everything()));
      write_seed(argument, kTypes, conc::pickle::dumps(conc_test::everything()));
      write_seed(argument, 2, conc::pickle::dumps(conc_test::everything().tree));
      write_seed(argument, 4, conc::pickle::dumps(*conc_test::everything().shape));
      break;
    }
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes{reinterpret_cast<const char*>(data) + 1, size - 1};
  const std::size_t which = data[0] % (kTypes + 1);
  if (which == kTypes) {
    load_in_pieces(bytes);
  } else {
    static_cast<void>(load_or_refuse(which, bytes));
  }
  return 0;
}
