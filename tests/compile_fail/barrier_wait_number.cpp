// expect: deleted function
#include <conc/barrier.hpp>
// A bare number is no deadline: seconds or milliseconds?
std::size_t wait(conc::Barrier& barrier) { return barrier.wait(5); }
