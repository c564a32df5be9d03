// expect: first and last are integers or random access iterators
#include <conc/executor.hpp>
#include <conc/thread_pool.hpp>
#include <list>
void loop(conc::ThreadPoolExecutor& pool, std::list<int>& list) {
  conc::parallel_for(pool, list.begin(), list.end(), [](int) {});
}
