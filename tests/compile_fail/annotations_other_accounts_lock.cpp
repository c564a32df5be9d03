// expect: requires holding lock 'to.lock' exclusively
// clang: -Wthread-safety
#include <conc/lock.hpp>

struct Account {
  conc::Lock lock;
  int balance CONC_GUARDED_BY(lock) = 0;
};

void transfer(Account& from, Account& to) {
  const conc::ScopedLock guard{from.lock};
  --from.balance;
  ++to.balance;
}
