// expect: nodiscard
// A guard without a name ends where it begins.
#include <conc/lock.hpp>

int main() {
  conc::Lock lock;
  conc::ScopedLock{lock};
}
