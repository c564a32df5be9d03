// SPDX-License-Identifier: MIT
#include "statics.hpp"

#include <conc/thread.hpp>
#include <string>

#include "say.hpp"

namespace {

/// Starts a thread before main, and one while statics are destroyed.
struct StartsThreads {
  StartsThreads() {
    conc::Thread thread{[] { the_queue().put(1); }};
    thread.start();
    thread.join();
  }
  ~StartsThreads() {
    bool ran = false;
    conc::Thread thread{[&ran] { ran = true; }};
    thread.start();
    thread.join();
    say(std::string{"other file's static: "} + (ran ? "a thread ran, " : "no thread ran, ") +
        conc::current_thread().name() + ", " + std::to_string(conc::active_count()) + " alive");
  }
};

const StartsThreads starts_threads;

}  // namespace

conc::Queue<int>& the_queue() {
  static conc::Queue<int> queue{8};
  return queue;
}
