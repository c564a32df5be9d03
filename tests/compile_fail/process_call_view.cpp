// expect: an argument is a view, and what it looks at does not travel: pass a std::string or a container
#include <conc/process_pool.hpp>

#include <string_view>
auto submit(conc::ProcessPoolExecutor& pool, std::string_view text) {
  return pool.submit([](std::string_view s) { return s.size(); }, text);
}
