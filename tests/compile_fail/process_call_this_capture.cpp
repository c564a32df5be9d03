// expect: fn cannot be sent to another process: it must be a function pointer or hold only plain values
#include <conc/process_pool.hpp>
struct Counter {
  auto submit(conc::ProcessPoolExecutor& pool) {
    return pool.submit([this] { return n; });
  }
  int n = 0;
};
