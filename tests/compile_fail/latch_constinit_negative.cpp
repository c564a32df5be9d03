// expect: does not have a constant initializer
// A count that is wrong at compile time is found at compile time.
#include <conc/barrier.hpp>

constinit conc::Latch latch{-1};

int main() { return latch.wait() ? 0 : 1; }
