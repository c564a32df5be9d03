// expect: pickle: pickle(ar) is inherited, and says nothing of the members of this class
#include <conc/pickle.hpp>
#include <string>
struct Base {
  int number = 0;
  template <class Ar>
  void pickle(Ar& ar) {
    ar(number);
  }
};
struct Derived : Base {
  std::string text;
};
Derived derived(const std::string& bytes) { return conc::pickle::loads<Derived>(bytes); }
