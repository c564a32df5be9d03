// SPDX-License-Identifier: MIT
/// @file
/// What is easily done wrong with an event loop, and what it says then.
#pragma once

namespace fanout_query {

/// Makes each mistake, and prints what is thrown and what to do instead. @return whether each was noticed.
bool show_errors();

}  // namespace fanout_query
