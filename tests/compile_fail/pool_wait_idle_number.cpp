// expect: deleted function
#include <conc/thread_pool.hpp>
bool wait(conc::ThreadPoolExecutor& pool) { return pool.wait_idle(5); }
