// expect: fn cannot be called with these arguments
#include <conc/event_loop.hpp>
auto schedule(conc::EventLoop& loop) {
  return loop.call_later(
      conc::never, [](int&) {}, 5);
}
