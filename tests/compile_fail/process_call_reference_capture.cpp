// expect: fn cannot be sent to another process: it must be a function pointer or hold only plain values
#include <conc/process_pool.hpp>
auto submit(conc::ProcessPoolExecutor& pool, int& n) {
  return pool.submit([&n] { return n; });
}
