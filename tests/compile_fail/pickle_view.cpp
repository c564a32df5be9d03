// expect: pickle: a view cannot be pickled, what it looks at stays in this process; use std::string or std::vector
#include <conc/pickle.hpp>
#include <string>
#include <string_view>
#include <vector>
std::string bytes(const std::vector<std::string_view>& words) { return conc::pickle::dumps(words); }
