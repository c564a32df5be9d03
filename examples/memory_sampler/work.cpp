// SPDX-License-Identifier: MIT
#include "work.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

namespace memory_sampler {
namespace {

/// n x n numbers, row after row.
class Matrix {
 public:
  explicit Matrix(std::size_t n) : n_(n), values_(n * n) {}

  double* row(std::size_t i) { return values_.data() + i * n_; }
  const double* row(std::size_t i) const { return values_.data() + i * n_; }

 private:
  std::size_t n_;
  std::vector<double> values_;
};

/// Small whole numbers that look like no pattern: (a * i + b * j) mod 10.
Matrix fill(std::size_t n, std::size_t a, std::size_t b) {
  Matrix matrix(n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) matrix.row(i)[j] = static_cast<double>((a * i + b * j) % 10);
  }
  return matrix;
}

Matrix product(const Matrix& a, const Matrix& b, std::size_t n) {
  Matrix result(n);
  for (std::size_t i = 0; i < n; ++i) {
    double* const out = result.row(i);
    for (std::size_t k = 0; k < n; ++k) {
      const double factor = a.row(i)[k];
      const double* const in = b.row(k);
      for (std::size_t j = 0; j < n; ++j) out[j] += factor * in[j];  // along rows, as they lie in memory
    }
  }
  return result;
}

}  // namespace

std::string sort_numbers(std::size_t bytes) {
  std::vector<std::uint32_t> numbers(bytes / sizeof(std::uint32_t));
  std::mt19937 random;  // always begins with the same seed
  std::generate(numbers.begin(), numbers.end(), random);
  std::sort(numbers.begin(), numbers.end());
  return std::to_string(numbers.size()) + " numbers sorted, from " + std::to_string(numbers.front()) + " to " +
         std::to_string(numbers.back());
}

std::string multiply_matrices(std::size_t bytes) {
  const auto n = static_cast<std::size_t>(std::sqrt(static_cast<double>(bytes / (3 * sizeof(double)))));
  const Matrix a = fill(n, 31, 17);
  const Matrix b = fill(n, 7, 3);
  const Matrix c = product(a, b, n);
  double trace = 0;
  for (std::size_t i = 0; i < n; ++i) trace += c.row(i)[i];
  return "two matrices of " + std::to_string(n) + " rows multiplied; the trace is " +
         std::to_string(static_cast<std::uint64_t>(trace));
}

std::string count_lines(const std::string& file) {
  errno = 0;
  std::ifstream input(file);
  if (!input) throw std::system_error(errno, std::generic_category(), file);
  std::vector<std::string> lines;
  for (std::string line; std::getline(input, line);) lines.push_back(line);
  if (input.bad()) throw std::system_error(errno, std::generic_category(), file);
  const std::size_t all = lines.size();
  std::sort(lines.begin(), lines.end());
  lines.erase(std::unique(lines.begin(), lines.end()), lines.end());
  return std::to_string(all) + " lines, " + std::to_string(lines.size()) + " different ones";
}

}  // namespace memory_sampler
