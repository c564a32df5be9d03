// expect: cannot call function 'transfer' while lock 'lock' is held
// clang: -Wthread-safety
#include <conc/lock.hpp>

conc::Lock lock;
int balance CONC_GUARDED_BY(lock) = 0;

void transfer() CONC_EXCLUDES(lock) {
  const conc::ScopedLock guard{lock};
  ++balance;
}

int main() {
  const conc::ScopedLock guard{lock};
  transfer();
}
