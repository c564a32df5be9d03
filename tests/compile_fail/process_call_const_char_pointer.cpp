// expect: an argument is a const char*, which means nothing in another process: pass a std::string
#include <conc/process_pool.hpp>

#include <string>
auto submit(conc::ProcessPoolExecutor& pool) {
  return pool.submit([](const std::string& s) { return s.size(); }, "text");
}
