// expect: pass a std::string
#include <conc/process.hpp>
void start() {
  conc::Process{[](const char*) {}, "text"}.start();
}
