// expect: deleted
#include <conc/event_loop.hpp>
conc::LoopThread copy(conc::LoopThread& loop) { return loop; }
