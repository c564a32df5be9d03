// SPDX-License-Identifier: MIT
#include "series.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <numbers>
#include <random>
#include <stdexcept>
#include <string_view>
#include <system_error>

namespace draw_charts {
namespace {

constexpr std::string_view kBlanks = " \t\r";
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr double kLargest = 1e100;  // sums and differences stay finite

std::string_view strip(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  for (;;) {
    const std::size_t comma = line.find(',');
    fields.push_back(strip(line.substr(0, comma)));
    if (comma == line.npos) return fields;
    line.remove_prefix(comma + 1);
  }
}

/// How many bytes follow the first one of a character in UTF-8; -1: it is no first one.
int followers(unsigned char first) {
  if (first < 0x80) return 0;
  if (first >= 0xc2 && first < 0xe0) return 1;
  if (first >= 0xe0 && first < 0xf0) return 2;
  if (first >= 0xf0 && first < 0xf5) return 3;
  return -1;
}

/// Whether it is UTF-8 without control characters.
bool is_text(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto first = static_cast<unsigned char>(text[i]);
    const int more = followers(first);
    if (first < ' ' || first == 0x7f || more < 0) return false;
    std::uint32_t code = first & (0xffU >> (more + 1));
    for (int k = 0; k < more; ++k) {
      if (++i == text.size() || (static_cast<unsigned char>(text[i]) & 0xc0U) != 0x80) return false;
      code = code << 6 | (static_cast<unsigned char>(text[i]) & 0x3fU);
    }
    const bool overlong = (more == 2 && code < 0x800) || (more == 3 && code < 0x10000);
    const bool surrogate = code >= 0xd800 && code < 0xe000;
    if (overlong || surrogate || code > 0x10ffff) return false;
  }
  return true;
}

double number_of(std::string_view field) {
  double number = 0;
  const char* const end = field.data() + field.size();
  const auto [stopped_at, error] = std::from_chars(field.data(), end, number);
  if (error == std::errc::result_out_of_range || (error == std::errc{} && !(std::abs(number) <= kLargest))) {
    throw std::runtime_error("'" + std::string(field) + "' is out of range");
  }
  if (error != std::errc{} || stopped_at != end) {
    throw std::runtime_error(is_text(field) ? "'" + std::string(field) + "' is no number" : "there is no number");
  }
  return number;
}

/// The lines of one file become series.
class Reader {
 public:
  void read(std::string_view line) {
    const std::vector<std::string_view> fields = fields_of(line);
    if (names_.empty()) {
      read_names(fields);
    } else {
      read_numbers(fields);
    }
  }

  std::vector<Series> finish() const {
    if (names_.empty()) throw std::runtime_error("is empty");
    if (columns_[0].size() < 2) throw std::runtime_error("a line needs two points at least");
    std::vector<Series> all;
    for (std::size_t i = 1; i < names_.size(); ++i) {
      all.push_back({.name = names_[i], .x = columns_[0], .y = columns_[i]});
    }
    return all;
  }

 private:
  void read_names(const std::vector<std::string_view>& fields) {
    if (fields.size() < 2) throw std::runtime_error("there must be two columns at least, with commas between them");
    for (const std::string_view name : fields) {
      if (!is_text(name)) throw std::runtime_error("a name is no text in UTF-8");
      if (name.find('"') != name.npos) throw std::runtime_error("quotes are not understood");
    }
    names_.assign(fields.begin(), fields.end());
    columns_.resize(fields.size());
  }

  void read_numbers(const std::vector<std::string_view>& fields) {
    if (fields.size() != names_.size()) {
      throw std::runtime_error(std::to_string(fields.size()) + " fields, but the first line has " +
                               std::to_string(names_.size()));
    }
    for (std::size_t i = 0; i < fields.size(); ++i) columns_[i].push_back(number_of(fields[i]));
  }

  std::vector<std::string> names_;
  std::vector<std::vector<double>> columns_;
};

/// 200 steps of a function, with x from `first` to `last`.
template <class F>
Series curve(const char* name, double first, double last, F function) {
  constexpr int kSteps = 200;
  Series series{.name = name, .x = {}, .y = {}};
  for (int i = 0; i <= kSteps; ++i) {
    series.x.push_back(first + (last - first) * i / kSteps);
    series.y.push_back(function(series.x.back()));
  }
  return series;
}

}  // namespace

std::vector<Series> built_in_series() {
  constexpr double kPi = std::numbers::pi;
  std::mt19937 random;  // always begins with the same seed
  double walked = 0;
  return {
      curve("sine", 0, 4 * kPi, [](double x) { return std::sin(x); }),
      curve("beats", 0, 10, [](double x) { return std::sin(10 * x) + std::sin(11 * x); }),
      curve("fading", 0, 10, [](double x) { return 100 * std::exp(-x / 3) * std::cos(4 * x); }),
      curve("sinc", -20, 20, [](double x) { return x == 0 ? 1 : std::sin(x) / x; }),
      curve("bell", -4, 4, [](double x) { return std::exp(-x * x / 2) / std::sqrt(2 * kPi); }),
      curve("random walk", 0, 200, [&](double) { return walked += random() % 2 == 0 ? 1 : -1; }),
  };
}

std::vector<Series> read_series(const std::string& file) {
  errno = 0;
  std::ifstream input(file);
  if (!input) throw std::system_error(errno, std::generic_category(), file);
  Reader reader;
  std::string line;
  std::size_t number = 1;
  for (; std::getline(input, line); ++number) {
    std::string_view text = line;
    if (number == 1 && text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    if (strip(text).empty()) continue;
    try {
      reader.read(text);
    } catch (const std::runtime_error& e) {
      throw std::runtime_error(file + ": line " + std::to_string(number) + ": " + e.what());
    }
  }
  if (input.bad()) throw std::system_error(errno, std::generic_category(), file);
  try {
    return reader.finish();
  } catch (const std::runtime_error& e) {
    throw std::runtime_error(file + ": " + e.what());
  }
}

}  // namespace draw_charts
