// expect: the result of fn cannot be turned into bytes: give its type a member pickle() or a conc::pickler
#include <conc/process_pool.hpp>
class Connection {
 public:
  Connection();
  int number() const { return number_; }

 private:
  int number_ = 0;
};
auto submit(conc::ProcessPoolExecutor& pool) {
  return pool.submit([] { return Connection{}; });
}
