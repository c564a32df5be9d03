// expect: fn is a std::bind, which cannot be sent to another process: pass a lambda, and the rest as arguments
#include <conc/process_pool.hpp>

#include <functional>
int add(int a, int b);
auto submit(conc::ProcessPoolExecutor& pool) { return pool.submit(std::bind(add, 1, 2)); }
