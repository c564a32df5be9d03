// expect: pickle: a class with pickle(ar) needs a default constructor, or conc::pickler instead
#include <conc/pickle.hpp>
#include <string>
class Account {
 public:
  explicit Account(std::string owner) : owner_{std::move(owner)} {}
  template <class Ar>
  void pickle(Ar& ar) {
    ar(owner_);
  }

 private:
  std::string owner_;
};
Account account(const std::string& bytes) { return conc::pickle::loads<Account>(bytes); }
