// SPDX-License-Identifier: MIT
#include "url_file.hpp"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string_view>
#include <system_error>

namespace fetch_urls {
namespace {

constexpr std::string_view kBlanks = " \t\r";
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

/// The line without what does not matter.
std::string_view strip(std::string_view line) {
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '#' && (i == 0 || kBlanks.find(line[i - 1]) != kBlanks.npos)) line = line.substr(0, i);
  }
  const std::size_t first = line.find_first_not_of(kBlanks);
  if (first == line.npos) return {};
  return line.substr(first, line.find_last_not_of(kBlanks) - first + 1);
}

bool is_control_or_blank(char c) { return static_cast<unsigned char>(c) <= ' ' || c == '\x7f'; }

std::vector<std::string> read_urls(std::istream& input, const std::string& name) {
  std::vector<std::string> urls;
  std::string line;
  for (std::size_t number = 1; std::getline(input, line); ++number) {
    const bool marked = number == 1 && line.starts_with(kByteOrderMark);
    const std::string_view url = strip(std::string_view(line).substr(marked ? kByteOrderMark.size() : 0));
    if (std::any_of(url.begin(), url.end(), is_control_or_blank)) {
      throw std::runtime_error(name + ": line " + std::to_string(number) +
                               " is no URL: it has blanks or control characters");
    }
    if (!url.empty()) urls.emplace_back(url);
  }
  if (input.bad()) throw std::system_error(errno, std::generic_category(), name);
  return urls;
}

}  // namespace

std::vector<std::string> read_urls(const std::string& file) {
  if (file == "-") return read_urls(std::cin, "standard input");
  errno = 0;
  std::ifstream input(file);
  if (!input) throw std::system_error(errno, std::generic_category(), file);
  return read_urls(input, file);
}

}  // namespace fetch_urls
