// expect: spawn(fn, args...): fn cannot be called with these arguments
#include <conc/executor.hpp>
// Arguments are copied; std::ref shares.
int number = 0;
const auto future = conc::spawn([](int& shared) { ++shared; }, number);
