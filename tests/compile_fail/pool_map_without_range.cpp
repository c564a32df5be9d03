// expect: map(fn, ranges...): name at least one range
#include <conc/thread_pool.hpp>
void map(conc::ThreadPoolExecutor& pool) {
  pool.map([](int) {});
}
