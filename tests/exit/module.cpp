// SPDX-License-Identifier: MIT
#include <conc/queue.hpp>
#include <conc/thread.hpp>
#include <conc/thread_pool.hpp>
#include <cstddef>
#include <stdexcept>
#include <string>

namespace {
conc::Queue<int> queue{2};
}

/// Returns how many threads this module sees alive, its own among them.
extern "C" [[gnu::visibility("default")]] int use_conc(int value) {
  int alive = 0;
  conc::Thread thread{[&alive, value] {
    queue.put(value);
    alive = static_cast<int>(conc::active_count());
  }};
  thread.start();
  thread.join();
  return queue.get() == value ? alive : -1;
}

/// Makes a pool and uses it. Puts the name of its worker at `name`, where there is room for `size` bytes.
/// @return null, or what was wrong
extern "C" [[gnu::visibility("default")]] const char* use_pool(char* name, std::size_t size) {
  conc::ThreadPoolExecutor pool{1};
  if (pool.worker_index()) return "the caller is no worker of this pool";
  const std::string worker = pool.submit([] { return conc::current_thread().name(); }).result();
  name[worker.copy(name, size - 1)] = '\0';
  const conc::Future<int> inside = pool.submit([&pool] {
    return pool.worker_index() == std::size_t{0} ? pool.submit([] { return 1; }).result() : 0;  // claimed
  });
  if (inside.result() != 1) return "a task of this pool is on its worker";
  try {
    pool.submit([] { throw std::runtime_error{"boom"}; }).result();
    return "an exception is lost";
  } catch (const std::runtime_error&) {
  }
  pool.shutdown();  // it would throw, were the caller taken for a worker
  return pool.stats().done == 3 && pool.stats().failed == 1 ? nullptr : "tasks were counted elsewhere";
}
