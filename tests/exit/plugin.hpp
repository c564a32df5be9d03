// SPDX-License-Identifier: MIT
/// @file
/// Plugin: what a module with hidden symbols does with conc, and with conc's objects of the program.
#pragma once

#include <conc/conc.hpp>
#include <string>

struct Plugin {
  /// Starts a thread that waits for `go` and then throws, with the name of this module.
  conc::Thread (*start)(conc::Event& go);
  /// The names of all threads, as this module sees them.
  std::string (*names)();
  bool (*is_current)(const conc::Thread& thread);
  /// Has the pool wait for a future, and for that one's future, and add one.
  conc::Future<int> (*ask)(conc::ThreadPoolExecutor& pool, conc::Future<conc::Future<int>> question);
  /// Throws a TimeoutError.
  void (*give_up)();
  /// Whether what `thrower` throws is a TimeoutError here.
  bool (*catches)(void (*thrower)());
  /// The calling thread's value.
  int& (*value)(const conc::ThreadLocal<int>& local);
  conc::ExceptHook (*set_excepthook)(conc::ExceptHook hook);
};

/// What a module exports: `extern "C" const Plugin* plugin(const char* name)`, where it is told its name.
using GetPlugin = const Plugin* (*)(const char*);
