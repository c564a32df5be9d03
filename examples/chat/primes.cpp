// SPDX-License-Identifier: MIT
#include "primes.hpp"

namespace chat {
namespace {

bool is_prime(std::uint32_t number) {
  if (number % 2 == 0) return number == 2;
  for (std::uint32_t divisor = 3; divisor <= number / divisor; divisor += 2) {
    if (number % divisor == 0) return false;
  }
  return number > 1;
}

}  // namespace

std::uint32_t count_primes(const conc::StopToken& stop, std::uint32_t limit) {
  std::uint32_t primes = 0;
  for (std::uint32_t number = 2; number < limit && !stop.stop_requested(); ++number) {
    if (is_prime(number)) ++primes;
  }
  return primes;
}

}  // namespace chat
