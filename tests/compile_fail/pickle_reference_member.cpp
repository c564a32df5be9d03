// expect: pickle: this class cannot be pickled; give it a member `template <class Ar> void pickle(Ar& ar)
#include <conc/pickle.hpp>
#include <string>
#include <vector>
struct Entry {
  std::string name;
  int& count;
};
std::string bytes(const std::vector<Entry>& entries) { return conc::pickle::dumps(entries); }
