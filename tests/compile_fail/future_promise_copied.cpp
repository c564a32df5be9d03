// expect: deleted
#include <conc/future.hpp>
conc::Promise<int> copy(const conc::Promise<int>& promise) { return promise; }
