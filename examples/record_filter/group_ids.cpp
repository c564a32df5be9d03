// SPDX-License-Identifier: MIT
#include "group_ids.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "file.hpp"

namespace record_filter {
namespace {

/// Splits a CSV file into rows of fields. A field in double quotes may hold commas, line breaks and (doubled) quotes.
class CsvReader {
 public:
  explicit CsvReader(const std::filesystem::path& name) : file_(name) {
    // Spreadsheets like to put a byte order mark in front.
    for (const int expected : {0xef, 0xbb, 0xbf}) {
      if (peek() != expected) break;
      take();
    }
  }

  /// Reads the next row that is not an empty line; false at the end of the file.
  bool next(std::vector<std::string>& row) {
    do {
      if (peek() == kEnd) return false;
      row_line_ = line_;
      row.clear();
      do row.push_back(field());
      while (skip(','));
      skip('\r');
      if (peek() != kEnd && !skip('\n')) fail("text after a closing quote");
    } while (row.size() == 1 && row.front().empty());
    return true;
  }

  [[noreturn]] void fail(const std::string& reason) const {
    throw DamagedFile(file_.name(), "line " + std::to_string(row_line_) + ": " + reason);
  }

 private:
  static constexpr int kEnd = -1;

  int peek() {
    if (used_ == size_) {
      used_ = 0;
      size_ = file_.read(buffer_, sizeof(buffer_));
      if (size_ == 0) return kEnd;
    }
    return static_cast<unsigned char>(buffer_[used_]);
  }

  int take() {
    const int c = peek();
    if (c != kEnd) ++used_;
    if (c == '\n') ++line_;
    return c;
  }

  bool skip(char expected) {
    if (peek() != expected) return false;
    take();
    return true;
  }

  std::string field() {
    std::string text;
    if (skip('"')) {
      while (true) {
        const int c = take();
        if (c == kEnd) fail("a quote is not closed");
        if (c == '"' && !skip('"')) return text;
        text += static_cast<char>(c);
      }
    }
    while (peek() != ',' && peek() != '\r' && peek() != '\n' && peek() != kEnd) text += static_cast<char>(take());
    return text;
  }

  InputFile file_;
  char buffer_[65536];
  std::size_t size_ = 0;  // bytes in the buffer
  std::size_t used_ = 0;  // how many of those have been taken
  std::size_t line_ = 1;
  std::size_t row_line_ = 1;  // where the current row starts
};

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  if (hexadecimal) text.remove_prefix(2);
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, hexadecimal ? 16 : 10);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::size_t find_column(const CsvReader& csv, const std::vector<std::string>& header, const std::string& column) {
  const auto found = std::find_if(header.begin(), header.end(), [&](auto& name) { return trimmed(name) == column; });
  if (found != header.end()) return static_cast<std::size_t>(found - header.begin());

  std::string names;
  for (const std::string& name : header) names += (names.empty() ? "" : ", ") + name;
  csv.fail("there is no column '" + column + "', only: " + names);
}

}  // namespace

GroupIds read_group_ids(const std::filesystem::path& name, const std::string& column) {
  CsvReader csv(name);
  std::vector<std::string> row;
  if (!csv.next(row)) csv.fail("the file is empty; a header line with a column '" + column + "' was expected");
  const std::size_t index = find_column(csv, row, column);

  GroupIds ids;
  while (csv.next(row)) {
    if (row.size() <= index) csv.fail("there is no column '" + column + "' in this row");
    const auto id = parse_number(trimmed(row[index]));
    if (!id) csv.fail("'" + row[index] + "' in column '" + column + "' is no group id");
    ids.insert(*id);
  }
  return ids;
}

}  // namespace record_filter
