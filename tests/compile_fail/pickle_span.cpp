// expect: pickle: a view cannot be pickled
#include <conc/pickle.hpp>
#include <span>
#include <string>
std::string bytes(std::span<const int> numbers) { return conc::pickle::dumps(numbers); }
