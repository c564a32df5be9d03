// expect: the callable must be callable without arguments
#include <conc/barrier.hpp>

int main() {
  conc::Barrier barrier{2, [](int) {}};
  return barrier.broken() ? 1 : 0;
}
