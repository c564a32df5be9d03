// SPDX-License-Identifier: MIT
#pragma once

#include <conc/queue.hpp>

/// A queue that is made when it is first asked for, before main, and destroyed at exit.
conc::Queue<int>& the_queue();
