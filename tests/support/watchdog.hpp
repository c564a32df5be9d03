// SPDX-License-Identifier: MIT
/// @file
/// The watchdog: a thread that ends a process that hangs, after printing what each of its threads is doing.
#pragma once

#include <chrono>

namespace conc_test {

/// Starts the watchdog's thread; it lives as long as the process. `report_fd` is where it writes, and `before_report`
/// is called before it does.
void start_watchdog(int report_fd, void (*before_report)());

/// From now on the process may spend this long on `what`, a string that stays alive. Replaces the previous limit.
void watch(const char* what, std::chrono::seconds limit);

/// How long one case may take: 120 s, or CONC_TEST_LIMIT seconds; five times that under a sanitizer, ten times that in
/// the long form.
std::chrono::seconds case_limit();

}  // namespace conc_test
