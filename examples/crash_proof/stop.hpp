// SPDX-License-Identifier: MIT
/// @file
/// Lets Ctrl-C end the program in good order.
#pragma once

#include <conc/event.hpp>

namespace crash_proof {

/// An event that the first SIGINT or SIGTERM sets; the second one ends the program as usual. Called once, in main(),
/// before there are other threads: they inherit that these signals go to a thread that waits for them.
conc::Event& stop_on_signals();

/// The signal that set the event; 0 before.
int stop_signal() noexcept;

}  // namespace crash_proof
