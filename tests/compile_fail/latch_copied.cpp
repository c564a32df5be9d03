// expect: deleted
#include <conc/barrier.hpp>

int main() {
  conc::Latch latch{2};
  conc::Latch copy{latch};
  return copy.wait() ? 0 : 1;
}
