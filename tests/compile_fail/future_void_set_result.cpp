// expect: Promise<void>::set_result() takes no argument
#include <conc/future.hpp>
void finish(const conc::Promise<void>& promise) { promise.set_result(1); }
