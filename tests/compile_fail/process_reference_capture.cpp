// expect: pass the rest as an argument
#include <conc/process.hpp>
void start(int& number) {
  conc::Process{[&number] { ++number; }}.start();
}
