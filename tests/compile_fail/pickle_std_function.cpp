// expect: pickle: a callable that captures pointers, references or what has a destructor, or one like std::function
#include <conc/pickle.hpp>
#include <functional>
#include <string>
#include <vector>
std::string bytes(const std::vector<std::function<void()>>& functions) { return conc::pickle::dumps(functions); }
