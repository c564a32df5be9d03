// expect: they are passed as decayed copies; use std::ref to share
#include <conc/thread_pool.hpp>
int number = 0;
auto submit(conc::ThreadPoolExecutor& pool) {
  return pool.submit([](int&) {}, number);
}
