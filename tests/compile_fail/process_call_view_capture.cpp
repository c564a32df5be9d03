// expect: fn cannot be sent to another process: it must be a function pointer or hold only plain values
#include <conc/process_pool.hpp>

#include <string_view>
auto submit(conc::ProcessPoolExecutor& pool, std::string_view text) {
  return pool.submit([text] { return text.size(); });
}
