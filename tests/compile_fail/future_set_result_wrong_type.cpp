// expect: Promise<T>::set_result(args...): a T cannot be made of these arguments
#include <conc/future.hpp>
void finish(const conc::Promise<int>& promise) { promise.set_result("one"); }
