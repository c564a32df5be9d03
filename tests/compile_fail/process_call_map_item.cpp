// expect: an argument cannot be turned into bytes: give its type a member pickle() or a conc::pickler
#include <conc/process_pool.hpp>

#include <vector>
class Connection {
 public:
  Connection();
  int number() const { return number_; }

 private:
  int number_ = 0;
};
void submit(conc::ProcessPoolExecutor& pool, int& n) {
  for (const int i : pool.map([](const Connection& c) { return c.number(); }, std::vector<Connection>(2))) {
    n += i;
  }
}
