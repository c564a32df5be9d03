// expect: ignoring return value
#include <conc/event_loop.hpp>
void look(conc::EventLoop& loop) { loop.is_running(); }
