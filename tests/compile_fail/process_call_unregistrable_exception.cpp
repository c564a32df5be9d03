// expect: register_exception<E>(): E must be picklable, or a std::exception that can be made of a std::string
#include <conc/remote_error.hpp>

#include <memory>
#include <string>
class LostRow {
 public:
  explicit LostRow(int number);

 private:
  std::string name_;
};
const bool registered = conc::register_exception<LostRow>();
