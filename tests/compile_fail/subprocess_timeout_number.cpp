// expect: deleted function
#include <conc/subprocess.hpp>
// A bare number is no deadline: seconds or milliseconds?
int sleep() { return conc::subprocess::run({"sleep", "9"}, {.timeout = 5}).returncode; }
