// expect: Promise<T&>::set_result(object): object must be an lvalue of type T
#include <conc/future.hpp>
// The object would be gone.
void finish(const conc::Promise<const int&>& promise) { promise.set_result(5); }
