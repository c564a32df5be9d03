// expect: writing variable 'balance' requires holding lock 'lock' exclusively
// clang: -Wthread-safety
#include <conc/rw_lock.hpp>

conc::RWLock lock;
int balance CONC_GUARDED_BY(lock) = 0;

int main() {
  const conc::ScopedSharedLock guard{lock};
  balance = 1;
}
