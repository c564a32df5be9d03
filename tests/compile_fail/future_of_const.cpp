// expect: Future<T>: T must be void, an lvalue reference, or an object type that is not const
#include <conc/future.hpp>
const conc::Promise<const int> promise;
