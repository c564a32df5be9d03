// expect: pickle: a pointer to a class with virtual functions cannot be pickled
#include <conc/pickle.hpp>
#include <memory>
#include <string>
#include <vector>
struct Animal {
  Animal() = default;
  virtual ~Animal() = default;
};
std::string bytes(const std::vector<std::shared_ptr<Animal>>& animals) { return conc::pickle::dumps(animals); }
