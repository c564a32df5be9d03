// expect: ignoring return value
#include <conc/lock.hpp>

int main() {
  conc::RLock lock;
  lock.acquire(std::chrono::seconds{1});
}
