// expect: pickle: a reference cannot be pickled, it would refer to nothing in another process
#include <conc/pickle.hpp>
#include <string>
#include <tuple>
std::string bytes(int& count) { return conc::pickle::dumps(std::tie(count)); }
