// expect: ignoring return value
#include <conc/future.hpp>
void look(const conc::Promise<int>& promise) { promise.get_future(); }
