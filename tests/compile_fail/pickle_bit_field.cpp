// expect: bit-field
#include <conc/pickle.hpp>
#include <string>
struct Flags {
  std::string name;
  unsigned low : 3;
};
std::string bytes(const Flags& flags) { return conc::pickle::dumps(flags); }
