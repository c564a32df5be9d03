// expect: BasicAtomicInteger<T>: T must be an integer type
#include <conc/atomic_integer.hpp>

int main() {
  conc::BasicAtomicInteger<bool> flag{true};
  return flag.value() ? 1 : 0;
}
