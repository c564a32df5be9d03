// expect: no matching function
#include <conc/event_loop.hpp>
auto run(conc::EventLoop& loop) {
  return conc::run_coroutine_threadsafe([] { return 5; }, loop);
}
