// SPDX-License-Identifier: MIT
// What smoke.cpp is for conc.hpp, for testing.hpp: it finds a lost wake-up and proves the cure.
#include <conc/event.hpp>
#include <conc/testing.hpp>
#include <cstdio>
#include <stdexcept>

namespace {

/// One thread tells another one, while both have an exception in flight.
template <bool Cured>
void tell() {
  conc::Event told;
  conc::testing::parallel(
      [&] {
        try {
          throw std::runtime_error{"first"};
        } catch (const std::runtime_error&) {
          told.set();
        }
      },
      [&] {
        try {
          throw std::runtime_error{"second"};
        } catch (const std::runtime_error&) {
          if (!Cured) {
            told.clear();  // what was told already is lost
          }
          told.wait();
        }
      });
}

}  // namespace

int main() {
  using conc::testing::Options;
  using conc::testing::Strategy;
  const auto lost = conc::testing::explore(&tell<false>, Options{.strategy = Strategy::depth_first, .quiet = true});
  const auto cured = conc::testing::explore(&tell<true>, Options{.strategy = Strategy::depth_first, .quiet = true});
  const bool all_is_well = lost.failed && !cured.failed && cured.complete;
  std::puts(all_is_well ? "explored: all is well" : "explored: not so");
  return all_is_well ? 0 : 1;
}
