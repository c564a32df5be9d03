// expect: spawn(fn, args...): fn cannot be called with these arguments
#include <conc/executor.hpp>
auto spawn() {
  return conc::spawn([](const char*) {}, 5);
}
