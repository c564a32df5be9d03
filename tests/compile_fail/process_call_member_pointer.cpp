// expect: fn is a pointer to a member, which cannot be sent to another process: pass a lambda that calls it
#include <conc/process_pool.hpp>
struct Counter {
  int next() const;
};
auto submit(conc::ProcessPoolExecutor& pool) { return pool.submit(&Counter::next, Counter{}); }
