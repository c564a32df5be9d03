// expect: requires holding lock 'lock'
// clang: -Wthread-safety
#include <conc/lock.hpp>

conc::Lock lock;
int balance CONC_GUARDED_BY(lock) = 0;

int main() {
  if (!lock.acquire(std::chrono::milliseconds{1})) {
    balance = 1;
    return 1;
  }
  lock.release();
}
