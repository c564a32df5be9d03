// SPDX-License-Identifier: MIT
/// @file
/// For tests with worker processes; included by one file of each test program. Their main calls process_init() first.
#pragma once

#include <conc/process.hpp>

extern "C" void conc_test_process_init(int argc, char** argv);
extern "C" void conc_test_process_init(int argc, char** argv) { conc::process_init(argc, argv); }
