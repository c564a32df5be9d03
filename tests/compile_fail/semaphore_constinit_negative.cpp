// expect: does not have a constant initializer
// A number of permits that is wrong at compile time is found at compile time.
#include <conc/semaphore.hpp>

constinit conc::Semaphore semaphore{-1};

int main() { return semaphore.try_acquire() ? 1 : 0; }
