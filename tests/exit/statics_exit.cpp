// SPDX-License-Identifier: MIT
// [FR9] Queues, locks and threads of static storage, used before main, in a thread_local's destructor, in exit handlers
// and in the destructors of statics, here and in another source file.
// stdout: before main: put
// stdout: main: the thread of another file put 1
// stdout: thread_local of main: got 2, MainThread
// stdout: exit handler: got 3
// stdout: other file's static: a thread ran, MainThread, 1 alive
// stdout: this file's static: got 4, the smallest 5, the newest b
#include <conc/conc.hpp>
#include <cstdlib>
#include <string>

#include "say.hpp"
#include "statics.hpp"

namespace {

conc::Queue<int> own_queue;
conc::PriorityQueue<int> own_jobs;
conc::LifoQueue<std::string> own_stack;

struct GetsAtEnd {
  GetsAtEnd() { (void)the_queue(); }  // is made before this object is complete: destroyed after it
  ~GetsAtEnd() {
    say("this file's static: got " + std::to_string(the_queue().get()) + ", the smallest " +
        std::to_string(own_jobs.get()) + ", the newest " + own_stack.get());
  }
};

conc::Lock own_lock;
conc::Thread own_thread{[] { own_queue.put(1); }};
const GetsAtEnd gets_at_end;
const bool put_before_main = [] {
  const conc::ScopedLock guard{own_lock};
  own_queue.put(0);
  for (const int job : {7, 5}) own_jobs.put(job);
  for (const char* text : {"a", "b"}) own_stack.put(text);
  say("before main: put");
  return true;
}();

struct ThreadLocal {
  bool used = false;
  ~ThreadLocal() {
    if (!used) return;
    say("thread_local of main: got " + std::to_string(the_queue().get()) + ", " + conc::current_thread().name());
  }
};
thread_local ThreadLocal at_the_end_of_main;

}  // namespace

int main() {
  own_thread.start();
  own_thread.join();
  if (own_queue.get() != 0 || own_queue.get() != 1) return 1;
  say("main: the thread of another file put " + std::to_string(the_queue().get()));
  for (int i = 2; i <= 4; ++i) the_queue().put(i);
  at_the_end_of_main.used = true;
  (void)std::atexit([] { say("exit handler: got " + std::to_string(the_queue().get())); });
}
