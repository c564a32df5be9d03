// expect: deleted function
#include <conc/future.hpp>
// A bare number is no deadline: seconds or milliseconds?
int get(const conc::Future<int>& future) { return future.result(5); }
