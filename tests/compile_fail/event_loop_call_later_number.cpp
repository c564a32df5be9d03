// expect: deleted function
#include <conc/event_loop.hpp>
auto schedule(conc::EventLoop& loop) {
  return loop.call_later(5, [] {});
}
