// expect: ignoring return value
// Who does not look whether a timed acquire succeeded goes on without the lock.
#include <conc/lock.hpp>

int main() {
  conc::Lock lock;
  lock.acquire(std::chrono::seconds{1});
}
