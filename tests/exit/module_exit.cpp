// SPDX-License-Identifier: MIT
// [FR9] A module that was loaded at run time, with hidden symbols, shares the list of threads with the program, and may
// be unloaded again; the program ends as ever.
// stdout: the module sees 3 threads
// stdout: unloaded
// stdout: loaded again, the module sees 3 threads
// stdout: the thread ends
#include <dlfcn.h>

#include <conc/event.hpp>
#include <conc/thread.hpp>
#include <cstdlib>
#include <string>

#include "say.hpp"

namespace {
conc::Event exiting;
}

int main(int /*argc*/, char** argv) {
  conc::Thread{[] {
    exiting.wait();
    say("the thread ends");
  }}.start();
  (void)std::atexit([] { exiting.set(); });
  for (const char* const words : {"", "loaded again, "}) {
    void* const module = ::dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (module == nullptr) return 1;
    const auto use_conc = reinterpret_cast<int (*)(int)>(::dlsym(module, "use_conc"));
    say(words + std::string{"the module sees "} + std::to_string(use_conc(5)) + " threads");
    if (::dlclose(module) != 0) return 1;
    if (*words == '\0') say("unloaded");
  }
}
