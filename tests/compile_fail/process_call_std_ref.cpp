// expect: an argument is a std::ref, and what it refers to stays in this process: pass the value
#include <conc/process_pool.hpp>

#include <functional>
auto submit(conc::ProcessPoolExecutor& pool, int& n) {
  return pool.submit([](int& value) { ++value; }, std::ref(n));
}
