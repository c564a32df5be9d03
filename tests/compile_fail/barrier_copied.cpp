// expect: deleted
#include <conc/barrier.hpp>

int main() {
  conc::Barrier barrier{2};
  conc::Barrier copy{barrier};
  return copy.broken() ? 1 : 0;
}
