// expect: requires holding lock 'other'
// clang: -Wthread-safety
#include <conc/lock.hpp>

conc::Lock lock;
conc::RLock rlock;
conc::Lock other;
int balance CONC_GUARDED_BY(lock) = 0;
int entries CONC_GUARDED_BY(rlock) = 0;
int audits CONC_GUARDED_BY(other) = 0;

int main() {
  const conc::ScopedLock both{lock, rlock};
  ++balance;
  ++entries;
  ++audits;
}
