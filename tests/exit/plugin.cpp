// SPDX-License-Identifier: MIT
// A module with hidden symbols, which is loaded twice, from two files: see modules_exit.cpp.
#include "plugin.hpp"

#include <stdexcept>

namespace {

const char* my_name = nullptr;

conc::Thread start(conc::Event& go) {
  conc::Thread thread{{.name = my_name}, [&go] {
                        go.wait();
                        throw std::runtime_error{my_name};
                      }};
  thread.start();
  return thread;
}

std::string names() {
  std::string all;
  for (const conc::Thread& thread : conc::enumerate()) {
    all += ' ' + thread.name();
  }
  return all;
}

bool is_current(const conc::Thread& thread) { return conc::current_thread() == thread; }

conc::Future<int> ask(conc::ThreadPoolExecutor& pool, conc::Future<conc::Future<int>> question) {
  return pool.submit([question] { return question.result().result() + 1; });
}

void give_up() {
  const conc::Promise<int> promise;
  (void)promise.get_future().result(std::chrono::nanoseconds{0});
}

bool catches(void (*thrower)()) {
  try {
    thrower();
  } catch (const conc::TimeoutError&) {
    return true;
  } catch (...) {
  }
  return false;
}

int& value(const conc::ThreadLocal<int>& local) { return *local; }

constexpr Plugin the_plugin{&start, &names, &is_current, &ask, &give_up, &catches, &value, &conc::set_excepthook};

}  // namespace

extern "C" [[gnu::visibility("default")]] const Plugin* plugin(const char* name) {
  my_name = name;
  return &the_plugin;
}
