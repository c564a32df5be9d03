// expect: ignoring return value
#include <conc/future.hpp>
// It may have been cancelled.
void run(const conc::Promise<int>& promise) { promise.set_running_or_notify_cancel(); }
