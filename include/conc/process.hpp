// SPDX-License-Identifier: MIT
/// @file
/// Processes: process_init and StartMethod, and with them subprocess.hpp. Not part of conc.hpp.
#pragma once

#if !defined(__linux__)
#error "conc/process.hpp needs Linux (pidfd)."
#endif

#include <conc/detail/worker_process.hpp>
#include <conc/subprocess.hpp>
