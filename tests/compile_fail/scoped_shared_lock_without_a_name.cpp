// expect: nodiscard
// A guard without a name ends where it begins.
#include <conc/rw_lock.hpp>

int main() {
  conc::RWLock lock;
  conc::ScopedSharedLock{lock};
}
