// expect: fn takes an argument as T&, and a copy would travel to the other process
#include <conc/process_pool.hpp>
int number = 0;
auto submit(conc::ProcessPoolExecutor& pool) {
  return pool.submit([](int& n) { ++n; }, number);
}
