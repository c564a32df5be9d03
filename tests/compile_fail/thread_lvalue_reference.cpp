// expect: they are passed as decayed copies; use std::ref to share
#include <conc/thread.hpp>
int number = 0;
conc::Thread thread{[](int&) {}, number};
