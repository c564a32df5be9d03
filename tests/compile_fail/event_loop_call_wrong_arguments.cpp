// expect: call_soon(fn, args...): fn cannot be called with these arguments
#include <conc/event_loop.hpp>
auto schedule(conc::EventLoop& loop) {
  return loop.call_soon([](const char*) {}, 5);
}
