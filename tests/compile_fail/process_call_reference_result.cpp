// expect: fn returns a reference, which means nothing in another process: return the value
#include <conc/process_pool.hpp>
int number = 0;
auto submit(conc::ProcessPoolExecutor& pool) {
  return pool.submit([]() -> int& { return number; });
}
