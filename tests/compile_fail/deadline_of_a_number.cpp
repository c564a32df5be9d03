// expect: deleted function
// A bare number is no timeout: is it seconds or milliseconds? 1500ms and 1.5s say it.
#include <conc/lock.hpp>

int main() {
  conc::Lock lock;
  return lock.acquire(5) ? 0 : 1;
}
