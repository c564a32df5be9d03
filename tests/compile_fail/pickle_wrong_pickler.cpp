// expect: pickle: conc::pickler<T> needs static void save(Pickler&, const T&) and static T load(Unpickler&)
#include <conc/pickle.hpp>
#include <string>
class Account {
 public:
  explicit Account(std::string owner) : owner_{std::move(owner)} {}

 private:
  std::string owner_;
};
template <>
struct conc::pickler<Account> {
  static void save(Pickler&, const Account&);
  static void load(Unpickler&, Account&);
};
std::string bytes(const Account& account) { return conc::pickle::dumps(account); }
