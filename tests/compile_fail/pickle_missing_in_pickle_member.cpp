// expect: pickle: a view cannot be pickled
#include <conc/pickle.hpp>
#include <string>
#include <string_view>
struct Named {
  std::string_view name;
  template <class Ar>
  void pickle(Ar& ar) {
    ar(name);
  }
};
std::string bytes(const Named& named) { return conc::pickle::dumps(named); }
