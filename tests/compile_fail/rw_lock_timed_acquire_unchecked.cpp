// expect: ignoring return value
// Who does not look whether a timed acquire succeeded goes on without the lock.
#include <conc/rw_lock.hpp>

int main() {
  conc::RWLock lock;
  lock.acquire(std::chrono::seconds{1});
}
