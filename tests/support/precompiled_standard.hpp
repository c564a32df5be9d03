// SPDX-License-Identifier: MIT
/// @file
/// What conc itself includes from the standard library, compiled once for the programs in exit/, and a part of
/// precompiled.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>
