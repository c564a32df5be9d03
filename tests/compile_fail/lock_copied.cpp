// expect: deleted
#include <conc/lock.hpp>

int main() {
  conc::Lock lock;
  conc::Lock copy{lock};
  return copy.locked() ? 1 : 0;
}
