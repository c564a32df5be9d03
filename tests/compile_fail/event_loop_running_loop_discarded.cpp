// expect: ignoring return value
#include <conc/event_loop.hpp>
void look() { conc::get_running_loop(); }
