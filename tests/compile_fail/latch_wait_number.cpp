// expect: deleted function
#include <conc/barrier.hpp>
// A bare number is no deadline: seconds or milliseconds?
bool wait(conc::Latch& latch) { return latch.wait(5); }
