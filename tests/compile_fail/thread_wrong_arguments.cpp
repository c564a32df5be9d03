// expect: Thread{fn, args...}: fn cannot be called with these arguments
#include <conc/thread.hpp>
conc::Thread thread{[](const char*) {}, 5};
