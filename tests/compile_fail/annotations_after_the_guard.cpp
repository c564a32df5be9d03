// expect: requires holding lock 'lock'
// clang: -Wthread-safety
#include <conc/lock.hpp>

conc::Lock lock;
int balance CONC_GUARDED_BY(lock) = 0;

int main() {
  { const conc::ScopedLock guard{lock}; }
  balance = 1;
}
