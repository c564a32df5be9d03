// expect: fn is a std::function, and what is in it cannot be sent to another process: pass the function or lambda itself
#include <conc/process_pool.hpp>

#include <functional>
auto submit(conc::ProcessPoolExecutor& pool, const std::function<int()>& fn) { return pool.submit(fn); }
