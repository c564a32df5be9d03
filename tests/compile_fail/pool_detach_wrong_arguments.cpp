// expect: detach(fn, args...): fn cannot be called with these arguments
#include <conc/thread_pool.hpp>
void detach(conc::ThreadPoolExecutor& pool) {
  pool.detach([](const char*) {}, 5);
}
