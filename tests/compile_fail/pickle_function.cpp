// expect: pickle: a function cannot be pickled
#include <conc/pickle.hpp>
#include <optional>
#include <string>
std::string bytes(std::optional<int (*)(int)> function) { return conc::pickle::dumps(function); }
