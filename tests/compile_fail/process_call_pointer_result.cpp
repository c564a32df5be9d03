// expect: fn returns a pointer, which means nothing in another process: return the value
#include <conc/process_pool.hpp>
int number = 0;
auto submit(conc::ProcessPoolExecutor& pool) {
  return pool.submit([] { return &number; });
}
