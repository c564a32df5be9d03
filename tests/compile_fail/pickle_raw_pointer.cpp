// expect: pickle: a pointer cannot be pickled, it would point to nothing in another process
#include <conc/pickle.hpp>
#include <map>
#include <string>
#include <vector>
std::string bytes(const std::map<int, std::vector<int*>>& pointers) { return conc::pickle::dumps(pointers); }
