// expect: cannot be called with these arguments
#include <conc/process.hpp>
#include <string>
void start() {
  conc::Process{[](int) {}, std::string{"text"}}.start();
}
