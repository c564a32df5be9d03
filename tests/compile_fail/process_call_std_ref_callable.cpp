// expect: fn is a std::ref, and what it refers to stays in this process: pass the function or lambda itself
#include <conc/process_pool.hpp>

#include <functional>
auto submit(conc::ProcessPoolExecutor& pool) {
  auto fn = [] { return 7; };
  return pool.submit(std::ref(fn));
}
