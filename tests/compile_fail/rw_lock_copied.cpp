// expect: deleted
#include <conc/rw_lock.hpp>

int main() {
  conc::RWLock lock;
  conc::RWLock copy{lock};
  return copy.try_acquire() ? 1 : 0;
}
