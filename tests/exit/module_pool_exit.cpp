// SPDX-License-Identifier: MIT
// [FR9][X3] A module that was loaded at run time, with hidden symbols, makes a pool inside of a task of the program's
// pool: nobody takes the workers of the one for those of the other, and their names differ.
// stdout: the module's pool works
// stdout: the workers have different names
// stdout: the program's pool goes on: 2
// stdout: unloaded
// stdout: the program's pool goes on: 3
#include <dlfcn.h>

#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <cstddef>
#include <string>

#include "say.hpp"

int main(int /*argc*/, char** argv) {
  conc::ThreadPoolExecutor pool{1};
  void* const module = ::dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) return 1;
  const auto use_pool = reinterpret_cast<const char* (*)(char*, std::size_t)>(::dlsym(module, "use_pool"));
  char name[64] = "";
  const char* const wrong = pool.submit([&] { return use_pool(name, sizeof name); }).result();
  say(wrong == nullptr ? "the module's pool works" : wrong);
  const std::string mine = pool.submit([] { return conc::current_thread().name(); }).result();
  const bool named = mine.starts_with("ThreadPoolExecutor-") && std::string{name}.starts_with("ThreadPoolExecutor-");
  say(named && mine != name ? "the workers have different names" : mine + " and " + name);
  say("the program's pool goes on: " + std::to_string(pool.submit([] { return 2; }).result()));
  if (::dlclose(module) != 0) return 1;
  say("unloaded");
  say("the program's pool goes on: " + std::to_string(pool.submit([] { return 3; }).result()));
}
