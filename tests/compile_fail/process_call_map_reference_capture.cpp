// expect: fn cannot be sent to another process: it must be a function pointer or hold only plain values
#include <conc/process_pool.hpp>

#include <vector>
void submit(conc::ProcessPoolExecutor& pool, int& n) {
  for (const int i : pool.map([&n](int x) { return n + x; }, std::vector<int>{1, 2})) {
    n += i;
  }
}
