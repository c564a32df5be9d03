// expect: pickle: this class cannot be pickled; give it a member `template <class Ar> void pickle(Ar& ar)
#include <conc/pickle.hpp>
#include <optional>
#include <string>
class Account {
 public:
  explicit Account(std::string owner) : owner_{std::move(owner)} {}

 private:
  std::string owner_;
};
std::string bytes(const std::optional<Account>& account) { return conc::pickle::dumps(account); }
