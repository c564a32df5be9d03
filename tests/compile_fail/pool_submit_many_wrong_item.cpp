// expect: submit_many(fn, range): fn cannot be called with an item
#include <conc/thread_pool.hpp>
auto submit(conc::ThreadPoolExecutor& pool) {
  return pool.submit_many([](const char*) {}, std::vector<int>{1});
}
