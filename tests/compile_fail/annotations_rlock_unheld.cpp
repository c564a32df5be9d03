// expect: requires holding lock 'rlock' exclusively
// clang: -Wthread-safety
#include <conc/lock.hpp>

conc::RLock rlock;
int depth CONC_GUARDED_BY(rlock) = 0;

int main() { ++depth; }
