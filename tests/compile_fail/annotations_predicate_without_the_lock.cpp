// expect: reading variable 'balance' requires holding lock 'lock'
// clang: -Wthread-safety
#include <conc/condition.hpp>

conc::Lock lock;
conc::Condition changed{lock};
int balance CONC_GUARDED_BY(lock) = 0;

int main() {
  const conc::ScopedLock guard{lock};
  changed.wait_for([] { return balance > 0; });  // the lambda has to say CONC_REQUIRES(lock)
}
