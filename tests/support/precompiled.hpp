// SPDX-License-Identifier: MIT
/// @file
/// What most tests include from the standard library and Catch2, compiled once. Nothing of conc: some tests say first
/// with which macros they want it.
#pragma once

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <coroutine>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <set>

#include "precompiled_standard.hpp"
