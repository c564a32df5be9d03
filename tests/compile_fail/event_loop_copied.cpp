// expect: deleted
#include <conc/event_loop.hpp>
conc::EventLoop copy(conc::EventLoop& loop) { return loop; }
