// expect: fn(args...) cannot be called with these arguments (they are passed as decayed copies)
#include <conc/process_pool.hpp>
auto submit(conc::ProcessPoolExecutor& pool) {
  return pool.submit([](int a, int b) { return a + b; }, 1);
}
