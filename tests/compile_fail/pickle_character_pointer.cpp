// expect: pickle: a pointer cannot be pickled
#include <conc/pickle.hpp>
#include <string>
#include <utility>
std::string bytes() { return conc::pickle::dumps(std::pair<int, const char*>{1, "text"}); }
