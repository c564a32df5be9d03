// expect: pickle: this type is void, or declared and not defined
#include <conc/pickle.hpp>
#include <memory>
#include <string>
struct Declared;
std::string bytes(const std::shared_ptr<Declared>& declared) { return conc::pickle::dumps(declared); }
