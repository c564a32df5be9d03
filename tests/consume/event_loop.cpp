// SPDX-License-Identifier: MIT
// A user's program with an event loop, which needs Asio: built in each way that conc can be had.
#include <conc/event_loop.hpp>
#include <cstdio>
#include <vector>

namespace {

asio::awaitable<int> twice(int n) {
  co_await conc::sleep(std::chrono::milliseconds{1});
  co_return 2 * n;
}

asio::awaitable<int> twice_each(int n) {
  std::vector<asio::awaitable<int>> parts;
  for (int i = 0; i < n; ++i) {
    parts.push_back(twice(i));
  }
  int sum = 0;
  for (const int part : co_await conc::gather(std::move(parts))) {
    sum += part;
  }
  co_return sum;
}

}  // namespace

int main() {
  conc::LoopThread loop;
  const conc::Future<int> here = conc::run_coroutine_threadsafe(twice_each(10), loop);
  const conc::Future<int> there =
      conc::spawn([&] { return conc::run_coroutine_threadsafe(twice_each(5), loop).result(); });
  const int sum = here.result() + there.result();
  std::printf("counted %d\n", sum);
  return sum == 110 ? 0 : 1;
}
