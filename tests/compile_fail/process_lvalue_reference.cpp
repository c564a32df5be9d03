// expect: a copy would travel to the other process
#include <conc/process.hpp>
void start() {
  conc::Process{[](int& number) { ++number; }, 3}.start();
}
