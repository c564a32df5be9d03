// SPDX-License-Identifier: MIT
// [FR9] Two modules with hidden symbols, loaded at run time, and the program share one list of threads, one pool, one
// graph of who waits for whom, the values of threads, the hook and the types of exceptions. They may be unloaded once what
// they have started has ended.
// stdout: one: MainThread one two
// stdout: two: MainThread one two
// stdout: the current thread is the same
// stdout: one pool runs the tasks of both: 3
// stdout: tasks of both wait for each other: DeadlockError
// stdout: tasks of both wait for each other: DeadlockError
// stdout: a thread has one value
// stdout: exceptions of one are caught by the other: yes yes yes
// stdout: the hook is told: one
// stdout: the hook is told: two
// stdout: the default hook is the same
// stdout: unloaded
#include <dlfcn.h>

#include <conc/conc.hpp>
#include <string>

#include "plugin.hpp"
#include "say.hpp"

namespace {

void give_up() { (void)conc::Promise<int>{}.get_future().result(std::chrono::nanoseconds{0}); }

bool catches(void (*thrower)()) {
  try {
    thrower();
  } catch (const conc::TimeoutError&) {
    return true;
  } catch (...) {
  }
  return false;
}

const char* yes(bool holds) { return holds ? " yes" : " no"; }

void use(const Plugin& one, const Plugin& two) {
  conc::Event go[2];
  conc::Thread thread_one = one.start(go[0]);
  conc::Thread thread_two = two.start(go[1]);
  say("one:" + one.names());
  say("two:" + two.names());
  const conc::Thread me = conc::current_thread();
  say(one.is_current(me) && two.is_current(me) ? "the current thread is the same" : "there are several of this thread");

  conc::ThreadPoolExecutor pool{2};
  conc::Promise<int> start;
  conc::Promise<conc::Future<int>> first;
  conc::Promise<conc::Future<int>> second;
  const conc::Future<int> sum = two.ask(pool, second.get_future());
  second.set_result(one.ask(pool, first.get_future()));
  first.set_result(start.get_future());
  start.set_result(1);
  say("one pool runs the tasks of both: " + std::to_string(sum.result()));

  conc::Promise<conc::Future<int>> its_end;
  conc::Promise<conc::Future<int>> its_beginning;
  const conc::Future<int> end = two.ask(pool, its_beginning.get_future());
  const conc::Future<int> beginning = one.ask(pool, its_end.get_future());
  its_beginning.set_result(beginning);
  its_end.set_result(end);
  for (const conc::Future<int>& future : {beginning, end}) {  // one finds out, the other gets its exception
    try {
      say("tasks of both wait for each other: " + std::to_string(future.result()));
    } catch (const conc::DeadlockError&) {
      say("tasks of both wait for each other: DeadlockError");
    }
  }

  const conc::ThreadLocal<int> local;
  say(&one.value(local) == &*local && &two.value(local) == &*local ? "a thread has one value"
                                                                   : "it has several values");
  say(std::string{"exceptions of one are caught by the other:"} + yes(two.catches(one.give_up)) +
      yes(one.catches(&give_up)) + yes(catches(two.give_up)));

  two.set_excepthook(
      [](const conc::ExceptHookArgs& args) { say(std::string{"the hook is told: "} + args.thread_name); });
  go[0].set();
  thread_one.join();
  go[1].set();
  thread_two.join();
  one.set_excepthook(nullptr);
  say(conc::set_excepthook(nullptr) == &conc::default_excepthook ? "the default hook is the same"
                                                                 : "it is another one");
}

}  // namespace

int main(int /*argc*/, char** argv) {
  void* modules[2];
  const Plugin* plugins[2];
  for (int i : {0, 1}) {
    modules[i] = ::dlopen(argv[i + 2], RTLD_NOW | RTLD_LOCAL);
    if (modules[i] == nullptr) {
      say(::dlerror());
      return 1;
    }
    plugins[i] = reinterpret_cast<GetPlugin>(::dlsym(modules[i], "plugin"))(i == 0 ? "one" : "two");
  }
  use(*plugins[0], *plugins[1]);
  if (::dlclose(modules[0]) != 0 || ::dlclose(modules[1]) != 0) {
    return 1;
  }
  say("unloaded");
}
