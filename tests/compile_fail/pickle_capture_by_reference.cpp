// expect: pickle: a callable that captures pointers, references
#include <conc/pickle.hpp>
#include <string>
#include <vector>
std::string bytes(int number) {
  const auto add = [&number](int n) { return number + n; };
  return conc::pickle::dumps(std::vector{add});
}
