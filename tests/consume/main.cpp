// SPDX-License-Identifier: MIT
// A user's program: built in each way that conc can be had.
#include <conc/conc.hpp>
#include <cstdio>

int main() {
  conc::AtomicInteger count{0};
  conc::Queue<int> queue{4};
  conc::Thread worker{[&] {
    for (int item : queue) {
      conc::TaskDone done{queue};
      for (int i = 0; i < item; ++i) count.inc();
    }
  }};
  worker.start();
  for (int item = 1; item <= 10; ++item) queue.put(item);
  queue.join();
  queue.shutdown();
  worker.join();
  std::printf("counted %lld\n", static_cast<long long>(count.value()));
  return count.value() == 55 ? 0 : 1;
}
