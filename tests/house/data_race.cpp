// SPDX-License-Identifier: MIT
// Two threads count in one variable. Without a lock that is a data race, which ThreadSanitizer must report.
#include <conc/lock.hpp>
#include <cstdio>
#include <thread>

int main() {
  [[maybe_unused]] conc::Lock lock;
  long count = 0;
  const auto add = [&] {
    for (int i = 0; i < 10'000; ++i) {
#if defined(WITH_LOCK)
      const conc::ScopedLock guard{lock};
#endif
      ++count;
    }
  };
  std::thread other{add};
  add();
  other.join();
  std::printf("counted %ld\n", count);
}
