// expect: pickle: a union cannot be pickled; use std::variant
#include <conc/pickle.hpp>
#include <string>
#include <vector>
union Number {
  int whole;
  float real;
};
struct Tagged {
  bool is_whole;
  Number number;
};
std::string bytes(const std::vector<Tagged>& numbers) { return conc::pickle::dumps(numbers); }
