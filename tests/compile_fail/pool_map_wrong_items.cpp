// expect: map(fn, ranges...): fn cannot be called with one item of each range
#include <conc/thread_pool.hpp>
void map(conc::ThreadPoolExecutor& pool) {
  pool.map([](int) {}, std::vector<int>{1}, std::vector<int>{2});
}
