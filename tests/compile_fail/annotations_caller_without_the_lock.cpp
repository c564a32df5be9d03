// expect: calling function 'audit' requires holding lock 'lock' exclusively
// clang: -Wthread-safety
#include <conc/lock.hpp>

conc::Lock lock;
int balance CONC_GUARDED_BY(lock) = 0;

int audit() CONC_REQUIRES(lock) { return balance; }

int main() { return audit(); }
