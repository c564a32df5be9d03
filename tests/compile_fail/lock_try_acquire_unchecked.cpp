// expect: ignoring return value
#include <conc/lock.hpp>

int main() {
  conc::Lock lock;
  lock.try_acquire();
}
