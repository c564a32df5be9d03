// SPDX-License-Identifier: MIT
/// @file
/// Makes programs for crash_proof: most are harmless, and a few are not.
#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

namespace fs = std::filesystem;

namespace crash_proof {
namespace {

constexpr const char* kDescription =
    "Makes programs for crash_proof: in each ten one crashes, hangs, takes all memory or is wrong, in turns. The same\n"
    "options give the same files.\n\n"
    "Exit code: 0 all are written, 1 some file could not be written, 2 wrong use.\n";

/// The length of the Collatz sequence that begins with `first`.
std::string harmless(std::size_t first) {
  return "n = " + std::to_string(first) +
         ";\n"
         "steps = 0;\n"
         "while 1 < n {\n"
         "  half = n / 2;\n"
         "  if n % 2 == 0 { next = half; }\n"
         "  if n % 2 == 1 { next = 3 * n + 1; }\n"
         "  n = next;\n"
         "  steps = steps + 1;\n"
         "}\n"
         "print \"" +
         std::to_string(first) + " reaches 1 after \" + steps + \" steps\";\n";
}

std::string nested(std::size_t depth) {
  return "print " + std::string(depth, '(') + "1" + std::string(depth, ')') + ";\n";
}

struct Program {
  std::string name;
  std::string text;
};

Program program_of(std::size_t number) {
  char digits[24];
  std::snprintf(digits, sizeof(digits), "%06zu", number);
  const std::vector<Program> harmful = {{"deep", nested(200'000)},
                                        {"endless", "while 1 { }\n"},
                                        {"hungry", "text = \"x\";\nwhile 1 { text = text + text; }\n"},
                                        {"failing", "assert 2 + 2 == 5;\n"},
                                        {"wrong", "print \"1 + 1 = \" + (1 + 1;\n"}};
  const Program chosen =
      number % 10 == 9 ? harmful[number / 10 % harmful.size()] : Program{"harmless", harmless(number + 1)};
  return {std::string(digits) + "-" + chosen.name + ".calc", chosen.text};
}

void write(const fs::path& folder, const Program& program) {
  const fs::path name = folder / program.name;
  errno = 0;
  std::ofstream file(name, std::ios::binary);
  file << program.text;
  file.close();
  if (!file) throw std::system_error(errno, std::generic_category(), name.string());
}

}  // namespace
}  // namespace crash_proof

int main(int argc, char** argv) {
  fs::path output;
  std::size_t number = 100;
  CLI::App app{crash_proof::kDescription};
  app.add_option("--output", output, "Folder for the programs; made if there is none")->required();
  app.add_option("--number", number, "How many")->check(CLI::Range(1, 1'000'000))->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  try {
    fs::create_directories(output);
    for (std::size_t i = 0; i < number; ++i) crash_proof::write(output, crash_proof::program_of(i));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "make_programs: %s\n", e.what());
    return 1;
  }
  return 0;
}
