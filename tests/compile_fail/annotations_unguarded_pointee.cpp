// expect: requires holding lock 'lock'
// clang: -Wthread-safety
#include <conc/lock.hpp>

conc::Lock lock;
int storage = 0;
int* balance CONC_PT_GUARDED_BY(lock) = &storage;

int main() { return *balance; }
