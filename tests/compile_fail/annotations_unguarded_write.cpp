// expect: writing variable 'balance' requires holding lock 'lock' exclusively
// clang: -Wthread-safety
#include <conc/lock.hpp>

conc::Lock lock;
int balance CONC_GUARDED_BY(lock) = 0;

int main() { balance = 1; }
