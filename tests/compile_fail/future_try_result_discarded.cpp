// expect: ignoring return value
#include <conc/future.hpp>
void look(const conc::Future<int>& future) { future.try_result(); }
