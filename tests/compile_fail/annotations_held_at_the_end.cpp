// expect: 'lock' is still held at the end of function
// clang: -Wthread-safety
#include <conc/lock.hpp>

conc::Lock lock;
int balance CONC_GUARDED_BY(lock) = 0;

int main() {
  lock.acquire();
  balance = 1;
}
