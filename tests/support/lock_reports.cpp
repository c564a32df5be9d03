// SPDX-License-Identifier: MIT
/// @file
/// For test executables compiled with CONC_DEBUG whose cases end threads that hold a lock, and let a thread wait for its
/// own lock until another one releases it: that is not printed. A report about the order of locks is, and fails the case.
#include <conc/error.hpp>

namespace {

void print_orders(const conc::debug::LockReport& report) {
  if (report.problem == conc::debug::LockProblem::order) conc::debug::default_lock_hook(report);
}

[[maybe_unused]] const auto before = conc::debug::set_lock_hook(&print_orders);

}  // namespace
