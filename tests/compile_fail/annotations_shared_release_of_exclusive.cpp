// expect: 'lock' using shared access, expected exclusive access
// clang: -Wthread-safety
#include <conc/rw_lock.hpp>

conc::RWLock lock;
int balance CONC_GUARDED_BY(lock) = 0;

int main() {
  lock.acquire();
  lock.release_shared();
}
