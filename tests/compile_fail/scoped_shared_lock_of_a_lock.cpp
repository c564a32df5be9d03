// expect: lock_shared
// A Lock cannot be held shared.
#include <conc/rw_lock.hpp>

int main() {
  conc::Lock lock;
  const conc::ScopedSharedLock guard{lock};
}
