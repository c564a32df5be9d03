// expect: deleted function
#include <conc/wait.hpp>
// A bare number is no deadline: seconds or milliseconds?
bool wait(const conc::Future<int>& future) { return future.wait(5); }
