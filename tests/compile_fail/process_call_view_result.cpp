// expect: fn returns a view, and what it looks at does not travel: return a std::string or a container
#include <conc/process_pool.hpp>

#include <string_view>
auto submit(conc::ProcessPoolExecutor& pool) {
  return pool.submit([] { return std::string_view{"text"}; });
}
