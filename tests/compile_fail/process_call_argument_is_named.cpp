// expect: Connection
#include <conc/process_pool.hpp>
class Connection {
 public:
  Connection();
  int number() const { return number_; }

 private:
  int number_ = 0;
};
auto submit(conc::ProcessPoolExecutor& pool) {
  return pool.submit([](const Connection& c) { return c.number(); }, Connection{});
}
