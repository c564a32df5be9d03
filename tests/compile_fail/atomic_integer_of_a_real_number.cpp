// expect: BasicAtomicInteger<T>: T must be an integer type
#include <conc/atomic_integer.hpp>

int main() {
  conc::BasicAtomicInteger<double> n{0.5};
  return n.value() > 0 ? 1 : 0;
}
