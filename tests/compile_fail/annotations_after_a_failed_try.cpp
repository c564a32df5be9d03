// expect: requires holding lock 'lock'
// clang: -Wthread-safety
#include <conc/lock.hpp>

conc::Lock lock;
int balance CONC_GUARDED_BY(lock) = 0;

int main() {
  if (lock.try_acquire()) {
    lock.release();
  } else {
    balance = 1;
  }
}
