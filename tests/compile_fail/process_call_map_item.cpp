// expect: an argument cannot be turned into bytes: give its type a member pickle() or a conc::pickler
#include <conc/process_pool.hpp>

#include <string>
#include <vector>
class Connection {
 public:
  std::size_t length() const { return host_.size(); }

 private:
  std::string host_;
};
void submit(conc::ProcessPoolExecutor& pool, std::size_t& n) {
  for (const std::size_t i : pool.map([](const Connection& c) { return c.length(); }, std::vector<Connection>(2))) {
    n += i;
  }
}
