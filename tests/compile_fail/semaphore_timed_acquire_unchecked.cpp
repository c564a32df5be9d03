// expect: ignoring return value
#include <conc/semaphore.hpp>

int main() {
  conc::Semaphore semaphore;
  semaphore.acquire(std::chrono::seconds{1});
}
