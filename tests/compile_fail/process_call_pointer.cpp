// expect: an argument is a pointer, which means nothing in another process: pass the value
#include <conc/process_pool.hpp>
auto submit(conc::ProcessPoolExecutor& pool, int* n) {
  return pool.submit([](const int* p) { return *p; }, n);
}
