// expect: submit(fn, args...): fn cannot be called with these arguments
#include <conc/thread_pool.hpp>
auto submit(conc::ThreadPoolExecutor& pool) {
  return pool.submit([](const char*) {}, 5);
}
