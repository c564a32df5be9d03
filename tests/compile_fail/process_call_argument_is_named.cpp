// expect: Connection
#include <conc/process_pool.hpp>

#include <string>
class Connection {
 public:
  std::size_t length() const { return host_.size(); }

 private:
  std::string host_;
};
auto submit(conc::ProcessPoolExecutor& pool) {
  return pool.submit([](const Connection& c) { return c.length(); }, Connection{});
}
