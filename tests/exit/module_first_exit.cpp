// SPDX-License-Identifier: MIT
// [FR9] A module that was loaded at run time starts the first thread and is unloaded: the program's threads are waited for
// at exit all the same.
// stdout: the module sees 2 threads
// stdout: unloaded
// stdout: the thread has ended
#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <conc/event.hpp>
#include <conc/thread.hpp>
#include <cstdlib>
#include <string>

#include "say.hpp"

namespace {

conc::Event exiting;
conc::Event over;
constinit std::atomic<bool> ended{false};

/// Registered first, so it is called last: when threads have been waited for.
void last_of_all() {
  say(ended.load() ? "the thread has ended" : "nobody has waited for the thread");
  over.set();
}

}  // namespace

int main(int /*argc*/, char** argv) {
  (void)std::atexit(&last_of_all);
  void* const module = ::dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) return 1;
  const auto use_conc = reinterpret_cast<int (*)(int)>(::dlsym(module, "use_conc"));
  say("the module sees " + std::to_string(use_conc(5)) + " threads");
  if (::dlclose(module) != 0) return 1;
  say("unloaded");
  conc::Thread{[] {
    exiting.wait();
    (void)over.wait(std::chrono::milliseconds{200});  // takes its time, unless nobody waits for it
    ended.store(true);
  }}.start();
  (void)std::atexit([] { exiting.set(); });
}
