// expect: deleted function
#include <conc/rw_lock.hpp>
// A bare number is no deadline: seconds or milliseconds?
bool acquire(conc::RWLock& lock) { return lock.acquire_shared(5); }
